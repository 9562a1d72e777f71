package nfnetlink

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// ErrTruncated says that a message ends before it should.
var ErrTruncated = errors.New("truncated netlink message")

// Header is the length of the header between a netlink message's and its
// attributes: family, version, resource.
const Header = 4

// Align is the place of what follows n bytes.
func Align(n int) int { return (n + 3) &^ 3 }

// Message is a received message.
type Message struct {
	Type, Flags uint16
	Seq, Port   uint32
	Body        []byte
}

// Messages calls f for each message in a datagram.
func Messages(datagram []byte, f func(Message) error) error {
	for b := datagram; len(b) >= unix.NLMSG_HDRLEN; {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return ErrTruncated
		}
		m := Message{
			Type:  binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq:   binary.NativeEndian.Uint32(b[8:]),
			Port:  binary.NativeEndian.Uint32(b[12:]),
			Body:  b[unix.NLMSG_HDRLEN:n],
		}
		if err := f(m); err != nil {
			return err
		}
		b = b[min(Align(n), len(b)):]
	}
	return nil
}

// Errno is what a message says that ends an answer; 0 is for all is well.
func (m Message) Errno() (unix.Errno, error) {
	if len(m.Body) < 4 {
		return 0, ErrTruncated
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Body))), nil
}
