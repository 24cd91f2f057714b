package console

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// Bounds of a page of log lines.
const (
	someLogs = 100
	mostLogs = 1000
)

// RunLogs is a page of a run's log lines.
type RunLogs struct {
	FirstRunID string `json:"first_run_id"`
	// Lines are in the order in which they were kept.
	Lines []wflo.LogLine `json:"lines"`
	// Next is what to give as after to read on.
	Next int64 `json:"next"`
	// Ended says that the run has closed. Workers hand the last lines over a moment later.
	Ended bool `json:"ended"`
	// Live is what programs write at this moment, where that was asked for.
	Live []LiveOutput `json:"live,omitempty"`
}

// LiveOutput is what is known of a program that runs in a sandbox, by its last heartbeat.
type LiveOutput struct {
	ActivityID string `json:"activity_id"`
	Activity   string `json:"activity"`
	Attempt    int32  `json:"attempt"`
	step.Progress
}

// LevelChange is the body of a change of the log level.
type LevelChange struct {
	// Level is debug, info, warn or error.
	Level string `json:"level"`
	// For is how long, such as 10m; empty means for good.
	For string `json:"for,omitempty"`
}

// logRoutes are about log lines: where the ledger's database keeps those of runs, and
// where this process has a level that can be changed.
func (h *Handler) logRoutes() []Route {
	var all []Route
	if l, ok := h.cfg.Ledger.(interface{ Logs() activities.Logs }); ok {
		store := l.Logs()
		all = append(all, Route{Pattern: "GET /api/v1/runs/{id}/logs", Role: viewer, Tenants: true, serve: h.json(func(ctx context.Context, r *http.Request) (any, error) {
			return h.runLogs(ctx, r, store)
		})})
	}
	if level, ok := telemetry.LevelOf(h.cfg.Logger); ok {
		all = append(all,
			Route{Pattern: "GET /api/v1/log-level", Role: viewer, serve: h.json(func(_ context.Context, r *http.Request) (any, error) {
				_, err := queryOf(r)
				return level.State(), err
			})},
			Route{Pattern: "PUT /api/v1/log-level", Role: operator, serve: h.json(func(ctx context.Context, r *http.Request) (any, error) {
				return h.setLevel(ctx, r, level)
			})})
	}
	return all
}

// runLogs reads lines of the latest run of a workflow id, or of the one whose first run id
// is given.
func (h *Handler) runLogs(ctx context.Context, r *http.Request, store activities.Logs) (any, error) {
	q, err := queryOf(r, "after", "level", "step", "since", "limit", "latest", "live", "first_run")
	if err != nil {
		return nil, err
	}
	query, err := logQuery(q)
	if err != nil {
		return nil, err
	}
	query.WorkflowID = r.PathValue("id")
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, query.WorkflowID, q.Get("first_run"))
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", query.WorkflowID, err)
	}
	info := d.GetWorkflowExecutionInfo()
	if err := ownRun(ctx, info); err != nil {
		return nil, err
	}
	query.FirstRunID = cmp.Or(info.GetFirstRunId(), info.GetExecution().GetRunId())
	lines, err := store.ReadLogs(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read log lines of %s: %w", query.WorkflowID, err)
	}
	page := RunLogs{FirstRunID: query.FirstRunID, Lines: append([]wflo.LogLine{}, lines...), Next: query.After, Ended: !isOpen(info)}
	if n := len(lines); n > 0 {
		page.Next = lines[n-1].Seq
	}
	if q.Get("live") != "" {
		page.Live = liveOutput(d.GetPendingActivities())
	}
	return page, nil
}

func logQuery(q url.Values) (query activities.LogQuery, err error) {
	query.Step = q.Get("step")
	if err := text("step", query.Step); err != nil {
		return query, err
	}
	if given := q.Get("level"); given != "" {
		if query.Level, err = parseLevel(given); err != nil {
			return query, err
		}
	}
	if given := q.Get("after"); given != "" {
		if query.After, err = strconv.ParseInt(given, 10, 64); err != nil || query.After < 0 {
			return query, wflo.Invalid("after", fmt.Sprintf("is %q", given), "use next of the page before")
		}
	}
	if given := q.Get("since"); given != "" {
		if query.Since, err = time.Parse(time.RFC3339, given); err != nil {
			return query, wflo.Invalid("since", fmt.Sprintf("is %q", given), "write a time as in 2026-12-01T13:00:00Z")
		}
	}
	if given := q.Get("latest"); given != "" {
		if query.Latest, err = strconv.ParseBool(given); err != nil {
			return query, wflo.Invalid("latest", fmt.Sprintf("is %q", given), "use true or false")
		}
	}
	query.Limit, err = count(q, "limit", someLogs, mostLogs)
	return query, err
}

// parseLevel reads one of the four levels.
func parseLevel(name string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(name, level.String()) {
			return level, nil
		}
	}
	return 0, wflo.Invalid("level", fmt.Sprintf("is %.40q", name), "use debug, info, warn or error")
}

// liveOutput is what heartbeats of running programs tell. Other activities' heartbeats are
// their own business.
func liveOutput(pending []*workflowpb.PendingActivityInfo) []LiveOutput {
	var all []LiveOutput
	for _, p := range pending {
		if p.GetActivityType().GetName() != string(step.SandboxRun) {
			continue
		}
		live := LiveOutput{ActivityID: p.GetActivityId(), Activity: p.GetActivityType().GetName(), Attempt: p.GetAttempt()}
		// One that has not had a heartbeat yet, or whose details only its worker can read,
		// is shown without output.
		if payloads := p.GetHeartbeatDetails(); len(payloads.GetPayloads()) > 0 {
			if err := converter.GetDefaultDataConverter().FromPayloads(payloads, &live.Progress); err != nil {
				live.Progress = step.Progress{}
			}
		}
		live.Tail = (*telemetry.Redactor)(nil).String(live.Tail)
		all = append(all, live)
	}
	return all
}

func (h *Handler) setLevel(ctx context.Context, r *http.Request, level *telemetry.Level) (any, error) {
	who, err := user(r)
	if err != nil {
		return nil, err
	}
	var change LevelChange
	if err := body(r, "log level", `send {"level": "debug", "for": "10m"}`, &change); err != nil {
		return nil, err
	}
	to, err := parseLevel(change.Level)
	if err != nil {
		return nil, err
	}
	var during time.Duration
	if change.For != "" {
		if during, err = time.ParseDuration(change.For); err != nil || during <= 0 {
			return nil, wflo.Invalid("for", fmt.Sprintf("is %.40q", change.For), "use a duration such as 10m, or leave it out for good")
		}
	}
	state, err := level.Set(to, during)
	if err != nil {
		return nil, err
	}
	h.cfg.Logger.WarnContext(ctx, "log level changed", "to", state.Level.String(), "until", state.Until, "by", who)
	return state, nil
}
