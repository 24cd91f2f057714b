package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// logPage is how many lines are asked for at once.
const logPage = 1000

// logLevels are what --level takes.
var logLevels = []string{"debug", "info", "warn", "error"}

type logFlags struct {
	follow      bool
	level, step string
	since       string
	lines       int
}

func (a *app) logsCmd() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs RUN",
		Short: "Show what workers logged about a run",
		Long: `Show the log lines of a run, of every worker that worked on it, in the order of their
time: wflo's own, and those that activities and workflow code wrote. --follow goes on
until the run has ended, and also shows what its sandboxed programs write.

Workers keep lines of a run for a while (plugin.Config.Logs: a week, and 10,000 lines
of each run, unless they are told otherwise), without the secrets that they know. Lines
below a worker's level are not kept: wflo logs level changes it.`,
		Example: `  wflo logs refund-42
  wflo logs refund-42 --follow --step charge
  wflo logs refund-42 --level warn --since 10m -o jsonl`,
		Args: args("RUN"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.logs(cmd.Context(), names[0], f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "show what comes until the run has ended")
	flags.StringVar(&f.level, "level", "info", "the least level: debug, info, warn or error")
	flags.StringVar(&f.step, "step", "", "only lines of this step and of what it calls")
	flags.StringVar(&f.since, "since", "", "only lines of this time until now, such as 10m or 2d")
	flags.IntVarP(&f.lines, "lines", "n", 100, "the last so many lines; 0 for all")
	if err := cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(logLevels, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	cmd.AddCommand(a.logsLevelCmd())
	return cmd
}

// logs shows what there is, and then what comes.
func (a *app) logs(ctx context.Context, id string, f logFlags) error {
	q, err := f.query(time.Now())
	if err != nil {
		return err
	}
	if f.follow && a.format == formatJSON {
		return Usage("use -o jsonl, which prints a line of JSON for each", "an array that goes on has no end, so --follow does not go with -o json")
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	path := "/runs" + segment(id) + "/logs"
	page, err := c.lastLogs(ctx, path, q, f.lines)
	if err != nil {
		return err
	}
	if err := a.printLogs(page.Lines, f.follow); err != nil || !f.follow {
		if len(page.Lines) == 0 && err == nil {
			a.note("no lines are kept of this run, at this level; see: wflo logs --help")
		}
		return err
	}
	// The run that is followed is this one, whatever begins under its id later.
	q.Set("first_run", page.FirstRunID)
	q.Del("since")
	return a.followLogs(ctx, c, path, q, page)
}

// query is what all requests ask for.
func (f logFlags) query(now time.Time) (url.Values, error) {
	if err := oneOf("--level", f.level, logLevels...); err != nil {
		return nil, err
	}
	if f.lines < 0 {
		return nil, Usage("give a number, or 0 for all", "--lines is %d", f.lines)
	}
	q := url.Values{"level": {f.level}}
	if f.step != "" {
		q.Set("step", f.step)
	}
	if f.since != "" {
		d, err := parseSpan(f.since)
		if err != nil {
			return nil, Usage("such as 10m, 36h or 7d", "--since is %q", f.since)
		}
		q.Set("since", now.Add(-d).UTC().Format(time.RFC3339))
	}
	return q, nil
}

// lastLogs reads the last n lines; 0 means all.
func (c *api) lastLogs(ctx context.Context, path string, q url.Values, n int) (console.RunLogs, error) {
	var all console.RunLogs
	if n > 0 && n <= logPage {
		q = with(q, url.Values{"latest": {"true"}, "limit": {strconv.Itoa(n)}})
		return all, c.get(ctx, path, q, &all)
	}
	for {
		var page console.RunLogs
		if err := c.get(ctx, path, with(q, url.Values{"after": {strconv.FormatInt(all.Next, 10)}, "limit": {strconv.Itoa(logPage)}}), &page); err != nil {
			return all, err
		}
		full := len(page.Lines) == logPage
		all.Lines = append(all.Lines, page.Lines...)
		all.Next, all.Ended, all.FirstRunID = page.Next, page.Ended, page.FirstRunID
		if n > 0 {
			all.Lines = all.Lines[max(0, len(all.Lines)-n):]
		}
		if !full {
			return all, nil
		}
	}
}

// with is q with more in it.
func with(q, more url.Values) url.Values {
	out := maps.Clone(q)
	if out == nil {
		out = url.Values{}
	}
	maps.Copy(out, more)
	return out
}

// printLogs prints lines by their time, because workers hand theirs over in batches.
func (a *app) printLogs(lines []wflo.LogLine, follows bool) error {
	slices.SortStableFunc(lines, func(x, y wflo.LogLine) int { return x.At.Compare(y.At) })
	if a.format == formatJSON && !follows {
		return a.printJSON(append([]wflo.LogLine{}, lines...))
	}
	for _, line := range lines {
		if err := a.printLog(line); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printLog(line wflo.LogLine) error {
	if a.format == formatJSONL {
		return a.printJSON(line)
	}
	_, err := fmt.Fprintln(a.deps.Stdout, logText(line))
	return err
}

// logText is a line for people: when, how bad, where, what, and what else there is.
func logText(line wflo.LogLine) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s ", line.At.UTC().Format("2006-01-02T15:04:05.000Z"), line.Level)
	if step := shortStep(line.Step); step != "" {
		fmt.Fprintf(&b, "[%s] ", escapeLine(step))
	}
	b.WriteString(escapeLine(line.Message))
	for _, attr := range attributesOf(line.Attributes) {
		fmt.Fprintf(&b, "  %s=%s", escapeLine(attr[0]), escapeLine(attr[1]))
	}
	return b.String()
}

// shortStep is a step's key without the generation of the run in front.
func shortStep(key string) string {
	if generation, rest, ok := strings.Cut(key, "/"); ok && len(generation) > 1 && generation[0] == 'g' && strings.Trim(generation[1:], "0123456789") == "" {
		return rest
	}
	return key
}

// attributesOf are the attributes of a line as names and values, in the order in which
// they were written.
func attributesOf(object json.RawMessage) (all [][2]string) {
	dec := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := dec.Token(); err != nil {
		return nil // there are none
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return all
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return all
		}
		text := string(value)
		var plain string
		if json.Unmarshal(value, &plain) == nil && plain != "" && !strings.ContainsAny(plain, " =\"\n\t") {
			text = plain // what cannot be taken for anything else needs no quotes
		}
		all = append(all, [2]string{fmt.Sprint(name), text})
	}
	return all
}

func (a *app) logsLevelCmd() *cobra.Command {
	var during time.Duration
	cmd := &cobra.Command{
		Use:   "level [debug|info|warn|error]",
		Short: "Show or change what a worker logs",
		Long: `Show the least level that a worker logs, or change it, for good or with --for for a
while. It is that of the worker whose API is asked; the others stay as they are. The
signal SIGUSR1 changes a worker to debug for half an hour, and back. It takes the role
operator.`,
		Example: "  wflo logs level\n  wflo logs level debug --for 10m",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, given []string) error {
			if during < 0 || during > day {
				return Usage("use a duration such as 10m, a day at most", "--for is %s", during)
			}
			if len(given) == 0 {
				if during != 0 {
					return Usage("name the level, such as debug", "--for is given without a level")
				}
				return a.showLevel(cmd.Context())
			}
			if err := oneOf("the level", given[0], logLevels...); err != nil {
				return err
			}
			return a.changeLevel(cmd.Context(), given[0], during)
		},
	}
	cmd.Flags().DurationVar(&during, "for", 0, "go back after this time, such as 10m, a day at most")
	cmd.ValidArgs = logLevels
	return cmd
}

// levelState is the answer of the API about the level.
type levelState struct {
	Level slog.Level `json:"level"`
	Until time.Time  `json:"until,omitzero"`
	Then  slog.Level `json:"then"`
}

func (a *app) showLevel(ctx context.Context) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	var s levelState
	if err := c.get(ctx, "/log-level", nil, &s); err != nil {
		return err
	}
	return a.printLevel(s)
}

func (a *app) changeLevel(ctx context.Context, level string, during time.Duration) error {
	c, err := a.api()
	if err != nil {
		return err
	}
	change := console.LevelChange{Level: level}
	if during != 0 {
		change.For = during.String()
	}
	var s levelState
	if err := c.write(ctx, "PUT", "/log-level", change, &s); err != nil {
		return err
	}
	return a.printLevel(s)
}

func (a *app) printLevel(s levelState) error {
	if a.format != formatText {
		return a.printJSON(s)
	}
	text := strings.ToLower(s.Level.String())
	if !s.Until.IsZero() {
		text += fmt.Sprintf(" until %s, then %s", s.Until.UTC().Format(time.RFC3339), strings.ToLower(s.Then.String()))
	}
	_, err := fmt.Fprintln(a.deps.Stdout, text)
	return err
}
