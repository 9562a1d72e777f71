// Package plain keeps text that others wrote from doing anything to a terminal. Object
// names, comments of rules and what is wrong in a manifest are all shown to people.
package plain

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a text on one line, with its control characters and those that turn the
// direction of writing as \u001b and the like, which JSON and YAML read as well.
func Text(s string) string {
	if !strings.ContainsFunc(s, acts) && utf8.ValidString(s) {
		return s
	}
	var b []byte
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		b = appendRune(b, r, s[:n])
		s = s[n:]
	}
	return string(b)
}

// acts reports whether a terminal may do something other than show the character.
func acts(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// appendRune appends a character that is encoded so, escaped if it acts. Of bytes that
// are no UTF-8, some terminals take 80 to 9f for control characters.
func appendRune[T string | []byte](b []byte, r rune, encoded T) []byte {
	if r == utf8.RuneError && len(encoded) == 1 {
		r = rune(encoded[0])
	}
	if acts(r) {
		return fmt.Appendf(b, `\u%04x`, r)
	}
	return append(b, encoded...)
}

// Writer passes text on as Text makes it, with its lines and tabs. It keeps a character
// that is not complete until the rest comes.
type Writer struct {
	to   io.Writer
	rest []byte
}

// NewWriter makes a Writer, unless to is one.
func NewWriter(to io.Writer) *Writer {
	if w, ok := to.(*Writer); ok {
		return w
	}
	return &Writer{to: to}
}

func (w *Writer) Write(p []byte) (int, error) {
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
		w.rest = nil
	}
	if harmless(text) {
		_, err := w.to.Write(text)
		return len(p), err
	}
	out := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 && !utf8.FullRune(text) {
			w.rest = append(w.rest, text...)
			break
		}
		if r == '\n' || r == '\t' {
			out = append(out, text[0])
		} else {
			out = appendRune(out, r, text[:n])
		}
		text = text[n:]
	}
	_, err := w.to.Write(out)
	return len(p), err
}

// harmless reports whether a text is nothing but lines of ASCII, as most are.
func harmless(text []byte) bool {
	for _, c := range text {
		if c < ' ' && c != '\n' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}
