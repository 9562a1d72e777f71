package translate_test

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/iptables/nftscript"
	"github.com/kube-verdict/kube-verdict/manifests"
	"github.com/kube-verdict/kube-verdict/translate"
	"github.com/kube-verdict/kube-verdict/view"
)

// shape makes of the lines of a whole dump what people paste. A line that is left out is
// "\x00"; the others keep their numbers by order.
type shape struct {
	name string
	line func(number int, line string) string
	// listing takes the table's lines away first.
	listing bool
}

const gone = "\x00"

func each(change func(string) string) func(int, string) string {
	return func(_ int, line string) string { return change(line) }
}

func without(parts ...string) func(int, string) string {
	return each(func(line string) string {
		for _, part := range parts {
			line = regexp.MustCompile(part).ReplaceAllString(line, "")
		}
		return line
	})
}

func containing(part string) func(int, string) string {
	return each(func(line string) string {
		if !strings.Contains(line, part) {
			return gone
		}
		return line
	})
}

// shapes are what is pasted of a dump.
var shapes = []shape{
	{"whole", each(func(s string) string { return s }), false},
	{"listing", each(func(s string) string { return s }), true},
	{"with-counters", each(func(s string) string {
		if strings.HasPrefix(s, "-A") {
			return "[12:3456] " + s
		}
		return s
	}), false},
	{"grepped-for-a-namespace", containing("kinds/"), true},
	{"grepped-for-chains", containing("KUBE-S"), true},
	{"indented", each(func(s string) string { return "    " + s }), false},
	{"quoted", each(func(s string) string { return "> " + s }), false},
	{"numbered", func(n int, s string) string { return fmt.Sprintf("%6d\t%s", n, s) }, false},
	{"logged", each(func(s string) string { return "Nov 23 04:10:08 node-1 kube-proxy[812]: " + s }), true},
	{"commands", each(func(s string) string { return "$ iptables -t nat " + s }), true},
	{"html", each(html.EscapeString), false},
	{"escaped", each(func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }), true},
	{"unquoted", without(`"`), true},
	{"lossy-ports", without(` --dport \d+`), false},
	{"lossy-marks", without(` -m mark( !)? --mark \S+`, ` --set-xmark \S+`, ` --or-mark \S+`), false},
	{"lossy-probabilities", without(` -m statistic --mode random --probability \S+`), false},
	{"lossy-destinations", without(` --to-destination \S+`), false},
	{"redacted", each(func(s string) string {
		return regexp.MustCompile(`-d \d+\.\d+\.\d+`).ReplaceAllString(s, "-d x.x.x")
	}), false},
	{"cut", func(n int, s string) string {
		switch {
		case n > 70:
			return gone
		case n == 70:
			return s[:len(s)*2/3] + gone
		}
		return s
	}, false},
}

// pasted is a source in a shape, and which line of it each line was.
func (s shape) pasted(source string) (text string, from []int) {
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(source, "\n"), "\n") {
		if s.listing && !strings.HasPrefix(line, "-A") {
			continue
		}
		line, cut := strings.CutSuffix(s.line(i+1, line), gone)
		if cut && line == "" {
			continue
		}
		b.WriteString(line)
		if !cut {
			b.WriteByte('\n')
		}
		from = append(from, i+1)
	}
	return b.String(), from
}

// concerning are the lines of a dump that connections to a frontend may meet.
func concerning(d *iptables.Dump, key view.Key, line int) map[int]bool {
	lines := map[int]bool{line: true}
	want := map[string]bool{}
	rules := func(each func(chain string, r *iptables.Rule)) {
		for i := range d.Tables {
			for _, c := range d.Tables[i].Chains {
				for j := range c.Rules {
					each(c.Name, &c.Rules[j])
				}
			}
		}
	}
	rules(func(chain string, r *iptables.Rule) {
		dispatched := slices.Contains([]string{"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"}, chain)
		toIt := key.IsNodePort() && r.Destination.IsZero() || r.Destination.Prefix.Addr() == key.Addr
		if dispatched && toIt && strings.Contains(r.Text(chain), fmt.Sprintf("--dport %d ", key.Port)) {
			lines[r.Line], want[r.Jump()] = true, true
		}
	})
	for before := -1; before < len(lines); {
		before = len(lines)
		rules(func(chain string, r *iptables.Rule) {
			if want[chain] && strings.HasPrefix(chain, "KUBE-") {
				lines[r.Line], want[r.Jump()] = true, true
			}
		})
	}
	return lines
}

