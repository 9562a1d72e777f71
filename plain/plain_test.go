package plain

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"

	"io"
)

var texts = []struct{ from, to string }{
	{"", ""},
	{"ns/web:http 10.96.0.1", "ns/web:http 10.96.0.1"},
	{"Zürich — 東京 ✓", "Zürich — 東京 ✓"},
	{"\x1b[2Jgone", `\u001b[2Jgone`},
	{"title\x1b]0;owned\x07", `title\u001b]0;owned\u0007`},
	{"one\rtwo\b\x00\x7f", `one\u000dtwo\u0008\u0000\u007f`},
	{"\u009b31m", `\u009b31m`},
	{"\x9b31m", `\u009b31m`}, // no UTF-8, but 8-bit terminals take it
	{"caf\xe9", "caf\xe9"},
	{"admin\u202etxt.exe\u2066", `admin\u202etxt.exe\u2066`},
	{"\xe2\x82", "\xe2" + `\u0082`},
}

func TestText(t *testing.T) {
	for _, tc := range append(texts, struct{ from, to string }{"a\nb\tc", `a\u000ab\u0009c`}) {
		if got := Text(tc.from); got != tc.to {
			t.Errorf("%q becomes %q, want %q", tc.from, got, tc.to)
		}
	}
}

// A Writer gives the same however the text comes, and leaves lines alone.
func TestWriter(t *testing.T) {
	for _, tc := range texts {
		from, to := "\t"+tc.from+"\n", "\t"+tc.to+"\n"
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(from), "byte by byte": iotest.OneByteReader(strings.NewReader(from))} {
			var b strings.Builder
			w := NewWriter(NewWriter(&b))
			for buf := make([]byte, 99); ; {
				n, err := r.Read(buf)
				if err != nil {
					break
				}
				if m, err := w.Write(buf[:n]); m != n || err != nil {
					t.Fatalf("wrote %d of %d, %v", m, n, err)
				}
			}
			if b.String() != to {
				t.Errorf("%q %s becomes %q, want %q", from, name, b.String(), to)
			}
		}
	}
}

// JSON is read as what it was.
func TestJSONStaysJSON(t *testing.T) {
	text, err := json.Marshal("a\u009b\u202e\x7f\x1b")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if _, err := NewWriter(&b).Write(text); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back != "a\u009b\u202e\x7f\x1b" {
		t.Errorf("%s is read as %q, %v", b.String(), back, err)
	}
}
