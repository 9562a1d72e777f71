package xtables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/iptables"
)

// LegacyTables are the tables that iptables-legacy has in the calling thread's
// network namespace, in a family. Only to ask for another one would make it.
func LegacyTables(is4 bool) ([]string, error) {
	path := "/proc/thread-self/net/ip6_tables_names"
	if is4 {
		path = "/proc/thread-self/net/ip_tables_names"
	}
	names, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without it, or that nobody has asked for it
	}
	return strings.Fields(string(names)), err
}

// legacy is how a family's tables are asked for, and where the parts of an entry
// are.
type legacy struct {
	is4         bool
	domain, sol int
	// Offsets in struct ipt_entry and ip6t_entry, and its length.
	sourceMask, iface, protocol, flags, inverted, target, length int
	// gotoFlag says that a rule does not come back from where it jumps to.
	gotoFlag uint8
}

var (
	legacy4 = legacy{is4: true, domain: unix.AF_INET, sol: unix.SOL_IP, sourceMask: 8, iface: 16, protocol: 80, flags: 82, inverted: 83, target: 88, length: 112, gotoFlag: 2}
	legacy6 = legacy{domain: unix.AF_INET6, sol: unix.SOL_IPV6, sourceMask: 32, iface: 64, protocol: 128, flags: 131, inverted: 132, target: 140, length: 168, gotoFlag: 4}
)

// What of an entry is negated.
const (
	invertIn = 1 << iota
	invertOut
	_
	invertSource
	invertDestination
	invertFragment
	invertProtocol
)

// Socket options: IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES, of either family.
const (
	getInfo    = 64
	getEntries = 65
)

// Lengths of structures: ipt_getinfo, the head of ipt_get_entries, and of a match or
// target.
const (
	infoLength    = 84
	entriesLength = 40
	partLength    = 32
)

