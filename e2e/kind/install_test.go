package kind

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The commands of docs/install.md are run as they are there, in their order, on a cluster
// with kube-proxy and nodes that have the image of the first of them, "make image", which
// "make e2e" ran. After each the agents are of this image, and ready.
func TestInstallPage(t *testing.T) {
	s := newScene(t)
	s.peerServes("nftables")
	text, err := os.ReadFile(repository + "/docs/install.md")
	s.must(err)
	var commands []string
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	// What each begins with, and the scope of the agents afterwards; "" without agents.
	want := []struct{ begins, scope string }{
		{"make image", ""},
		{"helm install", "shadow"},
		{"helm upgrade", "labelled"},
		{"helm rollback", "shadow"},
		{"kubectl apply -k", "all"},
		{"helm template", ""},
		{"helm template", ""},
		{"helm uninstall", ""},
		{"kubectl delete -k", ""},
	}
	if len(commands) != len(want) {
		t.Fatalf("the page has the commands %q", commands)
	}
	uninstall := ""
	for i, w := range want {
		if !strings.HasPrefix(commands[i], w.begins) {
			t.Fatalf("the page has %q, want one that begins with %q", commands[i], w.begins)
		}
		if w.begins == "helm uninstall" {
			uninstall = commands[i]
		}
	}
	for i, w := range want {
		switch w.begins {
		case "make image", "helm uninstall": // was run, and is below
			continue
		case "kubectl apply -k": // is the other way to install it
			s.shell(uninstall + " --wait")
			s.noAgents()
		}
		// The page's address of the API server is one of those that are for documents.
		s.shell(strings.ReplaceAll(commands[i], "192.0.2.10", s.control.subnets[0].Addr().String()))
		if w.scope != "" {
			s.agentsReady()
			s.installed(w.scope)
		}
	}
	s.noAgents()
	s.onEachNode(os.Getenv("KUBE_VERDICT_IMAGE"), "/kube-verdict cleanup")
}

// installed wants that there is an agent on each node, of the image that was made, with a
// scope.
func (s *scene) installed(scope string) {
	s.t.Helper()
	agents := 0
	for _, a := range s.agents() {
		if a.DeletionTimestamp != nil {
			continue
		}
		agents++
		c := a.Spec.Containers[0]
		told := "all"
		for _, arg := range c.Args {
			if is, ok := strings.CutPrefix(arg, "--scope="); ok {
				told = is
			}
		}
		if c.Image != os.Getenv("KUBE_VERDICT_IMAGE") || told != scope {
			s.t.Errorf("agent %s is of %s and told the scope %s, want %s and %s", a.Name, c.Image, told, os.Getenv("KUBE_VERDICT_IMAGE"), scope)
		}
	}
	if agents != 2 {
		s.t.Errorf("there are %d agents, want one on each node", agents)
	}
}

// noAgents waits until the last agent has gone.
func (s *scene) noAgents() {
	s.t.Helper()
	s.eventually("the agents to go", func() error {
		if n := len(s.agents()); n > 0 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}
