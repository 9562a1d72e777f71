package walk_test

import (
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/walk"
)

// The text that is made of a rule's bytes is the text that it was made from.
func TestTextOfRules(t *testing.T) {
	written := 0
	for _, config := range configs {
		for name, l := range layouts(config) {
			contents, err := dataplane.Contents(l, layout.Networks{Pods: config.PodCIDRs}, services(t, "../../examples/everything.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range contents {
				held, err := c.Held()
				if err != nil {
					t.Fatal(err)
				}
				for _, chain := range held.Chains {
					for i := range chain.Rules {
						chain.Rules[i].Handle = uint64(i + 1)
					}
				}
				rules := walk.Compile(held)
				for _, chain := range c.Chains {
					for i := range chain.Rules {
						want, got := chain.Rules[i].Text(c.Family), rules.Rule(c.ID(), chain.Name, uint64(i+1)).Text()
						if written++; got != want {
							t.Errorf("%s, chain %s:\ngot  %s\nwant %s", name, chain.Name, got, want)
						}
					}
				}
			}
		}
	}
	if written < 500 {
		t.Errorf("only %d rules were compared", written)
	}
}
