package iptables

import (
	"strconv"
	"strings"
)

// Match is one match of a rule beyond addresses, interfaces and protocol.
type Match interface {
	// append writes the match as iptables-save does, from its -m on.
	append(b []byte) []byte
}

// Comment is -m comment.
type Comment string

// Ports is -m tcp, udp or sctp. kube-proxy's endpoint chains have it without any
// port.
type Ports struct {
	Module              string
	Source, Destination PortRange
}

// PortRange is --sport or --dport; the zero value is any port.
type PortRange struct {
	Set, Not bool
	From, To uint16
}

// One is the only port of a range, 0 if it is no single one.
func (p PortRange) One() uint16 {
	if p.Set && !p.Not && p.From == p.To {
		return p.From
	}
	return 0
}

// AddrType is -m addrtype. Its types are comma-separated, as in LOCAL,BROADCAST.
type AddrType struct {
	Source, Destination       string
	SourceNot, DestinationNot bool
}

// Statistic is -m statistic --mode random.
type Statistic struct {
	Not         bool
	Probability Probability
}

// Recent is -m recent, which kube-proxy keeps session affinity with.
type Recent struct {
	Not bool
	// Action is set, rcheck, update or remove.
	Action   string
	Seconds  uint32
	Reap     bool
	HitCount uint32
	TTL      bool
	Name     string
	// Mask is that of the addresses; older versions do not print it.
	Mask string
	// ByDestination is --rdest in place of --rsource.
	ByDestination bool
}

// Conntrack is --ctstate of -m conntrack, or --state of -m state, which is older.
type Conntrack struct {
	Module string
	Not    bool
	States States
}

// Mark is -m mark.
type Mark struct {
	Not         bool
	Value, Mask uint32
}

// Other is a match that is kept as it was written. Without a Module it is an
// option of the rule itself, such as -f.
type Other struct{ Module, Text string }

// Has says that the match is of a module.
func (o Other) Has(module string) bool { return o.Module == module }

// States is a set of connection states.
type States uint8

// The states, in the order that iptables-save prints them.
const (
	Invalid States = 1 << iota
	New
	Related
	Established
	Untracked
	SNATed
	DNATed
)

var stateNames = [...]string{"INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"}

func parseStates(text string) (States, bool) {
	var s States
next:
	for name := range strings.SplitSeq(text, ",") {
		for i := range stateNames {
			if strings.EqualFold(name, stateNames[i]) {
				s |= 1 << i
				continue next
			}
		}
		return 0, false
	}
	return s, true
}

func (s States) String() string {
	var names []string
	for i, name := range stateNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

func not(b []byte, is bool) []byte {
	if is {
		b = append(b, " !"...)
	}
	return b
}

func (c Comment) append(b []byte) []byte {
	return appendQuoted(append(b, " -m comment --comment "...), string(c))
}

func (p Ports) append(b []byte) []byte {
	b = append(append(b, " -m "...), p.Module...)
	b = p.Source.append(b, " --sport ")
	return p.Destination.append(b, " --dport ")
}

func (p PortRange) append(b []byte, option string) []byte {
	if !p.Set {
		return b
	}
	b = append(not(b, p.Not), option...)
	b = strconv.AppendUint(b, uint64(p.From), 10)
	if p.To != p.From {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(p.To), 10)
	}
	return b
}

func (a AddrType) append(b []byte) []byte {
	b = append(b, " -m addrtype"...)
	if a.Source != "" {
		b = append(append(not(b, a.SourceNot), " --src-type "...), a.Source...)
	}
	if a.Destination != "" {
		b = append(append(not(b, a.DestinationNot), " --dst-type "...), a.Destination...)
	}
	return b
}

func (s Statistic) append(b []byte) []byte {
	b = append(b, " -m statistic --mode random"...)
	b = append(not(b, s.Not), " --probability "...)
	return append(b, s.Probability.String()...)
}

func (r Recent) append(b []byte) []byte {
	b = append(not(append(b, " -m recent"...), r.Not), " --"...)
	b = append(b, r.Action...)
	if r.Seconds > 0 {
		b = strconv.AppendUint(append(b, " --seconds "...), uint64(r.Seconds), 10)
	}
	if r.Reap {
		b = append(b, " --reap"...)
	}
	if r.HitCount > 0 {
		b = strconv.AppendUint(append(b, " --hitcount "...), uint64(r.HitCount), 10)
	}
	if r.TTL {
		b = append(b, " --rttl"...)
	}
	b = append(append(b, " --name "...), r.Name...)
	if r.Mask != "" {
		b = append(append(b, " --mask "...), r.Mask...)
	}
	if r.ByDestination {
		return append(b, " --rdest"...)
	}
	return append(b, " --rsource"...)
}

func (c Conntrack) append(b []byte) []byte {
	b = append(append(b, " -m "...), c.Module...)
	option := " --ctstate "
	if c.Module == "state" {
		option = " --state "
	}
	return append(append(not(b, c.Not), option...), c.States.String()...)
}

func (m Mark) append(b []byte) []byte {
	b = append(not(append(b, " -m mark"...), m.Not), " --mark "...)
	b = appendHex(b, m.Value)
	if m.Mask != 1<<32-1 {
		b = appendHex(append(b, '/'), m.Mask)
	}
	return b
}

func (o Other) append(b []byte) []byte {
	if o.Module != "" {
		b = append(append(b, " -m "...), o.Module...)
	}
	if o.Text != "" {
		b = append(append(b, ' '), o.Text...)
	}
	return b
}

func appendHex(b []byte, v uint32) []byte {
	return strconv.AppendUint(append(b, "0x"...), uint64(v), 16)
}
