package cli

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/kube-verdict/kube-verdict"

// row is a line of a table of packages.
var row = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|")

// The page names every package, and the program's in an order in which imports
// point down.
func TestImportsPointDown(t *testing.T) {
	t.Chdir("..")
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	place := map[string]int{}
	for i, match := range row.FindAllStringSubmatch(string(page), -1) {
		for name := range strings.SplitSeq(match[1], ", ") {
			place[strings.Trim(name, "`")] = i + 1
		}
	}
	tests, ok := place["charts"]
	if !ok {
		t.Fatal("the page has no row for charts, with which the packages begin that are not in the program")
	}
	list, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		imports := strings.Fields(line)
		if imports[0] == module {
			continue
		}
		at := place[strings.TrimPrefix(imports[0], module+"/")]
		if at == 0 {
			t.Errorf("docs/architecture.md does not name the package %s", imports[0])
		}
		for _, path := range imports[1:] {
			name, ours := strings.CutPrefix(path, module+"/")
			if ours && at < tests && (place[name] <= at || place[name] >= tests) {
				t.Errorf("%s imports %s, which docs/architecture.md does not have below it", imports[0], name)
			}
		}
	}
}
