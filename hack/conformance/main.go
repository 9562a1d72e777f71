// Command conformance compares runs of Kubernetes' end-to-end specs: it reads what
// hack/conformance/run.sh left for each proxy, and prints a page of it.
package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "hack/conformance: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("say which directory has the runs, as bin/conformance")
	}
	paths, err := filepath.Glob(filepath.Join(args[0], "*", "junit*.xml"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s has no run's reports; \"make conformance\" makes one", args[0])
	}
	runs := map[string]results{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		r, err := read(text)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		proxy := filepath.Base(filepath.Dir(path))
		if runs[proxy] == nil {
			runs[proxy] = results{}
		}
		maps.Copy(runs[proxy], r)
	}
	_, err = io.WriteString(out, page(runs))
	return err
}

// results are what became of the specs that a run chose.
type results map[string]result

type result struct {
	passed bool
	// skipped is the reason for which a spec left itself out.
	skipped string
}

func (r result) String() string {
	switch {
	case r.skipped != "":
		return "skipped: " + r.skipped
	case r.passed:
		return "passed"
	}
	return "failed"
}

// read takes a report in JUnit's form, as ginkgo writes it.
func read(text []byte) (results, error) {
	var report struct {
		Suites []struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Status  string `xml:"status,attr"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		return nil, err
	}
	all := results{}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			name, ok := strings.CutPrefix(c.Name, "[It] ")
			if !ok {
				continue // what comes before and after all specs
			}
			// The labels are repeated at the end.
			if at := strings.LastIndex(name, " ["); at > 0 && strings.HasPrefix(name[at+2:], "sig-") {
				name = name[:at]
			}
			switch {
			case c.Skipped == nil:
				all[name] = result{passed: c.Status == "passed"}
			case strings.HasPrefix(c.Skipped.Message, "skipped - "):
				all[name] = result{skipped: strings.TrimSpace(strings.TrimPrefix(c.Skipped.Message, "skipped - "))}
			} // else the run was not asked for it
		}
	}
	return all, nil
}

// page has how many specs passed with each proxy, and those that did not with all.
func page(runs map[string]results) string {
	var b strings.Builder
	b.WriteString("| proxy | passed | failed | skipped themselves |\n|---|---|---|---|\n")
	proxies := slices.Sorted(maps.Keys(runs))
	names := map[string]bool{}
	for _, proxy := range proxies {
		passed, failed, skipped := 0, 0, 0
		for name, r := range runs[proxy] {
			switch {
			case r.skipped != "":
				skipped++
			case r.passed:
				passed++
				continue
			default:
				failed++
			}
			names[name] = true
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", proxy, passed, failed, skipped)
	}
	if len(names) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "\n| spec | %s |\n|---|%s\n", strings.Join(proxies, " | "), strings.Repeat("---|", len(proxies)))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, proxy := range proxies {
			said := "not run"
			if r, ok := runs[proxy][name]; ok {
				said = r.String()
			}
			fmt.Fprintf(&b, " %s |", said)
		}
		b.WriteString("\n")
	}
	return b.String()
}
