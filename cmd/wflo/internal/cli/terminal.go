package cli

import (
	"os"

	"github.com/spf13/cobra"
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

// When output has colours: what --color may say.
const (
	colourAuto   = "auto"   // as the environment and the terminal say
	colourAlways = "always" // in a pipe too
	colourNever  = "never"
)

// checkColour makes one word of --color and --no-color.
func (a *app) checkColour(cmd *cobra.Command) error {
	if err := oneOf("--color", a.colour, colourAuto, colourAlways, colourNever); err != nil || !a.noColour {
		return err
	}
	if a.colour != colourNever && cmd.Flags().Changed("color") {
		return Usage("use one of them", "--no-color and --color %s exclude each other", a.colour)
	}
	a.colour = colourNever
	return nil
}

// plain says that people or their terminal want no animation, and no colour unless
// they asked for it.
func (a *app) plain() bool {
	return a.colour == colourNever || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
}

// coloured says that standard output may have colours. What was typed wins over the
// environment, and there NO_COLOR over CLICOLOR_FORCE, and that over CLICOLOR.
func (a *app) coloured() bool {
	switch {
	case a.format != formatText:
		return false
	case a.colour == colourAlways:
		return true
	case a.plain():
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return os.Getenv("CLICOLOR") != "0" && isTerminal(a.deps.Stdout)
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
