package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// Refusal is an operation that the kernel would not do.
type Refusal struct {
	OpError
	// Expression is the expression of a rule that it does not take; empty if it
	// does not say.
	Expression string
}

// Probe says which operations of a transaction the kernel would refuse. Nothing
// happens: an operation that can't be done ends the transaction, and the kernel,
// which looks at all of them, does none. The tables must be of names that nobody
// has.
func (c *Conn) Probe(tx nft.Transaction) ([]Refusal, error) {
	if len(tx) == 0 {
		return nil, nil
	}
	impossible := nft.Op{Verb: nft.Delete, Table: tx[0].Table, Chain: &nft.Chain{Name: "not-there"}}
	b := &batch{Encoder: &c.out, tx: append(tx[:len(tx):len(tx)], impossible), nl: c.nl}
	if err := b.encode(); err != nil {
		return nil, err
	}
	if err := c.nl.Send(c.out.B); err != nil {
		return nil, explain(fmt.Errorf("ask nf_tables what it can do: %w", err))
	}
	var refusals []Refusal
	ended := false
	for {
		datagram, err := c.nl.Receive(false)
		if err != nil {
			return nil, err
		}
		if datagram == nil {
			break
		}
		err = nfnetlink.Messages(datagram, func(m nfnetlink.Message) error {
			errno, err := m.Errno()
			if m.Type != unix.NLMSG_ERROR || err != nil {
				return nil
			}
			switch {
			case errno == 0:
			case m.Seq == b.last:
				ended = true
			default:
				err := b.refused(m, errno)
				var op *OpError
				if !errors.As(err, &op) {
					return err
				}
				refusals = append(refusals, b.refusal(m, op))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if !ended {
		return nil, ErrUnknown
	}
	return refusals, nil
}

func (b *batch) refusal(m nfnetlink.Message, op *OpError) Refusal {
	r := Refusal{OpError: *op}
	for _, s := range b.sent {
		if s.seq == m.Seq && b.tx[s.op].Rule != nil {
			r.Expression = b.expressionAt(s, errorOffset(m))
		}
	}
	return r
}

// expressionAt is the name of the expression that lies at an offset in a message
// with a rule.
func (b *batch) expressionAt(s sent, offset int) string {
	body := b.B[s.at:]
	body = body[:binary.NativeEndian.Uint32(body)]
	at, found := unix.NLMSG_HDRLEN+nfgen, ""
	attrs(body[at:], func(typ uint16, value []byte) {
		if typ == unix.NFTA_RULE_EXPRESSIONS {
			pos := at + unix.SizeofNlAttr
			attrs(value, func(_ uint16, expression []byte) {
				end := pos + nfnetlink.Align(unix.SizeofNlAttr+len(expression))
				if pos <= offset && offset < end {
					found = exprName(expression)
				}
				pos = end
			})
		}
		at += nfnetlink.Align(unix.SizeofNlAttr + len(value))
	})
	return found
}
