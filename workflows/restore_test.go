package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/workflows"
)

// past is a worker that keeps snapshots, over the real store: what a run of it leaves,
// the next one finds.
type past struct {
	*testsuite.TestWorkflowEnvironment
	t        testing.TB
	ledger   *sqlite.Ledger
	snapshot *activities.Snapshot
	logger   *slog.Logger
	metrics  *telemetry.Metrics
	// begin is called before each run of a chain with its number.
	begin func(n int)
	runs  int
	// id is the workflow id, header what the first run begins with; empty means the
	// environment's.
	id     string
	header *commonpb.Header

	mu sync.Mutex
	// did are the calls of "do", keys the effect keys of each line.
	did  []string
	keys map[string][]wflo.EffectKey
	fail map[string]error
	// stubborn is how long a call of "slow" goes on after it was asked to stop.
	stubborn time.Duration
}

func newPast(t testing.TB) *past {
	t.Helper()
	p := &past{t: t, keys: map[string][]wflo.EffectKey{}, fail: map[string]error{}, begin: func(int) {}}
	p.logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if p.ledger, err = sqlite.Open(context.Background(), sqlite.Config{Logger: p.logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.ledger.Close() })
	blobs, err := file.Open(file.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = blobs.Close() })
	p.snapshot = &activities.Snapshot{
		Recovery: p.ledger.Recovery(), Blobs: blobs, Parts: map[wflo.PartKind]activities.PartKeeper{}, Audit: p.ledger.Records(), Logger: p.logger,
	}
	p.metrics = telemetry.NewMetrics(telemetry.Config{Logger: p.logger, RunFromContext: wflo.RunFrom})
	return p
}

func (p *past) do(ctx context.Context, line string) (string, error) {
	run, _ := wflo.RunFrom(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.did = append(p.did, line)
	p.keys[line] = append(p.keys[line], run.EffectKey())
	if err := p.fail[line]; err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d", line, len(p.did)), nil
}

// env makes the environment of the next run.
func (p *past) env(code any) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(p.logger))
	e := suite.NewTestWorkflowEnvironment()
	e.SetTestTimeout(time.Minute)
	terms := wflo.Terms{AllowUnsigned: true}
	e.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 30 * time.Second, Interceptors: []interceptor.WorkerInterceptor{
		&stubborn{takes: p.stubborn},
		workflows.NewInterceptor(workflows.InterceptorConfig{Snapshots: true}),
		activities.NewInterceptor(activities.InterceptorConfig{
			Logger: p.logger, Observer: p.metrics, Records: p.ledger.Records(), Terms: func() wflo.Terms { return terms }, Recovery: p.ledger.Recovery(),
		}),
	}})
	e.RegisterWorkflowWithOptions(code, workflow.RegisterOptions{Name: "code"})
	e.RegisterActivityWithOptions(p.snapshot, activity.RegisterOptions{Name: step.PrefixSnapshot})
	e.RegisterActivityWithOptions(&activities.Undo{Store: p.ledger.Recovery(), Logger: p.logger}, activity.RegisterOptions{Name: step.PrefixUndo})
	e.RegisterActivityWithOptions(&activities.Approval{Terms: terms, Records: p.ledger.Records(), Logger: p.logger, Observer: p.metrics},
		activity.RegisterOptions{Name: step.PrefixApproval})
	e.RegisterActivityWithOptions(p.do, activity.RegisterOptions{Name: "do"})
	// A function of its own: the SDK knows one by the name that it got last.
	e.RegisterActivityWithOptions(func(ctx context.Context, line string) (string, error) { return p.do(ctx, line) }, activity.RegisterOptions{Name: "pay"})
	e.RegisterActivityWithOptions(func(context.Context) error { return activity.ErrResultPending }, activity.RegisterOptions{Name: "slow"})
	e.RegisterActivityWithOptions(func(ctx context.Context, q wflo.Prompt) (wflo.Reply, error) {
		_, err := p.do(ctx, q.Messages[0].Text)
		return wflo.Reply{Text: "so it is", Cost: 2_000_000}, err
	}, activity.RegisterOptions{Name: string(step.LLMChat)})
	p.TestWorkflowEnvironment = e
}

