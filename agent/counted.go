package agent

import (
	"strings"

	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// counted is the connection to the kernel, with metrics of what goes over it and
// of what the kernel holds.
type counted struct {
	*kernel.Conn
	metrics *metrics.Metrics
	before  kernel.Stats
}

// Survey is the connection's, counted.
func (c *counted) Survey(id nft.ID) (*nft.Held, error) {
	held, err := c.Conn.Survey(id)
	if err != nil {
		return nil, err
	}
	c.forget(id)
	if held != nil {
		for name, set := range held.Sets {
			n := len(set.Elements)
			if set.Large {
				n = int(set.Count)
			}
			// Others may have put a set with any name into our table.
			c.metrics.Held.WithLabelValues(id.Family.String(), strings.ToValidUTF8(name, "?")).Set(float64(n))
		}
	}
	return held, nil
}

// Commit is the connection's, counted.
func (c *counted) Commit(tx nft.Transaction) error {
	err := c.Conn.Commit(tx)
	now := c.Stats()
	c.metrics.Transactions.Add(float64(now.Transactions - c.before.Transactions))
	c.metrics.Messages.Add(float64(now.Messages - c.before.Messages))
	c.metrics.Bytes.Add(float64(now.Bytes - c.before.Bytes))
	c.metrics.Elements.WithLabelValues("add").Add(float64(now.Added - c.before.Added))
	c.metrics.Elements.WithLabelValues("delete").Add(float64(now.Deleted - c.before.Deleted))
	c.before = now
	if err == nil {
		c.hold(tx)
	}
	return err
}

// hold follows what a transaction does to the elements that the kernel holds.
func (c *counted) hold(tx nft.Transaction) {
	type at struct {
		family nft.Family
		set    string
	}
	change := map[at]int{}
	for i := range tx {
		op := &tx[i]
		switch {
		case op.IsElement() && !op.Set.Dynamic:
			n := 1
			if op.Verb == nft.Delete {
				n = -1
			}
			change[at{op.Table.Family, op.Set.Name}] += n
		case op.Verb == nft.Delete && op.Set == nil && op.Chain == nil && op.Rule == nil:
			c.forget(op.Table.ID())
		}
	}
	for at, n := range change {
		c.metrics.Held.WithLabelValues(at.family.String(), at.set).Add(float64(n))
	}
}

func (c *counted) forget(id nft.ID) {
	c.metrics.Held.DeletePartialMatch(map[string]string{"family": id.Family.String()})
}
