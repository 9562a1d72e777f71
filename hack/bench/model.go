package main

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// service is the i-th Service of a cluster: one TCP port, so many endpoints.
// In each round its first endpoint is another one.
func service(i, endpoints, round int) proxy.Service {
	port := proxy.Port{
		Name: "http", Protocol: proxy.TCP, Port: 80,
		Frontends: []proxy.Frontend{{Addr: addrOf(10<<24 | 96<<16 + uint32(i))}},
	}
	for e := range endpoints {
		a := 10<<24 | 128<<16 + uint32(i*mostEndpoints+e)
		if e == 0 {
			a += uint32(round) << 21
		}
		port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: netip.AddrPortFrom(addrOf(a), 8080)})
	}
	return proxy.Service{Name: proxy.Name{Namespace: "bench", Name: "svc-" + strconv.Itoa(i)}, Ports: []proxy.Port{port}}
}

func addrOf(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func toNumber(a netip.Addr) int {
	b := a.As4()
	return int(binary.BigEndian.Uint32(b[:]))
}
