package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// archive is one suite of Debian for one architecture, with an apt configuration of its
// own: the machine's packages, sources and lists are not touched.
type archive struct {
	suite, arch string
	dir         string
}

// mirror is where the machine's own apt gets Debian from.
func mirror() (string, error) {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(SUITE) $(COMPONENT)").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for its mirror: %w (is this Debian? else name one with -mirror)", err)
	}
	for line := range strings.Lines(string(out)) {
		// Security updates and the like have a dash in their suite, and often another place.
		if f := strings.Fields(line); len(f) == 3 && !strings.Contains(f[1], "-") && f[2] == "main" {
			return f[0], nil
		}
	}
	return "", errors.New("apt has no Debian mirror with the component main: name one with -mirror")
}

// openArchive makes the configuration and brings the lists of packages up to date.
func openArchive(cache, mirror, suite, arch string) (*archive, error) {
	a := &archive{suite: suite, arch: arch, dir: filepath.Join(cache, "apt", suite+"-"+arch)}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "packages"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"status":           "",
		"etc/sources.list": fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, mirror, suite),
		"apt.conf": fmt.Sprintf(`Dir %q; Dir::Etc %q; Dir::State %q; Dir::State::status %q; Dir::Cache %q;
APT::Architecture %q; APT::Architectures { %q; }; Acquire::Languages "none"; Acquire::Retries "3"; APT::Sandbox::User "root";
`, a.dir, a.dir+"/etc", a.dir+"/state", a.dir+"/status", a.dir+"/cache", arch, arch),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := a.run("apt-get", "-qq", "update"); err != nil {
		return nil, fmt.Errorf("suite %s for %s: %w", suite, arch, err)
	}
	return a, nil
}

// run runs one of apt's programs in the directory of downloaded packages.
func (a *archive) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = filepath.Join(a.dir, "packages")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.dir+"/apt.conf", "LC_ALL=C")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaints.String()))
	}
	// apt-get update ends well when it could not reach the mirror, and warns.
	if text := complaints.String(); strings.Contains(text, "W: Failed to fetch") {
		say("%s", strings.TrimSpace(text))
	}
	return out.String(), nil
}

// kernel is the newest kernel of a series that the suite has, by the name of its package.
func (a *archive) kernel(series, flavour string) (string, error) {
	names, err := a.run("apt-cache", "pkgnames", "linux-image-")
	if err != nil {
		return "", err
	}
	best := newestKernel(strings.Fields(names), series, flavour)
	if best == "" {
		return "", fmt.Errorf("suite %s serves no kernel %s for %s (any more?): see hack/kernels/catalogue.go", a.suite, series, a.arch)
	}
	return best, nil
}

// newestKernel picks of packages' names the newest of a series.
func newestKernel(names []string, series, flavour string) (best string) {
	version := regexp.MustCompile(`^linux-image-([0-9]+\.[0-9]+)\.[0-9]+(-[0-9]+|\+deb[0-9.]+)-` + regexp.QuoteMeta(flavour) + `$`)
	for _, name := range names {
		m := version.FindStringSubmatch(name)
		if m == nil || series != newest && m[1] != series {
			continue
		}
		if best == "" || slices.Compare(numbers(name), numbers(best)) > 0 {
			best = name
		}
	}
	return best
}

var digits = regexp.MustCompile(`[0-9]+`)

// numbers are those of a version, which are what its order goes by.
func numbers(version string) (list []int) {
	for _, d := range digits.FindAllString(version, -1) {
		n, _ := strconv.Atoi(d) // digits, and few
		list = append(list, n)
	}
	return list
}

// parts are the packages that a kernel consists of: from 7.0 on, its image and modules are
// in packages of their own that the first depends on.
func (a *archive) parts(image string) ([]string, error) {
	out, err := a.run("apt-cache", "depends", "--important", image)
	if err != nil {
		return nil, err
	}
	list := []string{image}
	for _, word := range strings.Fields(out) {
		if strings.HasPrefix(word, "linux-binary-") || strings.HasPrefix(word, "linux-modules-") {
			list = append(list, word)
		}
	}
	return list, nil
}

// fetch downloads what of these packages is not there yet, and gives their files.
func (a *archive) fetch(packages ...string) (files []string, err error) {
	shown, err := a.run("apt-cache", append([]string{"show", "--no-all-versions"}, packages...)...)
	if err != nil {
		return nil, fmt.Errorf("suite %s for %s: %w", a.suite, a.arch, err)
	}
	var missing []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(shown), "\n\n") {
		file := filepath.Join(a.dir, "packages", fileName(paragraph))
		files = append(files, file)
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, field(paragraph, "Package"))
		}
	}
	if len(missing) == 0 {
		return files, nil
	}
	if len(missing) < 4 {
		say("downloading %s ...", strings.Join(missing, ", "))
	} else {
		say("downloading %s and %d others of %s ...", missing[0], len(missing)-1, a.suite)
	}
	if _, err := a.run("apt-get", append([]string{"-qq", "download"}, missing...)...); err != nil {
		return nil, fmt.Errorf("suite %s for %s: %w", a.suite, a.arch, err)
	}
	return files, nil
}

// fileName is what apt-get calls the file of a package that apt-cache shows.
func fileName(paragraph string) string {
	version := strings.ReplaceAll(field(paragraph, "Version"), ":", "%3a")
	return field(paragraph, "Package") + "_" + version + "_" + field(paragraph, "Architecture") + ".deb"
}

func field(paragraph, name string) string {
	for line := range strings.Lines(paragraph) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
