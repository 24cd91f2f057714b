package govern

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
)

// talkative is a run that logs in every way there is, goes on as a new one, and panics once.
type talkative struct{ panicked atomic.Bool }

func (k *talkative) run(ctx workflow.Context, part int) error {
	if part == 2 && k.panicked.CompareAndSwap(false, true) {
		panic("the code is wrong")
	}
	workflow.GetLogger(ctx).Info("the workflow says", "part", part)
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 2, InitialInterval: time.Millisecond},
	})
	_, err := workflows.Step(ctx, "charge", workflows.StepOptions{}, func(ctx workflow.Context) (bool, error) {
		return true, workflow.ExecuteActivity(ctx, "Talk", part).Get(ctx, nil)
	})
	if part == 1 {
		return workflow.NewContinueAsNewError(ctx, "Talkative", 2)
	}
	return err
}

// TestLogsOfARunAcrossWorkers: the lines of one run, of two workers that share a database,
// across activity retries, continue-as-new and a workflow task that failed, with the ids
// that Temporal gave the first of the chain.
func TestLogsOfARunAcrossWorkers(t *testing.T) {
	dir := t.TempDir()
	kept := func(c *plugin.Config) { c.DataDir, c.Database = dir, "" }
	k := &talkative{}
	register := func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(k.run, workflow.RegisterOptions{Name: "Talkative"})
	}
	talk := func(guard func() *plugin.Plugin) func(worker.Registry) {
		return func(r worker.Registry) {
			register(r)
			r.RegisterActivityWithOptions(func(ctx context.Context, part int) error {
				activity.GetLogger(ctx).Info("the activity says", "part", part)
				guard().Logger().InfoContext(ctx, "slog says")
				if activity.GetInfo(ctx).Attempt == 1 {
					return errors.New("not yet")
				}
				return nil
			}, activity.RegisterOptions{Name: "Talk"})
		}
	}
	var first, second *world
	first = newWorld(t, config{queue: t.Name(), plugin: kept, register: talk(func() *plugin.Plugin { return first.guard })})
	second = newWorld(t, config{queue: t.Name(), plugin: kept, register: talk(func() *plugin.Plugin { return second.guard })})
	run := first.start(wflo.Run{User: "ann", Team: "ops"}, "Talkative", 1)
	firstRun := run.GetRunID() // of the chain; that of the last one once it was waited for
	if err := first.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	store := first.guard.Ledger().(interface{ Logs() activities.Logs }).Logs()
	var lines []wflo.LogLine
	want := map[string]int{"the workflow says": 2, "the activity says": 4, "slog says": 4, "activity failed": 2}
	t.Cleanup(func() {
		if t.Failed() {
			for _, l := range lines {
				t.Logf("line %d: %s %s %s", l.Seq, l.Step, l.Message, l.Attributes)
			}
		}
	})
	eventually(t, "all lines", func() bool {
		var err error
		lines, err = store.ReadLogs(t.Context(), activities.LogQuery{WorkflowID: run.GetID(), FirstRunID: firstRun, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for message, n := range want {
			if len(said(lines, message)) < n {
				return false
			}
		}
		return slices.ContainsFunc(lines, func(l wflo.LogLine) bool { return strings.Contains(string(l.Attributes), "the code is wrong") })
	})
	for message, n := range want {
		all := said(lines, message)
		if len(all) != n {
			t.Errorf("%q is there %d times, want %d", message, len(all), n)
		}
		for _, l := range all {
			if l.User != "ann" || l.Team != "ops" || l.Correlation == "" || message != "the workflow says" && !strings.Contains(l.Step, "/charge#1") {
				t.Errorf("%s: %+v", message, l)
			}
		}
	}
}

func said(lines []wflo.LogLine, message string) []wflo.LogLine {
	return slices.DeleteFunc(slices.Clone(lines), func(l wflo.LogLine) bool { return l.Message != message })
}
