package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// runSummary is one run as the visibility store has it: the data of `wflo list`.
type runSummary struct {
	ID    string `json:"id"`
	RunID string `json:"run_id"`
	// FirstRunID is that of the first in a chain of runs, by which the ledger knows
	// them; empty when Temporal does not say.
	FirstRunID string        `json:"first_run_id,omitempty"`
	Workflow   string        `json:"workflow"`
	State      wflo.RunState `json:"state"`
	// Status is Temporal's own word.
	Status string   `json:"status"`
	User   string   `json:"user,omitempty"`
	Team   string   `json:"team,omitempty"`
	Gates  []string `json:"gates,omitempty"` // the open ones
	// Spent is rounded to a hundredth of a cent; nil means unknown.
	Spent *wflo.Money `json:"spent,omitempty"`
	// Ledger is the run's own budget; nil means that no worker's API said it.
	Ledger  *wflo.Spend `json:"ledger,omitempty"`
	Started time.Time   `json:"started"`
	Closed  *time.Time  `json:"closed,omitempty"`
}

// listFlags say which runs a list has.
type listFlags struct {
	state, workflow, user, team, since, text string
	limit                                    int
	all                                      bool
}

var listStates = []string{"running", "waiting_approval", "compensating", "restoring", "halted", "completed", "failed"}

func (a *app) listCmd() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the newest first",
		Long: `List runs, the newest first. What the flags ask for is joined by AND; --text looks for
letters, in either case, in a run's id, its workflow, user and team and its open gates.`,
		Example: "  wflo list --state waiting_approval\n  wflo list --user ann --since 2d\n  wflo list --text refund --limit 100 -o jsonl\n" +
			"  wflo list --jq '.[] | select(.state == \"failed\") | .id'",
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := f.query(time.Now())
			if err != nil {
				return err
			}
			return a.list(cmd.Context(), query, f)
		},
	}
	set := cmd.Flags()
	set.StringVar(&f.state, "state", "", "only runs in this state: "+strings.Join(listStates, ", "))
	set.StringVar(&f.workflow, "workflow", "", "only runs of this workflow type")
	set.StringVar(&f.user, "user", "", "only runs for this user")
	set.StringVar(&f.team, "team", "", "only runs of this team")
	set.StringVar(&f.since, "since", "", "only runs that began within this time, such as 7d or 2h")
	set.StringVar(&f.text, "text", "", "only runs with this text in id, workflow, user, team or gates")
	set.IntVar(&f.limit, "limit", 20, "at most so many")
	set.BoolVar(&f.all, "all", false, "also the runs by which wflo hands over alerts of budgets")
	fixed(cmd, "state", listStates)
	return cmd
}

// query is the visibility query of a list; the text is looked for in what it finds.
func (f listFlags) query(now time.Time) (string, error) {
	if f.state != "" {
		if err := oneOf("--state", f.state, listStates...); err != nil {
			return "", err
		}
	}
	if f.limit < 1 {
		return "", Usage("give a positive number", "--limit is %d", f.limit)
	}
	var parts []string
	for _, c := range []struct{ flag, attr, value string }{
		{"--workflow", "WorkflowType", f.workflow}, {"--user", wflo.AttrUser, f.user}, {"--team", wflo.AttrTeam, f.team},
	} {
		if !quotable(c.value) {
			return "", Usage("look for a part of it with --text", "%s has a quote or a backslash, which Temporal's queries cannot", c.flag)
		}
		if c.value != "" {
			parts = append(parts, fmt.Sprintf("%s = '%s'", c.attr, c.value))
		}
	}
	if f.since != "" {
		length, err := parseSpan(f.since)
		if err != nil {
			return "", Usage("such as 7d, 36h or 90m", "--since: %s", err)
		}
		parts = append(parts, fmt.Sprintf("StartTime >= '%s'", now.Add(-length).UTC().Format(time.RFC3339)))
	}
	if query := listQuery(wflo.RunState(f.state), f.all); query != "" {
		parts = append(parts, query)
	}
	return strings.Join(parts, " AND "), nil
}

// quotable says that a value may stand between quotes in a visibility query.
func quotable(value string) bool { return !strings.ContainsAny(value, "'\"\\`") }

// matches says that a run has the text, in either case, in what people know it by.
func (r runSummary) matches(text string) bool {
	all := strings.Join(append([]string{r.ID, r.Workflow, r.User, r.Team}, r.Gates...), "\n")
	return strings.Contains(strings.ToLower(all), strings.ToLower(text))
}

func (a *app) list(ctx context.Context, query string, f listFlags) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var keep func(runSummary) bool
	if f.text != "" {
		keep = func(r runSummary) bool { return r.matches(f.text) }
	}
	runs, looked, err := c.find(ctx, query, f.limit, keep)
	if err != nil {
		return err
	}
	if looked == mostLooked {
		a.note("only the newest %d were looked at; narrow it with --since or --workflow", mostLooked)
	}
	if len(runs) == 0 && a.format == formatText {
		a.note("no runs; start one with: wflo run NAME")
	}
	a.ledgersOf(ctx, runs)
	return printAll(a, runs, []string{"ID", "WORKFLOW", "STATE", "USER", "SPENT", "RESERVED", "LIMIT", "STARTED", "TOOK"}, runCells)
}

