package promrules

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
)

const (
	recording = "../../deploy/prometheus/recording.yml"
	alerts    = "../../deploy/prometheus/alerts.yml"
)

// healthy is a worker at work: none of it is a reason to wake somebody.
const healthy = `load 1m
  wflo_build_info{version="1"} 1x1600
  wflo_task_queue_backlog_age_seconds{task_queue="wflo",type="activity"} 2x1600
  wflo_workflow_executions_total{status="completed"} 0+5x1600
  wflo_workflow_executions_total{status="failed"} 0+0.1x1600
  wflo_activity_duration_seconds_count{activity="a",status="ok"} 0+50x1600
  wflo_activity_duration_seconds_count{activity="a",status="error"} 0+1x1600
  wflo_workflow_cost_usd{workflow_name="w"} 0+0.5x1600
  wflo_approvals_oldest_seconds{risk="critical"} 60x1600
  wflo_audit_checkpoint_failed 0x1600
  wflo_policy_reload_failed{kind="run"} 0x1600
  wflo_compensation_dead_letters 0x1600
  wflo_sandbox_creation_duration_seconds_bucket{le="0.1"} 0+10x1600
  wflo_sandbox_creation_duration_seconds_bucket{le="+Inf"} 0+10x1600
  wflo_approval_requests_total{status="timeout"} 0x1600
  wflo_approval_requests_total{status="approved"} 0+1x1600
  wflo_notices_total{channel="c",outcome="delivered"} 0+1x1600
  wflo_notices_total{channel="c",outcome="failed"} 0+0.1x1600
  wflo_rounds_total{round="sweep holds",outcome="ok"} 0+1x1600
  wflo_restores_total{mode="fork",outcome="done"} 0+1x1600
  wflo_log_lines_dropped_total{reason="store"} 0x1600
  wflo_spans_dropped_total{reason="export"} 0x1600
  wflo_audit_append_failures_total 0x1600
`

// up is there in every scene but that without workers.
const up = "load 1m\n  wflo_build_info 1x1600\n"

// scenes are what must set off each alert, and nothing else.
var scenes = map[string]string{
	"WfloNoWorker":              "load 1m\n  other 1x1600\n",
	"WfloTasksWait":             up + `  wflo_task_queue_backlog_age_seconds{task_queue="wflo",type="workflow"} 400x1600`,
	"WfloWorkflowTasksFail":     up + `  temporal_workflow_task_execution_failed_total{workflow_type="w"} 0+1x1600`,
	"WfloRunsFail":              up + "  wflo_workflow_executions_total{status=\"failed\"} 0+1x1600\n  wflo_workflow_executions_total{status=\"completed\"} 0+1x1600",
	"WfloActivityErrors":        up + "  wflo_activity_duration_seconds_count{activity=\"a\",status=\"error\"} 0+2x1600\n  wflo_activity_duration_seconds_count{activity=\"a\",status=\"ok\"} 0+1x1600",
	"WfloBudgetExceeded":        up + `  wflo_budget_exceeded_total{workflow_name="w"} 0+1x1600`,
	"WfloSpendUnusual":          up + `  wflo_workflow_cost_usd{workflow_name="w"} 0+0.01x1500 20+1x100`,
	"WfloOverdraft":             up + `  wflo_llm_overdrafts_total{provider="p",model="m"} 0+1x1600`,
	"WfloModelFailover":         up + `  wflo_llm_failovers_total{provider="p",model="m"} 0+1x1600`,
	"WfloAgentLoops":            up + `  wflo_agent_loops_total{agent="a"} 0+1x1600`,
	"WfloHoldsUnsettled":        up + `  wflo_holds_swept_total{found="lost"} 0+1x1600`,
	"WfloApprovalWaits":         up + `  wflo_approvals_oldest_seconds{risk="high"} 1900x1600`,
	"WfloApprovalsTimeOut":      up + `  wflo_approval_requests_total{status="timeout"} 0+1x1600`,
	"WfloNoticesLost":           up + `  wflo_notices_total{channel="slack",outcome="dead_letter"} 0+1x1600`,
	"WfloDecisionsUnrecorded":   up + `  wflo_decisions_refused_total{outcome="lost"} 0+1x1600`,
	"WfloAuditCheckpointFailed": up + `  wflo_audit_checkpoint_failed 1x1600`,
	"WfloPolicyReloadFailed":    up + `  wflo_policy_reload_failed{kind="run"} 1x1600`,
	"WfloSandboxSlow":           up + "  wflo_sandbox_creation_duration_seconds_bucket{le=\"5\"} 0x1600\n  wflo_sandbox_creation_duration_seconds_bucket{le=\"10\"} 0+1x1600\n  wflo_sandbox_creation_duration_seconds_bucket{le=\"+Inf\"} 0+1x1600",
	"WfloSandboxQueue":          up + "  wflo_sandbox_queue_seconds_bucket{le=\"60\"} 0x1600\n  wflo_sandbox_queue_seconds_bucket{le=\"120\"} 0+1x1600\n  wflo_sandbox_queue_seconds_bucket{le=\"+Inf\"} 0+1x1600",
	"WfloSandboxLost":           up + `  wflo_sandbox_executions_total{outcome="infra_lost"} 0+1x1600`,
	"WfloDeadLetters":           up + `  wflo_compensation_dead_letters 2x1600`,
	"WfloRestoreFailed":         up + `  wflo_restores_total{mode="fork",outcome="failed"} 0+1x1600`,
	"WfloSnapshotsSlow":         up + "  wflo_snapshot_duration_seconds_bucket{le=\"30\"} 0x1600\n  wflo_snapshot_duration_seconds_bucket{le=\"60\"} 0+1x1600\n  wflo_snapshot_duration_seconds_bucket{le=\"+Inf\"} 0+1x1600",
	"WfloRoundsFail":            up + `  wflo_rounds_total{round="sweep holds",outcome="error"} 0+1x1600`,
	"WfloAuditNotWritten":       up + `  wflo_audit_append_failures_total 0+1x1600`,
	"WfloSpansDropped":          up + `  wflo_spans_dropped_total{reason="export"} 0+1x1600`,
	"WfloLogLinesDropped":       up + `  wflo_log_lines_dropped_total{reason="store"} 0+1x1600`,
}

