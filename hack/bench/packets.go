package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	firstPacket    = "first packet (s)"
	newConnections = "new connections/s"
)

// fixture is a Service that is there while packets are measured.
type fixture struct {
	what      string
	number    int // after those of the cluster and the probes
	endpoints int
	sticky    bool
	nodePort  int32
}

const (
	withAffinity = "affinity, %d endpoints"
	noAffinity   = "ClusterIP, %d endpoints"
)

// fixtures are Services that a cluster of equal ones does not have.
var fixtures = []fixture{
	{what: fmt.Sprintf(withAffinity, 10), number: mostServices + 10, endpoints: 10, sticky: true},
	{what: fmt.Sprintf(withAffinity, 100), number: mostServices + 11, endpoints: 100, sticky: true},
	{what: fmt.Sprintf(withAffinity, 1000), number: mostServices + 12, endpoints: 1000, sticky: true},
	{what: fmt.Sprintf(noAffinity, 1000), number: mostServices + 13, endpoints: 1000},
	{what: "NodePort, 10 endpoints", number: mostServices + 14, endpoints: 10, nodePort: 30080},
}

// specialAddr is that of the j-th endpoint of a Service besides the cluster's, in the
// second of podNetworks.
func specialAddr(number, j int) netip.Addr {
	return addrOf(10<<24 | 192<<16 + uint32(number-mostServices)<<15 + uint32(j))
}

// slicesOf are the slices of a Service with any number of endpoints.
func slicesOf(number int, addrs []netip.Addr) (names []string, parts [][]netip.Addr) {
	for part := 0; len(addrs) > 0; part++ {
		n := min(mostEndpoints, len(addrs))
		names, parts = append(names, fmt.Sprintf("%s-%d", serviceName(number), part)), append(parts, addrs[:n])
		addrs = addrs[n:]
	}
	return names, parts
}

