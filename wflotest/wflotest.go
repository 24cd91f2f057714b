// Package wflotest tests an agent without Docker, keys or waiting. [New] gives
// Temporal's workflow test environment with wflo inside: a scripted model
// behind a real HTTP server (package scripted), so that the real provider
// clients, the real metering and the real prices work; a ledger in memory; a
// fake sandbox; and people who decide at once.
//
//	env := wflotest.New(t, wflotest.Config{Script: scripted.Echo})
//	if err := env.Run(MyAgent, in); err != nil { ... }
//	if env.Spent() > 5*wflo.Cent { ... }
//
// Time is Temporal's fake clock: a gate that waits for a day costs no time. Snapshots,
// restores and compensations are kept as by a worker, in memory; [Env.Recovery] reads
// them, and Config.Register is for workflows that go back by themselves. The
// package is for tests of workflows; what a sandbox really does to a program is
// tested against a real engine.
package wflotest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// APIKey is what [Providers] present to a scripted server.
const APIKey = "wflotest"

// Config says how the world answers. The zero value echoes prompts, runs
// programs that print nothing and succeed, and approves everything.
type Config struct {
	// Script is the model; nil means scripted.Echo.
	Script scripted.Script
	// Sandbox answers executions; nil means that each succeeds silently.
	Sandbox func(spec sandbox.Spec) sandbox.Result
	// Decide is asked when a gate opens; a decision without a verdict leaves
	// the gate open until it times out. nil approves.
	Decide func(g wflo.Gate) wflo.Decision
	// Panel is asked instead of Decide where it is not nil: the decisions of several
	// people on one gate, which are sent one after the other.
	Panel func(g wflo.Gate) []wflo.Decision
	// Budget limits the run; zero means no limit.
	Budget wflo.Money
	// Thresholds and OnExceeded belong to that budget.
	Thresholds []int
	OnExceeded wflo.OnExceeded
	// User, Team and Org are those that the run acts for.
	User, Team, Org string
	// Principals are further people behind the run, for four eyes.
	Principals []string
	// Tags are the run's.
	Tags map[string]string
	// Plugin changes the plugin's configuration before it is made; nil means
	// no change.
	Plugin func(cfg *plugin.Config)
	// Register puts the workflow and its activities, or mocks of them, into the
	// environment. It is for workflows that continue as new, and for those that go
	// back with workflows.Restore: Run follows them to their end, each time in a new
	// environment, for which Register is called. nil means that they end there, with
	// an error that says so.
	Register func(e *Env)
}

// Env is one test. It embeds Temporal's environment, for mocks, timers and
// queries.
type Env struct {
	*testsuite.TestWorkflowEnvironment
	t      testing.TB
	cfg    Config
	guard  *plugin.Plugin
	server *scripted.Server
	box    *sandboxtest.Fake
	gates  []wflo.Gate
}

// New makes an environment for one workflow; it cleans up with the test.
func New(t testing.TB, cfg Config) *Env {
	t.Helper()
	if cfg.Script == nil {
		cfg.Script = scripted.Echo
	}
	if cfg.Decide == nil {
		cfg.Decide = func(g wflo.Gate) wflo.Decision { return Approve(g, "wflotest") }
	}
	if cfg.Panel == nil {
		cfg.Panel = func(g wflo.Gate) []wflo.Decision { return []wflo.Decision{cfg.Decide(g)} }
	}
	server, err := scripted.New(scripted.Config{Script: cfg.Script, APIKey: APIKey})
	if err != nil {
		t.Fatalf("start the scripted model: %v", err)
	}
	t.Cleanup(func() { _ = server.Close() })
	e := &Env{t: t, cfg: cfg, server: server, box: &sandboxtest.Fake{}}
	if cfg.Sandbox != nil {
		e.box.Do = func(_ context.Context, spec sandbox.Spec) (sandbox.Result, error) { return cfg.Sandbox(spec), nil }
	}
	pc := plugin.Config{
		DataDir: t.TempDir(), Database: "memory", Sandbox: e.box,
		Providers: Providers(server), Approvals: wflo.Terms{AllowUnsigned: true}, Logger: e.logger(),
	}
	if cfg.Plugin != nil {
		cfg.Plugin(&pc)
	}
	if e.guard, err = plugin.New(pc); err != nil {
		t.Fatalf("make the plugin: %v", err)
	}
	t.Cleanup(e.guard.Close)
	e.setUp()
	return e
}

