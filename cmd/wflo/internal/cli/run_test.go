package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

func TestRunCompletes(t *testing.T) {
	f := &fakeTemporal{
		history: ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED),
		result:  map[string]any{"paid": true},
		statuses: map[string]wflo.Status{"r1": {
			State: wflo.StateCompleted, Spent: 2300 * wflo.MicroUSD, Calls: 2,
			Steps: []wflo.StepRecord{{Key: "classify"}, {Key: "charge\x1b[2J", Effect: wflo.EffectReversible, Error: "card\ndeclined"}},
			Gates: []wflo.Gate{{ID: "refunds", Status: wflo.GateApproved, Decision: &wflo.Decision{By: "ann", Reason: "fine"}}},
		}},
	}
	r := invoke(t, f, "run", "refund", "--id", "r1", "--team", "billing", "--budget", "5.00")
	r.want(t, 0, []string{"{\n  \"paid\": true\n}\n"}, []string{
		"run r1 started (wflo.example.Refund)\n", "  step  classify\n",
		`  step  charge\x1b[2J failed: card\x0adeclined`, "  spent $0.0023 in 2 model calls\n",
		"  gate  refunds approved by ann: fine\n", "completed in ", ", spent $0.0023\n",
	})
	if strings.Count(r.errOut, "classify") != 1 {
		t.Errorf("steps are shown more than once:\n%s", r.errOut)
	}
	wantRun := wflo.Run{User: "bob", Team: "billing", Workflow: "wflo.example.Refund", Budget: wflo.Budget{Limit: 5 * wflo.USD}}
	if diff := cmp.Diff(wantRun, f.run); diff != "" {
		t.Errorf("run in the context (-want +got):\n%s", diff)
	}
	if f.started.ID != "r1" || f.started.TaskQueue != DefaultTaskQueue || f.workflow != "wflo.example.Refund" {
		t.Errorf("started %q as %+v", f.workflow, f.started)
	}
	if diff := cmp.Diff([]any{json.RawMessage(`{"amount":"12.00"}`)}, f.args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func TestRunFormats(t *testing.T) {
	start := func() *fakeTemporal {
		return &fakeTemporal{
			history: ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED), result: "done\x1b[1m",
			statuses: map[string]wflo.Status{"r1": {Steps: []wflo.StepRecord{{Key: "one"}}}},
		}
	}
	invoke(t, start(), "run", "x.Y", "--id", "r1").want(t, 0, []string{`done\x1b[1m` + "\n"}, []string{"completed"})

	var end outcome
	r := invoke(t, start(), "run", "x.Y", "--id", "r1", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &end); err != nil || end.State != wflo.StateCompleted || string(end.Result) != `"done\u001b[1m"` {
		t.Errorf("json output %s, %v", r.out, err)
	}

	r = invoke(t, start(), "run", "x.Y", "--id", "r1", "-o", "jsonl")
	var kinds []string
	for line := range strings.Lines(r.out) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.ID != "r1" {
			t.Errorf("line %s: %v", line, err)
		}
		kinds = append(kinds, e.Event)
	}
	if diff := cmp.Diff([]string{"started", "step", "end"}, kinds); diff != "" || r.errOut != "" {
		t.Errorf("events (-want +got):\n%s\nstderr: %s", diff, r.errOut)
	}
}

func TestRunAgent(t *testing.T) {
	f := &fakeTemporal{
		history: ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED),
		result:  wflo.Answer{Text: "168", Turns: 2}, statuses: map[string]wflo.Status{},
	}
	invoke(t, f, "run", "agent", "--prompt", "primes?", "--model", "m", "--tools", "run_python,ask_human").
		want(t, 0, []string{"168\n"}, []string{"started (wflo.Agent)"})
	want := []any{wflo.Task{Prompt: "primes?", Model: "m", Tools: []string{wflo.ToolPython, wflo.ToolAskHuman}}}
	if diff := cmp.Diff(want, f.args); diff != "" {
		t.Errorf("task (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(f.started.ID, "agent-") || len(f.started.ID) != len("agent-")+8 {
		t.Errorf("made up the id %q", f.started.ID)
	}
}