// Whatever of a dump is pasted: each frontend that it has, with its endpoints, is in the
// result, or a warning names a line of its; all forms have the same Services; and nft
// loads the script.
func TestCorpus(t *testing.T) {
	sources, err := filepath.Glob("../iptables/testdata/generations/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	sources = append(sources, "../iptables/testdata/kube-proxy-1.37-ipv4.txt", "../iptables/testdata/kube-proxy-1.37-ipv6.txt")
	ns := testbed.NewTestNamespace(t)
	dumps := 0
	for _, file := range sources {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source := parse(t, string(whole))
		want := iptables.Interpret(source)
		for _, s := range shapes {
			dumps++
			t.Run(s.name+"/"+filepath.Base(file), func(t *testing.T) {
				text, from := s.pasted(string(whole))
				d := parse(t, text)
				if _, err := d.Family(); err != nil {
					return // refused with its reason
				}
				got := iptables.Interpret(d)
				noSilentLoss(t, source, want, got, from)
				script := written(t, d, got)
				if _, err := ns.RunInput(strings.NewReader(script), "nft", "-f", "-"); err != nil {
					t.Errorf("nft refuses it: %v", err)
				}
			})
		}
	}
	if dumps < 36 {
		t.Errorf("only %d dumps", dumps)
	}
}

func parse(t *testing.T, text string) *iptables.Dump {
	t.Helper()
	d, err := iptables.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// noSilentLoss compares what was read of a part with what the whole dump has.
func noSilentLoss(t *testing.T, source *iptables.Dump, want, got *iptables.Reading, from []int) {
	t.Helper()
	for key, port := range want.View {
		have, there := got.View[key]
		if there && view.SameEndpoints(have.Endpoints, port.Endpoints) && have.Fate == port.Fate {
			continue
		}
		about := concerning(source, key, want.Frontends[key].Line)
		if !slices.ContainsFunc(from, func(line int) bool { return line == want.Frontends[key].Line }) {
			continue // what was pasted does not have it
		}
		if !slices.ContainsFunc(got.Warnings, func(w iptables.Warning) bool {
			return w.Line > 0 && w.Line <= len(from) && about[from[w.Line-1]] || regexp.MustCompile(`without chain`).MatchString(w.Text)
		}) {
			t.Errorf("%s of %s is %v, not %v, and no warning names a line of its", key, port.Service, have, port)
		}
	}
	for key := range got.View {
		if _, there := want.View[key]; !there {
			t.Errorf("%s is made up", key)
		}
	}
}

// written writes the dump in all forms, and compares their Services.
func written(t *testing.T, d *iptables.Dump, got *iptables.Reading) string {
	t.Helper()
	var script, yaml bytes.Buffer
	if len(got.View) == 0 {
		return ""
	}
	if _, err := nftscript.Write(&script, d); err != nil {
		t.Fatal(err)
	}
	services := map[string]bool{}
	for key, port := range got.View {
		name, _, _ := strings.Cut(port.Service, ":")
		services[name] = name != ""
		if addr := key.Addr.String(); !key.IsNodePort() && !strings.Contains(script.String(), addr+" ") {
			t.Errorf("the script lacks %s", key)
		}
	}
	if err := translate.Manifests(&yaml, got, "node-a"); err != nil {
		t.Fatal(err)
	}
	read := manifests.Read(t.Context(), []string{"-"}, &yaml)
	for _, svc := range read.Services {
		delete(services, svc.Namespace+"/"+svc.Name)
	}
	delete(services, "")
	if len(services) > 0 || len(read.Errors) > 0 {
		t.Errorf("the manifests lack %v: %v", services, read.Errors)
	}
	return script.String()
}
