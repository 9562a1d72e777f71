package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Consoles become rows in the order of versions, and the page around them stays.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	logs := map[string]string{
		"6.12.117+deb13-cloud-amd64_apply.log": "noise\n@@ {\"Job\":\"apply\",\"What\":\"apply\",\"Failure\":\"\"}\r\n" +
			"@@ {\"Job\":\"apply\",\"What\":\"nft 0.9.8 lists all\",\"Failure\":\"crash\"}\n@@ end\n",
		"6.1.0-43-cloud-amd64_packets.log": "@@ {\"Job\":\"packets\",\"What\":\"NodePort\",\"Failure\":\"\"}\n",
		"6.12.117-s390x_apply.log":         "@@ end\n",
	}
	for name, text := range logs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "page.md")
	if err := os.WriteFile(page, []byte("before\n<!-- make kernels ARCH=amd64 -->\nold\n<!-- end -->\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := record(page, dir, platforms[0]); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if i := strings.LastIndex(line, "| 20"); i > 0 { // the date
			line = line[:i] + "\n"
		}
		got = append(got, line)
	}
	want := `before
<!-- make kernels ARCH=amd64 -->
| Linux | apply | packets | nft 0.9.8 | on |
|---|---|---|---|---|
| 6.1.0-43 | not run | **1 of 2 fail** | not run ` + `
| 6.12.117+deb13 | **1 of 2 fail** | not run | **1 of 1 fail** ` + `
<!-- end -->
after
`
	if strings.Join(got, "") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, ""), want)
	}
}

// A kernel's name says its version; the newest is not the last of the alphabet.
func TestNewestKernel(t *testing.T) {
	names := strings.Fields(`linux-image-6.12.9+deb13-cloud-amd64 linux-image-6.12.117+deb13-cloud-amd64
		linux-image-6.12.117+deb13-cloud-amd64-dbg linux-image-6.12.118+deb13-amd64 linux-image-7.3-cloud-amd64
		linux-image-7.3.4+deb13-cloud-amd64 linux-image-5.10.0-32-cloud-amd64 linux-image-6.1.0-43-cloud-amd64`)
	for series, want := range map[string]string{
		"6.12": "linux-image-6.12.117+deb13-cloud-amd64", newest: "linux-image-7.3.4+deb13-cloud-amd64",
		"5.10": "linux-image-5.10.0-32-cloud-amd64", "6.1": "linux-image-6.1.0-43-cloud-amd64", "6.18": "",
	} {
		if got := newestKernel(names, series, "cloud-amd64"); got != want {
			t.Errorf("%s: got %q, want %q", series, got, want)
		}
	}
}