// The exit code and the hint come from the failure's type and first detail.
func TestRunFails(t *testing.T) {
	app := func(code wflo.Code, msg, hint string) error {
		return temporal.NewApplicationErrorWithOptions(msg+" ("+hint+")", string(code), temporal.ApplicationErrorOptions{Details: []any{hint}})
	}
	for name, tc := range map[string]struct {
		failure error
		code    int
		want    []string
	}{
		"budget":   {app(wflo.CodeBudgetExceeded, "worst case $2.00 does not fit $1.00", "raise it"), ExitBudget, []string{"wflo: run r1 failed: worst case $2.00 does not fit $1.00\n", "hint: raise it\n"}},
		"rejected": {app(wflo.CodeApprovalRejected, "ann said no", "ask ann"), ExitDenied, []string{"ann said no\n", "hint: ask ann\n"}},
		"gate":     {app(wflo.CodeApprovalTimeout, "nobody answered", "ask"), ExitTimeout, []string{"nobody answered"}},
		"wrapped": {temporal.NewApplicationErrorWithCause("step charge: "+app(wflo.CodeBudgetExceeded, "too dear", "raise it").Error(), "wrapError",
			app(wflo.CodeBudgetExceeded, "too dear", "raise it")), ExitBudget, []string{"wflo: run r1 failed: step charge: too dear\n", "hint: raise it\n"}},
		"other":      {temporal.NewApplicationError("boom\x1b[2J", "Boom"), ExitError, []string{`boom\x1b[2J`}},
		"timeout":    {temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil), ExitTimeout, []string{"timed out"}},
		"cancelled":  {temporal.NewCanceledError(), ExitError, []string{"was cancelled"}},
		"terminated": {&temporal.TerminatedError{}, ExitError, []string{"was terminated"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeTemporal{history: ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED), failure: tc.failure, statuses: map[string]wflo.Status{}}
			invoke(t, f, "run", "x.Y", "--id", "r1").want(t, tc.code, nil, tc.want)
			r := invoke(t, f, "run", "x.Y", "--id", "r1", "-o", "json")
			r.want(t, tc.code, []string{`"state": "failed"`, `"error": `}, tc.want)
		})
	}
}

func TestRunUnknownWorkflow(t *testing.T) {
	f := &fakeTemporal{hang: true, statuses: map[string]wflo.Status{}}
	f.history = append(f.history, taskFailure("unable to find workflow type: x.Y. Supported types: [a.B, c.D]"))
	invoke(t, f, "run", "x.Y", "--id", "r1").want(t, ExitUsage, nil, []string{
		"wflo: no workflow is called x.Y\n", "hint: the worker on task queue wflo knows: a.B, c.D\n",
	})
	if diff := cmp.Diff([]string{"r1"}, f.terminated); diff != "" {
		t.Errorf("terminated (-want +got):\n%s", diff)
	}
}

func TestRunWarnsOnce(t *testing.T) {
	f := &fakeTemporal{result: 1, statuses: map[string]wflo.Status{}}
	f.history = append(f.history, taskFailure("panic: nil map"), taskFailure("panic: nil map"))
	f.history = append(f.history, ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)...)
	r := invoke(t, f, "run", "x.Y", "--id", "r1")
	r.want(t, 0, []string{"1\n"}, []string{"warning: ", "panic: nil map"})
	if n := strings.Count(r.errOut, "panic"); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

func TestRunShowsGate(t *testing.T) {
	g := gate("r1", "refunds")
	f := &fakeTemporal{
		history:  ends(enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED),
		statuses: map[string]wflo.Status{"r1": {State: wflo.StateWaiting, Doing: "refunds", Gates: []wflo.Gate{g}}},
	}
	r := invoke(t, f, "run", "refund", "--id", "r1")
	r.want(t, 0, nil, []string{
		"  gate  refunds: Refund 12 USD\n", `"amount": "12.00"`,
		"        wflo approve refunds --run r1\n", "        wflo reject refunds --run r1 --reason",
	})
	if n := strings.Count(r.errOut, "wflo approve"); n != 1 {
		t.Errorf("the gate is shown %d times", n)
	}
}

func TestRunDetached(t *testing.T) {
	invoke(t, &fakeTemporal{}, "run", "x.Y", "--id", "r1", "--detach").want(t, 0, []string{"r1\n"}, []string{"wflo status r1"})
	invoke(t, &fakeTemporal{}, "run", "x.Y", "--id", "r1", "-d", "-o", "json").want(t, 0, []string{`"id": "r1"`, `"state": "running"`}, []string{"started"})
	invoke(t, &fakeTemporal{}, "run", "x.Y", "--id", "taken").want(t, ExitError, nil, []string{"run taken exists already", "hint: "})
}

func TestRunReadsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in.json")
	if err := os.WriteFile(file, []byte(`[1, 2]`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fakeTemporal{}
	invoke(t, f, "run", "x.Y", "-d", "--input", "@"+file).want(t, 0, []string{"y-"}, []string{"started"})
	if diff := cmp.Diff([]any{json.RawMessage(`[1, 2]`)}, f.args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// An interrupt leaves the run alone and says so.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeTemporal{hang: true, statuses: map[string]wflo.Status{}}
	time.AfterFunc(50*time.Millisecond, cancel)
	invokeCtx(ctx, t, f, "run", "x.Y", "--id", "r1").want(t, ExitInterrupted, nil, []string{"the run goes on; see: wflo status r1"})
	if len(f.terminated)+len(f.cancelled) > 0 {
		t.Error("the run was touched")
	}
}

// The moving line is removed before anything else is written.
func TestProgress(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, false)
	p.set("x")
	p.line("one %d", 1)
	p.drawn = true
	p.line("two")
	p.stop()
	if got, want := out.String(), "one 1\n\r\x1b[Ktwo\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	p = newProgress(&out, true)
	p.set(strings.Repeat("long ", 40) + "\x1b")
	p.stop()
	if n := len([]rune(p.doing)); n > 60 {
		t.Errorf("the moving line has %d characters", n)
	}
}
