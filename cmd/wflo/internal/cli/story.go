package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/internal/story"
)

// mostRows is how many rows of a story the API gives at once.
const mostRows = 1000

// storyPath is where the API has a part of a run's story.
func storyPath(run, part string) string { return "/runs" + segment(run) + "/" + part }

// ofRun is a question about one run of a workflow id; empty means the latest.
func ofRun(runID string) url.Values {
	q := url.Values{}
	if runID != "" {
		q.Set("run", runID)
	}
	return q
}

// head reads what the top of a run's page says.
func (c *api) head(ctx context.Context, run, runID string) (story.Head, error) {
	var h story.Head
	return h, c.get(ctx, storyPath(run, "head"), ofRun(runID), &h)
}

// rows reads one page of a story.
func (c *api) rows(ctx context.Context, q story.Query) (story.Page, error) {
	v := ofRun(q.RunID)
	if q.After != "" {
		v.Set("after", q.After)
	}
	if q.Latest {
		v.Set("latest", "true")
	}
	for _, k := range q.Kinds {
		v.Add("kind", string(k))
	}
	v.Set("limit", strconv.Itoa(cmp.Or(q.Limit, mostRows)))
	var p story.Page
	return p, c.get(ctx, storyPath(q.WorkflowID, "rows"), v, &p)
}

// story reads a story from its start, at most so many rows; zero means all. more says
// that there are others. A row that changed while the story was read is there once, as
// it was last.
func (c *api) story(ctx context.Context, q story.Query, most int) (rows []story.Row, more bool, err error) {
	at := map[string]int{}
	for {
		q.Limit = mostRows
		if most > 0 {
			q.Limit = min(mostRows, most+1-len(rows))
		}
		page, err := c.rows(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, r := range page.Rows {
			if i, known := at[r.ID]; known {
				rows[i] = r
				continue
			}
			at[r.ID] = len(rows)
			rows = append(rows, r)
		}
		if most > 0 && len(rows) > most {
			return rows[:most], true, nil
		}
		// The last page of a run that goes on has a Next as well.
		if page.Next == "" || page.Next == q.After || len(page.Rows) == 0 {
			return rows, false, nil
		}
		q.After = page.Next
	}
}

// kinds are the kinds of rows that people may ask for.
var kinds = []story.Kind{
	story.KindStep, story.KindModel, story.KindTool, story.KindSandbox, story.KindApproval, story.KindPolicy,
	story.KindSnapshot, story.KindRestore, story.KindCompensation, story.KindActivity, story.KindTimer,
	story.KindSignal, story.KindChild, story.KindRun,
}

// storyFlags choose a run's story and rows of it.
type storyFlags struct {
	run   string
	kinds []string
}

func (f *storyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.run, "run", "", "Temporal's id of one run, where the workflow id has had several; default: the latest")
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only rows of these kinds: "+kindWords())
	fixed(cmd, "kind", strings.Split(kindWords(), ", "))
}

func kindWords() string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// query is the question that the flags ask about a run.
func (f *storyFlags) query(run string) (story.Query, error) {
	q := story.Query{WorkflowID: run, RunID: f.run}
	for _, name := range f.kinds {
		if err := oneOf("--kind", name, strings.Split(kindWords(), ", ")...); err != nil {
			return q, err
		}
		q.Kinds = append(q.Kinds, story.Kind(name))
	}
	return q, nil
}

// fixed completes a flag from a list.
func fixed(cmd *cobra.Command, flag string, values []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the caller added the flag
	}
}

// stateSign is the state of a row in one character.
func stateSign(s story.State) string {
	switch s {
	case story.StateDone:
		return "✓"
	case story.StateRunning:
		return "▸"
	case story.StateWaiting:
		return "◦"
	case story.StateCancelled:
		return "–"
	case story.StateUndone:
		return "↶"
	case story.StateFailed, story.StateTimedOut, story.StateRejected:
		return "✗"
	}
	return "?"
}

// bad says that a row is one to look at when something went wrong.
func bad(r story.Row) bool {
	switch r.State {
	case story.StateFailed, story.StateTimedOut, story.StateRejected:
		return true
	}
	return false
}

// rowName is what a row is called: its kind, and its name unless that says the same.
func rowName(r story.Row) string {
	kind := string(r.Kind)
	switch {
	case r.Name == "" || r.Name == kind:
		return kind
	case r.Kind == story.KindActivity || strings.HasPrefix(r.Name, kind+" "):
		return r.Name
	}
	return kind + " " + r.Name
}

// rowCost is what a row cost; empty where money has no part in it.
func rowCost(r story.Row) string {
	if r.Model == nil {
		return ""
	}
	return r.Model.Amount.String()
}

// rowTokens is how many tokens went in and came out; empty where there were none.
func rowTokens(r story.Row) string {
	if r.Model == nil {
		return ""
	}
	u := r.Model.Usage
	return fmt.Sprintf("%d→%d", u.Prompt(), u.Output+u.Reasoning)
}

// rowTook is how long a row took, or has been going on.
func rowTook(r story.Row, now time.Time) time.Duration {
	if r.Start.IsZero() {
		return 0
	}
	return max(rowEnd(r, now).Sub(r.Start), 0)
}

// rowEnd is when a row was over: now, for one that goes on.
func rowEnd(r story.Row, now time.Time) time.Time {
	switch {
	case !r.End.IsZero():
		return r.End
	case r.State == story.StateRunning || r.State == story.StateWaiting:
		return now
	}
	return r.Start
}

// rowFacts is what else there is to say of a row, in a few words.
func rowFacts(r story.Row) string {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	if r.State != story.StateDone {
		add("%s", strings.ReplaceAll(string(r.State), "_", " "))
	}
	if r.Attempts > 1 {
		add("try %d", r.Attempts)
	}
	if m := r.Model; m != nil {
		add("%s tokens", rowTokens(r))
		if m.Usage.CacheRead > 0 {
			add("%d cached", m.Usage.CacheRead)
		}
		if m.Amount == 0 && m.Reserved > 0 {
			add("%s reserved", m.Reserved)
		}
		if m.Saved > 0 {
			add("%s saved", m.Saved)
		}
	}
	if s := r.Sandbox; s != nil {
		facts = append(facts, sandboxFacts(*s)...)
	}
	if g := r.Gate; g != nil {
		add("%s", g.Status)
		if len(g.By) > 0 {
			add("by %s", strings.Join(g.By, " and "))
		}
	}
	if p := r.Policy; p != nil {
		add("%s", strings.Join(append([]string{p.Verdict}, p.Rules...), " "))
	}
	if s := r.Snapshot; s != nil && s.Name != r.Name {
		add("%s", cmp.Or(s.Name, s.ID))
	}
	if r.Effect != "" {
		add("%s", r.Effect)
	}
	if r.Summary != "" {
		facts = append(facts, r.Summary)
	}
	return strings.Join(slices.DeleteFunc(facts, func(f string) bool { return f == "" }), ", ")
}

func sandboxFacts(s story.Sandbox) []string {
	facts := []string{strings.ReplaceAll(s.Outcome, "_", " ")}
	if s.ExitCode != 0 {
		facts = append(facts, fmt.Sprintf("exit code %d", s.ExitCode))
	}
	if s.Changed > 0 {
		facts = append(facts, plural(s.Changed, "file")+" changed")
	}
	return facts
}
