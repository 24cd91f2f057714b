//go:build integration

package survive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Names under which the agent and its activities are registered.
const (
	agentName = "survive.Agent"
	actPay    = "survive.Pay"
	actUndo   = "survive.Undo"
	actVisit  = "survive.Visit"
)

// kind is what becomes of an agent.
type kind string

const (
	keeps  kind = "keeps"  // it pays on an approval and ends well
	undoes kind = "undoes" // it pays and books, and ends badly: both are undone
	back   kind = "back"   // it books, goes back to before that, and books again
	moves  kind = "moves"  // its files move to another host between two programs
	talks  kind = "talks"  // it asks a model and nothing else
)

// kinds are those of the standard scenario that work side by side. When they are done,
// there is one that moves.
var kinds = []kind{keeps, undoes, back}

// order is what an agent is started with.
type order struct {
	Kind kind `json:"kind"`
	// Box says that it runs a program.
	Box bool `json:"box"`
	// Long is how long the program takes, in seconds.
	Long int `json:"long,omitempty"`
	// Calls is how often it asks a model for itself, beside one question that all agents
	// ask alike.
	Calls int `json:"calls"`
	// Pause is how long it waits between questions.
	Pause time.Duration `json:"pause,omitempty"`
}

// payment is what people approve.
type payment struct {
	What string `json:"what"`
	Run  string `json:"run"`
}

// agent is the standard scenario.
func agent(ctx workflow.Context, o order) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 15 * time.Second, HeartbeatTimeout: 10 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 1.5, MaximumInterval: 3 * time.Second},
	})
	id := workflow.GetInfo(ctx).WorkflowExecution.ID
	if err := asksAll(ctx, o, id); err != nil {
		return "", err
	}
	switch o.Kind {
	case talks:
		return "said", nil
	case moves:
		return "moved", movesOn(ctx)
	}
	if o.Box {
		if err := runs(ctx, id, o.Long); err != nil {
			return "", err
		}
	}
	if _, err := workflows.TakeSnapshot(ctx, "base"); err != nil {
		return "", err
	}
	if o.Kind == back {
		return goesBack(ctx)
	}
	if err := pays(ctx, id); err != nil {
		return "", err
	}
	if o.Kind == keeps {
		return "paid", nil
	}
	if err := books(ctx); err != nil {
		return "", err
	}
	return "", errBad
}

var errBad = errors.New("it ends badly, as it was told")

// asksAll asks what all agents ask, and then what only this one does.
func asksAll(ctx workflow.Context, o order, id string) error {
	for n := range o.Calls + 1 {
		text := "What is the capital of France?"
		if n > 0 {
			text = fmt.Sprintf("flaky question %d of %s", n, id)
		}
		_, err := workflows.Ask(ctx, wflo.Prompt{Model: modelName, MaxTokens: 60, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: text}}})
		if err != nil {
			return err
		}
		if o.Pause > 0 {
			if err := workflow.Sleep(ctx, o.Pause); err != nil {
				return err
			}
		}
	}
	return nil
}

// runs has a program write a file, which is an artifact.
func runs(ctx workflow.Context, id string, long int) error {
	res, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"sh", "-c", fmt.Sprintf("sleep %d; echo %s | tee out.txt", long, id)}, Artifacts: []string{"out.txt"}})
	if err == nil && (!res.OK() || strings.TrimSpace(res.Stdout) != id || len(res.Artifacts) != 1) {
		err = fmt.Errorf("the program said %q and left %d files: %s %s", res.Stdout, len(res.Artifacts), res.Outcome, res.Reason)
	}
	return err
}

// Names of what a run that moves is asked and told.
const (
	querySaved = "saved"
	signalGo   = "go"
)