// run runs code and whatever it continues as, and returns how the last one ended.
func (p *past) run(code any, args ...any) error {
	p.t.Helper()
	var header *commonpb.Header
	for {
		p.runs++
		p.env(code)
		if header != nil {
			p.SetHeader(header)
			p.SetContinuedExecutionRunID("default-test-run-id")
		} else if p.header != nil {
			p.SetHeader(p.header)
		}
		if p.id != "" {
			p.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: p.id, TaskQueue: "agents"})
		}
		p.begin(p.runs)
		p.ExecuteWorkflow("code", args...)
		if !p.IsWorkflowCompleted() {
			p.t.Fatal("the workflow did not end")
		}
		err := p.GetWorkflowError()
		var next *workflow.ContinueAsNewError
		if !errors.As(err, &next) {
			return err
		}
		if p.runs > 30 {
			p.t.Fatal("it goes on for ever")
		}
		header, args = next.Header, nil
		for _, in := range next.Input.GetPayloads() {
			args = append(args, converter.NewRawValue(in))
		}
	}
}

func (p *past) status() (s wflo.Status) {
	p.t.Helper()
	v, err := p.QueryWorkflow(wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// restoreAfter sends an update so long after the run began, and gives its answer.
func (p *past) restoreAfter(d time.Duration, r wflo.Restore, got *answerOf) {
	p.RegisterDelayedCallback(func() { p.UpdateWorkflow(wflo.UpdateRestore, r.ID, got, r) }, d)
}

// answerOf keeps what became of an update.
type answerOf struct {
	rejected, err error
	ok            bool
	value         any
}

func (a *answerOf) Reject(err error) { a.rejected = err }
func (a *answerOf) Accept()          { a.ok = true }
func (a *answerOf) Complete(v any, err error) {
	a.value, a.err = v, err
}

func call(ctx workflow.Context, line string) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, WaitForCancellation: true, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	return workflow.ExecuteActivity(ctx, "do", line)
}

func must(ctx workflow.Context, line string) (out string, err error) {
	err = call(ctx, line).Get(ctx, &out)
	return out, err
}

// TestRestoreByTheCodeItself: what was done before the snapshot is answered, and the
// rest is done again with new effect keys.
func TestRestoreByTheCodeItself(t *testing.T) {
	p := newPast(t)
	var seen [][]string
	err := p.run(func(ctx workflow.Context) error {
		var saw []string
		defer func() { seen = append(seen, saw) }()
		one, err := must(ctx, "one")
		if err != nil {
			return err
		}
		two, err := workflows.Step(ctx, "two", workflows.StepOptions{}, func(ctx workflow.Context) (string, error) { return must(ctx, "two") })
		if err != nil {
			return err
		}
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return err
		}
		var drawn int
		if err := workflow.SideEffect(ctx, func(workflow.Context) any { return len(p.did) + p.runs }).Get(&drawn); err != nil {
			return err
		}
		saw = append(saw, one, two, fmt.Sprint(drawn))
		snap, err := workflows.TakeSnapshot(ctx, "before three")
		if err != nil {
			return err
		}
		three, err := must(ctx, "three")
		saw = append(saw, three)
		if err == nil && p.runs == 1 {
			return workflows.Restore(ctx, snap.ID)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"one", "two", "three", "three"}; !slices.Equal(p.did, want) {
		t.Errorf("did %v, want %v", p.did, want)
	}
	if len(seen) != 2 || !slices.Equal(seen[0][:3], seen[1][:3]) || seen[1][3] == seen[0][3] {
		t.Errorf("the code saw %v", seen)
	}
	if k := p.keys["three"]; k[0] == k[1] {
		t.Error("what is done again has the effect key of before")
	}
	if s := p.status(); s.Run.Epoch != 1 || s.Restoring != "" || s.State != wflo.StateCompleted {
		t.Errorf("status %+v", s)
	}
	all, err := p.ledger.Recovery().ListRestores(t.Context(), "")
	if err != nil || len(all) != 1 || all[0].State != wflo.RestoreDone || all[0].PreRestore == "" {
		t.Errorf("restores %+v, %v", all, err)
	}
}

// TestRestoreByUpdate takes a run back that waits for a signal, which hears of no
// cancellation, undoes what came later, and leaves what came before.
func TestRestoreByUpdate(t *testing.T) {
	p := newPast(t)
	book := func(ctx workflow.Context, line string) error {
		_, err := workflows.Step(ctx, line, workflows.StepOptions{
			Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: line, Activity: "do", Input: "undo " + line},
		}, func(ctx workflow.Context) (string, error) { return must(ctx, line) })
		return err
	}
	var early, late answerOf
	order := wflo.Restore{ID: "r1", WorkflowID: "default-test-workflow-id", To: wflo.RestorePoint{Snapshot: "middle"}, By: "ann", Reason: "wrong room"}
	p.begin = func(n int) {
		if n > 1 {
			p.RegisterDelayedCallback(func() { p.SignalWorkflow("go", "on") }, time.Minute)
			return
		}
		other := order
		other.ID, other.WorkflowID = "r0", "another"
		p.restoreAfter(time.Minute, other, &early)
		p.restoreAfter(2*time.Minute, order, &late)
	}
	err := p.run(func(ctx workflow.Context) error {
		if err := book(ctx, "flight"); err != nil {
			return err
		}
		if _, err := workflows.TakeSnapshot(ctx, "middle"); err != nil {
			return err
		}
		if err := book(ctx, "room"); err != nil {
			return err
		}
		var text string
		workflow.GetSignalChannel(ctx, "go").Receive(ctx, &text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"flight", "room", "undo room", "room"}; !slices.Equal(p.did, want) {
		t.Errorf("did %v, want %v", p.did, want)
	}
	if early.rejected == nil || !late.ok || late.err != nil {
		t.Errorf("another run: %+v, this one: %+v", early, late)
	}
	r, ok := late.value.(wflo.Restored)
	if !ok || len(r.Plan.Undo) != 1 || r.Plan.Undo[0].Name != "room" || len(r.Plan.Irreversible) != 0 || r.Epoch != 1 {
		t.Errorf("the plan says %+v", late.value)
	}
	if s := p.status(); len(s.Compensations) != 2 || s.Compensations[1].State != wflo.CompensationKept {
		t.Errorf("compensations %+v", s.Compensations)
	}
}

// TestRestoreRefusesWhatCannotBeUndone before anything is stopped.
func TestRestoreRefusesWhatCannotBeUndone(t *testing.T) {
	p := newPast(t)
	var refused answerOf
	p.begin = func(int) {
		p.restoreAfter(time.Minute, wflo.Restore{
			ID: "r1", WorkflowID: "default-test-workflow-id", To: wflo.RestorePoint{Snapshot: "start"}, By: "ann", Reason: "no",
		}, &refused)
	}
	err := p.run(func(ctx workflow.Context) error {
		if _, err := workflows.TakeSnapshot(ctx, "start"); err != nil {
			return err
		}
		if err := workflow.Sleep(ctx, time.Second); err != nil {
			return err
		}
		_, err := workflows.Step(ctx, "mail", workflows.StepOptions{Effect: wflo.EffectIrreversible}, func(ctx workflow.Context) (string, error) { return must(ctx, "mail") })
		if err != nil {
			return err
		}
		return workflow.Sleep(ctx, time.Hour)
	})
	if err != nil || !slices.Equal(p.did, []string{"mail"}) || p.runs != 1 {
		t.Errorf("%v, did %v in %d runs", err, p.did, p.runs)
	}
	if refused.err == nil || !strings.Contains(refused.err.Error(), "g0/mail#1") {
		t.Errorf("the update answered %+v", refused)
	}
	if refs := p.status().Snapshots; len(refs) != 2 || refs[1].Kind != wflo.SnapshotAuto {
		t.Errorf("snapshots %+v", refs)
	}
}
