package kubeproxy

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/view"
)

// tableName is the name of kube-proxy's tables in nftables mode.
const tableName = "kube-proxy"

// nodePortIPs is its set of addresses that accept NodePort traffic. It is not
// there when all of the node's do.
const nodePortIPs = "nodeport-ips"

// addNftables adds what a table of kube-proxy's nftables mode does. nodeAddrs are
// the node's own addresses.
func addNftables(v view.View, held *nft.Held, nodeAddrs []netip.Addr) {
	if set := held.Sets[nodePortIPs]; set != nil {
		nodeAddrs = nil
		for i := range set.Elements {
			if addr, ok := netip.AddrFromSlice([]byte(set.Elements[i].Key)); ok {
				nodeAddrs = append(nodeAddrs, addr)
			}
		}
	}
	walk.Compile(held).AddTo(v, walk.Options{
		NodeAddrs: nodeAddrs, Name: PortOfChain,
		// Its NodePorts have keys without an address.
		NodePort: func(view.Key) bool { return false },
	})
}

// Tables are kube-proxy's tables of its nftables mode, with the clients that affinity
// keeps.
func Tables() ([]*nft.Held, error) {
	conn, err := kernel.Open(0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	onlooker := kernel.NewOnlooker(conn)
	var all []*nft.Held
	for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
		held, err := onlooker.Look(nft.ID{Family: f, Name: tableName})
		if err != nil {
			return nil, err
		}
		if held == nil {
			continue
		}
		for name, set := range held.Sets {
			if set.Flags&unix.NFT_SET_EVAL != 0 {
				if set.Elements, err = conn.Elements(held.ID, name); err != nil {
					return nil, fmt.Errorf("table %s: %w", held.ID, err)
				}
			}
		}
		all = append(all, held)
	}
	return all, nil
}

// PortOfChain is the Service port that one of kube-proxy's chains is named for:
//
//	external-DNCQQHC7-kinds/nodeport/tcp/http -> kinds/nodeport:http
func PortOfChain(chain string) string {
	at := strings.IndexByte(chain, '/')
	if at < 0 {
		return ""
	}
	// A namespace may have dashes, too: the second dash ends the hash.
	parts := strings.SplitN(chain, "-", 3)
	if len(parts) < 3 {
		return ""
	}
	names := strings.SplitN(parts[2], "/", 4)
	if len(names) < 4 {
		return ""
	}
	service := names[0] + "/" + names[1]
	if port := names[3]; port != "" {
		service += ":" + port
	}
	return service
}
