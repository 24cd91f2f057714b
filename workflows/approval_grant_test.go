package workflows_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// bill is what people approve here.
type bill struct {
	ID     string   `json:"id"`
	Amount int64    `json:"amount"`
	Notes  []string `json:"notes,omitempty"`
}

// till is a run whose activity pays, on a worker whose store and terms a test may
// change while it runs.
type till struct {
	*testsuite.TestWorkflowEnvironment
	t       *testing.T
	records *faulty
	terms   wflo.Terms
	sign    ed25519.PrivateKey
	gate    wflo.Gate
	paid    []bill
}

// faulty is a store that fails on demand.
type faulty struct {
	activities.Records
	mu sync.Mutex // activities run at the same time, and use and append count
	// use is asked before an approval is used, append before the trail is written.
	use, append func() error
}

func (f *faulty) asked(whether func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if whether == nil {
		return nil
	}
	return whether()
}

func (f *faulty) UseGrant(ctx context.Context, nonce string, effect wflo.EffectKey) error {
	if err := f.asked(f.use); err != nil {
		return err
	}
	return f.Records.UseGrant(ctx, nonce, effect)
}

func (f *faulty) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	if err := f.asked(f.append); err != nil {
		return err
	}
	return f.Records.Append(ctx, events...)
}

func newTill(t *testing.T) *till {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	ledger, err := sqlite.Open(context.Background(), sqlite.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &till{t: t, records: &faulty{Records: ledger.Records()}, sign: private}
	b.terms = wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(logger))
	b.TestWorkflowEnvironment = suite.NewTestWorkflowEnvironment()
	b.SetTestTimeout(time.Minute)
	metrics := telemetry.NewMetrics(telemetry.Config{Logger: logger, RunFromContext: wflo.RunFrom})
	b.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 30 * time.Second, Interceptors: []interceptor.WorkerInterceptor{
		workflows.NewInterceptor(workflows.InterceptorConfig{SearchAttributes: true}),
		activities.NewInterceptor(activities.InterceptorConfig{
			Logger: logger, Observer: metrics, Records: b.records, Terms: func() wflo.Terms { return b.terms },
		}),
	}})
	b.RegisterActivityWithOptions(&activities.Approval{Terms: b.terms, Records: b.records, Logger: logger, Observer: metrics},
		activity.RegisterOptions{Name: step.PrefixApproval})
	b.RegisterActivityWithOptions(b.pay, activity.RegisterOptions{Name: "pay"})
	b.RegisterActivityWithOptions(func(context.Context, string) error { return nil }, activity.RegisterOptions{Name: "log"})
	return b
}

func (b *till) pay(_ context.Context, o bill) (string, error) {
	b.paid = append(b.paid, o)
	return "paid " + o.ID, nil
}

// after sends a signed decision on the gate so long after the run began.
func (b *till) after(d time.Duration, decide func(wflo.Gate) wflo.Decision) {
	b.RegisterDelayedCallback(func() {
		v, err := b.QueryWorkflow(wflo.QueryGates)
		var gates []wflo.Gate
		if err == nil {
			err = v.Get(&gates)
		}
		if err != nil || len(gates) == 0 {
			b.t.Errorf("%d gates after %s: %v", len(gates), d, err)
			return
		}
		b.gate = gates[len(gates)-1]
		decision := decide(b.gate)
		decision.At = b.Now()
		b.SignalWorkflow(wflo.SignalDecide, decision.Sign("console", b.sign))
	}, d)
}

// run executes a workflow, and gives its error and how its gate stands in the end.
func (b *till) run(wf any) (wflo.Gate, error) {
	b.t.Helper()
	b.ExecuteWorkflow(wf)
	if !b.IsWorkflowCompleted() {
		b.t.Fatal("the workflow did not end")
	}
	var gates []wflo.Gate
	v, err := b.QueryWorkflow(wflo.QueryGates)
	if err == nil {
		err = v.Get(&gates)
	}
	if err != nil || len(gates) == 0 {
		b.t.Fatalf("%d gates: %v", len(gates), err)
	}
	return gates[0], b.GetWorkflowError()
}

// trail are the records of one type.
func (b *till) trail(kind wflo.AuditType) []wflo.AuditRecord {
	b.t.Helper()
	all, err := b.records.ReadAudit(context.Background(), wflo.AuditQuery{Chain: "main", Type: kind})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

var theOrder = bill{ID: "17", Amount: 1700}

// payment asks about one order, and about its payment only.
func payment(t *testing.T) wflo.Approval {
	t.Helper()
	payload, err := json.Marshal(theOrder)
	if err != nil {
		t.Fatal(err)
	}
	return wflo.Approval{Gate: "pay", Action: "pay order 17", Payload: payload, Activity: "pay", Approvers: []string{"ann", "bob"}, Answers: editable}
}

func pay(ctx workflow.Context, o bill) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Minute, MaximumAttempts: 5},
	})
	return workflow.ExecuteActivity(ctx, "pay", o).Get(ctx, nil)
}

