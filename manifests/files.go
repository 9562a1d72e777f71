package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// file is something to read, or why it can't be.
type file struct {
	name  string
	stdin bool
	err   error
}

func (f file) read(stdin io.Reader) ([]byte, error) {
	if f.stdin {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return text, nil
	}
	return os.ReadFile(f.name) // the error names the file
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
			list = append(list, file{name: name})
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
	start := bytes.TrimLeft(text, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return splitYAML(name, text)
	}
	docs := splitJSON(name, text)
	if last := docs[len(docs)-1]; last.err != nil && filepath.Ext(name) != ".json" {
		if other := splitYAML(name, text); len(docs) == 1 || len(other) > 1 {
			return other
		}
	}
	return docs
}

// splitYAML cuts at lines that begin with three dashes, or that are three dots.
func splitYAML(name string, text []byte) []document {
	var docs []document
	line, first, number := 1, 1, 0
	var current []byte
	end := func() {
		if len(bytes.TrimSpace(current)) > 0 {
			number++
			docs = append(docs, document{file: name, number: number, line: first, text: current})
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

// splitJSON cuts where one value ends.
func splitJSON(name string, text []byte) []document {
	var docs []document
	decoder := json.NewDecoder(bytes.NewReader(text))
	for number := 1; ; number++ {
		// Skip to the value's first byte, which tells its line.
		at := int(decoder.InputOffset())
		for at < len(text) && bytes.IndexByte([]byte(" \t\r\n"), text[at]) >= 0 {
			at++
		}
		d := document{file: name, number: number, line: 1 + bytes.Count(text[:at], []byte("\n")), json: true}
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				d.line = 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
			}
			d.err = fmt.Errorf("%s: not JSON: %w; nothing from here on was read", d.place(), err)
			return append(docs, d)
		}
		d.text = raw
		docs = append(docs, d)
	}
}
