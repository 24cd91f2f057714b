package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// waterfall is the data of `wflo trace`.
type waterfall struct {
	Head story.Head  `json:"head"`
	Rows []story.Row `json:"rows"`
	// More says that the story has more rows than --limit.
	More bool `json:"more,omitempty"`
}

func (a *app) traceCmd() *cobra.Command {
	var f storyFlags
	var export string
	limit := 0
	cmd := &cobra.Command{
		Use:   "trace RUN",
		Short: "Show what a run did as a waterfall, or export it for Jaeger and Perfetto",
		Long: `Show what a run did as a waterfall: each row with when it waited (░) and worked
(█), how long it took, its tokens as in→out, and what it cost. The picture is as
wide as the terminal, or 100 columns. What child workflows did, such as agents, is
below the row that started them.

With --export, the story is written as one JSON file that opens in Jaeger (Search,
Upload) and in Perfetto (https://ui.perfetto.dev, which reads it in the browser).
It has names, times, tokens and money, and no content. - writes to standard output.`,
		Example: "  wflo trace refund-k3f9\n  wflo trace refund-k3f9 --kind model,sandbox\n" +
			"  wflo trace refund-k3f9 --export trace.json",
		Args: args("RUN"),
		RunE: func(cmd *cobra.Command, names []string) error {
			q, err := f.query(names[0])
			if err != nil {
				return err
			}
			if limit < 0 {
				return Usage("give a positive number, or 0 for all", "--limit is %d", limit)
			}
			return a.trace(cmd.Context(), q, limit, export)
		},
		ValidArgsFunction: a.completeRuns,
	}
	f.add(cmd)
	cmd.Flags().StringVar(&export, "export", "", "write a file for Jaeger and Perfetto instead; - for standard output")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many rows, from the start (0: all)")
	return cmd
}

func (a *app) trace(ctx context.Context, q story.Query, limit int, export string) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	head, err := c.head(ctx, q.WorkflowID, q.RunID)
	if err != nil {
		return err
	}
	wanted := q.Kinds
	if len(wanted) > 0 && !slices.Contains(wanted, story.KindChild) {
		q.Kinds = append(slices.Clone(wanted), story.KindChild) // there may be some within
	}
	rows, more, err := c.story(ctx, q, limit)
	if err != nil {
		return err
	}
	rows, missed, err := c.withChildren(ctx, rows, q.Kinds, false)
	if err != nil {
		return err
	}
	if len(wanted) > 0 {
		rows = slices.DeleteFunc(rows, func(r story.Row) bool { return !slices.Contains(wanted, r.Kind) })
	}
	if missed {
		a.note("only the first %d child workflows are in it; wflo trace ID shows each", mostChildren)
	}
	if head.Note != "" {
		a.note("note: %s", Escape(head.Note))
	}
	if more {
		a.note("the first %s; --limit 0 has all", plural(len(rows), "row"))
	}
	switch {
	case export != "":
		return a.export(export, head, rows)
	case a.format == formatJSONL:
		for _, r := range rows {
			if err := a.printJSON(r); err != nil {
				return err
			}
		}
		return nil
	case a.format == formatJSON:
		if rows == nil {
			rows = []story.Row{} // scripts expect an array
		}
		return a.printJSON(waterfall{head, rows, more})
	case len(rows) == 0:
		a.note("nothing has happened in %s yet", q.WorkflowID)
		return nil
	}
	_, err = fmt.Fprint(a.deps.Stdout, a.waterfallText(head, rows, time.Now()))
	return err
}

// export writes the file for Jaeger and Perfetto.
func (a *app) export(file string, head story.Head, rows []story.Row) error {
	data, err := json.Marshal(exported(head, rows, time.Now()))
	if err != nil {
		return fmt.Errorf("encode the trace: %w", err)
	}
	data = append(escapeJSON(data), '\n')
	if file == "-" {
		_, err = a.deps.Stdout.Write(data)
		return err
	}
	// Whoever may read the run wrote it; others on this machine may not.
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return wflo.Errorf("", "name a file that may be written, or - for standard output", "export the trace: %w", err)
	}
	a.note("%s in %s; open it in Jaeger or https://ui.perfetto.dev", plural(len(rows), "row"), file)
	return nil
}

// Columns of the waterfall besides names and bars, with the space before each.
const (
	tookWidth   = 7
	tokensWidth = 13
	costWidth   = 11
	gapWidth    = 1
)

// columns are the widths of a waterfall.
type columns struct{ name, bar int }

