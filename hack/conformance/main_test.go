package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const ours = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="Kubernetes e2e suite">
<testcase name="[SynchronizedBeforeSuite]" status="passed"></testcase>
<testcase name="[It] [sig-network] Services should serve [sig-network, Conformance]" status="passed"></testcase>
<testcase name="[It] [sig-network] Services should [LinuxOnly] stay [sig-network]" status="failed"><failure message="no"></failure></testcase>
<testcase name="[It] [sig-network] Services should spread [sig-network]" status="skipped"><skipped message="skipped - Requires &gt;= 3 zones"></skipped></testcase>
<testcase name="[It] [sig-storage] Volumes should be [sig-storage]" status="skipped"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>`

// What did not pass with all is there with each proxy's result; what was not asked for
// is not.
func TestRunsAreCompared(t *testing.T) {
	dir := t.TempDir()
	for proxy, text := range map[string]string{
		"kube-verdict": ours,
		"kube-proxy":   strings.ReplaceAll(ours, "failed", "passed"),
	} {
		if err := os.Mkdir(filepath.Join(dir, proxy), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, proxy, "junit.xml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	if err := run([]string{dir}, &b); err != nil {
		t.Fatal(err)
	}
	const want = `| proxy | passed | failed | skipped themselves |
|---|---|---|---|
| kube-proxy | 2 | 0 | 1 |
| kube-verdict | 1 | 1 | 1 |

| spec | kube-proxy | kube-verdict |
|---|---|---|
| [sig-network] Services should [LinuxOnly] stay | passed | failed |
| [sig-network] Services should spread | skipped: Requires >= 3 zones | skipped: Requires >= 3 zones |
`
	if b.String() != want {
		t.Errorf("it says\n%s\nwant\n%s", b.String(), want)
	}
}

// A directory without a run is an error that says what to do.
func TestNoRun(t *testing.T) {
	if err := run([]string{t.TempDir()}, nil); err == nil || !strings.Contains(err.Error(), "make conformance") {
		t.Error(err)
	}
}
