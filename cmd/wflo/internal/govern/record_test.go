package govern

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// recordings is where the histories are kept.
const recordings = "../../../../workflows/testdata/histories"

// agentTask is an agent that uses the sandbox once and then answers.
func agentTask() wflo.Task {
	return wflo.Task{Name: "counter", Model: model, Prompt: "Count to three.", Tools: []string{wflo.ToolPython}}
}

func countOnce(turn scripted.Turn) scripted.Answer {
	if _, _, ok := scripted.LastToolResult(turn, wflo.ToolPython); ok {
		return scripted.Answer{Text: "three"}
	}
	return scripted.CallTool("c1", wflo.ToolPython, map[string]string{"code": "print(3)"})
}

// recording is one run whose history is kept.
type recording struct {
	workflow any
	args     []any
	budget   wflo.Budget // of the run; a zero limit: a dollar
	act      func(w *world, run client.WorkflowRun)
	script   scripted.Script   // nil: countOnce
	box      *sandboxtest.Fake // nil: succeeds silently
	code     string            // of the failure; "" when the run completes
}

// TestRecordedHistories runs what ships against the real server and replays what
// the server recorded. With -update it keeps the recordings for package workflows
// that are not there yet.
func TestRecordedHistories(t *testing.T) {
	for name, tt := range map[string]recording{
		"plain": {workflow: histories.Plain, args: []any{3}},
		"agent": {workflow: wflo.WorkflowAgent, args: []any{agentTask()}},
		"agent refused": {
			workflow: wflo.WorkflowAgent, args: []any{agentTask()}, code: string(wflo.CodePolicyDenied),
			box: &sandboxtest.Fake{Do: func(context.Context, sandbox.Spec) (sandbox.Result, error) {
				return sandbox.Result{}, wflo.Errorf(wflo.CodePolicyDenied, "ask the operator", "no programs today")
			}},
		},
		"parent of an agent": {
			workflow: histories.Parent, args: []any{agentTask()},
		},
		"gate approved": {
			workflow: histories.Gated, args: []any{time.Minute},
			act: func(w *world, run client.WorkflowRun) {
				w.signal(run, wflo.SignalDecide, wflotest.Approve(w.gate(run, 1), "ann"))
			},
		},
		"gate approved by update": {
			workflow: histories.Gated, args: []any{time.Minute},
			act: func(w *world, run client.WorkflowRun) {
				if _, err := w.decide(run, "", wflotest.Approve(w.gate(run, 1), "ann")); err != nil {
					w.t.Error(err)
				}
			},
		},
		"gate rejected": {
			workflow: histories.Gated, args: []any{time.Minute}, code: string(wflo.CodeApprovalRejected),
			act: func(w *world, run client.WorkflowRun) {
				w.signal(run, wflo.SignalDecide, wflotest.Reject(w.gate(run, 1), "ann", "too many"))
			},
		},
		"gate timed out": {
			workflow: histories.Gated, args: []any{200 * time.Millisecond}, code: string(wflo.CodeApprovalTimeout),
		},
		"grant used": {workflow: histories.Granted, act: says("approve by ann", "ack by ben", "escalate by ann", "approve by cat", "act")},
		"grant of an edited payload": {
			workflow: histories.Granted, act: says("approve by ann", "edit by ben", "approve by ann", "act"),
		},
		"grant taken back": {
			workflow: histories.Granted, code: string(wflo.CodeApprovalRejected),
			act: says("approve by ann", "approve by ben", "reject by ann", "act"),
		},
		"grant by signal": {workflow: histories.Granted, act: says("signal by ann", "signal by ben", "act")},
		"saga":            {workflow: histories.Saga, code: "test"},
		"chain": {
			workflow: histories.Chain, args: []any{0}, code: "test",
		},
		"halted": {
			workflow: histories.Halted, code: string(wflo.CodeHalted),
			act: func(w *world, run client.WorkflowRun) {
				eventually(w.t, "the step", func() bool { return len(w.status(run).Steps) == 1 })
				w.signal(run, wflo.SignalHalt, wflo.Halt{By: "ann", Reason: "it publishes nonsense"})
			},
		},
		"budget raised": {
			workflow: wflo.WorkflowAgent, args: []any{agentTask()},
			budget: wflo.Budget{Limit: shortOfOneCall, OnExceeded: wflo.ExceedAsk},
			act: func(w *world, run client.WorkflowRun) {
				w.signal(run, wflo.SignalDecide, wflotest.Approve(w.gate(run, 1), "ann"))
			},
		},
		"budget refused by a reviewer": {
			workflow: wflo.WorkflowAgent, args: []any{agentTask()}, code: string(wflo.CodeBudgetExceeded),
			budget: wflo.Budget{Limit: shortOfOneCall, OnExceeded: wflo.ExceedAsk},
			act: func(w *world, run client.WorkflowRun) {
				w.signal(run, wflo.SignalDecide, wflotest.Reject(w.gate(run, 1), "ann", "too dear"))
			},
		},
		"agent loop": {
			workflow: wflo.WorkflowAgent, args: []any{agentTask()}, code: string(wflo.CodeLoop),
			script: scripted.Loop(wflo.ToolPython, map[string]string{"code": "print(3)"}),
		},
		"step budget": {
			workflow: histories.Allotted, args: []any{summaryPrompt(), enoughForSome}, script: scripted.Echo,
		},
	} {
		t.Run(name, func(t *testing.T) { record(t, strings.ReplaceAll(name, " ", "-"), tt) })
	}
}

