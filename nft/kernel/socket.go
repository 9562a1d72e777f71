package kernel

import (
	"fmt"

	"github.com/mdlayher/netlink"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// socket is a netlink socket to nf_tables.
type socket struct {
	nl  *nfnetlink.Socket
	out nfnetlink.Encoder // kept from one call to the next
}

// openSocket makes a socket in the network namespace that the file descriptor
// netns refers to, or in the calling thread's if it is 0.
func openSocket(netns, sendBuffer, receiveBuffer int, polled bool) (socket, error) {
	nl, err := nfnetlink.Dial(nfnetlink.Config{
		NetNS: netns, SendBuffer: sendBuffer, ReceiveBuffer: receiveBuffer, Datagram: 1 << 18, Polled: polled,
		Options: []netlink.ConnOption{netlink.ExtendedAcknowledge},
	})
	if err != nil {
		return socket{}, explain(fmt.Errorf("open a netlink socket to nf_tables: %w", err))
	}
	return socket{nl: nl}, nil
}

// Close closes the connection. What was committed stays.
func (s *socket) Close() error { return s.nl.Close() }
