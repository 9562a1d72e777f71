package main

import (
	"fmt"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// ours is kube-verdict's writer.
type ours struct {
	conn      *kernel.Conn
	writer    *dataplane.Writer
	endpoints int
}

func newOurs(ns *testbed.Namespace) (side, error) {
	conn, err := kernel.Open(ns.Fd())
	if err != nil {
		return nil, err
	}
	return &ours{conn: conn, writer: dataplane.NewWriter(conn, maps.NewLayout(layout.Config{}))}, nil
}

func (o *ours) close() { _ = o.conn.Close() }

func (o *ours) load(n, endpoints int) error {
	o.endpoints = endpoints
	if err := o.writer.Adopt(); err != nil {
		return err
	}
	changes := make([]dataplane.Change, n)
	for i := range changes {
		svc := service(i, endpoints, 0)
		changes[i] = dataplane.Change{Name: svc.Name, Service: svc}
	}
	return o.program(changes)
}

func (o *ours) replace(i, round int) error {
	svc := service(i, o.endpoints, round+1)
	return o.program([]dataplane.Change{{Name: svc.Name, Service: svc}})
}

func (o *ours) resize(i, round int) error {
	svc := service(i, o.endpoints+1-2*(round%2), 0)
	return o.program([]dataplane.Change{{Name: svc.Name, Service: svc}})
}

func (o *ours) program(changes []dataplane.Change) error {
	failures, err := o.writer.Program(changes)
	if err == nil && len(failures) > 0 {
		err = fmt.Errorf("%d failures, the first: %w", len(failures), failures[0])
	}
	return err
}
