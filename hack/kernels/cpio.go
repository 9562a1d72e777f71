package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// cpioWriter writes an archive that the kernel unpacks as its first root file system: the
// format "newc" of Documentation/driver-api/early-userspace/buffer-format.rst. Archives
// may follow each other in one file.
type cpioWriter struct {
	w     io.Writer
	made  map[string]bool
	inode int
}

func newCPIO(w io.Writer) *cpioWriter { return &cpioWriter{w: w, made: map[string]bool{}} }

// entry writes one file, with the directories above it.
func (c *cpioWriter) entry(name string, mode uint32, size int64, body io.Reader) error {
	name = strings.TrimPrefix(filepath.Clean(name), "/")
	if c.made[name] || name == "." {
		return nil
	}
	if err := c.dir(filepath.Dir(name)); err != nil {
		return err
	}
	c.made[name] = true
	c.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if err := c.padded(strings.NewReader(header), int64(len(header))); err != nil {
		return err
	}
	return c.padded(body, size)
}

// padded copies n bytes, and zeros up to a multiple of four.
func (c *cpioWriter) padded(r io.Reader, n int64) error {
	if n == 0 {
		return nil
	}
	if _, err := io.CopyN(c.w, r, n); err != nil {
		return err
	}
	_, err := c.w.Write(make([]byte, -n&3))
	return err
}

// Modes, as stat(2) has them.
const (
	modeDir  = 0o040755
	modeLink = 0o120777
	modeFile = 0o100000
)

func (c *cpioWriter) dir(name string) error { return c.entry(name, modeDir, 0, nil) }

func (c *cpioWriter) link(name, to string) error {
	return c.entry(name, modeLink, int64(len(to)), strings.NewReader(to))
}

func (c *cpioWriter) text(name, text string) error {
	return c.entry(name, modeFile|0o644, int64(len(text)), strings.NewReader(text))
}

// file takes a file of the machine.
func (c *cpioWriter) file(name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return c.entry(name, modeFile|uint32(info.Mode().Perm()), info.Size(), f)
}

// tree takes a directory's files and links for which keep is true.
func (c *cpioWriter) tree(name, from string, keep func(rel string) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || d.IsDir() || !keep(rel) {
			return err
		}
		to := filepath.Join(name, rel)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return c.link(to, target)
		}
		return c.file(to, path)
	})
}

// close ends the archive.
func (c *cpioWriter) close() error {
	c.made = map[string]bool{}
	return c.entry("TRAILER!!!", 0, 0, nil)
}
