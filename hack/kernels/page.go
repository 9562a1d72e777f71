package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is what the consoles of one kernel say, by column.
type row struct {
	release string
	date    time.Time // of the oldest console
	cells   map[string]*cell
}

type cell struct{ passed, failed int }

func (c *cell) String() string {
	switch {
	case c == nil:
		return "not run"
	case c.failed > 0:
		return fmt.Sprintf("**%d of %d fail**", c.failed, c.passed+c.failed)
	}
	return fmt.Sprintf("%d pass", c.passed)
}

// record writes a table of all consoles of one platform into a page, between two marks.
func record(page, logs string, p platform) error {
	rows, err := readLogs(logs, p)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	begin, end := fmt.Sprintf("<!-- make kernels ARCH=%s -->\n", p.goarch), "<!-- end -->\n"
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s has no line %q with a line %q behind it", page, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(page, []byte(before+begin+table(rows)+end+after), 0o644)
}

// readLogs reads each console by the name that boot.run gave it.
func readLogs(logs string, p platform) ([]*row, error) {
	files, err := filepath.Glob(filepath.Join(logs, "*-"+p.flavour+"_*.log"))
	if err != nil {
		return nil, err
	}
	byRelease := map[string]*row{}
	var rows []*row
	for _, file := range files {
		release, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".log"), "-"+p.flavour+"_")
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		checks, ended, err := readLog(file)
		if err != nil {
			return nil, err
		}
		if !ended {
			checks = append(checks, check{What: "the virtual machine ends well", Failure: "it does not"})
		}
		r := byRelease[release]
		if r == nil {
			r = &row{release: release, date: info.ModTime(), cells: map[string]*cell{}}
			byRelease[release] = r
			rows = append(rows, r)
		}
		if info.ModTime().Before(r.date) {
			r.date = info.ModTime()
		}
		for _, c := range checks {
			r.count(name, c)
			for _, l := range listers {
				if strings.HasPrefix(c.What, "nft "+l.version+" lists") {
					r.count("nft "+l.version, c)
				}
			}
		}
	}
	slices.SortFunc(rows, func(a, b *row) int { return slices.Compare(numbers(a.release), numbers(b.release)) })
	return rows, nil
}

func (r *row) count(column string, c check) {
	if r.cells[column] == nil {
		r.cells[column] = &cell{}
	}
	if c.Failure == "" {
		r.cells[column].passed++
	} else {
		r.cells[column].failed++
	}
}

// table is Markdown. Columns that no kernel has are left out.
func table(rows []*row) string {
	columns := jobNames()
	for _, l := range listers {
		columns = append(columns, "nft "+l.version)
	}
	columns = slices.DeleteFunc(columns, func(c string) bool {
		return !slices.ContainsFunc(rows, func(r *row) bool { return r.cells[c] != nil })
	})
	var b strings.Builder
	fmt.Fprintf(&b, "| Linux | %s | on |\n|---|%s---|\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.release)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", r.cells[c])
		}
		fmt.Fprintf(&b, " %s |\n", r.date.Format(time.DateOnly))
	}
	return b.String()
}
