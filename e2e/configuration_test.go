package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// configure writes a configuration file, as an editor does: another file takes its
// place.
func (w *world) configure(path, text string) {
	w.t.Helper()
	w.must(os.WriteFile(path+".new", []byte("apiVersion: kubeverdict.io/v1alpha1\nkind: KubeVerdictConfiguration\n"+text), 0o644))
	w.must(os.Rename(path+".new", path))
}

// A change of the configuration file is taken over in place: the process is the
// same, and no connection is lost. One that is not valid is told, and what was
// before goes on.
func TestConfigurationIsFollowed(t *testing.T) {
	w := newWorld(t)
	ours, theirs := w.service("ours"), w.service("theirs")
	ours.Labels = map[string]string{proxy.LabelProxyName: proxy.ProxyName}
	w.create(ours)
	w.create(theirs)
	a := w.backend("a", 1)
	w.sliced(ours)
	w.sliced(theirs)
	path := filepath.Join(t.TempDir(), "config.yaml")
	w.configure(path, "scope: shadow\n")
	agent := w.startReady("--config", path)
	w.unserved(ours)
	pid := agent.Pid()

	w.configure(path, "scope: labelled\n")
	w.serviceLeadsTo(ours, a)
	w.unserved(theirs)
	load := w.load(frontends(ours)[0])
	w.configure(path, "scope: all\n")
	w.serviceLeadsTo(theirs, a)
	agent.waitReady()
	w.settled()
	w.tidy()

	generation := w.generation()
	w.configure(path, "scope: al\nconntrack: {min: -1}\n")
	agent.becomes("kube_verdict_configuration_invalid", 1)
	w.eventually("an Event on the Node", func() error {
		var list eventsv1.EventList
		if err := w.api.Client.List(w.ctx, &list); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.Kind == "Node" && e.Regarding.Name == w.name && e.Reason == "InvalidConfiguration" &&
				strings.Contains(e.Note, `scope: Unsupported value: "al"`) && strings.Contains(e.Note, "conntrack.min") {
				return nil
			}
		}
		return fmt.Errorf("of %d Events none tells", len(list.Items))
	})
	w.configure(path, "scope: all\n")
	agent.becomes("kube_verdict_configuration_invalid", 0)
	if now := w.generation(); now != generation {
		t.Errorf("a configuration that is not valid moved the generation from %d to %d", generation, now)
	}
	err := load.stop()
	t.Logf("%d connections while the configuration changed, %d lost", load.asked.Load(), load.lost.Load())
	if load.lost.Load() > 0 || load.asked.Load() < 10 {
		t.Errorf("of %d connections, %d were lost: %v", load.asked.Load(), load.lost.Load(), err)
	}
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || agent.Pid() != pid {
		t.Errorf("process %d is %s, %v", pid, got, err)
	}
	if n := strings.Count(agent.Output(), `"msg":"Starting","node"`); n != 3 {
		t.Errorf("it has started %d times, want one for each of three scopes", n)
	}
}

// Settings of connection tracking are set where no other proxy sets them.
func TestConntrackIsConfigured(t *testing.T) {
	w := newWorld(t)
	const setting = "/proc/sys/net/netfilter/nf_conntrack_"
	value := func(name string) string {
		t.Helper()
		// A namespace's settings are seen by processes in it.
		out, err := w.node.Run("cat", setting+name)
		w.must(err)
		return strings.TrimSpace(out)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	settings := "conntrack: {tcpEstablishedTimeout: 7m, tcpCloseWaitTimeout: 11m, udpTimeout: 13s, udpStreamTimeout: 17s, tcpBeLiberal: true, maxPerCore: 0}\n"
	want := map[string]string{"tcp_timeout_established": "420", "tcp_timeout_close_wait": "660", "udp_timeout": "13", "udp_timeout_stream": "17", "tcp_be_liberal": "1"}
	before := map[string]string{}
	for name := range want {
		before[name] = value(name)
	}
	w.configure(path, "scope: labelled\n"+settings)
	agent := w.startReady("--config", path)
	for name, was := range before {
		if now := value(name); now != was || now == want[name] {
			t.Errorf("in the scope labelled, %s went from %s to %s", name, was, now)
		}
	}
	w.configure(path, "scope: all\n"+settings)
	for name, want := range want {
		w.eventually(name+" to be set", func() error {
			if now := value(name); now != want {
				return fmt.Errorf("it is %s, want %s", now, want)
			}
			return nil
		})
	}
	// The namespace's limit is that of the machine, and can't be set in it.
	w.configure(path, "scope: all\nconntrack: {maxPerCore: 1048576}\n")
	w.eventually("the metric for what could not be set", func() error {
		_, body, err := w.get(agent.metrics, "/metrics")
		if err == nil && (!strings.Contains(body, "\nkube_verdict_sysctls_not_set ") || strings.Contains(body, "\nkube_verdict_sysctls_not_set 0\n")) {
			err = errors.New("it is 0")
		}
		return err
	})
	agent.waitReady()
	if err := agent.said("nf_conntrack_max: permission denied: set it to 1048576 on the node"); err != nil {
		t.Error(err)
	}
}
