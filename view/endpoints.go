package view

import (
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Even gives each address the same share; one that is there twice has two.
func Even(addrs []netip.AddrPort) []Endpoint {
	list := make([]Endpoint, len(addrs))
	for i, a := range addrs {
		list[i] = Endpoint{a, 1 / float64(len(addrs))}
	}
	return Gather(list)
}

// Gather sorts endpoints by their "ip:port" text and joins those that are there
// more than once. It may change the list that it is given.
func Gather(list []Endpoint) []Endpoint {
	if slices.IsSortedFunc(list, compareText) && !repeats(list) {
		return list
	}
	slices.SortStableFunc(list, compareText)
	gathered := list[:0]
	for _, e := range list {
		if n := len(gathered); n > 0 && gathered[n-1].AddrPort == e.AddrPort {
			gathered[n-1].Share += e.Share
		} else {
			gathered = append(gathered, e)
		}
	}
	return gathered
}

// compareText orders by text, as kube-proxy does.
func compareText(a, b Endpoint) int {
	if a.AddrPort == b.AddrPort {
		return 0
	}
	return strings.Compare(a.String(), b.String())
}

func repeats(sorted []Endpoint) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].AddrPort == sorted[i-1].AddrPort {
			return true
		}
	}
	return false
}

// sameShare bears what iptables rounds: a cascade of probabilities, each a
// multiple of 2^-31, for thousands of endpoints. Shares that someone chose differ
// by more.
func sameShare(a, b float64) bool { return math.Abs(a-b) <= 1e-4*max(a, b) }

// SameEndpoints takes both lists in one order, and gives false when they aren't.
func SameEndpoints(a, b []Endpoint) bool {
	return slices.EqualFunc(a, b, func(a, b Endpoint) bool {
		return a.AddrPort == b.AddrPort && sameShare(a.Share, b.Share)
	})
}

// SameShares says that all have the same share.
func SameShares(list []Endpoint) bool {
	for i := range list {
		if !sameShare(list[i].Share, list[0].Share) {
			return false
		}
	}
	return true
}
