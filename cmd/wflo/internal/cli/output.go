package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/wflo-ai/wflo-go"
)

const (
	formatText  = "text"
	formatJSON  = "json"
	formatJSONL = "jsonl"
)

// note writes one line of progress to standard error.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.deps.Stderr, format+"\n", args...)
}

// printJSON writes one value: indented for json, on one line for jsonl, and what --jq
// makes of it where that is given.
func (a *app) printJSON(v any) error {
	if a.filter != nil {
		return a.printFiltered(v)
	}
	var data []byte
	var err error
	if a.format == formatJSONL {
		data, err = json.Marshal(v)
	} else {
		data, err = json.MarshalIndent(v, "", "  ")
	}
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = a.deps.Stdout.Write(append(escapeJSON(data), '\n'))
	return err
}

// printAll writes a list: an array for json, a line each for jsonl, and a table
// for text. row gives the cells of one item.
func printAll[T any](a *app, items []T, header []string, row func(T) []string) error {
	switch a.format {
	case formatJSON:
		if items == nil {
			items = []T{} // scripts expect an array
		}
		return a.printJSON(items)
	case formatJSONL:
		for _, item := range items {
			if err := a.printJSON(item); err != nil {
				return err
			}
		}
		return nil
	}
	if len(items) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, item := range items {
		cells := row(item)
		for i, cell := range cells {
			if cells[i] = escapeLine(cell); cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// interactive says that both the question and the answer go to a person.
func (a *app) interactive() bool {
	return a.format == formatText && isTerminal(a.deps.Stdin) && isTerminal(a.deps.Stderr)
}

// animated says that standard error may be redrawn.
func (a *app) animated() bool {
	return a.format == formatText && !a.plain() && isTerminal(a.deps.Stderr)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// progress writes lines and, on a terminal, one line below them that moves.
type progress struct {
	w     io.Writer
	begin time.Time

	mu    sync.Mutex
	doing string
	drawn bool

	quit, done chan struct{} // nil when nothing moves
}

var frames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

func newProgress(w io.Writer, animated bool) *progress {
	p := &progress{w: w, begin: time.Now()}
	if animated {
		p.quit, p.done = make(chan struct{}), make(chan struct{})
		go p.spin()
	}
	return p
}

func (p *progress) spin() {
	defer close(p.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			p.mu.Lock()
			fmt.Fprintf(p.w, "\r\x1b[K\x1b[36m%s\x1b[0m %s \x1b[2m%s\x1b[0m", frames[i%len(frames)], p.doing, since(p.begin))
			p.drawn = true
			p.mu.Unlock()
		}
	}
}

// line writes a line above the moving one.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// set says what the moving line shows. The text is one line.
func (p *progress) set(doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if runes := []rune(doing); len(runes) > 60 {
		doing = string(runes[:59]) + "…"
	}
	p.doing = escapeLine(doing)
}

// stop removes the moving line and waits for its goroutine.
func (p *progress) stop() {
	if p.quit == nil {
		return
	}
	close(p.quit)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// since is the time from then to now, short.
func since(then time.Time) string { return short(time.Since(then)) }

// short is a duration for people: 850ms, 4.2s, 3m05s, 2h10m, 4d.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// fromFloat reads an amount that a search attribute holds as a float, rounded to
// a hundredth of a cent. It is for display only.
func fromFloat(f float64) wflo.Money {
	const step = wflo.Cent / 100
	return wflo.Money(math.Round(f*float64(wflo.USD/step))) * step
}
