package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// program is kube-verdict under another name: testscript makes a command of it that
// would run in the machine's own namespace.
const program = "kube-verdict-program"

// programVariable makes the test binary kube-verdict, under any name.
const programVariable = "KUBE_VERDICT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){
		program: func() { os.Exit(Main(os.Args[1:])) },
	})
}

type namespaceKey struct{}

// Each script is a story about the command line, told in a network namespace
// of its own. Besides testscript's own commands there are:
//
//	[!] kube-verdict ARGS...   the program, in the namespace
//	[!] nobody ARGS...         the same without any right
//	[!] nft ARGS...            stock nft, in the namespace
//	[!] in-namespace ARGS...   any other program, in the namespace
//	status N ARGS...           kube-verdict, which has to end with this exit status
//	generation NAME            the number of commits so far, into variable NAME
func TestScripts(t *testing.T) {
	testbed.Need(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		// UPDATE=true writes what is printed where a script compares it with a file.
		UpdateScripts: os.Getenv("UPDATE") == "true",
		Setup: func(env *testscript.Env) error {
			ns, err := testbed.NewNamespace()
			if err != nil {
				return err
			}
			env.Defer(ns.Close)
			env.Values[namespaceKey{}] = ns
			env.Setenv("NODE_NAME", "node-a")
			root, err := filepath.Abs("..")
			if err != nil {
				return err
			}
			env.Setenv("ROOT", root)
			// Who runs without rights has to reach the files all the same.
			return errors.Join(os.Chmod(filepath.Dir(env.WorkDir), 0o755), os.Chmod(env.WorkDir, 0o755))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kube-verdict": func(ts *testscript.TestScript, neg bool, args []string) {
				inside(ts, neg, nil, program, args)
			},
			"nobody": func(ts *testscript.TestScript, neg bool, args []string) {
				inside(ts, neg, &syscall.Credential{Uid: 65534, Gid: 65534}, program, args)
			},
			"nft": func(ts *testscript.TestScript, neg bool, args []string) {
				inside(ts, neg, nil, "nft", args)
			},
			"in-namespace": func(ts *testscript.TestScript, neg bool, args []string) {
				inside(ts, neg, nil, args[0], args[1:])
			},
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				var exit *exec.ExitError
				got := 0
				if err := run(ts, nil, program, args[1:]); errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if strconv.Itoa(got) != args[0] {
					ts.Fatalf("exit status %d, want %s", got, args[0])
				}
			},
			"generation": func(ts *testscript.TestScript, _ bool, args []string) {
				conn, err := kernel.Open(namespace(ts).Fd())
				ts.Check(err)
				defer func() { _ = conn.Close() }()
				generation, err := conn.Generation()
				ts.Check(err)
				ts.Setenv(args[0], strconv.Itoa(int(generation)))
			},
		},
	})
}

func namespace(ts *testscript.TestScript) *testbed.Namespace {
	ns, _ := ts.Value(namespaceKey{}).(*testbed.Namespace)
	return ns
}

// inside runs a program in the script's namespace, which has to succeed, or not to.
func inside(ts *testscript.TestScript, neg bool, as *syscall.Credential, name string, args []string) {
	err := run(ts, as, name, args)
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		ts.Fatalf("%v", err)
	case neg && err == nil:
		ts.Fatalf("succeeded, but should fail")
	case !neg && err != nil:
		ts.Fatalf("%v", err)
	}
}

// run runs a program in the script's namespace.
func run(ts *testscript.TestScript, as *syscall.Credential, name string, args []string) error {
	path, err := exec.LookPath(name)
	ts.Check(err)
	if as != nil {
		path = readable(ts, path)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "NODE_NAME="+ts.Getenv("NODE_NAME"), "HOME="+ts.Getenv("HOME"), "KUBECONFIG="+ts.Getenv("KUBECONFIG"))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if in, err := os.Open(ts.MkAbs("stdin")); err == nil {
		defer func() { _ = in.Close() }()
		cmd.Stdin = in
	}
	return namespace(ts).Do(cmd.Run)
}

// readable is a copy of a program where anyone may run it.
func readable(ts *testscript.TestScript, path string) string {
	dir, err := os.MkdirTemp("", "kube-verdict-test-")
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	ts.Check(os.Chmod(dir, 0o755))
	to := filepath.Join(dir, filepath.Base(path))
	// Not by ourselves: what another script starts meanwhile would inherit the open
	// file, and a program that is open for writing can't be run.
	ts.Check(exec.Command("install", "-m", "755", path, to).Run())
	return to
}
