package cli

import (
	"os"

	"golang.org/x/term"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// Widths of what is drawn, in characters.
const (
	plainWidth  = 100 // where standard output is no terminal
	leastWidth  = 60
	widestDrawn = 240
)

// width is how many characters a line of standard output has.
func (a *app) width() int {
	f, ok := a.deps.Stdout.(*os.File)
	if !ok || !isTerminal(f) {
		return plainWidth
	}
	w, _, err := term.GetSize(int(f.Fd())) //nolint:gosec // a descriptor is a small number
	if err != nil || w <= 0 {
		return plainWidth
	}
	return min(max(w, leastWidth), widestDrawn)
}

// plain says that people or their terminal want no colour and no animation.
func (a *app) plain() bool {
	return a.noColor || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
}

// coloured says that standard output may have colours.
func (a *app) coloured() bool {
	return a.format == formatText && !a.plain() && isTerminal(a.deps.Stdout)
}

// The colours that are used.
const (
	styleGood  = "32"
	styleBad   = "31"
	styleBusy  = "33"
	styleFaint = "2"
	styleBold  = "1"
)

// styled gives text a colour where standard output takes one.
func (a *app) styled(style, text string) string {
	if style == "" || text == "" || !a.coloured() {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// stateStyle is the colour of a row's state.
func stateStyle(s story.State) string {
	switch s {
	case story.StateDone:
		return styleGood
	case story.StateRunning, story.StateWaiting:
		return styleBusy
	case story.StateFailed, story.StateTimedOut, story.StateRejected:
		return styleBad
	}
	return styleFaint
}