func TestRulesAreRead(t *testing.T) {
	for _, file := range []string{recording, alerts} {
		groups, errs := rulefmt.ParseFile(file, false)
		if len(errs) > 0 {
			t.Fatalf("%s: %v", file, errs)
		}
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				if r.Alert == "" {
					continue
				}
				if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
					t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
				}
				for _, name := range []string{"summary", "description", "runbook_url"} {
					if r.Annotations[name] == "" {
						t.Errorf("%s has no %s", r.Alert, name)
					}
				}
				if scenes[r.Alert] == "" {
					t.Errorf("%s has no scene that sets it off", r.Alert)
				}
			}
		}
	}
}

func TestAlertsFire(t *testing.T) {
	for name, series := range scenes {
		t.Run(name, func(t *testing.T) {
			if got := firing(t, series); !slices.Equal(got, []string{name}) {
				t.Errorf("firing: %v", got)
			}
		})
	}
}

func TestNothingFiresOnAGoodDay(t *testing.T) {
	if got := firing(t, healthy); len(got) > 0 {
		t.Errorf("firing: %v", got)
	}
}

// firing runs the rules over two hours of series that are a day old, and gives the alerts
// that fire at the end.
func firing(t *testing.T, series string) (names []string) {
	t.Helper()
	store := promqltest.LoadedStorage(t, series)
	t.Cleanup(func() { _ = store.Close() }) // it is in a directory of the test
	// What is recorded goes to a store of its own, because one refuses samples that are
	// much older than its latest.
	records := promqltest.LoadedStorage(t, "")
	t.Cleanup(func() { _ = records.Close() })
	both := storage.QueryableFunc(func(from, to int64) (storage.Querier, error) {
		one, err := store.Querier(from, to)
		if err != nil {
			return nil, err
		}
		other, err := records.Querier(from, to)
		if err != nil {
			return nil, err
		}
		return storage.NewMergeQuerier([]storage.Querier{one, other}, nil, storage.ChainedSeriesMerge), nil
	})
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	m := rules.NewManager(&rules.ManagerOptions{
		ExternalURL: &url.URL{}, QueryFunc: rules.EngineQueryFunc(engine, both), NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Context: t.Context(), Appendable: records, Queryable: both, Logger: promslog.NewNopLogger(),
	})
	groups, errs := m.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, recording, alerts)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	keys := make([]string, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	// What is recorded comes before what uses it.
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(b, a) })
	// The same two hours of two days: one rule compares with yesterday.
	for day := range 2 {
		for minute := range 120 {
			at := time.Unix(0, 0).Add(time.Duration(day)*24*time.Hour + time.Duration(minute)*time.Minute)
			for _, key := range keys {
				groups[key].Eval(t.Context(), at)
			}
		}
	}
	for _, g := range groups {
		for _, r := range g.Rules() {
			if err := r.LastError(); err != nil {
				t.Errorf("%s: %v", r.Name(), err)
			}
			if a, ok := r.(*rules.AlertingRule); ok && a.State() == rules.StateFiring {
				names = append(names, a.Name())
			}
		}
	}
	slices.Sort(names)
	return names
}
