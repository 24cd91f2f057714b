package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/simulate"
	"github.com/wflo-ai/wflo-go/policy"
)

type simulateFlags struct {
	against, facts, since, workflow string
	runs                            []string
	limit                           int
}

func (a *app) policySimulateCmd() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate FILE",
		Short: "Say what policies would have made of past runs, or of a file of facts",
		Long: `Judge what past runs did by FILE, and by the policies of --against, and list what
would have come out differently. Without --against, FILE is compared with no
policies at all. Nothing is changed, and no run is touched.

The facts come from a file (--facts: a list, as in wflo policy explain), or are
read from Temporal's histories (--run, --since). A history has what activities were
called with, by which step, when, for whom, and after which costs. Where the run was
governed it also has the hash of what was judged then, by which the effect that a
step declares and the tool of an agent are found again; the report says how many
calls are judged on exactly those facts. Of the others it cannot be known

  - what steps declare: operation, effect and arguments; an activity counts with
    its own name, and steps are not judged by themselves
  - which tool of an agent made a call, when a reply asked for several
  - the worst case of a model call (estimated_cost is 0), and what others spent from
    the run's budget
  - calls that were never made, because something refused them or took too long

Conditions on execution_time are judged at the moments at which they come true.`,
		Example: `  wflo policy simulate new.yaml --against policies.yaml --since 7d
  wflo policy simulate new.yaml --against policies.yaml --run nightly-41 --run nightly-42
  wflo policy simulate new.yaml --facts facts.yaml -o json`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.policySimulate(cmd.Context(), given[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.against, "against", "", "the policies to compare with")
	flags.StringVar(&f.facts, "facts", "", "file with a list of facts; - is standard input")
	flags.StringArrayVar(&f.runs, "run", nil, "workflow id of a run; may be repeated")
	flags.StringVar(&f.since, "since", "", "all runs that began so long ago or later, such as 36h or 7d")
	flags.StringVar(&f.workflow, "workflow", "", "with --since: only runs of this workflow type")
	flags.IntVar(&f.limit, "limit", 100, "with --since: at most so many runs, the newest")
	return cmd
}

// simulation is what `wflo policy simulate` found.
type simulation struct {
	// Before and After are the hashes of the policies; Before is empty without
	// --against.
	Before string `json:"before,omitempty"`
	After  string `json:"after"`
	Runs   int    `json:"runs"`
	// Judged counts the calls and moments, Exact those that were judged on just these
	// facts when they happened, Unread those that could not be read.
	Judged  int               `json:"judged"`
	Exact   int               `json:"exact"`
	Unread  int               `json:"unread"`
	Rules   []ruleChange      `json:"rules"`
	Changes []simulatedChange `json:"changes"`
}

