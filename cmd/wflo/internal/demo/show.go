package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// show prints the story.
type show struct {
	out   io.Writer
	width int
	began time.Time
}

func (s *show) title(format string, args ...any) {
	fmt.Fprintf(s.out, "\n%s\n%s\n", fmt.Sprintf(format, args...), strings.Repeat("─", s.width))
	s.began = time.Now()
}

func (s *show) line(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *show) pair(name, value string) { fmt.Fprintf(s.out, "  %-12s %s\n", name, value) }

// at is a line of the story with the time since its title.
func (s *show) at(format string, args ...any) {
	fmt.Fprintf(s.out, "  %5.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// block indents a text of several lines, at most so many of them.
func (s *show) block(text string, most int) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		if i == most {
			fmt.Fprintf(s.out, "          │ … %d more lines\n", len(lines)-most)
			return
		}
		fmt.Fprintf(s.out, "          │ %s\n", l)
	}
}

// check is a line of the summary that must be true.
func (s *show) check(ok bool, format string, args ...any) bool {
	mark := "✓"
	if !ok {
		mark = "✗"
	}
	fmt.Fprintf(s.out, "  %s %s\n", mark, fmt.Sprintf(format, args...))
	return ok
}
