// Command modprobe is what the kernel calls in a guest of hack/kernels when it wants a
// module that is not loaded: for an nftables expression, a kind of link, a netlink family.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// module is a line of the index that hack/kernels wrote.
type module struct {
	file, needs string
}

// read gives the modules by their names, and those that a name or an alias means.
func read(file, wanted string) (all map[string]module, found []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	all = map[string]module{}
	name := plain(wanted)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 4 {
			return nil, nil, fmt.Errorf("%s: a line of %d fields", file, len(fields))
		}
		all[fields[1]] = module{file: fields[0], needs: fields[2]}
		if fields[1] == name {
			found = append(found, fields[1])
			continue
		}
		for alias := range strings.FieldsSeq(fields[3]) {
			if alias == wanted || strings.Contains(alias, "*") && matches(alias, wanted) {
				found = append(found, fields[1])
				break
			}
		}
	}
	return all, found, lines.Err()
}

func matches(alias, name string) bool {
	ok, _ := path.Match(plain(alias), plain(name)) // what is no pattern matches nothing
	return ok
}

// plain makes names comparable: the kernel takes "-" and "_" for the same.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// load loads a module behind those that it needs.
func load(all map[string]module, name string) error {
	m, ok := all[name]
	if !ok {
		return nil // built in, or not packed: the kernel will tell
	}
	for need := range strings.SplitSeq(m.needs, ",") {
		if err := load(all, plain(need)); err != nil {
			return err
		}
	}
	f, err := os.Open(m.file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	return nil
}

func main() {
	wanted := os.Args[len(os.Args)-1]
	all, found, err := read("/modules/index", wanted)
	for _, name := range found {
		err = errors.Join(err, load(all, name))
	}
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no module %s", wanted)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "modprobe:", err)
		os.Exit(1)
	}
}
