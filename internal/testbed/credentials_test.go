package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestLeftoversOfTheDeadAreRemoved(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	keep := map[string]bool{
		scratchPrefix + strconv.Itoa(dead.Process.Pid) + "-1": false,
		scratchPrefix + strconv.Itoa(os.Getpid()) + "-1":      true,
		scratchPrefix + "x":            true, // not one of ours
		strconv.Itoa(dead.Process.Pid): true,
	}
	for name := range keep {
		if err := os.Mkdir(filepath.Join(base, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	removeLeftovers(base)
	for name, want := range keep {
		if _, err := os.Stat(filepath.Join(base, name)); (err == nil) != want {
			t.Errorf("%s: %v; want it kept: %t", name, err, want)
		}
	}
}
