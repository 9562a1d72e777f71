package iptables

import (
	"html"
	"regexp"
	"strings"
)

// What stands in front of a line that was pasted: quoting, bullets, the numbers of
// "cat -n" and "grep -n", the name of a file, or what a log puts before each line.
var (
	quoting = regexp.MustCompile(`^(?:[>|\s]|//|[-*+]\s|\d+[:.)|-](?:\s|\b|$)?|\d+\s|[\w./-]+\.\w+[:-](?:\d+[:-])?)*`)
	logged  = regexp.MustCompile(`^(?:\w{3} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d|[IWEF]\d{4} \d\d:\d\d:\d\d).*?[]:"]\s+`)
	command = regexp.MustCompile(`^(?:.*?[#$>%]\s*)?(?:sudo\s+)?(?:\S*/)?ip6?tables(?:-legacy|-nft)?(?:\s+(?:-w|--wait)(?:\s+\d+)?|\s+(?:-t|--table)\s+\w+)*\s+((?:-A|--append|-N|-P)\s.*)$`)
	// shape is what lines of iptables-save and of iptables -S begin with.
	shape = regexp.MustCompile(`^(?:(?:\[\d+:\d+\]\s+)?(?:-A|--append)\s+\S|-[NP]\s+\S|\*\w+$|:\S+\s+\S|COMMIT$|# (?:Generated|Completed|Warning|Table) )`)
	// behind is a rule somewhere in a line.
	behind   = regexp.MustCompile(`(?:-A|--append)\s+\S+\s.*-[jg]\s`)
	coloured = regexp.MustCompile("\x1b\\[[0-9;]*[mK]")
	// next is where the option after a comment begins.
	next   = regexp.MustCompile(`\s(?:!\s+)?(?:-[a-zA-Z]|--[a-z][a-z-]*)(?:\s|$)|\s>>`)
	option = regexp.MustCompile(`^--?[a-zA-Z]`)
	// typed are characters that word processors put in place of those of a terminal.
	typed = strings.NewReplacer("“", `"`, "”", `"`, "„", `"`, "«", `"`, "»", `"`, "‘", "'", "’", "'",
		"\u00a0", " ", "\u202f", " ", "\u200b", "", "\ufeff", "", "—", "--", "−", "-")
	dash = regexp.MustCompile(`(\s|^)–(\w?)(\w?)`)
)

// unpasted is a line without what a terminal, a mail or a log has put in front of it.
// It is the line itself where that is none of a dump.
func unpasted(text string) string {
	for coloured.MatchString(text) {
		text = coloured.ReplaceAllString(text, "")
	}
	if shape.MatchString(text) {
		return text
	}
	line := strings.TrimSpace(strings.NewReplacer("\u00a0", " ", "\u200b", "", "\ufeff", "").Replace(text))
	if found := command.FindStringSubmatch(line); found != nil {
		return found[1]
	}
	if stamp := logged.FindString(line); stamp != "" {
		line = line[len(stamp):]
	}
	line = strings.Trim(line[len(quoting.FindString(line)):], "`")
	line = dashes(line)
	if shape.MatchString(line) {
		return line
	}
	if found := command.FindStringSubmatch(line); found != nil {
		return found[1]
	}
	return text
}

// dashes undoes what typography makes of "-A" and "--dport".
func dashes(line string) string {
	if !strings.Contains(line, "–") {
		return line
	}
	return dash.ReplaceAllStringFunc(line, func(s string) string {
		with := "-"
		if len(strings.TrimSpace(strings.SplitN(s, "–", 2)[1])) == 2 {
			with = "--"
		}
		return strings.Replace(s, "–", with, 1)
	})
}

// sound reports whether a rule has no damage from being pasted: its quotes are in
// pairs, around the whole of a comment, and nothing outside of them is escaped.
func sound(words []word, line string) bool {
	for i, w := range words {
		raw := line[w.start:w.end]
		switch {
		case strings.HasPrefix(raw, ">>"):
			return true // a note is free text
		case w.quoted && (raw[0] != '"' || len(raw) < 2 || raw[len(raw)-1] != '"' || quotes(raw) != 2):
			return false
		case !w.quoted && strings.ContainsFunc(raw, func(r rune) bool { return r == '\\' || r == '\'' || r >= 0x80 }):
			return false
		case !w.quoted && strings.Contains(raw, "&") && strings.Contains(raw, ";"):
			return false
		}
		if raw != "--comment" || i+2 >= len(words) {
			continue
		}
		if after := words[i+2].text; !option.MatchString(after) && after != "!" && !strings.HasPrefix(after, ">>") {
			return false
		}
	}
	return true
}

// quotes counts the quotes that no backslash precedes.
func quotes(text string) (n int) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			n++
		}
	}
	return n
}

// mended is a rule whose quotes were lost, cut, escaped or made pretty, with a comment
// that ends where the next option begins. A comment carries no meaning for packets.
func mended(line string) string {
	line = dashes(typed.Replace(html.UnescapeString(line)))
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(line, "--comment ")
		b.WriteString(before)
		if !found {
			break
		}
		end := len(rest)
		if at := next.FindStringIndex(rest); at != nil {
			end = at[0]
		}
		comment := strings.Trim(rest[:end], " \t\\\"'")
		comment = strings.NewReplacer(`\`, "", `"`, "'").Replace(comment)
		b.WriteString(`--comment "` + comment + `"`)
		line = rest[end:]
	}
	return b.String()
}
