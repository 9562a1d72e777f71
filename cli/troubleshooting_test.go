package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// told is what the code tells whoever looks for trouble.
type told struct {
	reasons map[string]bool // of Events
	checks  map[string]bool // of /readyz
	texts   map[string]bool // of problems and checks, as formats
	options map[string]bool // of the kernel
}

// read collects it from the files of a package.
func (all told) read(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", dir, err, len(files))
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			all.node(filepath.Base(name), n)
			return true
		})
	}
}

func (all told) node(file string, n ast.Node) {
	switch n := n.(type) {
	case *ast.ValueSpec:
		if strings.HasPrefix(n.Names[0].Name, "Reason") && len(n.Values) == 1 {
			all.add(all.reasons, n.Values[0])
		}
	case *ast.CompositeLit:
		if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "check" && len(n.Elts) > 0 {
			all.add(all.checks, n.Elts[0])
		}
	case *ast.AssignStmt:
		if to, ok := n.Lhs[0].(*ast.Ident); ok && to.Name == "wrong" {
			all.sentences(n.Rhs...)
		}
	case *ast.CallExpr:
		name := ""
		switch f := n.Fun.(type) {
		case *ast.SelectorExpr:
			name = f.Sel.Name
		case *ast.Ident:
			name = f.Name
		}
		switch {
		case name == "event" && len(n.Args) == 5:
			all.add(all.reasons, n.Args[3])
		case name == "nodeEvent" && len(n.Args) == 3:
			all.add(all.reasons, n.Args[0])
		case name == "add", name == "leaveOut", slices.Contains([]string{"health.go", "reach.go"}, file) && (name == "Errorf" || name == "New"):
			all.sentences(n.Args...)
		}
	case *ast.BasicLit:
		if text, err := strconv.Unquote(n.Value); err == nil && strings.HasPrefix(text, "CONFIG_") {
			all.options[strings.Fields(text)[0]] = true
		}
	}
}

func (told) add(to map[string]bool, e ast.Expr) {
	if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
		if text, err := strconv.Unquote(literal.Value); err == nil {
			to[text] = true
		}
	}
}

// sentences are the literals with words in them.
func (all told) sentences(expressions ...ast.Expr) {
	for _, e := range expressions {
		ast.Inspect(e, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && strings.Count(literal.Value, " ") > 1 {
				all.add(all.texts, literal)
			}
			return true
		})
	}
}

// verb is where a format has something else each time.
var verb = regexp.MustCompile(`%[.0-9]*[a-z]`)

// shows says whether a page has a part of a format that nothing else is likely to have.
func shows(page, format string) bool {
	return slices.ContainsFunc(verb.Split(format, -1), func(part string) bool {
		part = strings.Trim(part, " ,;:.[]()'")
		return len(part) >= 10 && strings.Contains(page, part)
	})
}

// The pages for trouble have all that the code can tell: the reasons of Events, the
// checks of /readyz, what is said of either, and the kernel's options.
func TestWhatIsToldIsExplained(t *testing.T) {
	t.Chdir("..")
	all := told{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, dir := range []string{"proxy", "agent", "dataplane"} {
		all.read(t, dir)
	}
	if len(all.reasons) < 14 || len(all.checks) < 3 || len(all.texts) < 20 || len(all.options) < 6 {
		t.Fatalf("the code is no longer read right: %v", all)
	}
	page := func(name string) string {
		text, err := os.ReadFile(filepath.Join("docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	trouble, compatibility := page("troubleshooting.md"), page("compatibility.md")
	for reason := range all.reasons {
		if !strings.Contains(trouble, "| `"+reason+"`") {
			t.Errorf("docs/troubleshooting.md has no row for Events with the reason %s", reason)
		}
	}
	for check := range all.checks {
		if !strings.Contains(trouble, "`[-]"+check+" failed: ") {
			t.Errorf("docs/troubleshooting.md has no row for the check %s of /readyz", check)
		}
	}
	for text := range all.texts {
		if !shows(trouble, text) {
			t.Errorf("docs/troubleshooting.md does not have %q", text)
		}
	}
	for option := range all.options {
		if !strings.Contains(compatibility, "`"+option) {
			t.Errorf("docs/compatibility.md does not have the kernel's option %s", option)
		}
	}
}