// maxRuns bounds how many runs of a chain are followed.
const maxRuns = 50

// logger shows what the run says when the test fails, or with -v.
func (e *Env) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(e.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// setUp joins wflo and Temporal's environment.
func (e *Env) setUp() {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(e.logger()))
	e.TestWorkflowEnvironment = suite.NewTestWorkflowEnvironment()
	e.SetTestTimeout(time.Minute)
	// The SDK takes a second without progress for a deadlock, which a machine that
	// is busy with other tests needs at times.
	e.SetWorkerOptions(worker.Options{Interceptors: e.guard.Interceptors(), DeadlockDetectionTimeout: 30 * time.Second})
	plugin.Register(e, e.guard)
	header, err := converter.GetDefaultDataConverter().ToPayload(wflo.Run{
		User: e.cfg.User, Team: e.cfg.Team, Org: e.cfg.Org, Tags: e.cfg.Tags, Principals: e.cfg.Principals,
		Budget: wflo.Budget{Limit: e.cfg.Budget, Thresholds: e.cfg.Thresholds, OnExceeded: e.cfg.OnExceeded},
	})
	if err != nil {
		e.t.Fatalf("encode run: %v", err)
	}
	e.SetHeader(&commonpb.Header{Fields: map[string]*commonpb.Payload{wflo.HeaderRun: header}})
	e.SetOnActivityCompletedListener(func(info *activity.Info, result converter.EncodedValue, err error) {
		if err == nil && info.ActivityType.Name == string(step.ApprovalOpen) {
			e.decide(info.WorkflowExecution.ID, result)
		}
	})
	if e.cfg.Register != nil {
		e.cfg.Register(e)
	}
}

// decide answers a gate on the next turn of the environment's clock, when the
// workflow knows that it is open.
func (e *Env) decide(workflowID string, result converter.EncodedValue) {
	var opened step.Opening
	if err := result.Get(&opened); err != nil {
		e.t.Errorf("read gate: %v", err)
		return
	}
	e.gates = append(e.gates, opened.Gate)
	for i, d := range e.cfg.Panel(opened.Gate) {
		if d.Verdict == "" {
			continue
		}
		e.RegisterDelayedCallback(func() {
			if err := e.SignalWorkflowByID(workflowID, wflo.SignalDecide, d); err != nil {
				e.t.Errorf("decide gate %s: %v", opened.Gate.ID, err)
			}
		}, time.Duration(i+1)*time.Millisecond)
	}
}

// After has somebody decide so long after the run began, on the gate with this ID as it
// is then. It is called before Run. Where the gate is not there then, the test fails.
func (e *Env) After(d time.Duration, gate string, decide func(g wflo.Gate) wflo.Decision) {
	e.RegisterDelayedCallback(func() {
		g, ok := e.Gate(gate)
		if !ok {
			e.t.Errorf("gate %s is not there after %s", gate, d)
			return
		}
		e.SignalWorkflow(wflo.SignalDecide, decide(g))
	}, d)
}

// Gate is a gate of the run as it is now.
func (e *Env) Gate(id string) (g wflo.Gate, ok bool) {
	e.t.Helper()
	for _, g := range e.Status().Gates {
		if g.ID == id {
			return g, true
		}
	}
	return wflo.Gate{}, false
}

// Records are the index of gates, the audit trail and the outbox.
func (e *Env) Records() activities.Records { return e.guard.Records() }

// Recovery are the snapshots, restores and compensations.
func (e *Env) Recovery() activities.Recovery { return e.guard.Recovery() }

// Run executes the workflow to its end and returns its error. Where Config.Register is
// set, that is the end of the last run that it continues as.
func (e *Env) Run(code any, args ...any) error {
	e.t.Helper()
	for range maxRuns {
		e.ExecuteWorkflow(code, args...)
		if !e.IsWorkflowCompleted() {
			e.t.Fatal("the workflow did not end")
		}
		err := e.GetWorkflowError()
		var next *workflow.ContinueAsNewError
		if e.cfg.Register == nil || !errors.As(err, &next) {
			return err
		}
		e.setUp()
		e.SetHeader(next.Header)
		e.SetContinuedExecutionRunID(firstRunID)
		code, args = next.WorkflowType.Name, nil
		for _, in := range next.Input.GetPayloads() {
			args = append(args, converter.NewRawValue(in))
		}
	}
	e.t.Fatalf("the workflow continued as new %d times", maxRuns)
	return nil
}

