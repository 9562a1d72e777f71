package manifests_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/manifests"
)

// watched is a running Watch.
type watched struct {
	t       *testing.T
	changes chan struct{}
	stop    context.CancelFunc
	ended   chan error
}

func watch(t *testing.T, paths ...string) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w := &watched{t: t, changes: make(chan struct{}, 100), stop: stop, ended: make(chan error, 1)}
	go func() { w.ended <- manifests.Watch(ctx, paths, func() { w.changes <- struct{}{} }, nil, nil) }()
	t.Cleanup(stop)
	w.want("the start")
	return w
}

// want waits for a call, and says how many there are until it is quiet: on a busy
// machine the parts of one change may lie far from each other.
func (w *watched) want(what string) int {
	w.t.Helper()
	select {
	case <-w.changes:
	case err := <-w.ended:
		w.t.Fatalf("%s: Watch ended: %v", what, err)
	case <-time.After(10 * time.Second):
		w.t.Fatalf("%s was not seen", what)
	}
	for n := 1; ; n++ {
		select {
		case <-w.changes:
		case <-time.After(200 * time.Millisecond):
			return n
		}
	}
}

// quiet says that there is no further call.
func (w *watched) quiet(what string) {
	w.t.Helper()
	select {
	case <-w.changes:
		w.t.Errorf("%s: one call too many", what)
	case <-time.After(200 * time.Millisecond):
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestWatchFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(write(t, map[string]string{"a.yaml": service("a")}), "a.yaml")
	w := watch(t, name)
	put(t, name, service("b"))
	w.want("a change")
	// Editors write another file and give it the name.
	next := name + ".new"
	put(t, next, service("c"))
	rename(t, next, name)
	w.want("another file of the name")
	put(t, name, service("d"))
	w.want("a change in that one")
	remove(t, name)
	w.want("the end of the file")
	put(t, name, service("e"))
	w.want("the file made again")
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	w.quiet("another mode")
}

// A file that is not there yet is one that will be.
func TestWatchFileThatIsToCome(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "a.yaml")
	w := watch(t, name)
	put(t, name, service("a"))
	w.want("the file")
}

// The kubelet swaps the symlink ..data when a ConfigMap changes; the file's own
// symlink, and so its name, stays.
func TestWatchConfigMapVolume(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "a.yaml"} {
		dir := write(t, map[string]string{"..1/a.yaml": service("a"), "..2/a.yaml": service("b")})
		symlink(t, "..1", filepath.Join(dir, "..data"))
		symlink(t, filepath.Join("..data", "a.yaml"), filepath.Join(dir, "a.yaml"))
		path = filepath.Join(dir, path)
		w := watch(t, path)
		symlink(t, "..2", filepath.Join(dir, "..data_tmp"))
		rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
		w.want("the swap under " + path)
		want(t, path, contents(manifests.Read(t.Context(), []string{path}, nil)), "service default/b\n")
	}
}

func TestWatchDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := watch(t, dir)
	put(t, filepath.Join(dir, "a.yaml"), service("a"))
	w.want("a new file")
	put(t, filepath.Join(dir, "a.yaml"), service("b"))
	w.want("a change in it")
	remove(t, filepath.Join(dir, "a.yaml"))
	w.want("its end")
}

func TestWatchTakesABurstForOneChange(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	w := watch(t, one, two)
	for i := range 100 {
		put(t, filepath.Join(one, fmt.Sprintf("%d.yaml", i)), service("a"))
		put(t, filepath.Join(two, fmt.Sprintf("%d.yaml", i)), service("b"))
	}
	if n := w.want("a burst"); n > 10 {
		t.Errorf("%d calls for 200 changes", n)
	}
}

// What is written all the time must be read at some time.
func TestWatchDoesNotWaitForStillnessForEver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := watch(t, dir)
	deadline := time.After(10 * time.Second)
	for i := 0; ; i++ {
		put(t, filepath.Join(dir, "a.yaml"), strings.Repeat("#", i%10))
		select {
		case <-w.changes:
			return
		case <-deadline:
			t.Fatal("no change was seen for all the changes")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// What others write beside the files is no change of them, and does not keep one
// from being seen.
func TestWatchIsNotDisturbedByOthers(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"a.yaml": service("a")})
	directory, file := watch(t, dir), watch(t, filepath.Join(dir, "a.yaml"))
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			for _, name := range []string{"log", ".a.yaml.swp", "a.yaml~", "b.json.tmp"} {
				_ = os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("x", i%10)), 0o644)
			}
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	directory.quiet("a log in a directory")
	file.quiet("a log beside a file")
	put(t, filepath.Join(dir, "a.yaml"), service("b"))
	directory.want("a change in a directory with a log")
	file.want("a change beside a log")
	put(t, filepath.Join(dir, "c.yaml"), service("c"))
	directory.want("another manifest in the directory")
	file.quiet("another manifest beside the file")
	close(done)
	<-ended
}

// A directory may be made anew, as when it is checked out again.
func TestWatchDirectoryThatIsReplaced(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(write(t, map[string]string{"services/a.yaml": service("a"), "services.new/a.yaml": service("b")}), "services")
	w := watch(t, dir+"/")
	rename(t, dir, dir+".old")
	w.want("the end of the directory")
	rename(t, dir+".new", dir)
	w.want("another one")
	put(t, filepath.Join(dir, "b.yaml"), service("b"))
	w.want("a file in it")
	put(t, filepath.Join(dir+".old", "b.yaml"), service("b"))
	w.quiet("a file in the old one")
}

// A link may say which of several directories counts.
func TestWatchLinkedDirectory(t *testing.T) {
	t.Parallel()
	above := write(t, map[string]string{"1/a.yaml": service("a"), "2/a.yaml": service("b")})
	link := filepath.Join(above, "current")
	symlink(t, "1", link)
	w := watch(t, link)
	put(t, filepath.Join(above, "1", "b.yaml"), service("b"))
	w.want("a file in the first")
	symlink(t, "2", link+".new")
	rename(t, link+".new", link)
	w.want("another directory")
	put(t, filepath.Join(above, "2", "b.yaml"), service("b"))
	w.want("a file in that one")
}

// Paths are recognized however they are written.
func TestWatchPathsAsTheyAreWritten(t *testing.T) {
	for _, paths := range [][]string{{"."}, {"a.yaml"}, {"./a.yaml"}, {"sub/../a.yaml"}, {"sub", "a.yaml"}} {
		t.Chdir(write(t, map[string]string{"a.yaml": service("a"), "sub/b.yaml": service("b")}))
		w := watch(t, paths...)
		put(t, "a.yaml", service("b"))
		w.want("a change under " + strings.Join(paths, " and "))
		w.stop()
	}
}

func TestWatchThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]string{
		"-":                                  "standard input can't be watched: name files or directories",
		filepath.Join(dir, "none", "a.yaml"): "watch " + dir + "/none: no such file or directory",
	} {
		err := manifests.Watch(t.Context(), []string{dir, path}, func() { t.Errorf("%s is watched", path) }, nil, nil)
		if err == nil || err.Error() != want {
			t.Errorf("the error of %s is %v, want %s", path, err, want)
		}
	}
}

// It does not run beside others, so as to count all goroutines there are.
func TestWatchEndsWithItsContext(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		w := watch(t, t.TempDir())
		w.stop()
		select {
		case err := <-w.ended:
			if err != nil {
				t.Errorf("Watch ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Watch goes on after its context")
		}
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	}
}
