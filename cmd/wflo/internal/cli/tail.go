package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/internal/story"
)

const (
	// tailEvery is how often new runs are looked for.
	tailEvery = 2 * time.Second
	// mostTailed is how many runs are followed at once.
	mostTailed = 32
)

// tailLine is the data of `wflo tail`: what a run did, or how it is.
type tailLine struct {
	Run  string      `json:"run"`
	Row  *story.Row  `json:"row,omitempty"`
	Head *story.Head `json:"head,omitempty"`
}

func (a *app) tailCmd() *cobra.Command {
	last := 10
	cmd := &cobra.Command{
		Use:   "tail [RUN]",
		Short: "Follow what a run does, or all runs, a line at a time",
		Long: `Follow what a run does until it is over: a line whenever something in it begins, is
tried again or ends, and whenever its state changes. Without a run, those that are
open and those that begin are followed, until Ctrl-C.

With -o jsonl each line is an object with the run and a row of its story, or its head.`,
		Example: "  wflo tail refund-k3f9\n  wflo tail\n  wflo tail -o jsonl --jq 'select(.row.kind == \"model\")'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if last < 0 {
				return Usage("give a positive number, or 0 for none", "--last is %d", last)
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			t := &tailer{app: a, api: c, last: last}
			if len(names) == 0 {
				return t.all(cmd.Context())
			}
			return t.one(cmd.Context(), names[0])
		},
		ValidArgsFunction: a.completeRuns,
	}
	cmd.Flags().IntVarP(&last, "last", "n", last, "begin with so many of the rows before")
	return cmd
}

// tailer writes what happens in runs.
type tailer struct {
	app  *app
	api  *api
	last int
	many bool // lines name their run

	mu sync.Mutex // one line at a time
}

func (t *tailer) one(ctx context.Context, run string) error {
	told := map[string]string{} // rows by id: what was said of them
	state, first := "", true
	err := t.api.follow(ctx, run, "", storyFollower{
		rows: func(p story.Page) error {
			rows := p.Rows
			if first {
				for _, r := range rows[:max(len(rows)-t.last, 0)] {
					told[r.ID] = rowState(r)
				}
				first = false
			}
			for _, r := range rows {
				if told[r.ID] == rowState(r) {
					continue
				}
				told[r.ID] = rowState(r)
				if err := t.write(tailLine{Run: run, Row: &r}, t.rowLine(run, r)); err != nil {
					return err
				}
			}
			return nil
		},
		head: func(h story.Head) error {
			now := string(h.State) + "\x00" + h.Why
			if now == state {
				return nil
			}
			state = now
			return t.write(tailLine{Run: run, Head: &h}, t.headLine(run, h))
		},
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // whoever pressed Ctrl-C has seen enough
	}
	return err
}

// rowState is what a line says of a row: a new line is due when it changes.
func rowState(r story.Row) string { return fmt.Sprint(r.State, " ", r.Attempts, " ", r.Error) }

// all follows what is open, and what begins from now on.
func (t *tailer) all(ctx context.Context) error {
	t.many = true
	conn, err := t.app.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var following sync.WaitGroup
	defer following.Wait()
	slots := make(chan struct{}, mostTailed)
	known := map[string]bool{}
	query := "ExecutionStatus = 'Running' AND " + listQuery("", false)
	for tick := time.NewTicker(tailEvery); ; {
		runs, err := conn.list(ctx, query, mostTailed)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // whoever pressed Ctrl-C has seen enough
			}
			return err
		}
		for _, r := range runs {
			key := r.ID + "\x00" + r.RunID
			if known[key] {
				continue
			}
			select {
			case slots <- struct{}{}:
			default:
				continue // it is found again when another is over
			}
			known[key] = true
			following.Go(func() {
				defer func() { <-slots }()
				if err := t.one(ctx, r.ID); err != nil {
					t.app.note("%s: %s", escapeLine(r.ID), escapeLine(err.Error()))
				}
			})
		}
		// From now on also those that begin and end between two looks.
		query = fmt.Sprintf("(ExecutionStatus = 'Running' OR StartTime >= '%s') AND %s", time.Now().Add(-2*tailEvery).UTC().Format(time.RFC3339), listQuery("", false))
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
	}
}

func (t *tailer) write(line tailLine, text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.app.format != formatText {
		return t.app.printJSON(line)
	}
	_, err := fmt.Fprintln(t.app.deps.Stdout, text)
	return err
}

func (t *tailer) named(run string) string {
	if !t.many {
		return ""
	}
	return escapeLine(run) + "  "
}

func (t *tailer) rowLine(run string, r story.Row) string {
	when, a := r.Start, t.app
	if !r.End.IsZero() {
		when = r.End
	}
	parts := []string{when.Local().Format(time.TimeOnly) + "  " + t.named(run) + a.styled(stateStyle(r.State), stateSign(r.State)) + " " + escapeLine(rowName(r))}
	if !r.End.IsZero() {
		parts = append(parts, a.styled(styleFaint, short(rowTook(r, r.End))))
	}
	for _, part := range []string{rowCost(r), rowFacts(r), r.Error} {
		if part != "" {
			parts = append(parts, escapeLine(part))
		}
	}
	return strings.Join(parts, "  ")
}

func (t *tailer) headLine(run string, h story.Head) string {
	line := time.Now().Format(time.TimeOnly) + "  " + t.named(run) + t.app.styled(styleBold, "run is "+string(h.State))
	if h.Why != "" {
		line += ": " + escapeLine(h.Why)
	}
	if h.Next != "" && h.Closed.IsZero() {
		line += "; next: " + escapeLine(h.Next)
	}
	return line
}
