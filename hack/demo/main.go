// Demo shows kube-verdict at work on the Service dns-default, in network
// namespaces that go away with it: who answers, by which rules, and what happens
// while endpoints come and go. It needs root, and nft to show the rules.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	// What was built last goes before what may be installed. nft is where root's
	// programs are, which not everyone's PATH names.
	bin, _ := filepath.Abs("bin")
	_ = os.Setenv("PATH", bin+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if err := demo(newPage(os.Stdout)); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
}

// demo runs from the repository's root, and ends at the first thing that is not
// as it should be.
func demo(p *page) error {
	c, err := newCluster()
	if err != nil {
		return err
	}
	defer c.node.Close()

	p.heading("1. The Service dns-default and its six pods")
	c.describe(p)

	p.heading("2. kube-verdict programs the kernel of worker1")
	if _, err := c.show(p, apply(manifest)); err != nil {
		return err
	}

	p.heading("3. Who answers")
	spread, err := c.spread(p)
	if err != nil {
		return err
	}

	p.heading("4. Why every endpoint gets one sixth")
	if err := c.rules(p); err != nil {
		return err
	}
	printCascade(p, c.pods, spread[0])

	p.heading("5. Endpoints go and come, requests do not stop")
	if err := c.churn(p); err != nil {
		return err
	}

	p.heading("All as it should be")
	p.text("The whole ruleset: bin/kube-verdict render -f %s", manifest)
	return nil
}
