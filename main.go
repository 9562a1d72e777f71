// kube-verdict is a Service proxy for Kubernetes nodes on nftables maps.
package main

import (
	"os"

	"github.com/kube-verdict/kube-verdict/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:]))
}
