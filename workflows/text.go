package workflows

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// oneLine is the first non-empty line of s, at most n bytes.
func oneLine(s string, n int) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			return clip(line, n)
		}
	}
	return ""
}

// clip cuts s to n bytes at a rune boundary and marks the cut.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// middle keeps the first and the last part of a long text, because errors tend
// to stand at the end, and says what is missing and how to see it.
func middle(s string, n int) string {
	if len(s) <= n {
		return s
	}
	head, tail := n*3/4, n/4
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	from := len(s) - tail
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	return fmt.Sprintf("%s\n[… %d bytes left out; write to a file and look at parts of it …]\n%s", s[:head], from-head, s[from:])
}