// says has people decide on the run's gate, one after the other, and tells it to act.
func says(words ...string) func(w *world, run client.WorkflowRun) {
	return func(w *world, run client.WorkflowRun) {
		g := w.gate(run, 1)
		for _, word := range words {
			verdict, by, _ := strings.Cut(word, " by ")
			d := g.Decide(wflo.Verdict(verdict), by)
			switch verdict {
			case histories.SignalAct:
				w.signal(run, histories.SignalAct, nil)
				continue
			case "signal":
				d.Verdict = wflo.VerdictApprove
				w.signal(run, wflo.SignalDecide, d)
				continue
			case string(wflo.VerdictEdit):
				d.Edit = json.RawMessage(`"delete 6"`)
			}
			g = w.must(run, d)
		}
	}
}

// Budgets that the calls of the recordings meet, in strict estimates: less than
// the agent's first call needs, and enough for a few calls of a step.
const (
	shortOfOneCall = 1500 * wflo.MicroUSD
	enoughForSome  = 1500 * wflo.MicroUSD
)

func summaryPrompt() wflo.Prompt {
	return wflo.Prompt{
		Model: model, MaxTokens: 1000,
		Messages: []wflo.Message{{Role: wflo.RoleUser, Text: strings.Repeat("All work and no play. ", 20)}},
	}
}

// record runs it, and keeps the histories of the whole chain.
func record(t *testing.T, file string, tt recording) {
	if tt.script == nil {
		tt.script = countOnce
	}
	if tt.budget.Limit == 0 {
		tt.budget.Limit = wflo.USD
	}
	w := newWorld(t, config{script: tt.script, box: tt.box, plugin: func(c *plugin.Config) { c.Strict = true }})
	run := w.start(wflo.Run{User: "ann", Team: "books", Budget: tt.budget}, tt.workflow, tt.args...)
	first := run.GetRunID() // waiting follows the chain
	if tt.act != nil {
		tt.act(w, run)
	}
	if err := w.wait(run, nil); tt.code != "" {
		wantCode(t, err, wflo.Code(tt.code))
	} else if err != nil {
		t.Fatal(err)
	}
	h := w.history(run.GetID(), first)
	w.keep(file, h)
	for next := successor(h); next != ""; next = successor(h) {
		file += "-next"
		h = w.history(run.GetID(), next)
		w.keep(file, h)
	}
}

// keep replays a history and, with -update, writes it where there is none of the
// name: those that are there are what was released.
func (w *world) keep(name string, h *historypb.History) {
	w.t.Helper()
	if err := w.replay(h); err != nil {
		w.t.Errorf("replay %s: %v", name, err)
	}
	path := filepath.Join(recordings, name+".json")
	if _, err := os.Stat(path); !*update || err == nil {
		return
	}
	for _, e := range h.Events {
		// A sticky queue is named after the machine; replay does not look at it.
		if q := e.GetWorkflowTaskScheduledEventAttributes().GetTaskQueue(); q.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
			q.Name = "sticky"
		}
	}
	raw, err := protojson.Marshal(h)
	if err != nil {
		w.t.Fatal(err)
	}
	// protojson spaces its output at random; indenting makes two recordings comparable.
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", " "); err != nil {
		w.t.Fatal(err)
	}
	text.WriteByte('\n')
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// replay runs today's code over a history.
func (w *world) replay(h *historypb.History) error {
	w.t.Helper()
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{Plugins: []worker.Plugin{w.guard}})
	if err != nil {
		w.t.Fatal(err)
	}
	histories.Register(r)
	registerGuarded(r)
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	return r.ReplayWorkflowHistoryWithOptions(nil, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()},
	})
}

func (w *world) history(id, runID string) *historypb.History {
	w.t.Helper()
	h := &historypb.History{}
	for it := w.GetWorkflowHistory(w.t.Context(), id, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			w.t.Fatalf("history of %s: %v", id, err)
		}
		h.Events = append(h.Events, e)
	}
	return h
}

// successor is the run that a history continued as, or "".
func successor(h *historypb.History) string {
	return h.Events[len(h.Events)-1].GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId()
}

// count counts the events of a kind.
func count(h *historypb.History, kind enumspb.EventType) int {
	n := 0
	for _, e := range h.Events {
		if e.GetEventType() == kind {
			n++
		}
	}
	return n
}
