package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// patience is how long a request waits. TCP sends a lost SYN again after a second,
// so that a loss shows as an answer that took so long; UDP never sends again.
const patience = 3 * time.Second

// request is one question from a fresh socket, and what became of it.
type request struct {
	port       servicePort
	start, end time.Time
	answer     testbed.Answer
	err        error
}

// traffic sends requests from the client, on several threads, until next has no
// more of them.
func (c *cluster) traffic(next func() (port servicePort, more bool)) ([]request, error) {
	const threads = 8
	var mu sync.Mutex
	var all []request
	err := c.client.Clients(threads, func(by *testbed.Client) (err error) {
		for port, more := next(); more; port, more = next() {
			if by.From, err = c.source(); err != nil {
				return err
			}
			r := request{port: port, start: time.Now()}
			r.answer, r.err = by.Ask(port.protocol, netip.AddrPortFrom(clusterIP, port.port), patience)
			r.end = time.Now()
			mu.Lock()
			all = append(all, r)
			mu.Unlock()
		}
		return nil
	})
	return all, err
}

// source gives each request another source port: conntrack remembers a UDP flow
// for a while, and a second request from its port would go where the first went,
// with no choice made.
func (c *cluster) source() (netip.AddrPort, error) {
	const first, last = 1024, 65535
	port := first + c.sources.Add(1) - 1
	if port > last {
		return netip.AddrPort{}, errors.New("the client has no unused source port left")
	}
	return netip.AddrPortFrom(client.ip, uint16(port)), nil
}

// answeredBy says whether one of these pods answered.
func (r request) answeredBy(pods []pod) bool {
	return slices.ContainsFunc(pods, func(p pod) bool { return p.ip == r.answer.Server.Addr() })
}

// wrong says what is wrong with a request. An endpoint is to have answered it.
func (r request) wrong(endpoint bool) error {
	switch {
	case r.err != nil:
		return r.err
	case !endpoint || r.answer.Server.Port() != r.port.target:
		return fmt.Errorf("port %s: %s answered, which was no endpoint of it", r.port.name, r.answer.Server)
	case r.answer.Client.Addr() != client.ip:
		return fmt.Errorf("port %s: %s saw a request from %s instead of %s", r.port.name, r.answer.Server, r.answer.Client, client.ip)
	}
	return nil
}

// firstWrong is nil when nothing is wrong with any request.
func firstWrong(requests []request, endpoint func(request) bool) error {
	var wrong []error
	for _, r := range requests {
		if err := r.wrong(endpoint(r)); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d of %d requests went wrong, the first: %w", len(wrong), len(requests), wrong[0])
	}
	return nil
}
