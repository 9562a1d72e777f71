package iptables

import (
	"net/netip"
	"strconv"
)

// Target is what a rule does with packets that match.
type Target interface {
	// append writes the target as iptables-save does, from its -j on.
	append(b []byte) []byte
}

// Verdicts that a Jump may name in place of a chain.
const (
	Accept = "ACCEPT"
	Drop   = "DROP"
	Return = "RETURN"
)

// Jump is -j or -g to a chain or to a verdict.
type Jump struct {
	To   string
	Goto bool
}

// DNAT is -j DNAT.
type DNAT struct {
	To                 []Destinations
	Random, Persistent bool
}

// Destinations are an address and a port, or ranges of them; either may be
// missing.
type Destinations struct {
	From, To         netip.Addr
	FromPort, ToPort uint16
	// Base is the port that a range of ports is counted from; 0 for none.
	Base uint16
}

// One is the only destination, invalid if it is no single one.
func (d DNAT) One() netip.AddrPort {
	if len(d.To) == 1 && d.To[0].From == d.To[0].To && d.To[0].FromPort == d.To[0].ToPort {
		return netip.AddrPortFrom(d.To[0].From, d.To[0].FromPort)
	}
	return netip.AddrPort{}
}

// Masquerade is -j MASQUERADE.
type Masquerade struct {
	ToPorts             string
	Random, RandomFully bool
}

// SetMark is -j MARK: the mark becomes (mark &^ Mask) ^ Value.
type SetMark struct{ Value, Mask uint32 }

// Reject is -j REJECT. Without With it was not said how.
type Reject struct{ With string }

// OtherTarget is a target that is kept as it was written.
type OtherTarget struct{ Name, Text string }

func (j Jump) append(b []byte) []byte {
	option := " -j "
	if j.Goto {
		option = " -g "
	}
	return append(append(b, option...), j.To...)
}

func (d DNAT) append(b []byte) []byte {
	b = append(b, " -j DNAT"...)
	for _, to := range d.To {
		b = to.append(append(b, " --to-destination "...))
	}
	if d.Random {
		b = append(b, " --random"...)
	}
	if d.Persistent {
		b = append(b, " --persistent"...)
	}
	return b
}

func (d Destinations) append(b []byte) []byte {
	port := d.FromPort != 0
	if d.From.IsValid() {
		brackets := d.From.Is6() && port
		if brackets {
			b = append(b, '[')
		}
		b = d.From.AppendTo(b)
		if d.To != d.From {
			b = d.To.AppendTo(append(b, '-'))
		}
		if brackets {
			b = append(b, ']')
		}
	}
	if port || !d.From.IsValid() {
		b = strconv.AppendUint(append(b, ':'), uint64(d.FromPort), 10)
		if d.ToPort != d.FromPort {
			b = strconv.AppendUint(append(b, '-'), uint64(d.ToPort), 10)
		}
		if d.Base != 0 {
			b = strconv.AppendUint(append(b, '/'), uint64(d.Base), 10)
		}
	}
	return b
}

func (m Masquerade) append(b []byte) []byte {
	b = append(b, " -j MASQUERADE"...)
	if m.ToPorts != "" {
		b = append(append(b, " --to-ports "...), m.ToPorts...)
	}
	if m.Random {
		b = append(b, " --random"...)
	}
	if m.RandomFully {
		b = append(b, " --random-fully"...)
	}
	return b
}

func (m SetMark) append(b []byte) []byte {
	b = appendHex(append(b, " -j MARK --set-xmark "...), m.Value)
	return appendHex(append(b, '/'), m.Mask)
}

func (r Reject) append(b []byte) []byte {
	b = append(b, " -j REJECT"...)
	if r.With != "" {
		b = append(append(b, " --reject-with "...), r.With...)
	}
	return b
}

func (o OtherTarget) append(b []byte) []byte {
	b = append(append(b, " -j "...), o.Name...)
	if o.Text != "" {
		b = append(append(b, ' '), o.Text...)
	}
	return b
}
