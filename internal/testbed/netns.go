package testbed

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is an anonymous network namespace: it has no name in /run/netns, so
// the kernel removes it with its last user even when the program is killed.
type Namespace struct {
	fd     int
	links  *netlink.Handle
	closer sync.Once
}

// quiet are settings every namespace starts with. Addresses must work the moment
// they are added, no packet may be dropped for its source, and errors must be sent
// however many there are: a rate limit would turn "refused" into a timeout.
var quiet = map[string]string{
	"net.ipv4.conf.all.rp_filter":         "0",
	"net.ipv4.conf.default.rp_filter":     "0",
	"net.ipv4.icmp_ratemask":              "0",
	"net.ipv4.icmp_ratelimit":             "0",
	"net.ipv6.icmp.ratelimit":             "0",
	"net.ipv6.icmp.ratemask":              "0",
	"net.ipv6.conf.all.disable_ipv6":      "0",
	"net.ipv6.conf.default.disable_ipv6":  "0",
	"net.ipv6.conf.default.accept_dad":    "0",
	"net.ipv6.conf.default.accept_ra":     "0",
	"net.ipv6.conf.default.addr_gen_mode": "1",
}

// NewNamespace makes a network namespace with nothing but a loopback device.
func NewNamespace() (*Namespace, error) {
	fd, err := unshare()
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("making a network namespace needs CAP_SYS_ADMIN, and CAP_NET_ADMIN to fill it: run as root: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	ns := &Namespace{fd: fd}
	if err := ns.setUp(); err != nil {
		ns.Close()
		return nil, fmt.Errorf("setting up a network namespace: %w", err)
	}
	return ns, nil
}

// OpenNamespace opens a namespace that somebody else has made, for example a
// container's, which is /proc/PID/ns/net of its process. Nothing in it is changed.
func OpenNamespace(path string) (*Namespace, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace %s: %w", path, err)
	}
	return &Namespace{fd: fd}, nil
}

// unshare makes the namespace on a thread of its own, which is thrown away with
// the goroutine: nothing else ever runs on it, so there is nothing to restore.
func unshare() (fd int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			fd, err = current()
		}
	}()
	<-done
	return fd, err
}

func current() (int, error) {
	return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func (ns *Namespace) setUp() error {
	links, err := netlink.NewHandleAt(netns.NsHandle(ns.fd), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	ns.links = links
	lo, err := links.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := links.LinkSetUp(lo); err != nil {
		return err
	}
	settings := quiet
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil { // ipv6.disable=1
		settings = maps.Clone(quiet)
		maps.DeleteFunc(settings, func(key, _ string) bool { return strings.HasPrefix(key, "net.ipv6.") })
	}
	return ns.sysctls(settings)
}

// Close gives the namespace up. The kernel removes it when the last socket and
// process in it are gone as well.
func (ns *Namespace) Close() {
	ns.closer.Do(func() {
		if ns.links != nil {
			ns.links.Close()
		}
		_ = unix.Close(ns.fd)
	})
}

// Fd is the namespace's file descriptor; it is good until Close.
func (ns *Namespace) Fd() int { return ns.fd }

// Do calls f on a thread inside the namespace. It is the caller's own goroutine,
// so f may end a test; goroutines that f starts are not in the namespace.
func (ns *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := current()
	if err != nil {
		return fmt.Errorf("opening the current network namespace: %w", err)
	}
	defer func() { _ = unix.Close(home) }()
	if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace (CAP_SYS_ADMIN is needed, and it must not be closed): %w", err)
	}
	defer func() {
		if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
			// Going on would send the caller's traffic somewhere it was never meant to go.
			panic(fmt.Sprintf("testbed: cannot return to the network namespace the thread came from: %v", err))
		}
	}()
	return f()
}

// Sysctl sets a kernel parameter of the namespace, for example
// net.netfilter.nf_conntrack_udp_timeout.
func (ns *Namespace) Sysctl(key, value string) error {
	return ns.sysctls(map[string]string{key: value})
}

func (ns *Namespace) sysctls(values map[string]string) error {
	return ns.Do(func() error {
		for key, value := range values {
			path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				return fmt.Errorf("setting %s to %s: %w", key, value, err)
			}
		}
		return nil
	})
}
