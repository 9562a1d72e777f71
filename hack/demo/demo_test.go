package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-verdict/kube-verdict/cli"
	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// TestMain makes the test a kube-verdict when it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kube-verdict" {
		os.Exit(cli.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func TestDemo(t *testing.T) {
	testbed.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "kube-verdict")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("NODE_NAME", "") // the demo sets it
	t.Chdir("../..")

	var out strings.Builder
	if err := demo(&page{out: &out}); err != nil {
		t.Errorf("%v, after:\n%s", err, &out)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > columns+1 {
			t.Errorf("this line is wider than %d columns: %s", columns, line)
		}
	}
}