// ruleChange counts how often a rule matched.
type ruleChange struct {
	Rule   string `json:"rule"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

// simulatedChange is one thing that would have come out differently.
type simulatedChange struct {
	Run   string    `json:"run,omitempty"`
	Step  string    `json:"step,omitempty"`
	Event int64     `json:"event,omitempty"`
	At    time.Time `json:"at,omitzero"`
	Exact bool      `json:"exact"`
	policy.Change
}

func (f simulateFlags) check() error {
	from := 0
	for _, given := range []bool{f.facts != "", len(f.runs) > 0, f.since != ""} {
		if given {
			from++
		}
	}
	switch {
	case from != 1:
		return Usage("say what to judge by one of them", "give one of --facts, --run and --since")
	case f.workflow != "" && f.since == "":
		return Usage("add --since", "--workflow is for --since")
	case f.limit < 1:
		return Usage("give a positive number", "--limit is %d", f.limit)
	}
	return nil
}

func (a *app) policySimulate(ctx context.Context, path string, f simulateFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	after, err := a.loadPolicies(ctx, path)
	if err != nil {
		return err
	}
	before, err := policy.New(policy.Rules{Default: wflo.EffectAllow})
	if err != nil {
		return err
	}
	out := simulation{After: after.Hash(), Rules: []ruleChange{}, Changes: []simulatedChange{}}
	if f.against != "" {
		if before, err = a.loadPolicies(ctx, f.against); err != nil {
			return err
		}
		out.Before = before.Hash()
	}
	pasts, err := a.pasts(ctx, f)
	if err != nil {
		return err
	}
	for _, p := range pasts {
		if f.facts == "" {
			out.Runs++
			p.Calls = append(p.Calls, p.Moments(before, after)...)
		}
		out.add(before, after, p)
	}
	return a.printSimulation(out)
}

// add judges what a run did.
func (s *simulation) add(before, after *policy.Set, p simulate.Past) {
	s.Unread += p.Unread
	s.Judged += len(p.Calls)
	for _, c := range p.Calls {
		if c.Exact {
			s.Exact++
		}
		s.count(before.Judge(c.Facts), func(r *ruleChange) { r.Before++ })
		s.count(after.Judge(c.Facts), func(r *ruleChange) { r.After++ })
	}
	for _, change := range before.Simulate(after, p.Facts()) {
		c := p.Calls[change.Index]
		s.Changes = append(s.Changes, simulatedChange{Run: p.WorkflowID, Step: c.Step, Event: c.Event, At: c.At, Exact: c.Exact, Change: change})
	}
}

func (s *simulation) count(r wflo.Ruling, add func(*ruleChange)) {
	for _, m := range r.Matches {
		i := slices.IndexFunc(s.Rules, func(c ruleChange) bool { return c.Rule == m.Rule })
		if i < 0 {
			i, s.Rules = len(s.Rules), append(s.Rules, ruleChange{Rule: m.Rule})
		}
		add(&s.Rules[i])
	}
}

// pasts reads what is to be judged.
func (a *app) pasts(ctx context.Context, f simulateFlags) ([]simulate.Past, error) {
	if f.facts != "" {
		all, err := a.readFacts(ctx, f.facts)
		p := simulate.Past{}
		for _, one := range all {
			p.Calls = append(p.Calls, simulate.Call{Facts: one})
		}
		return []simulate.Past{p}, err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	runs := make([]runSummary, len(f.runs))
	for i, id := range f.runs {
		runs[i].ID = id
	}
	if f.since != "" {
		if runs, err = c.runsSince(ctx, f); err != nil {
			return nil, err
		}
	}
	p := newProgress(a.deps.Stderr, a.animated())
	defer p.stop()
	var all []simulate.Past
	for i, r := range runs {
		p.set(fmt.Sprintf("history %d of %d", i+1, len(runs)))
		past, err := simulate.Reader{Client: c, Converter: a.converter(), Namespace: c.namespace}.Read(ctx, r.ID, r.RunID)
		if err != nil {
			return nil, c.explain(err, r.ID)
		}
		all = append(all, past)
	}
	return all, nil
}

func (c *connection) runsSince(ctx context.Context, f simulateFlags) ([]runSummary, error) {
	span, err := parseSpan(f.since)
	if err != nil {
		return nil, Usage("such as --since 7d", "--since: %w", err)
	}
	query := listQuery("", false) + fmt.Sprintf(" AND StartTime >= '%s'", time.Now().Add(-span).UTC().Format(time.RFC3339))
	if f.workflow != "" {
		query += " AND WorkflowType = " + quoted(f.workflow)
	}
	return c.list(ctx, query, f.limit)
}

// quoted is text in a visibility query.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func (a *app) printSimulation(s simulation) error {
	if a.format != formatText {
		return a.printJSON(s)
	}
	if err := printAll(a, s.Changes, []string{"RUN", "AT", "WHAT", "CHANGE"}, func(c simulatedChange) []string {
		what, at := string(c.Facts.Kind)+" "+c.Facts.Operation, ""
		if !c.At.IsZero() {
			at = c.At.UTC().Format(time.RFC3339)
		}
		if c.Step != "" && !strings.HasPrefix(c.Step, c.Facts.Operation) {
			what += " (" + c.Step + ")"
		}
		return []string{c.Run, at, what, strings.Join(c.Differences, "; ")}
	}); err != nil {
		return err
	}
	if len(s.Changes) > 0 {
		fmt.Fprintln(a.deps.Stdout)
	}
	if err := printAll(a, s.Rules, []string{"RULE", "MATCHED BEFORE", "NOW"}, func(r ruleChange) []string {
		return []string{r.Rule, strconv.Itoa(r.Before), strconv.Itoa(r.After)}
	}); err != nil {
		return err
	}
	stricter := 0
	for _, c := range s.Changes {
		if c.Stricter() {
			stricter++
		}
	}
	a.note("%d of %d judged would have come out differently, %d of them stricter", len(s.Changes), s.Judged, stricter)
	if s.Runs > 0 {
		a.note("from %s; on exactly the facts that were judged then: %d; see wflo policy simulate --help for what histories lack", plural(s.Runs, "run"), s.Exact)
	}
	if s.Unread > 0 {
		a.note("warning: %s could not be read and are not judged", plural(s.Unread, "call"))
	}
	return nil
}
