package kernel_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// unknownExpression is one that no kernel has.
type unknownExpression struct{}

func (unknownExpression) Marshal(nft.Family) ([]byte, error) {
	return []byte("\x0c\x00\x01\x00frobnic\x00"), nil
}

// unknownStatement is a statement with it behind others.
type unknownStatement struct{ nft.Statement }

func (s unknownStatement) Program(f nft.Family) []nft.Expression {
	return append(s.Statement.Program(f), unknownExpression{})
}

// A probe names all that the kernel would refuse, and does nothing.
func TestProbe(t *testing.T) {
	table, elements := sample(nft.IPv4)
	conn, ns := open(t)
	changes := listen(t, ns, conn)
	before, err := conn.Generation()
	if err != nil {
		t.Fatal(err)
	}
	if refusals, err := conn.Probe(fill(table, elements)); err != nil || len(refusals) > 0 {
		t.Errorf("refused: %v, %v", refusals, err)
	}
	with := func(s nft.Statement) nft.Op {
		return nft.Op{Table: table, Chain: table.Chains[0], Rule: &nft.Rule{Statements: []nft.Statement{nft.Counter{}, s}}}
	}
	tx := fill(table, elements)
	tx = append(tx, with(unknownStatement{nft.NewConnection{}}), with(nft.Goto{Chain: "nowhere"}), with(nft.Drop{}))
	refusals, err := conn.Probe(tx)
	if err != nil || len(refusals) != 2 {
		t.Fatalf("refused: %v, %v, want two", refusals, err)
	}
	for i, want := range []struct {
		rule       *nft.Rule
		expression string
	}{{tx[len(tx)-3].Rule, "frobnic"}, {tx[len(tx)-2].Rule, ""}} {
		r := refusals[i]
		if r.Op.Rule != want.rule || !errors.Is(r.Err, unix.ENOENT) || want.expression != "" && r.Expression != want.expression {
			t.Errorf("refusal %d is %+v (%v), of %q", i, r.Op.Text(), r.Err, r.Expression)
		}
	}
	if after, _ := conn.Generation(); after != before {
		t.Errorf("generation %d became %d", before, after)
	}
	if list := run(t, ns, "nft", "list", "ruleset"); list != "" {
		t.Errorf("a probe left\n%s", list)
	}
	// The connection goes on, and nobody was told.
	commit(t, conn, fill(table, elements))
	if len(changes) > 0 {
		t.Errorf("told of %v", <-changes)
	}
}