func columnsOf(width int, all []branch) columns {
	free := width - tookWidth - tokensWidth - costWidth - 4*gapWidth
	longest := 0
	for _, br := range all {
		longest = max(longest, len([]rune(treeName(br))))
	}
	name := min(longest, free*6/10)
	return columns{name: name, bar: max(free-name, 1)}
}

func treeName(br branch) string {
	return br.lead + stateSign(br.State) + " " + escapeLine(rowName(br.Row))
}

// waterfallText draws rows over the time from the run's start to its end.
func (a *app) waterfallText(head story.Head, rows []story.Row, now time.Time) string {
	from, to := timeline(head, rows, now)
	all := branches(rows)
	col := columnsOf(a.width(), all)
	var b strings.Builder
	title := fit(escapeLine(head.WorkflowID)+" "+string(head.State), col.name) + " " + scale(to.Sub(from), col.bar) +
		" " + right("TOOK", tookWidth) + " " + right("TOKENS", tokensWidth) + " " + right("COST", costWidth)
	b.WriteString(a.styled(styleBold, title) + "\n")
	var sum total
	for _, br := range all {
		sum.add(br.Row)
		name := fit(treeName(br), col.name)
		bar := barText(br.Row, from, to, now, col.bar)
		line := name + " " + a.styled(stateStyle(br.State), bar) + " " + right(short(rowTook(br.Row, now)), tookWidth) +
			" " + right(rowTokens(br.Row), tokensWidth) + " " + right(rowCost(br.Row), costWidth)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		if br.Error != "" {
			b.WriteString(strings.TrimRight(fit(br.rest+escapeLine(br.Error), a.width()), " ") + "\n")
		}
	}
	line := fit(plural(len(rows), "row"), col.name) + " " + strings.Repeat(" ", col.bar) + " " + right(short(to.Sub(from)), tookWidth) +
		" " + right(sum.tokens(), tokensWidth) + " " + right(sum.cost.String(), costWidth)
	b.WriteString(a.styled(styleBold, line) + "\n")
	return b.String()
}

// total adds up what rows used.
type total struct {
	in, out int64
	cost    wflo.Money
}

func (t *total) add(r story.Row) {
	if r.Model == nil {
		return
	}
	t.in, t.out = t.in+r.Model.Usage.Prompt(), t.out+r.Model.Usage.Output+r.Model.Usage.Reasoning
	t.cost += r.Model.Amount
}

func (t *total) tokens() string { return fmt.Sprintf("%d→%d", t.in, t.out) }

// timeline is the time that a waterfall covers: the run's, and longer where rows are outside.
func timeline(head story.Head, rows []story.Row, now time.Time) (from, to time.Time) {
	from, to = head.Started, head.Closed
	if to.IsZero() {
		to = now
	}
	for _, r := range rows {
		if !r.Start.IsZero() && (from.IsZero() || r.Start.Before(from)) {
			from = r.Start
		}
		if end := rowEnd(r, now); end.After(to) {
			to = end
		}
	}
	if to.Before(from) {
		to = from
	}
	return from, to
}

// scale is the axis above the bars: its start, its middle and its end.
func scale(whole time.Duration, width int) string {
	end := short(whole)
	middle := short(whole / 2)
	if width < 24 {
		return right(end, width)
	}
	half := width / 2
	return fit("0s", half-len(middle)/2) + middle + right(end, width-half+len(middle)/2-len(middle))
}

// barText is a row's time as a bar: it waited (░) until somebody took it up, and worked
// (█) from then on. What takes no time at this scale is one mark wide.
func barText(r story.Row, from, to, now time.Time, width int) string {
	if r.Start.IsZero() || width < 1 {
		return strings.Repeat(" ", max(width, 0))
	}
	whole := max(to.Sub(from), 1)
	at := func(t time.Time) int {
		d := min(max(t.Sub(from), 0), whole)
		// Whole numbers first: a run of years in nanoseconds times a width would overflow.
		return int(int64(width) * (int64(d) / 1000) / max(int64(whole)/1000, 1))
	}
	start, end := min(at(r.Start), width-1), at(rowEnd(r, now))
	if end <= start {
		end = start + 1
	}
	end = min(end, width)
	began := end // nobody took it up, and it waits still
	switch {
	case !r.Began.IsZero():
		began = min(max(at(r.Began), start), end-1)
	case !waits(r):
		began = start
	}
	return strings.Repeat(" ", start) + strings.Repeat("░", began-start) + strings.Repeat("█", end-began) + strings.Repeat(" ", width-end)
}

// waits says that a row is waiting by its nature or its state.
func waits(r story.Row) bool {
	return r.State == story.StateWaiting || r.Kind == story.KindTimer || r.Kind == story.KindApproval
}
