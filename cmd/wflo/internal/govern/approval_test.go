package govern

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// order is what a run of guarded asks, and when.
type order struct {
	Approval wflo.Approval
	// Queue is that of the activity; empty means the run's.
	Queue string
	// First is a signal that the run waits for before it asks, Then one that it waits
	// for between the approval and the action; empty means that it does not wait.
	First, Then string
}

const guardedWorkflow = "guarded"

// guarded asks, and does what was approved.
func guarded(ctx workflow.Context, o order) error {
	if o.First != "" {
		workflow.GetSignalChannel(ctx, o.First).Receive(ctx, nil)
	}
	_, err := workflows.Step(ctx, "act", workflows.StepOptions{Approval: &o.Approval}, func(ctx workflow.Context) (string, error) {
		line, err := workflows.Approved[string](ctx)
		if err != nil {
			return "", err
		}
		if o.Then != "" {
			workflow.GetSignalChannel(ctx, o.Then).Receive(ctx, nil)
		}
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue: o.Queue, StartToCloseTimeout: 5 * time.Second, HeartbeatTimeout: 2 * time.Second,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: 50 * time.Millisecond, BackoffCoefficient: 1},
		})
		var out string
		err = workflow.ExecuteActivity(ctx, histories.Do, line).Get(ctx, &out)
		return out, err
	})
	return err
}

func registerGuarded(r histories.Registry) {
	r.RegisterWorkflowWithOptions(guarded, workflow.RegisterOptions{Name: guardedWorkflow})
	r.RegisterWorkflowWithOptions(asking, workflow.RegisterOptions{Name: askingWorkflow})
}

// deletion asks to do a line.
func deletion(line string, change func(*wflo.Approval)) wflo.Approval {
	payload, _ := json.Marshal(line) // text has a JSON form
	a := wflo.Approval{
		Gate: "delete", Action: "Delete 7 rows", Payload: payload, Activity: histories.Do,
		Approvers: []string{"ann", "ben"}, Timeout: time.Hour,
	}
	if change != nil {
		change(&a)
	}
	return a
}

// notary signs as a console does, with a key that workers trust and do not hold.
type notary struct {
	key   ed25519.PrivateKey
	terms wflo.Terms
}

func newNotary(t testing.TB) *notary {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &notary{key: key, terms: wflo.Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}}}
}

// trusted sets up a worker that takes decisions of this console only.
func (n *notary) trusted(c *plugin.Config) { c.Approvals = n.terms }

// sign signs a decision as it is now; change makes it another one before.
func (n *notary) sign(d wflo.Decision, change ...func(*wflo.Decision)) wflo.Decision {
	d.ID, d.At, d.Method = rand.Text(), time.Now(), "oidc"
	for _, c := range change {
		c(&d)
	}
	return d.Sign("console", n.key)
}

func (n *notary) approve(g wflo.Gate, by string) wflo.Decision {
	return n.sign(g.Decide(wflo.VerdictApprove, by))
}

func (n *notary) reject(g wflo.Gate, by string) wflo.Decision {
	d := g.Decide(wflo.VerdictReject, by)
	d.Reason = "no"
	return n.sign(d)
}

// guardedWorld is a world whose gates take what a notary signs.
func guardedWorld(t testing.TB, change func(*plugin.Config)) (*world, *notary) {
	t.Helper()
	n := newNotary(t)
	w := newWorld(t, config{register: func(r worker.Registry) { registerGuarded(r) }, plugin: func(c *plugin.Config) {
		n.trusted(c)
		if change != nil {
			change(c)
		}
	}})
	return w, n
}

// must sends a decision that has to count.
func (w *world) must(run client.WorkflowRun, d wflo.Decision) wflo.Gate {
	w.t.Helper()
	g, err := w.decide(run, "", d)
	if err != nil {
		w.t.Fatalf("%s of %s: %v", d.Verdict, d.By, err)
	}
	return g
}

// mustNot sends one that must not, for a reason that says so much.
func (w *world) mustNot(run client.WorkflowRun, d wflo.Decision, why string) {
	w.t.Helper()
	_, err := w.decide(run, "", d)
	var app *temporal.ApplicationError
	codes := []string{string(wflo.CodeInvalid), string(wflo.CodeUnopened)}
	if !errors.As(err, &app) || !slices.Contains(codes, app.Type()) || !strings.Contains(app.Message(), why) {
		w.t.Errorf("%s of %s: error %v; want %q", d.Verdict, d.By, err, why)
	}
}

// indexed is a gate as the index has it.
func (w *world) indexed(nonce string) wflo.Gate {
	w.t.Helper()
	g, err := w.guard.Records().Gate(w.t.Context(), nonce)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return g
}

// recorded counts what the trail has of a type about a gate.
func (w *world) recorded(kind wflo.AuditType, workflowID string) int {
	w.t.Helper()
	records, err := w.guard.Records().ReadAudit(w.t.Context(), wflo.AuditQuery{Type: kind})
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, r := range records {
		if r.WorkflowID == workflowID {
			n++
		}
	}
	return n
}

// TestTwoPeopleApproveAndTheActivityActs is the whole way of an approval, for which
// each attack of this package must not be a short cut.
func TestTwoPeopleApproveAndTheActivityActs(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{User: "eve"}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) {
		a.Quorum, a.FourEyes = 2, true
	})})
	g := w.gate(run, 1)
	if got := w.must(run, n.approve(g, "ann")); got.Status != wflo.GateOpen {
		t.Errorf("gate is %s after one of two", got.Status)
	}
	if got := w.must(run, n.approve(g, "ben")); got.Status != wflo.GateApproved {
		t.Errorf("gate is %s after two", got.Status)
	}
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
	for kind, want := range map[wflo.AuditType]int{wflo.AuditGateOpened: 1, wflo.AuditGateDecided: 2, wflo.AuditGateClosed: 1, wflo.AuditGrantUsed: 1} {
		if got := w.recorded(kind, run.GetID()); got != want {
			t.Errorf("%d records of %s, want %d", got, kind, want)
		}
	}
	if kept := w.indexed(g.Nonce); kept.Status != wflo.GateApproved || !kept.Used {
		t.Errorf("index %s, used %v", kept.Status, kept.Used)
	}
}
