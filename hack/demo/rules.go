package main

import (
	"fmt"
	"slices"
	"strings"
)

// rules shows what nft, which knows nothing of kube-verdict, lists of the Service,
// and checks that it is what the text between says.
func (c *cluster) rules(p *page) error {
	chain := fmt.Sprintf("cluster-%d", len(c.pods))
	p.text("One entry for each port, with the number of the chain for its count of endpoints:\n")
	entries, err := c.show(p, fmt.Sprintf("nft list map ip kube-verdict services | grep -o '%s [^,}]*'", clusterIP))
	if err != nil {
		return err
	}
	var want []string
	for _, s := range ports {
		want = append(want, fmt.Sprintf(`%s . %s . %d comment "openshift-dns/dns-default:%s" : 0:%x`, clusterIP, s.protocol, s.port, s.name, len(c.pods)))
	}
	if err := same(entries, want); err != nil {
		return err
	}
	number, err := c.show(p, fmt.Sprintf("nft list map ip kube-verdict dispatch | grep -o '0:%x : [^,}]*'", len(c.pods)))
	if err != nil {
		return err
	}
	if err := same(number, []string{fmt.Sprintf("0:%x : goto %s", len(c.pods), chain)}); err != nil {
		return err
	}

	p.text("\nOne chain for all ports with %d endpoints, whose second rule draws a slot, 0 to %d:\n", len(c.pods), len(c.pods)-1)
	text, err := c.show(p, "nft list chain ip kube-verdict "+chain)
	if err != nil {
		return err
	}
	if draw := fmt.Sprintf("numgen random mod %d map @endpoints", len(c.pods)); !strings.Contains(text, draw) {
		return fmt.Errorf("the chain %s has no rule with %q", chain, draw)
	}
	p.text(`
(The third rule is for a packet that met the Service just before its last slot went; what even
then finds no slot is counted and dropped, and its sender tries again.)

One endpoint in each slot, here for dns (53/UDP):
`)
	slots, err := c.show(p, fmt.Sprintf("nft list map ip kube-verdict endpoints | grep -o '%s . udp . 53 [^,}]*'", clusterIP))
	if err != nil {
		return err
	}
	want = nil
	for i, pod := range c.pods {
		want = append(want, fmt.Sprintf("%s . udp . 53 . %d : %s . 5353", clusterIP, i, pod.ip))
	}
	return same(slots, want)
}

// same compares lines of nft, whose order is the kernel's.
func same(text string, want []string) error {
	var got []string
	for line := range strings.Lines(text) {
		got = append(got, strings.TrimSpace(line))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("nft lists\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return nil
}
