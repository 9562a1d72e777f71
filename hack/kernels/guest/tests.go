package main

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// compiledTests runs a package's tests: of the argument "nft/kernel:TestA|TestB", those.
func compiledTests(j *job, argument string) error {
	dir, pattern, _ := strings.Cut(argument, ":")
	j.name = "tests=" + dir
	cmd := exec.Command("/tests/"+strings.ReplaceAll(dir, "/", "-"), "-test.v", "-test.timeout=40m", "-test.run="+pattern)
	cmd.Dir = filepath.Join("/src", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	n := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		fmt.Println(line)
		for prefix, failure := range map[string]error{"--- PASS: ": nil, "--- FAIL: ": errors.New("see the log"), "--- SKIP: ": errors.New("it is skipped")} {
			if name, ok := strings.CutPrefix(line, prefix); ok {
				n++
				name, _, _ = strings.Cut(name, " ")
				j.check(name, failure)
			}
		}
	}
	err = errors.Join(lines.Err(), cmd.Wait())
	if n == 0 {
		err = errors.Join(err, errors.New("no test ran"))
	}
	if err != nil {
		j.check("ends well", err)
	}
	return nil
}
