package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

// listAgain is how soon addresses are listed again that could not be, and listened to.
const listAgain = time.Second

// start is changed before anything is known: it waits until the machine's addresses can
// be listed, if they are needed. Without them the node's NodePorts would be removed.
func (n *node) start(ctx context.Context, object *corev1.Node) error {
	for {
		n.changed(object)
		n.mu.Lock()
		unlisted := n.unlisted
		n.mu.Unlock()
		if !unlisted {
			return nil
		}
		if !pauseFor(ctx, listAgain) {
			return ctx.Err()
		}
	}
}

// keep completes what is new by what was known, if the machine's addresses could not be
// listed, and has them listed again. It reports whether all is known. n.mu is held.
func (n *node) keep(local *Local, err error) bool {
	n.unlisted = errors.Is(err, errUnlisted)
	if !n.unlisted {
		return true
	}
	n.retry()
	if !local.FromObject {
		local.Addresses, local.FromObject = n.now.Addresses, n.now.FromObject
	}
	local.NodePorts = n.now.NodePorts
	return n.now.Name != ""
}

func (n *node) retry() {
	select {
	case n.again <- struct{}{}:
	default:
	}
}

// watch calls moved when the machine's addresses have changed in a way that
// Services depend on, until the context ends.
func (n *node) watch(ctx context.Context, moved func()) {
	for {
		err := n.listen(ctx, moved)
		if ctx.Err() != nil {
			return
		}
		n.log.Info("Changes of this machine's addresses were missed; reading all of them", "cause", err.Error())
		if !pauseFor(ctx, listAgain) {
			return
		}
	}
}

// listen is watch until the kernel has no room for a change, or another error.
func (n *node) listen(ctx context.Context, moved func()) error {
	updates, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	causes := make(chan error, 1)
	defer close(done)
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{
		ReceiveBufferSize: n.receiveBuffer,
		ErrorCallback: func(err error) {
			select {
			case causes <- err:
			default: // the first is the cause
			}
		},
	})
	if err != nil {
		return fmt.Errorf("listen to address changes: %w", err)
	}
	defer func() {
		go func() {
			for range updates { // it may wait for one to be taken
				continue
			}
		}()
	}()
	n.look(moved) // at what has changed before
	// Addresses come and go by the dozen when interfaces do.
	const settle = 50 * time.Millisecond
	var still, again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, open := <-updates:
			if !open {
				select {
				case err := <-causes:
					return err
				default:
					return errors.New("the subscription has ended")
				}
			}
			still = time.After(settle)
		case <-n.again:
			again = time.After(listAgain)
		case <-still:
			still = nil
			n.look(moved)
		case <-again:
			again = nil
			n.look(moved)
		}
	}
}

// look reads the addresses again.
func (n *node) look(moved func()) {
	n.mu.Lock()
	object := n.object
	n.mu.Unlock()
	if n.changed(object) {
		moved()
	}
}

// pauseFor waits and reports whether the context still stands.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
