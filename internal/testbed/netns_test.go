package testbed

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestNamespaceIsClosed(t *testing.T) {
	ns := NewTestNamespace(t)
	links, err := ns.Run("ip", "-o", "link")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(links, "\n"); n != 1 || !strings.Contains(links, "lo:") {
		t.Errorf("a new namespace has these links, want only lo:\n%s", links)
	}
	if !strings.Contains(links, "LOWER_UP") {
		t.Errorf("lo is not up: %s", links)
	}
	for _, family := range []string{"-4", "-6"} {
		routes, err := ns.Run("ip", family, "route", "show", "default")
		if err != nil || routes != "" {
			t.Errorf("ip %s route show default = %q, %v; want nothing", family, routes, err)
		}
	}
}

func TestDoReturns(t *testing.T) {
	home := where(t)
	ns, other := NewTestNamespace(t), NewTestNamespace(t)
	var outer, inner, after string
	failure := errors.New("failure")
	err := ns.Do(func() error {
		outer = where(t)
		if err := other.Do(func() error { inner = where(t); return nil }); err != nil {
			return err
		}
		after = where(t)
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("Do = %v, want its function's error", err)
	}
	if outer == home || inner == home || inner == outer {
		t.Errorf("home %s, outer %s, inner %s: want three namespaces", home, outer, inner)
	}
	if after != outer {
		t.Errorf("after the inner Do: %s, want %s", after, outer)
	}
	if now := where(t); now != home {
		t.Errorf("after Do: %s, want %s", now, home)
	}
}

func TestOpenNamespace(t *testing.T) {
	ns := NewTestNamespace(t)
	again, err := OpenNamespace(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	var first, second string
	if err := errors.Join(
		ns.Do(func() error { first = where(t); return nil }),
		again.Do(func() error { second = where(t); return nil }),
	); err != nil || first != second {
		t.Errorf("%s was opened as %s, %v", first, second, err)
	}
	if _, err := OpenNamespace("/proc/self/ns/none"); err == nil || !strings.Contains(err.Error(), "/proc/self/ns/none") {
		t.Errorf("one that is not there: %v, want an error that names it", err)
	}
}

func TestRunQuotesComplaints(t *testing.T) {
	ns := NewTestNamespace(t)
	_, err := ns.Run("ip", "link", "show", "nosuchdevice")
	if err == nil || !strings.Contains(err.Error(), "nosuchdevice") || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("Run = %v, want the command and its complaint", err)
	}
	out, err := ns.RunInput(strings.NewReader("two\nlines\n"), "wc", "-l")
	if err != nil || strings.TrimSpace(out) != "2" {
		t.Errorf("RunInput = %q, %v; want 2", out, err)
	}
}

func TestSysctlStaysInside(t *testing.T) {
	const path = "/proc/sys/net/ipv4/ip_forward"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ns := NewTestNamespace(t)
	for _, value := range []string{"1", "0"} {
		if err := ns.Sysctl("net.ipv4.ip_forward", value); err != nil {
			t.Fatal(err)
		}
		if got, err := ns.Run("cat", path); err != nil || strings.TrimSpace(got) != value {
			t.Errorf("ip_forward = %q, %v; want %s", got, err, value)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		t.Errorf("ip_forward outside became %q, %v; was %q", after, err, before)
	}
	if err := ns.Sysctl("net.ipv4.no_such_key", "1"); err == nil || !strings.Contains(err.Error(), "no_such_key") {
		t.Errorf("Sysctl of an unknown key = %v, want an error that names it", err)
	}
}

func where(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return name
}
