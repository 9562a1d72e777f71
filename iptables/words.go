package iptables

// word is one argument of a line, at line[start:end]. A text between quotes is
// without them.
type word struct {
	text       string
	start, end int
	quoted     bool
}

// split appends the words of a line, as iptables-restore takes it apart: at
// blanks, but for those between double quotes, where a backslash takes away the
// next character's meaning.
func split(to []word, line string) []word {
	for i := 0; i < len(line); {
		if blank(line[i]) {
			i++
			continue
		}
		w := word{start: i}
		for i < len(line) && !blank(line[i]) && line[i] != '"' {
			i++
		}
		w.text = line[w.start:i]
		if i < len(line) && line[i] == '"' {
			w.quoted = true
			w.text, i = unquote(line, w.start, i)
		}
		w.end = i
		to = append(to, w)
	}
	return to
}

// unquote gives the word that starts at start and has its first quote at i, and
// where it ends.
func unquote(line string, start, i int) (string, int) {
	// Most texts have no escapes and end with their quote.
	for j := i + 1; start == i && j < len(line) && line[j] != '\\'; j++ {
		if line[j] == '"' && (j+1 == len(line) || blank(line[j+1])) {
			return line[i+1 : j], j + 1
		}
	}
	var b []byte
	open := false
	for i = start; i < len(line) && (open || !blank(line[i])); i++ {
		switch c := line[i]; {
		case c == '"':
			open = !open
		case c == '\\' && open && i+1 < len(line):
			i++
			b = append(b, line[i])
		default:
			b = append(b, c)
		}
	}
	return string(b), i
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' }
