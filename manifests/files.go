package manifests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxFile bounds a file's length: ten times what 10 000 Services and 100 000 endpoints
// take. A file that is larger by mistake must not take all memory.
const maxFile = 256 << 20

// file is something to read, or why it can't be.
type file struct {
	name  string
	stdin bool
	// found means that nobody named the file: it is in a directory that was named.
	found bool
	err   error
}

// read reads the file, and gives up when the context ends: a pipe may stay open, and
// a file system may not answer.
func (f file) read(ctx context.Context, stdin io.Reader) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := f.readAll(stdin)
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("read %s: %w", f.name, context.Cause(ctx))
	}
}

func (f file) readAll(stdin io.Reader) ([]byte, error) {
	from := stdin
	if !f.stdin {
		flags := os.O_RDONLY
		if f.found {
			flags |= unix.O_NONBLOCK // or a pipe would be waited for before it is known to be one
		}
		opened, err := os.OpenFile(f.name, flags, 0)
		if err != nil {
			return nil, err // which names the file
		}
		defer func() { _ = opened.Close() }()
		info, err := opened.Stat()
		switch {
		case err != nil:
			return nil, err
		case f.found && !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s: not a regular file: remove it from the directory, or name it itself", f.name)
		case info.Size() > maxFile:
			return nil, tooLong(f.name)
		}
		from = opened
	}
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	switch {
	case err != nil && f.stdin:
		return nil, fmt.Errorf("read standard input: %w", err)
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, tooLong(f.name)
	}
	return text, nil
}

func tooLong(name string) error {
	return fmt.Errorf("%s: longer than %d MiB; nothing in it was read: split it", name, maxFile>>20)
}

// extensions are those of manifests in a directory, as kubectl has them.
var extensions = [...]string{".yaml", ".yml", ".json"}

// isManifest says that a file in a directory is to be read. Hidden ones are what
// editors and archivers put beside it.
func isManifest(name string) bool {
	return slices.Contains(extensions[:], filepath.Ext(name)) && !strings.HasPrefix(filepath.Base(name), ".")
}

// files are what a path stands for.
func files(path string) []file {
	if path == "-" {
		return []file{{name: "standard input", stdin: true}}
	}
	info, err := os.Stat(path)
	if err != nil {
		return []file{{err: fmt.Errorf("%w: name a file, a directory, or - for standard input", err)}}
	}
	if !info.IsDir() {
		return []file{{name: path}}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return []file{{err: err}}
	}
	var list []file
	for _, e := range entries { // sorted by name
		if name := filepath.Join(path, e.Name()); isManifest(name) {
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				continue
			}
			list = append(list, file{name: name, found: true})
		}
	}
	if len(list) == 0 {
		// Taken for no Services, it would take away all that are programmed.
		return []file{{err: fmt.Errorf("%s: there is no *.yaml, *.yml or *.json in this directory", path)}}
	}
	return list
}

// document is one of the documents of a file.
type document struct {
	file string
	// number counts from 1, line is that of its first line in the file.
	number, line int
	text         []byte
	json         bool
	err          error
}

func (d document) place() string {
	return fmt.Sprintf("%s:%d", d.file, d.line)
}

// split cuts a file into its documents. One that begins with a brace may be
// JSON, or YAML written like it.
func split(name string, text []byte) []document {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) {
		// go-yaml reads UTF-16, too, but boundaries are not seen in it.
		d := document{file: name, number: 1, line: 1}
		d.err = fmt.Errorf("%s: not UTF-8; nothing in it was read", d.place())
		return []document{d}
	}
	var docs []document
	for _, d := range splitYAML(name, text) {
		start := bytes.TrimLeft(d.text, " \t\r\n")
		if len(start) == 0 || start[0] != '{' && start[0] != '[' {
			docs = append(docs, d)
			continue
		}
		values := splitJSON(d)
		if len(values) == 1 && values[0].err != nil && filepath.Ext(name) != ".json" {
			values = []document{d}
		}
		docs = append(docs, values...)
	}
	for i := range docs {
		docs[i].number = i + 1
	}
	return docs
}

// splitYAML cuts at lines that begin with three dashes, or that are three dots.
func splitYAML(name string, text []byte) []document {
	var docs []document
	line, first := 1, 1
	var current []byte
	end := func() {
		if len(bytes.TrimSpace(current)) > 0 {
			docs = append(docs, document{file: name, line: first, text: current})
		}
		current = nil
	}
	for rest := text; len(rest) > 0; line++ {
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			n = len(rest)
		}
		cuts, empty := boundary(rest[:n])
		if cuts {
			end()
			first = line
		}
		if empty {
			first = line + 1
		} else {
			if current == nil {
				current = rest[:0]
			}
			current = current[:len(current)+n]
		}
		rest = rest[n:]
	}
	end()
	return docs
}

// boundary says whether a YAML document starts or ends at a line, and whether the
// line holds nothing of one: behind the dashes there may be a comment, or the
// document's first value.
func boundary(line []byte) (cuts, empty bool) {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	if !ok {
		rest, ok = bytes.CutPrefix(line, []byte("..."))
	}
	if !ok || len(rest) > 0 && bytes.IndexByte([]byte(" \t\r\n"), rest[0]) < 0 {
		return false, false
	}
	rest = bytes.TrimSpace(rest)
	return true, len(rest) == 0 || rest[0] == '#'
}

// splitJSON cuts a document where one JSON value ends.
func splitJSON(whole document) []document {
	var docs []document
	text := whole.text
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		// Skip to the value's first byte, which tells its line.
		at := int(decoder.InputOffset())
		for at < len(text) && bytes.IndexByte([]byte(" \t\r\n"), text[at]) >= 0 {
			at++
		}
		lineAt := func(at int) int { return whole.line + bytes.Count(text[:at], []byte("\n")) }
		d := document{file: whole.file, line: lineAt(at), json: true}
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				d.line = lineAt(min(int(syntax.Offset), len(text)))
			}
			d.err = fmt.Errorf("%s: not JSON: %w; nothing from here to the end of the document was read", d.place(), err)
			return append(docs, d)
		}
		d.text = raw
		docs = append(docs, d)
	}
}
