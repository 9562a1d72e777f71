package iptables

import "regexp"

// foreign are the texts that people take for a dump, or that say what a dump lacks,
// each with what is to be done.
var foreign = []struct {
	line *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`^Chain \S+ \((?:policy|\d+ references)`), "this is a listing of iptables -L, which lacks parts of rules; take one of iptables-save"},
	{regexp.MustCompile(`^\s*table (?:ip|ip6|inet) \S+ \{`), "this is a listing of nft, not of iptables-save; for kube-proxy in nftables mode, see \"kube-verdict diff\""},
	{regexp.MustCompile(`^IP Virtual Server version|^(?:TCP|UDP|SCTP)\s+\S+:\d+\s+[a-z]{2,5}\b`), "this is a listing of ipvsadm: kube-proxy in IPVS mode has its Services there, and not in iptables"},
	{regexp.MustCompile(`iptables-legacy tables present`), "this node has rules in iptables-legacy, too, which are not in this dump: look at iptables-legacy-save"},
	{regexp.MustCompile(`is incompatible, use 'nft' tool`), "this iptables can't show a table that a newer one or nft wrote: take the dump with the iptables of kube-proxy's image"},
}

// told warns of a line that is known to be of something else than a dump, once for each
// kind.
func (p *parser) told(text string) bool {
	for i := range foreign {
		if !foreign[i].line.MatchString(text) {
			continue
		}
		p.passed()
		if p.foreign&(1<<i) == 0 {
			p.foreign |= 1 << i
			p.warn(p.number, "%s", foreign[i].text)
		}
		return true
	}
	return false
}