// movesOn writes a file with programs that may run twice, is saved, waits until it is told that its host is gone, and goes
// on with its file on another one.
func movesOn(ctx workflow.Context) error {
	saved := false
	if err := workflow.SetQueryHandler(ctx, querySaved, func() (bool, error) { return saved, nil }); err != nil {
		return err
	}
	if _, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"sh", "-c", "echo one > log"}}); err != nil {
		return err
	}
	// A program's files are kept when it ends, if that can be done; a snapshot insists.
	if _, err := workflows.TakeSnapshot(ctx, "base"); err != nil {
		return err
	}
	saved = true
	workflow.GetSignalChannel(ctx, signalGo).Receive(ctx, nil)
	res, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"sh", "-c", "grep -qx two log || echo two >> log; cat log"}})
	if err == nil && (res.Stdout != "one\ntwo\n" || res.Host != secondHost || !strings.HasPrefix(res.Moved, "from "+firstHost)) {
		err = fmt.Errorf("on host %q, moved %q, the program found %q: %s %s", res.Host, res.Moved, res.Stdout, res.Outcome, res.Reason)
	}
	return err
}

// pays pays, which people approve and which can be undone.
func pays(ctx workflow.Context, id string) error {
	what := payment{What: "pay", Run: id}
	payload, err := json.Marshal(what)
	if err != nil {
		return err
	}
	_, err = workflows.Step(ctx, "pay", workflows.StepOptions{
		Effect: wflo.EffectReversible,
		Approval: &wflo.Approval{
			Gate: "payment", Action: "pay for " + id, Payload: payload, Activity: actPay, Approvers: []string{"ann"}, Timeout: 2 * time.Hour,
			Notify: []string{receiverName},
		},
		Compensation: &workflows.Compensation{Name: "pay", Activity: actUndo, Input: what, Timeout: 20 * time.Second, Undoes: actPay},
	}, func(ctx workflow.Context) (receipt string, err error) {
		err = workflow.ExecuteActivity(ctx, actPay, what).Get(ctx, &receipt)
		return receipt, err
	})
	return err
}

// books books, of which nobody is asked, and which can be undone. What it gets for it is
// too large for the history.
func books(ctx workflow.Context) error {
	what := payment{What: "book", Run: workflow.GetInfo(ctx).WorkflowExecution.ID}
	_, err := workflows.Step(ctx, "book", workflows.StepOptions{
		Effect:       wflo.EffectReversible,
		Compensation: &workflows.Compensation{Name: "book", Activity: actUndo, Input: what, Timeout: 20 * time.Second, Undoes: actVisit},
	}, func(ctx workflow.Context) (receipt string, err error) {
		err = workflow.ExecuteActivity(ctx, actVisit, what).Get(ctx, &receipt)
		if err == nil && len(receipt) < plugin.DefaultInline {
			err = fmt.Errorf("the receipt has %d bytes, so that it is in the history", len(receipt))
		}
		return receipt, err
	})
	return err
}

// goesBack books, and goes back unless it has done so before, which the other side can
// tell.
func goesBack(ctx workflow.Context) (string, error) {
	if err := books(ctx); err != nil {
		return "", err
	}
	var visits string
	what := payment{What: "visit", Run: workflow.GetInfo(ctx).WorkflowExecution.ID}
	_, err := workflows.Step(ctx, "visit", workflows.StepOptions{Effect: wflo.EffectRead}, func(ctx workflow.Context) (string, error) {
		err := workflow.ExecuteActivity(ctx, actVisit, what).Get(ctx, &visits)
		return visits, err
	})
	if err != nil {
		return "", err
	}
	if visits == "1" {
		return "", workflows.Restore(ctx, "base")
	}
	return "back", nil
}

// register puts the agent into a worker.
func register(w worker.Worker) {
	w.RegisterWorkflowWithOptions(agent, workflow.RegisterOptions{Name: agentName})
	for name, verb := range map[string]string{actPay: "do", actVisit: "do", actUndo: "undo"} {
		w.RegisterActivityWithOptions(asksShop(verb), activity.RegisterOptions{Name: name})
	}
}

// asksShop is an activity that asks the payment provider, with its idempotency key.
func asksShop(verb string) func(context.Context, payment) (string, error) {
	return func(ctx context.Context, p payment) (string, error) {
		run, _ := wflo.RunFrom(ctx)
		u, _ := wflo.UndoFrom(ctx)
		q := url.Values{"what": {p.What}, "run": {p.Run}, "key": {string(run.EffectKey())}, "undo": {u.ID}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv(envShop)+"/"+verb+"?"+q.Encode(), http.NoBody)
		if err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("the provider answers %s", resp.Status)
		}
		return string(body), err
	}
}
