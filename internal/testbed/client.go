package testbed

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Client asks from inside a namespace, any number of times, without entering it
// again. It belongs to the function that Clients gave it to.
type Client struct {
	// From is the source to bind to; the zero value lets the kernel choose. With
	// port 0 each flow gets a fresh port.
	From netip.AddrPort
}

// Clients runs f n times at once, each on a thread inside the namespace, and
// returns their errors.
func (ns *Namespace) Clients(n int, f func(c *Client) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			errs[i] = ns.Do(func() error { return f(&Client{}) })
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Open starts a flow, which must be closed. Protocol is "tcp" or "udp".
func (c *Client) Open(protocol string, addr netip.AddrPort, timeout time.Duration) (*Flow, error) {
	return open(protocol, c.From, addr, timeout)
}

// Ask sends one request from a fresh socket.
func (c *Client) Ask(protocol string, addr netip.AddrPort, timeout time.Duration) (Answer, error) {
	deadline := time.Now().Add(timeout)
	f, err := c.Open(protocol, addr, timeout)
	if err != nil {
		return Answer{}, err
	}
	defer f.Close()
	return f.Ask(time.Until(deadline))
}

// Open starts a flow from the namespace, which must be closed.
func (ns *Namespace) Open(protocol string, addr netip.AddrPort, timeout time.Duration) (f *Flow, err error) {
	err = ns.Do(func() error {
		f, err = (&Client{}).Open(protocol, addr, timeout)
		return err
	})
	return f, err
}

// Ask sends one request from a fresh socket in the namespace.
func (ns *Namespace) Ask(protocol string, addr netip.AddrPort, timeout time.Duration) (answer Answer, err error) {
	err = ns.Do(func() error {
		answer, err = (&Client{}).Ask(protocol, addr, timeout)
		return err
	})
	return answer, err
}
