package govern

import (
	"context"
	"fmt"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// toolOutput is what each turn of chatty adds to the conversation, besides its call.
const toolOutput = 2000

// chatty has an agent call its tool in each of so many turns, and then answer.
func chatty(turns int) (scripted.Script, *sandboxtest.Fake) {
	script := func(t scripted.Turn) scripted.Answer {
		made := scripted.ToolCallsMade(t)
		if made == turns {
			return scripted.Answer{Text: "done"}
		}
		return scripted.CallTool(fmt.Sprint("c", made), wflo.ToolPython, map[string]string{"code": fmt.Sprintf("print(%d)", made)})
	}
	box := &sandboxtest.Fake{Do: func(_ context.Context, spec sandbox.Spec) (sandbox.Result, error) {
		return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: strings.Repeat("x", toolOutput-len(spec.Source)) + spec.Source}, nil
	}}
	return script, box
}

// converse runs such an agent and gives its history and its answer.
func (w *world) converse(id string, turns int) ([]*historypb.HistoryEvent, wflo.Answer) {
	w.t.Helper()
	run := w.startAs(id, wflo.Run{}, wflo.WorkflowAgent, wflo.Task{
		Name: "talker", Model: model, Prompt: "go on", Tools: []string{wflo.ToolPython}, MaxTurns: turns + 1, NoCache: true,
	})
	var answer wflo.Answer
	if err := w.wait(run, &answer); err != nil {
		w.t.Fatal(err)
	}
	var events []*historypb.HistoryEvent
	iter := w.GetWorkflowHistory(w.t.Context(), run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iter.HasNext() {
		e, err := iter.Next()
		if err != nil {
			w.t.Fatal(err)
		}
		events = append(events, e)
	}
	return events, answer
}

// TestTurnsCostTheSame holds that what a turn adds to the history does not grow with what
// was said before it, and that the model hears all of it.
func TestTurnsCostTheSame(t *testing.T) {
	const turns = 40
	script, box := chatty(turns)
	w := newWorld(t, config{script: script, box: box, plugin: func(c *plugin.Config) { c.Inline = 1 << 20 }})
	events, answer := w.converse(queueOf(t), turns)
	if answer.Turns != turns+1 || answer.Text != "done" {
		t.Fatalf("%+v", answer)
	}
	var asked []int
	for _, e := range events {
		if a := e.GetActivityTaskScheduledEventAttributes(); a.GetActivityType().GetName() == string(step.LLMChat) {
			asked = append(asked, proto.Size(a.GetInput()))
		}
	}
	if len(asked) != turns+1 {
		t.Fatalf("%d calls in the history, want %d", len(asked), turns+1)
	}
	// Until a conversation is worth keeping it is sent whole.
	const few = 8
	for i, n := range asked[few:] {
		if n > asked[few]+100 {
			t.Errorf("turn %d sends %d bytes, turn %d sent %d", few+i+1, n, few+1, asked[few])
		}
	}
	if last := asked[turns]; last > 3*toolOutput {
		t.Errorf("the last turn sends %d bytes", last)
	}
	calls := w.model.Calls()
	if got := calls[len(calls)-1].Usage.Total(); got < turns*toolOutput/8 {
		t.Errorf("the last call had %d tokens: the model did not hear what was said before", got)
	}
}

// TestAnotherWorker has the second half of an agent's turns done by another worker: what
// that does not find, because its blobs are its own, is sent whole, and what both share is
// found.
func TestAnotherWorker(t *testing.T) {
	for _, name := range []string{"own blobs", "shared blobs"} {
		t.Run(name, func(t *testing.T) {
			shared, lost := "", 1
			if name == "shared blobs" {
				shared, lost = t.TempDir(), 0
			}
			if got := forgotten(t, shared); got != lost {
				t.Errorf("%d calls found that their conversation is not there, want %d", got, lost)
			}
		})
	}
}

// forgotten counts the calls of such an agent that found nothing of what was said.
func forgotten(t *testing.T, store string) (n int) {
	t.Helper()
	const turns = 20
	script, box := chatty(turns)
	change := func(c *plugin.Config) { c.Inline, c.Payloads.Store = 1<<20, store }
	half, stopped := make(chan struct{}), make(chan struct{})
	w := newWorld(t, config{box: box, plugin: change, script: func(turn scripted.Turn) scripted.Answer {
		if scripted.ToolCallsMade(turn) == turns/2 {
			close(half)
			<-stopped
		}
		return script(turn)
	}})
	go func() {
		defer close(stopped)
		<-half
		newWorld(t, config{box: box, plugin: change, script: script, queue: w.queue})
		w.worker.Stop()
	}()
	events, answer := w.converse(queueOf(t), turns)
	if answer.Text != "done" || answer.Tools != turns {
		t.Fatalf("%+v", answer)
	}
	for _, e := range events {
		if e.GetActivityTaskFailedEventAttributes().GetFailure().GetApplicationFailureInfo().GetType() == string(wflo.CodeForgotten) {
			n++
		}
	}
	return n
}
