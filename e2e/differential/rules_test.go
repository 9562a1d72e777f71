package differential

import (
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/layout"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/view"
)

// ourRulesOn is what our rules on a node do. Frontends that the other side has at an
// address of the node's are no NodePorts.
func ourRulesOn(node *testbed.Namespace, other view.View) (view.View, error) {
	conn, err := kernel.Open(node.Fd())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	v, _, err := walk.Read(kernel.NewOnlooker(conn), layout.TableName, walk.Options{
		NodeAddrs: nodeAddrs,
		NodePort:  func(key view.Key) bool { _, own := other[key]; return !own },
	})
	return v, err
}

// The rules of kube-proxy and ours for clusters that nobody thought of do the same,
// read from the kernel: reading them sees what packets see.
func TestRules(t *testing.T) {
	eachLayout(t, func(t *testing.T, gates string) {
		suite := newTestSuite(t, options{gates: gates})
		seed := setting(t, seedVariable, uint64(time.Now().UnixNano()))
		for i := range setting(t, runsVariable, 3) {
			scenario := Random(seed+i, changesEach)
			if err := suite.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			for n, step := range scenario.Steps {
				err := apply(t.Context(), suite.api.Client, step)
				if err == nil {
					err = suite.settle(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				// Markers go a moment later.
				err = testbed.Wait(20*time.Second, "both to have the same", func() error {
					theirs, err := rulesOn(suite.theirs.node.Namespace)
					if err != nil {
						return err
					}
					ours, err := ourRulesOn(suite.ours.node.Namespace, theirs)
					if err != nil {
						return err
					}
					if len(theirs) == 0 {
						t.Error("there are no rules")
					}
					return sameViews("kube-proxy's rules and ours", theirs, ours)
				})
				if err != nil {
					t.Errorf("%s, step %d (again with %s=%d %s=1): %v\nin %+v", scenario.Name, n+1, seedVariable, seed+i, runsVariable, err, step)
				}
			}
		}
	})
}