// TestGrant lets one activity act once on what was approved, and nothing else.
func TestGrant(t *testing.T) {
	type say = func(wflo.Gate) wflo.Decision
	down := 0
	tests := map[string]struct {
		say    map[time.Duration]say // besides the approval after a minute
		change func(*till, *wflo.Approval)
		act    func(workflow.Context, wflo.Decision) error
		code   wflo.Code
		paid   int
		status wflo.GateStatus
	}{
		"as approved":    {act: func(ctx workflow.Context, _ wflo.Decision) error { return pay(ctx, theOrder) }, paid: 1, status: wflo.GateApproved},
		"another amount": {act: func(ctx workflow.Context, _ wflo.Decision) error { return pay(ctx, bill{ID: "17", Amount: 1701}) }, code: wflo.CodeConflict, status: wflo.GateApproved},
		"a second time": {act: func(ctx workflow.Context, _ wflo.Decision) error {
			return cmp.Or(pay(ctx, theOrder), pay(ctx, theOrder))
		}, code: wflo.CodeApprovalExpired, paid: 1, status: wflo.GateApproved},
		"another activity needs none": {act: func(ctx workflow.Context, _ wflo.Decision) error {
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
			if err := workflow.ExecuteActivity(ctx, "log", "x").Get(ctx, nil); err != nil {
				return err
			}
			return pay(ctx, theOrder)
		}, paid: 1, status: wflo.GateApproved},
		"as a local activity": {act: func(ctx workflow.Context, _ wflo.Decision) error {
			ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{ScheduleToCloseTimeout: time.Minute})
			return workflow.ExecuteLocalActivity(ctx, "pay", theOrder).Get(ctx, nil)
		}, code: wflo.CodeConflict, status: wflo.GateApproved},
		"too late": {change: func(_ *till, a *wflo.Approval) { a.Expiry = time.Minute }, act: func(ctx workflow.Context, _ wflo.Decision) error {
			return cmp.Or(workflow.Sleep(ctx, time.Hour), pay(ctx, theOrder))
		}, code: wflo.CodeApprovalExpired, status: wflo.GateExpired},
		"rejected before the call": {say: map[time.Duration]say{2 * time.Minute: reject("bob", "wait")}, act: func(ctx workflow.Context, _ wflo.Decision) error {
			return cmp.Or(workflow.Sleep(ctx, 10*time.Minute), pay(ctx, theOrder))
		}, code: wflo.CodeApprovalRejected, status: wflo.GateRevoked},
		"rejected before it begins": {
			say: map[time.Duration]say{90 * time.Second: reject("bob", "wait")},
			change: func(b *till, _ *wflo.Approval) {
				b.records.use = func() error { return errors.New("the store is down") }
			},
			act: func(ctx workflow.Context, _ wflo.Decision) error { return pay(ctx, theOrder) }, code: wflo.CodeApprovalRejected, status: wflo.GateRevoked,
		},
		"rejected after it began": {say: map[time.Duration]say{2 * time.Minute: reject("bob", "wait")}, act: func(ctx workflow.Context, _ wflo.Decision) error {
			return cmp.Or(pay(ctx, theOrder), workflow.Sleep(ctx, 10*time.Minute))
		}, paid: 1, status: wflo.GateApproved},
		"the store comes back": {change: func(b *till, _ *wflo.Approval) {
			b.records.use = func() error {
				if down++; down == 1 {
					return errors.New("the store is down")
				}
				return nil
			}
		}, act: func(ctx workflow.Context, _ wflo.Decision) error { return pay(ctx, theOrder) }, paid: 1, status: wflo.GateApproved},
		"the key is gone": {say: map[time.Duration]say{}, act: func(ctx workflow.Context, _ wflo.Decision) error {
			return cmp.Or(workflow.Sleep(ctx, 10*time.Minute), pay(ctx, theOrder))
		}, change: func(b *till, _ *wflo.Approval) {
			b.RegisterDelayedCallback(func() { b.terms = wflo.Terms{AllowUnsigned: true} }, 5*time.Minute)
		}, code: wflo.CodeApprovalRejected, status: wflo.GateApproved},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, a := newTill(t), payment(t)
			if tt.change != nil {
				tt.change(b, &a)
			}
			b.after(time.Minute, approve("ann"))
			for at, s := range tt.say {
				b.after(at, s)
			}
			g, err := b.run(func(ctx workflow.Context) error {
				d, err := workflows.RequireApproval(ctx, a)
				if err != nil {
					return err
				}
				return tt.act(ctx, d)
			})
			if tt.code != "" {
				wantCode(t, err, tt.code)
			} else if err != nil {
				t.Fatal(err)
			}
			if len(b.paid) != tt.paid || g.Status != tt.status || g.Used != (tt.paid == 1) {
				t.Errorf("paid %v, gate %s used %v", b.paid, g.Status, g.Used)
			}
			if used := b.trail(wflo.AuditGrantUsed); len(used) != tt.paid {
				t.Errorf("used %d times", len(used))
			}
			if revoked := b.trail(wflo.AuditGrantRevoked); (len(revoked) == 1) != (tt.status == wflo.GateRevoked) {
				t.Errorf("revoked %d times", len(revoked))
			}
		})
	}
}

