package agent

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// MachineAddresses are the addresses at which others may reach this machine, in the
// current network namespace.
func MachineAddresses() ([]netip.Addr, error) {
	own, err := interfaceAddresses()
	return global(own), err
}

// Route is how this machine reaches an address: its own address on the way, and
// the interface. Both are empty where there is no route.
func Route(to netip.Addr) (source netip.Addr, link string) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, ""
	}
	source, _ = netip.AddrFromSlice(routes[0].Src)
	if l, err := netlink.LinkByIndex(routes[0].LinkIndex); err == nil {
		link = l.Attrs().Name
	}
	return source.Unmap(), link
}
