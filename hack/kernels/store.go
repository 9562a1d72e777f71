package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

// store has what is downloaded and unpacked, in the user's cache directory.
type store struct {
	cache, mirror string
	platform      platform
	archives      map[string]*archive // by suite
}

func (s *store) archive(suite string) (*archive, error) {
	if a := s.archives[suite]; a != nil {
		return a, nil
	}
	a, err := openArchive(s.cache, s.mirror, suite, s.platform.debian)
	if err == nil {
		s.archives[suite] = a
	}
	return a, err
}

// kernel is one that can be booted.
type kernel struct {
	series, release string
	dir             string
}

func (s *store) kernel(series string) (k kernel, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("kernel %s cannot be had: %w", series, err)
		}
	}()
	a, err := s.archive(suiteOf(series))
	if err != nil {
		return k, err
	}
	image, err := a.kernel(series, s.platform.flavour)
	if err != nil {
		return k, err
	}
	parts, err := a.parts(image)
	if err != nil {
		return k, err
	}
	files, err := a.fetch(parts...)
	if err != nil {
		return k, err
	}
	k = kernel{series: series, release: strings.TrimPrefix(image, "linux-image-"), dir: filepath.Join(s.cache, strings.TrimSuffix(named(files, image), ".deb"))}
	return k, unpackKernel(k.dir, files)
}

// named is the file of one package among many, without its directory.
func named(files []string, pkg string) string {
	for _, f := range files {
		if base := filepath.Base(f); strings.HasPrefix(base, pkg+"_") {
			return base
		}
	}
	return ""
}

// nft is a directory with a version of nft.
func (s *store) nft(version, suite string) (string, error) {
	a, err := s.archive(suite)
	if err != nil {
		return "", fmt.Errorf("nft %s cannot be had: %w", version, err)
	}
	files, err := a.fetch(nftPackages...)
	if err != nil {
		return "", fmt.Errorf("nft %s cannot be had: %w", version, err)
	}
	if got := named(files, "nftables"); !strings.HasPrefix(got, "nftables_"+version) {
		return "", fmt.Errorf("nft %s cannot be had: Debian's %s has %s", version, suite, got)
	}
	dir := filepath.Join(s.cache, "nft-"+version+"-"+s.platform.debian)
	return dir, unpackRoot(dir, files)
}

// base writes the files that all kernels get, and gives the archive's name.
func (s *store) base(boots []boot) (name string, err error) {
	say("building the programs ...")
	bin, err := os.MkdirTemp("", "kube-verdict-kernels-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(bin) }()
	f, err := os.CreateTemp("", "kube-verdict-kernels-*.cpio")
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	c := newCPIO(w)
	err = errors.Join(s.programs(c, bin, boots), s.listers(c), sources(c), c.close(), w.Flush(), f.Close())
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return f.Name(), err
}

// programs builds what the guest runs.
func (s *store) programs(c *cpioWriter, bin string, boots []boot) error {
	builds := [][]string{
		{"init", "build", "./hack/kernels/guest"},
		{"sbin/modprobe", "build", "./hack/kernels/modprobe"},
		{"kube-verdict", "build", "."},
	}
	for _, dir := range testedPackages(boots) {
		builds = append(builds, []string{"tests/" + strings.ReplaceAll(dir, "/", "-"), "test", "./" + dir})
	}
	for _, b := range builds {
		out := filepath.Join(bin, filepath.Base(b[0]))
		args := []string{b[1], "-trimpath", "-ldflags", "-s -w", "-o", out}
		if b[1] == "test" {
			args = append(args, "-c")
		}
		cmd := exec.Command("go", append(args, b[2])...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+s.platform.goarch)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", b[2], err, text)
		}
		if err := c.file(b[0], out); err != nil {
			return err
		}
	}
	if !slices.Contains(testedPackages(boots), "e2e") {
		return nil
	}
	return controlPlane(c)
}

// controlPlane puts the programs of a control plane in.
func controlPlane(c *cpioWriter) error {
	names := []string{"etcd", "kube-apiserver", "kube-controller-manager"}
	build := exec.Command("hack/tools.sh", names...)
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("hack/tools.sh: %w", err)
	}
	for _, name := range names {
		path, err := testbed.Tool(name)
		if err == nil {
			err = c.file("tools/"+name, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listers puts the versions of nft in: one is the guest's own, the others have roots of
// their own with their libraries.
func (s *store) listers(c *cpioWriter) error {
	program := func(rel string) bool {
		for _, top := range []string{"usr/sbin/", "sbin/", "usr/lib", "lib"} {
			if strings.HasPrefix(rel, top) {
				return !strings.Contains(rel, "/gconv/") && !strings.Contains(rel, "/audit/")
			}
		}
		return false
	}
	for _, l := range listers {
		dir, err := s.nft(l.version, l.suite)
		if err != nil {
			return err
		}
		root := "nft/" + l.version
		if l.version == testsNft {
			if err := c.link(root, "/"); err != nil {
				return err
			}
			root = "/"
		}
		if err := c.tree(root, dir, program); err != nil {
			return fmt.Errorf("nft %s: %w", l.version, err)
		}
		// Releases differ in whether these are directories.
		for _, link := range []string{"lib", "lib64", "sbin"} {
			if err := c.link(filepath.Join(root, link), "usr/"+link); err != nil {
				return err
			}
		}
	}
	return nil
}

// sources puts what tests read of the source tree in.
func sources(c *cpioWriter) error {
	out, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		if strings.HasSuffix(file, ".go") && !strings.Contains(file, "/testdata/") {
			err = c.dir("src/" + filepath.Dir(file))
		} else {
			err = c.file("src/"+file, file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