func (c *cluster) addSpecial(ctx context.Context, f fixture) error {
	service := c.service(f.number)
	if f.sticky {
		service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if f.nodePort != 0 {
		service.Spec.Type = corev1.ServiceTypeNodePort
		service.Spec.Ports[0].NodePort = f.nodePort
	}
	if err := c.create(ctx, service); err != nil {
		return err
	}
	var addrs []netip.Addr
	for j := range f.endpoints {
		addrs = append(addrs, specialAddr(f.number, j))
	}
	names, parts := slicesOf(f.number, addrs)
	work := c.parallel()
	for i, name := range names {
		work.Go(func() error { return c.createSlice(ctx, newSlice(service.Name, name, parts[i])) })
	}
	return work.Wait()
}

func (c *cluster) removeSpecial(ctx context.Context, f fixture) error {
	names, _ := slicesOf(f.number, make([]netip.Addr, f.endpoints))
	return c.delete(ctx, serviceName(f.number), names...)
}

// bring makes fixtures and waits until each of their Services is answered; what it
// gives removes them.
func (r *round) bring(ctx context.Context, all ...fixture) (remove func() error, err error) {
	remove = func() error {
		var errs []error
		for _, f := range all {
			// Also when the benchmark is interrupted: another round may follow.
			errs = append(errs, r.c.removeSpecial(context.WithoutCancel(ctx), f))
		}
		return errors.Join(errs...)
	}
	start := time.Now()
	for _, f := range all {
		if err = r.c.addSpecial(ctx, f); err != nil {
			return remove, err
		}
	}
	for _, f := range all {
		err = r.site.asker.Clients(1, func(c *testbed.Client) error {
			for {
				if _, err := c.Ask("tcp", frontend(f.number), time.Second); err == nil {
					return nil
				}
				if time.Since(start) > r.suite.options.patience {
					return &lateError{"Service with " + f.what, r.suite.options.patience}
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		if err != nil {
			return remove, err
		}
	}
	// Those with more slices are answered before all of these are programmed.
	return remove, pause(ctx, 2*time.Second)
}

// packets measures what a connection's first packet costs, and how many connections
// there can be.
func (r *round) packets(ctx context.Context) (err error) {
	r.tell("first packets")
	remove, err := r.bring(ctx, fixtures...)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return err
	}
	type target struct {
		what string
		from *testbed.Host
		to   netip.AddrPort
	}
	first, last := 0, r.c.services-1
	if r.peer.ends != nil {
		if first, last, err = r.peer.ends(r.site); err != nil {
			return err
		}
	}
	targets := []target{
		{"no Service", r.site.sender, netip.AddrPortFrom(specialAddr(mostServices, 0), 8080)},
		{"ClusterIP, first", r.site.sender, frontend(first)},
		{"ClusterIP, last", r.site.sender, frontend(last)},
	}
	for _, f := range fixtures {
		t := target{f.what, r.site.sender, frontend(f.number)}
		if f.nodePort != 0 {
			t.from, t.to = r.site.outside, netip.AddrPortFrom(nodeAddr, uint16(f.nodePort))
		}
		targets = append(targets, t)
	}
	for range r.suite.options.batches {
		for _, t := range targets {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.batch(t.what, t.from, t.to); err != nil {
				return err
			}
		}
		// All Services in turn: nothing that a packet needs is in the processor's cache.
		if err := r.batch("ClusterIP, all in turn", r.site.sender, r.everyService()...); err != nil {
			return err
		}
	}
	r.tell("new connections")
	for _, t := range []target{{"no Service", nil, netip.AddrPortFrom(endpointAddr(0, 0), 8080)}, {"ClusterIP, last", nil, frontend(last)}} {
		if err := r.connections(t.what, t.to); err != nil {
			return err
		}
	}
	return nil
}

// everyService are the cluster's Services as far apart as a batch reaches.
func (r *round) everyService() (all []netip.AddrPort) {
	for n := range min(batchSize, r.c.services) {
		all = append(all, frontend(n*r.c.services/min(batchSize, r.c.services)))
	}
	return all
}

// bare measures the same where there is no proxy, and then with a rule for one
// destination.
func (r *round) bare() error {
	r.tell("first packets and connections without any rule, and with one")
	pod, vip := netip.AddrPortFrom(endpointAddr(0, 0), 8080), netip.AddrPortFrom(addr("10.97.255.250"), 80)
	for _, step := range []struct {
		what string
		to   netip.AddrPort
		rule string
	}{{"no rules", pod, ""}, {"one static DNAT rule", vip, fmt.Sprintf(
		"table ip static { chain prerouting { type nat hook prerouting priority dstnat; ip daddr %s tcp dport %d dnat to %s; }; }", vip.Addr(), vip.Port(), pod)}} {
		if step.rule != "" {
			if _, err := r.site.node.RunInput(strings.NewReader(step.rule), "nft", "-f", "-"); err != nil {
				return err
			}
		}
		for range r.suite.options.batches {
			if err := r.batch(step.what, r.site.sender, step.to); err != nil {
				return err
			}
		}
		if err := r.connections(step.what, step.to); err != nil {
			return err
		}
	}
	return nil
}

const (
	// batchSize is how many packets are sent in a row, batchTime after which no more
	// are: some take a thousand times as long as others.
	batchSize = 5000
	batchTime = time.Second
)

// batch sends packets that are each the first of a connection, to each destination in
// turn, and records the time that one takes. On the veth between a host and the node, a
// packet is through the node when its send returns.
func (r *round) batch(what string, from *testbed.Host, to ...netip.AddrPort) error {
	if err := r.site.forget(); err != nil {
		return err
	}
	var took time.Duration
	sent := 0
	err := from.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		packets := make([][]byte, batchSize)
		for i := range packets {
			packets[i] = syn(netip.AddrPortFrom(from.Addrs[0], uint16(1024+i)), to[i%len(to)])
		}
		addrs := make([]unix.SockaddrInet4, len(to))
		for i := range to {
			addrs[i].Addr = to[i].Addr().As4()
		}
		start := time.Now()
		for i, packet := range packets {
			if err := unix.Sendto(fd, packet, 0, &addrs[i%len(to)]); err != nil {
				return fmt.Errorf("sending to %s: %w", to[i%len(to)], err)
			}
			sent++
			const seldom = 50
			if sent%seldom == 0 && time.Since(start) > batchTime {
				break
			}
		}
		took = time.Since(start)
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.tracked(sent); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return r.record(packetScenario, what, firstPacket, took.Seconds()/float64(sent))
}

// tracked says that the packets went through the node, as the first ones of so many
// connections: what is dropped on its way is not remembered. Without a proxy, nothing is.
func (r *round) tracked(sent int) error {
	if r.peer == nil {
		return nil
	}
	return r.site.node.Do(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && n < sent {
			err = fmt.Errorf("the node remembers %d of %d connections: their first packets were not let through", n, sent)
		}
		return err
	})
}

// syn is a TCP header that asks for a connection. Its checksum is right: connection
// tracking leaves others alone.
func syn(from, to netip.AddrPort) []byte {
	const length, doff, flagSYN, window = 20, 5 << 4, 2, 65535
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, doff, flagSYN)
	b = binary.BigEndian.AppendUint16(b, window)
	b = append(b, 0, 0, 0, 0)
	// The pseudo header of RFC 9293, 3.1, and the header.
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, length)
	var sum uint32
	for _, part := range [][]byte{pseudo, b} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}

// connections counts how many connections clients can make, one after another each, all
// of which have to be answered.
func (r *round) connections(what string, to netip.AddrPort) error {
	const clients = 4
	if err := r.site.forget(); err != nil {
		return err
	}
	var made atomic.Int64
	start := time.Now()
	end := start.Add(r.suite.options.connections)
	err := r.site.asker.Clients(clients, func(c *testbed.Client) error {
		for time.Now().Before(end) {
			if _, err := c.Ask("tcp", to, 5*time.Second); err != nil {
				return err
			}
			made.Add(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.record(packetScenario, what, newConnections, float64(made.Load())/time.Since(start).Seconds())
}