// TestTrailOfAGrant: the end of the gate stands before the use of its approval, and
// what was shown, approved and done has one hash.
func TestTrailOfAGrant(t *testing.T) {
	b, a := newTill(t), payment(t)
	// The run's own record of the end comes much later.
	blocked := 0
	b.records.append = func() error {
		if blocked++; blocked == 2 {
			return errors.New("the store is down")
		}
		return nil
	}
	b.after(time.Minute, edits("ann", `{"id":"17","amount":5}`))
	g, err := b.run(func(ctx workflow.Context) error {
		d, err := workflows.RequireApproval(ctx, a)
		if err != nil {
			return err
		}
		var o bill
		if err := json.Unmarshal(d.Edit, &o); err != nil {
			return err
		}
		return pay(ctx, o)
	})
	if err != nil || !slices.EqualFunc(b.paid, []bill{{ID: "17", Amount: 5}}, func(a, b bill) bool { return a.Amount == b.Amount }) {
		t.Fatalf("%v, paid %v", err, b.paid)
	}
	closed, used := b.trail(wflo.AuditGateClosed), b.trail(wflo.AuditGrantUsed)
	if len(closed) != 1 || len(used) != 1 || closed[0].Seq > used[0].Seq {
		t.Fatalf("closed %v, used %v", closed, used)
	}
	var use wflo.AuditUse
	if err := json.Unmarshal(used[0].Data, &use); err != nil {
		t.Fatal(err)
	}
	want, _ := wflo.CanonicalSHA256([]byte(`{"amount":5,"id":"17"}`))
	if use.PayloadSHA256 != want || use.RanSHA256 != want || use.Digest != g.Digest || use.Gate != g.Nonce || use.Effect == "" || use.Activity != "pay" {
		t.Errorf("%+v", use)
	}
	kept, err := b.records.Gate(context.Background(), g.Nonce)
	if err != nil || !kept.Used {
		t.Errorf("%+v, %v", kept, err)
	}
}

// TestUntilItIsWrittenDownNothingIsDone: an activity does not begin while the trail
// cannot be written.
func TestUntilItIsWrittenDownNothingIsDone(t *testing.T) {
	b, a := newTill(t), payment(t)
	opened := false
	b.records.append = func() error {
		if !opened {
			opened = true
			return nil
		}
		return errors.New("the disk is full")
	}
	b.after(time.Minute, approve("ann"))
	_, err := b.run(func(ctx workflow.Context) error {
		if _, err := workflows.RequireApproval(ctx, a); err != nil {
			return err
		}
		return pay(ctx, theOrder)
	})
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || len(b.paid) != 0 {
		t.Errorf("%v, paid %v", err, b.paid)
	}
}

// TestApprovedStep gives a step what people made of its payload, and its grant.
func TestApprovedStep(t *testing.T) {
	b, a := newTill(t), payment(t)
	a.Approvers = nil
	b.after(time.Minute, edits("ann", `{"id":"17","amount":5}`))
	_, err := b.run(func(ctx workflow.Context) error {
		_, err := workflows.Step(ctx, "pay", workflows.StepOptions{Approval: &a}, func(ctx workflow.Context) (int, error) {
			o, err := workflows.Approved[bill](ctx)
			if err != nil {
				return 0, err
			}
			if err := pay(ctx, o); err != nil {
				return 0, err
			}
			if err := pay(ctx, o); wflo.CodeOf(err) == "" && err == nil {
				return 0, fmt.Errorf("the second call in the step succeeded")
			}
			return 0, nil
		})
		if err != nil {
			return err
		}
		return pay(ctx, bill{ID: "18"}) // outside of the step nobody was asked
	})
	if err != nil || len(b.paid) != 2 || b.paid[0].Amount != 5 || b.paid[1].ID != "18" {
		t.Errorf("%v, paid %v", err, b.paid)
	}
	env, _ := newEnv(t, wflotest.Config{})
	wantCode(t, env.Run(func(ctx workflow.Context) error {
		_, err := workflows.Approved[bill](ctx)
		return err
	}), wflo.CodeInvalid)
}
