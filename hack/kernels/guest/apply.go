package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

const (
	nodeName = "node-a"
	program  = "/kube-verdict"
)

// programFlags say of the examples and of our own objects which node this is.
var programFlags = []string{"--node-name", nodeName, "--pod-cidrs", "10.254.0.0/16,fd00:10:254::/48"}

// apply programs all examples in both layouts, one after the other in the same tables, so
// that each is a change of what the one before left.
func apply(j *job, _ string) error {
	ns, err := testbed.NewNamespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	examples, err := filepath.Glob("/src/examples/*.yaml")
	if err != nil || len(examples) == 0 {
		return fmt.Errorf("there are no examples: %v", err)
	}
	for _, layout := range []string{"maps", "chains", "maps"} {
		for _, file := range examples {
			what := fmt.Sprintf("%s in %s", filepath.Base(file), layout)
			j.check("apply "+what, expect(ns, "added", "apply", "-f", file, "--layout", layout))
			j.check("apply the unchanged "+what, expect(ns, "nothing to change", "apply", "-f", file, "--layout", layout))
			j.lists(ns, what, file)
		}
		j.repair(ns, examples[len(examples)-1], layout)
	}
	j.check("cleanup", expect(ns, "removed table ip6", "cleanup"))
	return nil
}

// repair programs a file again after somebody deleted a table of it.
func (j *job) repair(ns *testbed.Namespace, file, layout string) {
	what := fmt.Sprintf("a repaired %s in %s", filepath.Base(file), layout)
	_, err := run(ns, "", "/usr/sbin/nft", "delete", "table", "ip", "kube-verdict")
	j.check("apply "+what, errors.Join(err, expect(ns, "added", "apply", "-f", file, "--layout", layout)))
	j.lists(ns, what, file)
}

// run runs a program in a namespace, below a root of its own if it has one. There is no
// limit: the host has one for the whole guest, which is slow by its nature.
func run(ns *testbed.Namespace, root, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	var out, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := ns.Do(cmd.Run)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, complaints.String())
	} else if root != "" && complaints.Len() > 0 {
		err = errors.New(complaints.String())
	}
	return out.String(), err
}

// expect runs one command of the program, and wants words in what it prints.
func expect(ns *testbed.Namespace, want string, args ...string) error {
	if args[0] == "apply" || args[0] == "explain" {
		args = append(args, programFlags...)
	}
	out, err := run(ns, "", program, args...)
	if err == nil && !strings.Contains(out, want) {
		err = fmt.Errorf("it prints no %q: %s", want, out)
	}
	return err
}

// clusterIP is an IPv4 ClusterIP in a manifest.
var clusterIP = regexp.MustCompile(`clusterIPs?: \[?([0-9.]+)`)

// lists has each version of nft list the ruleset, which must have the ClusterIPs of a file.
// A version that is a link to the root is the guest's own.
func (j *job) lists(ns *testbed.Namespace, what, file string) {
	versions, _ := filepath.Glob("/nft/*")
	for _, root := range versions {
		j.check(fmt.Sprintf("nft %s lists %s", filepath.Base(root), what), list(ns, root, file))
	}
}

func list(ns *testbed.Namespace, root, file string) error {
	manifest, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := run(ns, root, "/usr/sbin/nft", "list", "ruleset")
	if err != nil {
		return err
	}
	for _, m := range clusterIP.FindAllStringSubmatch(string(manifest), -1) {
		if !strings.Contains(out, m[1]) {
			return fmt.Errorf("it lists no %s: %s", m[1], out)
		}
	}
	return nil
}
