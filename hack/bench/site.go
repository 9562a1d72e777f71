package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

var (
	nodeAddr = addr("10.240.0.11")
	// podCIDR has all pods; podNetworks are the part of it that one namespace stands
	// for, and the rest has clients.
	podCIDR     = netip.MustParsePrefix("10.128.0.0/9")
	podNetworks = []netip.Prefix{netip.MustParsePrefix("10.128.0.0/10"), netip.MustParsePrefix("10.192.0.0/11")}
	// askerAddr is a pod's whose connections are answered, senderAddr and
	// outsideAddr are of hosts whose packets are not.
	askerAddr   = addr("10.255.0.9")
	senderAddr  = addr("10.255.0.7")
	outsideAddr = addr("198.18.7.2")
)

// site is a node for one proxy, with all that it can send packets to.
type site struct {
	node    *testbed.Node
	way     *testbed.Way
	pods    *testbed.Host // all endpoints
	asker   *testbed.Host // a pod whose connections are answered
	sender  *testbed.Host // a pod that sends what nobody answers
	outside *testbed.Host // a host outside of the cluster that does so
	conn    *kernel.Conn
	flows   *netlink.Handle
	close   func()
}

func newSite(c *cluster) (s *site, err error) {
	s = &site{}
	var undo []func()
	s.close = sync.OnceFunc(func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	})
	defer func() {
		if err != nil {
			s.close()
			err = fmt.Errorf("making a node: %w", err)
		}
	}()
	if s.node, err = testbed.NewNode(nodeAddr); err != nil {
		return s, err
	}
	undo = append(undo, s.node.Close)
	if s.way, err = testbed.NewWay(c.api, s.node); err != nil {
		return s, err
	}
	undo = append(undo, s.way.Cut)
	for _, host := range []struct {
		host **testbed.Host
		add  func(string, ...netip.Addr) (*testbed.Host, error)
		name string
		addr netip.Addr
	}{
		{&s.pods, s.node.AddPod, "pods", addr("10.254.0.1")},
		{&s.asker, s.node.AddPod, "asker", askerAddr},
		{&s.sender, s.node.AddPod, "sender", senderAddr},
		{&s.outside, s.node.AddClient, "outside", outsideAddr},
	} {
		if *host.host, err = host.add(host.name, host.addr); err != nil {
			return s, err
		}
	}
	for _, network := range podNetworks {
		if err = s.pods.Take(network); err != nil {
			return s, err
		}
	}
	if err = swallow(s.pods); err != nil {
		return s, err
	}
	stop, err := answer(s.pods)
	if err != nil {
		return s, err
	}
	undo = append(undo, stop)
	if s.conn, err = kernel.Open(s.node.Fd()); err != nil {
		return s, err
	}
	undo = append(undo, func() { _ = s.conn.Close() })
	if s.flows, err = netlink.NewHandleAt(netns.NsHandle(s.node.Fd()), unix.NETLINK_NETFILTER); err != nil {
		return s, err
	}
	undo = append(undo, s.flows.Close)
	return s, nil
}

// swallow drops what is not from the asker once it is through the node: how long the
// pods' own stack takes to answer is not what is measured.
func swallow(pods *testbed.Host) error {
	conn, err := nftables.New(nftables.WithNetNSFd(pods.Fd()))
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "swallow"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table,
		Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	const sourceAddr = 12 // in the IPv4 header
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAddr, Len: 4},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: askerAddr.AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return conn.Flush()
}

// answer serves at port 8080 of all of the pods' addresses. The answer is the
// address, as from the testbed's servers.
func answer(pods *testbed.Host) (stop func(), err error) {
	var listener net.Listener
	err = pods.Do(func() error {
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		listener, err = config.Listen(context.Background(), "tcp4", "0.0.0.0:8080")
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// Short enough for any socket's buffer, so it needs no goroutine.
			_, _ = fmt.Fprintf(conn, "%s %s\n", conn.LocalAddr(), conn.RemoteAddr())
			_ = conn.(*net.TCPConn).SetLinger(-1)
			_ = conn.Close()
		}
	}()
	return func() { _ = listener.Close() }, nil
}

// forget has the node forget all connections.
func (s *site) forget() error { return s.flows.ConntrackTableFlush(netlink.ConntrackTable) }
