package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the modules that a node may load for Service traffic, by their places.
var wanted = []string{
	"net/netfilter/", "net/ipv4/", "net/ipv6/", "net/bridge/", "net/core/", "net/llc/", "net/802/", "net/sched/",
	"net/sctp/", "lib/", "crypto/", "drivers/net/veth.ko", "drivers/net/dummy.ko",
}

// unpackKernel makes the directory dir of a kernel's packages: vmlinuz, and modules.cpio
// with the modules and what hack/kernels/modprobe reads. One that is there is complete.
func unpackKernel(dir string, packages []string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp := dir + ".new"
	if err := extract(tmp+"/files", packages); err != nil {
		return err
	}
	image, err := find(tmp+"/files", "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz", "boot/vmlinux-*")
	if err != nil {
		return err
	}
	if err := os.Rename(image, tmp+"/vmlinuz"); err != nil {
		return err
	}
	modules, err := find(tmp+"/files", "lib/modules/*/kernel", "usr/lib/modules/*/kernel")
	if err != nil {
		return err
	}
	if err := packModules(tmp+"/modules.cpio", modules); err != nil {
		return fmt.Errorf("modules of %s: %w", filepath.Base(packages[0]), err)
	}
	if err := os.RemoveAll(tmp + "/files"); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// unpackRoot makes a directory of packages' files.
func unpackRoot(dir string, packages []string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := extract(dir+".new", packages); err != nil {
		return err
	}
	return os.Rename(dir+".new", dir)
}

func extract(dir string, packages []string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range packages {
		if out, err := exec.Command("dpkg-deb", "-x", file, dir).CombinedOutput(); err != nil {
			return fmt.Errorf("unpacking %s: %w: %s", file, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

func find(dir string, patterns ...string) (string, error) {
	for _, p := range patterns {
		if list, _ := filepath.Glob(filepath.Join(dir, p)); len(list) > 0 {
			return list[0], nil
		}
	}
	return "", fmt.Errorf("the packages have none of %s", strings.Join(patterns, ", "))
}

// packModules puts the wanted modules of a directory into an archive, uncompressed, and an
// index of them: for each its path, its name, what it needs and what else it is called.
func packModules(archive, dir string) error {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err == nil && !d.IsDir() && strings.Contains(rel, ".ko") &&
			slices.ContainsFunc(wanted, func(w string) bool { return strings.HasPrefix(rel, w) }) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	if files, err = decompress(files); err != nil {
		return err
	}
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	w := bufio.NewWriterSize(f, 1<<20)
	c := newCPIO(w)
	var index strings.Builder
	for _, path := range files {
		rel, _ := filepath.Rel(dir, path)
		info, err := modinfo(path)
		if err == nil {
			err = c.file("modules/"+rel, path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(rel), ".ko"), "-", "_")
		fmt.Fprintf(&index, "/modules/%s\t%s\t%s\t%s\n", rel, name, strings.Join(info["depends"], ","), strings.Join(info["alias"], " "))
	}
	return errors.Join(c.text("modules/index", index.String()), c.close(), w.Flush())
}

// decompress makes module.ko of module.ko.xz and the like.
func decompress(files []string) ([]string, error) {
	programs := map[string][]string{".xz": {"xz", "-dq"}, ".zst": {"zstd", "-dq", "--rm"}, ".gz": {"gzip", "-dq"}}
	packed := map[string][]string{}
	for i, path := range files {
		if ext := filepath.Ext(path); ext != ".ko" {
			packed[ext] = append(packed[ext], path)
			files[i] = strings.TrimSuffix(path, ext)
		}
	}
	for ext, list := range packed {
		program, ok := programs[ext]
		if !ok {
			return nil, fmt.Errorf("%s has a compression that is not known here", list[0])
		}
		if out, err := exec.Command(program[0], append(program[1:], list...)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", program[0], err, bytes.TrimSpace(out))
		}
	}
	return files, nil
}

// modinfo is what a module tells of itself.
func modinfo(path string) (map[string][]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it has no section .modinfo")
	}
	data, err := section.Data()
	info := map[string][]string{}
	for word := range strings.SplitSeq(string(data), "\x00") {
		if key, value, ok := strings.Cut(word, "="); ok && value != "" {
			info[key] = append(info[key], value)
		}
	}
	return info, err
}
