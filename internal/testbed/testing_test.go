package testbed

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// recorder is a T that notes a skip instead of ending anything.
type recorder struct{ skipped bool }

func (*recorder) Helper()                {}
func (*recorder) Cleanup(func())         {}
func (*recorder) Fatalf(string, ...any)  {}
func (r *recorder) Skipf(string, ...any) { r.skipped = true }

func TestNeedSkipsOnlyShortTestsOutsideCI(t *testing.T) {
	before := flag.Lookup("test.short").Value.String()
	defer func() { _ = flag.Set("test.short", before) }()
	for _, test := range []struct {
		ci, short string
		want      bool
	}{
		{"", "false", false}, {"", "true", true}, {"true", "false", false}, {"true", "true", false},
	} {
		t.Setenv("CI", test.ci)
		if err := flag.Set("test.short", test.short); err != nil {
			t.Fatal(err)
		}
		var r recorder
		Need(&r)
		if r.skipped != test.want {
			t.Errorf("CI=%q -short=%s: skipped is %t, want %t", test.ci, test.short, r.skipped, test.want)
		}
	}
}

// The script and this package have to mean the same directory.
func TestToolsVersionIsTheScripts(t *testing.T) {
	script, err := os.ReadFile("../../hack/tools.sh")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(script), "\nKUBERNETES="+toolsVersion+"\n") {
		t.Errorf("hack/tools.sh does not build Kubernetes %s", toolsVersion)
	}
}