func runCells(r runSummary) []string {
	spent, reserved, limit, took := "", "", "", ""
	if r.Spent != nil {
		spent = r.Spent.String()
	}
	if l := r.Ledger; l != nil {
		spent, reserved = l.Spent.String(), l.Reserved.String()
		if l.Limit > 0 {
			limit = l.Limit.String()
		}
	}
	if r.Closed != nil {
		took = short(r.Closed.Sub(r.Started))
	}
	return []string{r.ID, r.Workflow, string(r.State), r.User, spent, reserved, limit, since(r.Started) + " ago", took}
}

// glanceRuns is how many runs are looked up in the ledger for a list: as many
// as the API reads at once.
const glanceRuns = 100

// ledgersOf fills in the budgets of runs, if a worker's API knows them. A run
// that Temporal retried or continued has the id of its first run there, which the
// lists of Temporal 1.32 do not have; wflo status finds it.
func (a *app) ledgersOf(ctx context.Context, runs []runSummary) {
	c, err := a.api()
	if err != nil || len(runs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, glanceLimit)
	defer cancel()
	at, q := map[string]int{}, url.Values{}
	for i, r := range runs[:min(len(runs), glanceRuns)] {
		id := wflo.RunBudgetID(wflo.Run{WorkflowID: r.ID, FirstRunID: cmp.Or(r.FirstRunID, r.RunID)}.ID())
		at[id] = i
		q.Add("budget", id)
	}
	var all []wflo.Spend
	if c.get(ctx, "/spends", q, &all) != nil {
		return
	}
	for _, s := range all {
		if i, ok := at[s.Budget]; ok && (s.Limit != 0 || s.Spent != 0 || s.Reserved != 0) {
			runs[i].Ledger = &s
		}
	}
}

// listQuery is the visibility query of a list. The runs that hand over alerts are
// many and nobody's work, so they are in it only when all are asked for.
func listQuery(state wflo.RunState, all bool) string {
	query := console.StateQuery(state)
	if all {
		return query
	}
	own := fmt.Sprintf("WorkflowType != '%s'", wflo.WorkflowBudgetAlert)
	if query == "" {
		return own
	}
	return own + " AND (" + query + ")"
}

// mostLooked bounds how many runs are looked at for a text.
const mostLooked = 10_000

// list reads at most limit runs, the newest first.
func (c *connection) list(ctx context.Context, query string, limit int) ([]runSummary, error) {
	runs, _, err := c.find(ctx, query, limit, nil)
	return runs, err
}

// find reads at most limit runs that are to be kept, the newest first, and says how many
// it looked at. A nil keep keeps all.
func (c *connection) find(ctx context.Context, query string, limit int, keep func(runSummary) bool) (runs []runSummary, looked int, err error) {
	var page []byte
	size := int32(min(limit, 1000))
	if keep != nil {
		size = 1000
	}
	for {
		resp, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: c.namespace, Query: query, NextPageToken: page, PageSize: size,
		})
		if err != nil {
			return nil, looked, c.explain(err, "")
		}
		for _, e := range resp.GetExecutions() {
			if len(runs) == limit || looked == mostLooked {
				return runs, looked, nil
			}
			looked++
			if r := summary(e); keep == nil || keep(r) {
				runs = append(runs, r)
			}
		}
		if page = resp.GetNextPageToken(); len(page) == 0 || len(runs) == limit {
			return runs, looked, nil
		}
	}
}

func summary(e *workflowpb.WorkflowExecutionInfo) runSummary {
	r := runSummary{
		ID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(), FirstRunID: e.GetFirstRunId(),
		Workflow: e.GetType().GetName(), Status: strings.ToLower(e.GetStatus().String()),
		Started: e.GetStartTime().AsTime(),
	}
	if closed := e.GetCloseTime(); closed != nil {
		t := closed.AsTime()
		r.Closed = &t
	}
	attrs := e.GetSearchAttributes()
	attribute(attrs, wflo.AttrState, &r.State)
	attribute(attrs, wflo.AttrUser, &r.User)
	attribute(attrs, wflo.AttrTeam, &r.Team)
	var cost float64
	if attribute(attrs, wflo.AttrCost, &cost) {
		spent := fromFloat(cost)
		r.Spent = &spent
	}
	switch e.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED:
		attribute(attrs, wflo.AttrGates, &r.Gates)
		if r.State == "" {
			r.State = wflo.StateRunning
		}
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		r.State = wflo.StateCompleted
	default:
		// What the run last said of itself may be older than its end.
		if r.State != wflo.StateHalted {
			r.State = wflo.StateFailed
		}
	}
	return r
}

// attribute reads one search attribute and says whether it is there.
func attribute(attrs *commonpb.SearchAttributes, name string, value any) bool {
	payload, ok := attrs.GetIndexedFields()[name]
	return ok && converter.GetDefaultDataConverter().FromPayload(payload, value) == nil
}