// firstRunID is what Temporal's environment calls every run.
const firstRunID = "default-test-run-id"

// Result reads what the workflow returned.
func (e *Env) Result(out any) {
	e.t.Helper()
	if err := e.GetWorkflowResult(out); err != nil {
		e.t.Fatalf("read the workflow's result: %v", err)
	}
}

// Entries are the ledger's lines of the run, oldest first.
func (e *Env) Entries() []wflo.Entry {
	e.t.Helper()
	entries, err := e.guard.Ledger().Entries(context.Background(), e.Status().Run.RootID())
	if err != nil {
		e.t.Fatalf("read the ledger: %v", err)
	}
	return entries
}

// Spent is what the ledger charged the run.
func (e *Env) Spent() wflo.Money {
	var sum wflo.Money
	for _, entry := range e.Entries() {
		sum += entry.Amount
	}
	return sum
}

// Budget is the state of a budget by its ID, such as "team:books".
func (e *Env) Budget(id string) wflo.Spend {
	e.t.Helper()
	s, err := e.guard.Ledger().Spend(context.Background(), id)
	if err != nil {
		e.t.Fatalf("read budget %s: %v", id, err)
	}
	return s
}

// RunBudget is the state of the run's own budget.
func (e *Env) RunBudget() wflo.Spend {
	e.t.Helper()
	return e.Budget(e.Status().Run.BudgetID())
}

// Status is the run's own account of itself.
func (e *Env) Status() wflo.Status {
	e.t.Helper()
	var s wflo.Status
	v, err := e.QueryWorkflow(wflo.QueryStatus)
	if err == nil {
		err = v.Get(&s)
	}
	if err != nil {
		e.t.Fatalf("query the run: %v", err)
	}
	return s
}

// Gates are the gates that were opened, oldest first.
func (e *Env) Gates() []wflo.Gate { return e.gates }

// Ran are the executions that the sandbox was asked for, oldest first.
func (e *Env) Ran() []sandbox.Spec { return e.box.Specs() }

// Boxes are the sandboxes that still exist.
func (e *Env) Boxes() []string {
	e.t.Helper()
	boxes, err := e.box.Boxes(context.Background())
	if err != nil {
		e.t.Fatalf("list boxes: %v", err)
	}
	return boxes
}

// Calls are the model calls that reached the server, oldest first.
func (e *Env) Calls() []scripted.Call { return e.server.Calls() }

// Providers are providers of every kind that talk to a scripted server.
func Providers(s *scripted.Server) []plugin.Provider {
	var out []plugin.Provider
	for _, kind := range []string{plugin.KindOpenAI, plugin.KindAnthropic, plugin.KindGoogle, plugin.KindCohere} {
		p := plugin.Provider{Kind: kind, APIKey: APIKey, BaseURL: s.BaseURL(kind)}
		if kind == plugin.KindOpenAI {
			p.TokenField = "max_completion_tokens" // as at api.openai.com
		}
		out = append(out, p)
	}
	return out
}

// Approve is the decision that approves what the gate shows.
func Approve(g wflo.Gate, by string) wflo.Decision { return g.Decide(wflo.VerdictApprove, by) }

// Reject is the decision that rejects it.
func Reject(g wflo.Gate, by, reason string) wflo.Decision {
	d := g.Decide(wflo.VerdictReject, by)
	d.Reason = reason
	return d
}

// Respond is the decision that answers the gate's question.
func Respond(g wflo.Gate, by, text string) wflo.Decision {
	d := g.Decide(wflo.VerdictRespond, by)
	d.Text = text
	return d
}

// Edit is the decision that wants another payload instead.
func Edit(g wflo.Gate, by string, payload json.RawMessage) wflo.Decision {
	d := g.Decide(wflo.VerdictEdit, by)
	d.Edit = payload
	return d
}
