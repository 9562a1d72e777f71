package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named is the name of a test, in a page.
var named = regexp.MustCompile("`(Test[A-Z]\\w+)")

// A test that a page names is one.
func TestNamedTestsExist(t *testing.T) {
	t.Chdir("..")
	tests := map[string]bool{}
	for _, depth := range []string{"*_test.go", "*/*_test.go", "*/*/*_test.go"} {
		files, err := filepath.Glob(depth)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				if after, ok := strings.CutPrefix(line, "func Test"); ok {
					tests["Test"+after[:strings.Index(after, "(")]] = true
				}
			}
		}
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range pages {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			found++
			if !tests[match[1]] {
				t.Errorf("%s: there is no %s", name, match[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d tests are named", found)
	}
}

var (
	// link is one to a place in the repository.
	link = regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]*))?\)`)
	// heading is one of a page.
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// silent is what GitHub leaves out of a heading's anchor.
	silent = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are those of a page's headings, as GitHub makes them.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		all[strings.ReplaceAll(silent.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")] = true
	}
	return all
}

// Links between pages lead to files and headings that there are.
func TestLinksLead(t *testing.T) {
	t.Chdir("..")
	found := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range pages {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range link.FindAllStringSubmatch(string(text), -1) {
				found++
				to := name
				if match[1] != "" {
					to = filepath.Join(filepath.Dir(name), match[1])
				}
				if _, err := os.Stat(to); err != nil {
					t.Errorf("%s: %v", name, err)
				} else if match[2] != "" {
					page, err := os.ReadFile(to)
					if err != nil || !anchors(string(page))[match[2]] {
						t.Errorf("%s: %s has no heading for #%s (%v)", name, to, match[2], err)
					}
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d links are found", found)
	}
}
