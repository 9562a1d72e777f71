package kubeproxy

import (
	"net/netip"
	"strings"

	"github.com/kube-verdict/kube-verdict/nft"
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
		NodeAddrs: nodeAddrs, Name: portOfChain,
		// Its NodePorts have keys without an address.
		NodePort: func(view.Key) bool { return false },
	})
}

// portOfChain is the Service port that one of kube-proxy's chains is named for:
//
//	external-DNCQQHC7-kinds/nodeport/tcp/http -> kinds/nodeport:http
func portOfChain(chain string) string {
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
