package testbed

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
)

// Way is how a node reaches the API server: at the API server's own address, on
// a host outside of the node, where all connections are passed on. Any number of
// nodes have one to the same API server, and it can be cut.
type Way struct {
	api     *ControlPlane
	host    *Host
	address string

	mu       sync.Mutex
	listener net.Listener // nil while it is cut
	conns    map[net.Conn]bool
}

// NewWay opens a way from a node to the API server.
func NewWay(api *ControlPlane, node *Node) (*Way, error) {
	at, err := url.Parse(api.Config.Host)
	if err != nil {
		return nil, err
	}
	host, err := node.AddClient("control-plane", addr(at.Hostname()))
	if err != nil {
		return nil, err
	}
	w := &Way{api: api, host: host, address: at.Host, conns: map[net.Conn]bool{}}
	return w, w.Open()
}

// Open lets connections through.
func (w *Way) Open() error {
	return w.host.Do(func() error {
		listener, err := net.Listen("tcp", w.address)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.listener = listener
		w.mu.Unlock()
		go w.accept(listener)
		return nil
	})
}

// Cut ends all connections and refuses new ones.
func (w *Way) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != nil {
		_ = w.listener.Close()
	}
	w.listener = nil
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

func (w *Way) accept(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		go w.pass(near, listener)
	}
}

func (w *Way) pass(near net.Conn, through net.Listener) {
	defer func() { _ = near.Close() }()
	far, err := w.api.Config.Dial(context.Background(), "tcp", w.address)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	w.mu.Lock()
	open := w.listener == through
	if open {
		w.conns[near], w.conns[far] = true, true
	}
	w.mu.Unlock()
	if !open {
		return
	}
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			ended <- struct{}{}
		}()
	}
	<-ended
	w.mu.Lock()
	delete(w.conns, near)
	delete(w.conns, far)
	w.mu.Unlock()
}
