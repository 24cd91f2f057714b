package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/strictyaml"
)

// Position is a place in a file. Line and Column count from 1; both are 0 where the
// policies are Go values.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is FILE:LINE:COLUMN, as editors read it.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one mistake in policies.
type Problem struct {
	Position
	// Rule is the policy that it is in, if it has a name.
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Excerpt is the line with a mark below the column. It leaves out what could be
	// a secret.
	Excerpt string `json:"excerpt,omitempty"`
}

// Error is the place, the message, the hint, and the excerpt on lines of its own.
func (p *Problem) Error() string {
	text := p.Message
	if at := p.Position.String(); at != "" {
		text = at + ": " + text
	}
	if p.Line == 0 && p.Rule != "" {
		text += fmt.Sprintf(" in policy %q", p.Rule)
	}
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text + p.Excerpt
}

// Unwrap gives the problem as the error that callers tell apart.
func (p *Problem) Unwrap() error {
	return &wflo.Error{Code: wflo.CodeInvalid, Message: p.Message, Hint: p.Hint}
}

// Problems are all mistakes in policies, in the order of the file. It matches
// wflo.ErrInvalid.
type Problems []*Problem

// Error lists them, one after the other.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each.
func (p Problems) Unwrap() []error {
	all := make([]error, len(p))
	for i, problem := range p {
		all[i] = problem
	}
	return all
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b *Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// address is one of the web, which could hold a secret.
var address = regexp.MustCompile(`https?:/\S*`)

// excerpt shows the first upTo characters of a line, with a mark below the column.
func excerpt(line string, number, column, upTo int) string {
	runes := []rune(address.ReplaceAllStringFunc(strings.TrimRight(line, "\r"), func(s string) string {
		return strings.Repeat("*", utf8.RuneCountInString(s))
	}))
	from := max(0, column-1-80)
	to := min(len(runes), upTo, from+160)
	shown := ""
	if to > from {
		shown = plain(string(runes[from:to]))
	}
	if from > 0 {
		shown = "…" + string([]rune(shown)[min(1, len([]rune(shown))):])
	}
	if to < len(runes) {
		shown += "…"
	}
	return strictyaml.Mark(number, shown, column-1-from)
}

func plain(s string) string { return strictyaml.Plain(s) }

// cut is a text in bounds, for messages.
func cut(s string, most int) string { return strictyaml.Cut(s, most) }

// nearest is the hint for an unknown name: the one that was probably meant, or all
// that there are after the prefix.
func nearest(name string, known []string, prefix string) string {
	if best := strictyaml.Nearest(name, known); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return prefix + strings.Join(slices.DeleteFunc(slices.Clone(known), func(k string) bool { return k == "" }), ", ")
}