// hooks are the built-in chains, in the kernel's order.
var hooks = [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// Legacy reads tables of iptables-legacy in the calling thread's network
// namespace, those that there are.
func Legacy(is4 bool, names ...string) (*iptables.Dump, error) {
	there, err := LegacyTables(is4)
	if err != nil {
		return nil, fmt.Errorf("which iptables-legacy tables there are: %w", err)
	}
	l := legacy6
	if is4 {
		l = legacy4
	}
	dump := &iptables.Dump{}
	for _, name := range names {
		if !slices.Contains(there, name) {
			continue
		}
		table, err := l.table(name)
		if err != nil {
			return nil, fmt.Errorf("read iptables-legacy table %s: %w", name, err)
		}
		dump.Tables = append(dump.Tables, table)
	}
	return dump, nil
}

// tries is how often a table is read that changes meanwhile.
const tries = 5

func (l *legacy) table(name string) (iptables.Table, error) {
	// Any socket of the family will do; a raw one would need CAP_NET_RAW besides.
	fd, err := unix.Socket(l.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return iptables.Table{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	for range tries {
		info := make([]byte, infoLength)
		copy(info, name)
		if err = l.get(fd, getInfo, info); err != nil {
			return iptables.Table{}, err
		}
		size := data(info).u32(80)
		entries := make([]byte, entriesLength+int(size))
		copy(entries, name)
		binary.NativeEndian.PutUint32(entries[32:], size)
		err = l.get(fd, getEntries, entries)
		if errors.Is(err, unix.EAGAIN) { // it has another size now
			continue
		}
		if err != nil {
			return iptables.Table{}, err
		}
		return l.parse(name, info, entries[entriesLength:])
	}
	return iptables.Table{}, err
}

// get is getsockopt(2) of a structure that also says what is wanted.
func (l *legacy) get(fd, option int, b []byte) error {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(l.sol), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	switch {
	case errno == unix.EPERM:
		return fmt.Errorf("%w: this needs CAP_NET_ADMIN", errno)
	case errno != 0:
		return errno
	}
	return nil
}

var errMalformed = errors.New("entries are malformed")

// entry is a rule as the kernel has it.
type entry struct {
	data
	at   int
	last bool // of its chain: the policy, or the return that every chain ends with
}

// parse puts chains together. A chain of the user's begins with an entry whose target
// is ERROR, with its name; it ends before the next one.
func (l *legacy) parse(name string, info, blob data) (iptables.Table, error) {
	table := iptables.Table{Name: name}
	begins := map[int]string{} // by the offset of the first rule
	ends := map[int]bool{}
	for i, hook := range hooks {
		if info.u32(32)&(1<<i) != 0 {
			begins[int(info.u32(36+4*i))] = hook
			ends[int(info.u32(56+4*i))] = true
		}
	}
	var entries []entry
	for at := 0; at < len(blob); {
		next := int(blob.u16(at + l.target + 2))
		if next < l.length || at+next > len(blob) || int(blob.u16(at+l.target)) > next {
			return table, errMalformed
		}
		e := entry{data: blob[at : at+next], at: at, last: ends[at]}
		if t, _ := l.targetOf(e); t.text(2, 29) == "ERROR" {
			if n := len(entries); n > 0 {
				entries[n-1].last = true
			}
			begins[at+next] = t.text(partLength, 30)
		} else {
			entries = append(entries, e)
		}
		at += next
	}
	var chain *iptables.Chain
	for _, e := range entries {
		if name, ok := begins[e.at]; ok {
			chain = table.Add(name)
		}
		if chain == nil {
			return table, errMalformed
		}
		rule := l.rule(e, begins)
		switch {
		case !e.last:
			chain.Rules = append(chain.Rules, rule)
		case ends[e.at]:
			chain.Policy = rule.Jump()
		}
	}
	return table, nil
}

// targetOf is the target's structure with its head, and where it begins.
func (l *legacy) targetOf(e entry) (data, int) {
	at := int(e.u16(l.target))
	return e.data[at:], at
}

func (l *legacy) rule(e entry, chains map[int]string) iptables.Rule {
	n := l.sourceMask / 2
	flags, inverted := e.u8(l.flags), e.u8(l.inverted)
	var r iptables.Rule
	masked := func(at int, not bool) iptables.Address {
		value, mask := e.bytes(at, n), e.bytes(at+l.sourceMask, n)
		if len(bytes.Trim(mask, "\x00")) == 0 && !not {
			return iptables.Address{}
		}
		return maskedAddress(not, value, mask)
	}
	r.Source = masked(0, inverted&invertSource != 0)
	r.Destination = masked(n, inverted&invertDestination != 0)
	named := func(at int, not bool) iptables.Interface {
		return iptables.Interface{Not: not, Name: e.text(at, unix.IFNAMSIZ)}
	}
	r.In = named(l.iface, inverted&invertIn != 0)
	r.Out = named(l.iface+unix.IFNAMSIZ, inverted&invertOut != 0)
	if p := e.u16(l.protocol); p != 0 {
		r.Protocol = iptables.Protocol{Not: inverted&invertProtocol != 0, Name: protocolName(uint8(p))}
	}
	if l.is4 && flags&1 != 0 {
		r.Matches = append(r.Matches, iptables.Other{Text: "-f"})
	}
	t, end := l.targetOf(e)
	for at := l.length; at < end; {
		size := int(e.u16(at))
		if size < partLength || at+size > end {
			break
		}
		r.Matches = append(r.Matches, match(e.text(at+2, 29), uint32(e.u8(at+31)), e.data[at+partLength:at+size], l.is4))
		at += size
	}
	if name := t.text(2, 29); name != "" {
		r.Target = target(name, uint32(t.u8(31)), t[min(partLength, len(t)):], l.is4)
		return r
	}
	r.Target = l.jump(e, int32(t.u32(partLength)), chains, flags&l.gotoFlag != 0)
	return r
}

// Standard verdicts: -NF_DROP-1, -NF_ACCEPT-1 and XT_RETURN.
const (
	legacyDrop   = -1
	legacyAccept = -2
	legacyReturn = -5
)

func (l *legacy) jump(e entry, verdict int32, chains map[int]string, goes bool) iptables.Target {
	switch {
	case verdict == legacyDrop:
		return iptables.Jump{To: iptables.Drop}
	case verdict == legacyAccept:
		return iptables.Jump{To: iptables.Accept}
	case verdict == legacyReturn:
		return iptables.Jump{To: iptables.Return}
	case int(verdict) == e.at+len(e.data):
		return nil // the rule after it, which is no target
	}
	if to, ok := chains[int(verdict)]; ok && verdict >= 0 {
		return iptables.Jump{To: to, Goto: goes}
	}
	return iptables.OtherTarget{Name: "QUEUE"}
}
