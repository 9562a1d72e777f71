package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-verdict/kube-verdict/agent/config"
)

const (
	netfilterSettings = "proc/sys/net/netfilter"
	hashSize          = "sys/module/nf_conntrack/parameters/hashsize"
	// fromNode is where the chart mounts the node's settings: a container that is not
	// privileged can only read its own.
	fromNode = "run/host"
	// mostConnections bounds what many cores ask for; an entry takes some 300 bytes.
	mostConnections = 1 << 20
)

// setConntrack sets the kernel's settings for connection tracking as kube-proxy
// does: limits are raised, never lowered, and a time of zero is left alone. It goes
// on after a setting that can't be set, and says which these are.
func setConntrack(root string, c config.Conntrack, cores int) (failed []error) {
	set := func(path string, wanted int, enough func(now int) bool) {
		if err := setNumber(path, wanted, enough); err != nil {
			failed = append(failed, err)
		}
	}
	dir := filepath.Join(root, fromNode, netfilterSettings)
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(root, netfilterSettings)
	}
	setting := func(name string) string { return filepath.Join(dir, "nf_conntrack_"+name) }
	if c.MaxPerCore > 0 {
		most := min(max(c.MaxPerCore*cores, c.Min), mostConnections)
		if c.MaxPerCore*cores <= c.Min {
			most = c.Min // which is not bounded
		}
		atLeast := func(n int) func(int) bool { return func(now int) bool { return now >= n } }
		set(setting("max"), most, atLeast(most))
		set(filepath.Join(root, hashSize), most/4, atLeast(most/4))
	}
	for _, s := range []struct {
		name string
		time metav1.Duration
	}{
		{"tcp_timeout_established", c.TCPEstablishedTimeout},
		{"tcp_timeout_close_wait", c.TCPCloseWaitTimeout},
		{"udp_timeout", c.UDPTimeout},
		{"udp_timeout_stream", c.UDPStreamTimeout},
	} {
		if seconds := int(s.time.Seconds()); seconds > 0 {
			set(setting(s.name), seconds, func(now int) bool { return now == seconds })
		}
	}
	if c.TCPBeLiberal {
		set(setting("tcp_be_liberal"), 1, func(now int) bool { return now == 1 })
	}
	return failed
}

func setNumber(path string, wanted int, enough func(now int) bool) error {
	text, err := os.ReadFile(path)
	if err == nil {
		if now, e := strconv.Atoi(strings.TrimSpace(string(text))); e == nil && enough(now) {
			return nil
		}
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(wanted)), 0o644); err != nil {
		return fmt.Errorf("%w: set it to %d on the node, or to 0 in the configuration (conntrack), which leaves it alone", err, wanted)
	}
	return nil
}
