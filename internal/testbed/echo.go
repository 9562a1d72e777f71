package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// Server answers each request with one line: its own address and port, and the
// client's as the server sees it. The line says which server a packet reached and
// whether its source was rewritten on the way; that a reply came says neither.
type Server struct {
	Addr netip.AddrPort

	hits atomic.Int64
	done sync.WaitGroup
	stop func() error

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once closed
}

// Serve starts a server in the namespace. Protocol is "tcp" or "udp"; port 0 takes
// a free one. It ends with Close, or with the program.
func (ns *Namespace) Serve(protocol string, addr netip.AddrPort) (*Server, error) {
	if !addr.Addr().IsValid() || addr.Addr().IsUnspecified() {
		return nil, fmt.Errorf("serving %s on %s: name one address, which is the server's identity", protocol, addr)
	}
	s := &Server{conns: map[net.Conn]struct{}{}}
	var err error
	switch protocol {
	case "tcp":
		err = ns.Do(func() error { return s.listenTCP(addr) })
	case "udp":
		err = ns.Do(func() error { return s.listenUDP(addr) })
	default:
		err = errors.New(`the protocol must be "tcp" or "udp"`)
	}
	if err != nil {
		return nil, fmt.Errorf("serving %s on %s: %w", protocol, addr, err)
	}
	return s, nil
}

// Hits is how many requests were answered.
func (s *Server) Hits() int64 { return s.hits.Load() }

// Close stops the server and resets the connections it still has.
func (s *Server) Close() {
	_ = s.stop()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.done.Wait()
}

func (s *Server) reply(client netip.AddrPort) []byte {
	s.hits.Add(1)
	return fmt.Appendf(nil, "%s %s\n", s.Addr, unmap(client))
}

func (s *Server) listenUDP(addr netip.AddrPort) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	s.Addr = unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
	s.stop = conn.Close
	s.done.Go(func() {
		buf := make([]byte, 2048)
		for {
			_, client, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(s.reply(client), client)
			}
		}
	})
	return nil
}

func (s *Server) listenTCP(addr netip.AddrPort) error {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // plain TCP is what is measured
	listener, err := config.Listen(context.Background(), "tcp", addr.String())
	if err != nil {
		return err
	}
	s.Addr = unmap(listener.Addr().(*net.TCPAddr).AddrPort())
	s.stop = listener.Close
	s.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && s.keep(conn) {
				s.done.Go(func() { s.converse(conn.(*net.TCPConn)) })
			}
		}
	})
	return nil
}

// keep remembers a connection for Close, unless that has already been.
func (s *Server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

// converse greets a connection with the line, and sends it again for each line
// that comes in, so that a flow can be asked where it leads as long as it lives.
func (s *Server) converse(conn *net.TCPConn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		_ = conn.Close()
	}()
	_ = conn.SetLinger(0) // no TIME_WAIT
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	lines := bufio.NewScanner(conn)
	for {
		if _, err := conn.Write(s.reply(client)); err != nil || !lines.Scan() {
			return
		}
	}
}

// Answer is a server's line.
type Answer struct {
	Server netip.AddrPort // who answered
	Client netip.AddrPort // whom it saw
	Local  netip.AddrPort // whom the client believes to be
}

func parseAnswer(line string) (a Answer, err error) {
	server, client, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if ok {
		a.Server, err = netip.ParseAddrPort(server)
	}
	if ok && err == nil {
		a.Client, err = netip.ParseAddrPort(client)
	}
	if !ok || err != nil {
		return Answer{}, fmt.Errorf("the reply %q is not from a testbed server", line)
	}
	return a, nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
