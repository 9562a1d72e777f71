package chains_test

import (
	"flag"
	"testing"

	"github.com/kube-verdict/kube-verdict/dataplane"
	"github.com/kube-verdict/kube-verdict/internal/golden"
	"github.com/kube-verdict/kube-verdict/nft/chains"
	"github.com/kube-verdict/kube-verdict/nft/layout"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestExamples(t *testing.T) {
	golden.Examples(t, func(c layout.Config) dataplane.Layout { return chains.NewLayout(c) }, *update)
}
