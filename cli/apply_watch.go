package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// watch applies the files now and whenever they change, and repairs the tables when
// another process changes them.
func (a *applier) watch(ctx context.Context) error {
	a.start()
	monitor, _, err := kernel.NewMonitor(0, a.conn, dataplane.IDs(a.layout)...)
	if err != nil {
		return err
	}
	defer func() { _ = monitor.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wake := make(chan struct{}, 1)
	signal := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	heard := make(chan error, 1)
	go func() {
		heard <- monitor.Run(ctx, func(change kernel.Change) {
			a.programmer.Suspect(change)
			signal()
		})
		cancel()
	}()
	apply := func() error { return a.apply(ctx) }
	err = manifests.Watch(ctx, a.files, a.then(signal, apply), wake, a.then(signal, a.mend))
	cancel()
	if failed := <-heard; err == nil {
		err = failed
	}
	return err
}

// again is how soon something that failed is tried again.
const again = time.Second

// then does something, prints its error, and signals when there is more to do.
func (a *applier) then(signal func(), do func() error) func() {
	return func() {
		at, said := time.Time{}, ""
		if err := do(); err != nil {
			if said = err.Error(); said != a.said {
				fmt.Fprintf(a.errs, "error: %s\n", said)
			}
			at = time.Now().Add(again)
		}
		a.said = said
		if due := a.programmer.Due(); !due.IsZero() && (at.IsZero() || due.Before(at)) {
			at = due
		}
		if !at.IsZero() {
			time.AfterFunc(time.Until(at), signal)
		}
	}
}

// mend repairs the tables and tries again what failed, once there is something that
// was applied.
func (a *applier) mend() error {
	if !a.programmer.Loaded() {
		return nil
	}
	return a.round()
}
