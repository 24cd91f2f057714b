package cli

import (
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// branch is a row of a story with its place in the tree.
type branch struct {
	story.Row
	// lead is what stands before the row's sign: lines from its parent. rest stands
	// before what belongs to the row on lines of its own.
	lead, rest string
}

// branches puts rows in the order of a tree: what happened within a row is below it, and
// the order of the rows among each other stays. A row whose parent is not there, or that
// lies within itself, is a root.
func branches(rows []story.Row) []branch {
	g := grove{below: map[string][]story.Row{}, seen: map[string]bool{}}
	known := make(map[string]bool, len(rows))
	for _, r := range rows {
		known[r.ID] = true
	}
	var roots []story.Row
	for _, r := range rows {
		if r.Parent == "" || !known[r.Parent] {
			roots = append(roots, r)
		} else {
			g.below[r.Parent] = append(g.below[r.Parent], r)
		}
	}
	for _, r := range roots {
		g.grow(r, "", "")
	}
	for _, r := range rows { // those in a circle
		g.grow(r, "", "")
	}
	return g.all
}

type grove struct {
	below map[string][]story.Row
	seen  map[string]bool
	all   []branch
}

func (g *grove) grow(r story.Row, lead, rest string) {
	if g.seen[r.ID] {
		return
	}
	g.seen[r.ID] = true
	below := g.below[r.ID]
	own := rest
	if len(below) > 0 {
		own += "│ "
	} else {
		own += "  "
	}
	g.all = append(g.all, branch{Row: r, lead: lead, rest: own})
	for i, child := range below {
		if i == len(below)-1 {
			g.grow(child, rest+"└─", rest+"  ")
		} else {
			g.grow(child, rest+"├─", rest+"│ ")
		}
	}
}

// fit makes text as wide as a column: cut with an ellipsis, or padded.
func fit(text string, width int) string {
	n := utf8.RuneCountInString(text)
	switch {
	case width <= 0:
		return ""
	case n > width:
		return string([]rune(text)[:width-1]) + "…"
	}
	return text + strings.Repeat(" ", width-n)
}

// right is fit for numbers: at the right end of the column.
func right(text string, width int) string {
	if n := utf8.RuneCountInString(text); n < width {
		return strings.Repeat(" ", width-n) + text
	}
	return fit(text, width)
}
