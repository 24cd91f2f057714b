package govern

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// talker is a runner whose executions wait, then write, then go on until the
// test has seen both.
type talker struct {
	sandboxtest.Fake
	admit, end chan struct{}
}

func (r *talker) Run(ctx context.Context, _ sandbox.Spec, watch func(sandbox.Stream, []byte)) (sandbox.Result, error) {
	sandbox.QueueWatch(ctx)(sandbox.QueueState{Waiting: true, Reason: "memory of the host", Position: 1})
	select {
	case <-r.admit:
	case <-ctx.Done():
	}
	sandbox.QueueWatch(ctx)(sandbox.QueueState{})
	watch(sandbox.Stdout, []byte("epoch 1\nepoch 2\n"))
	select {
	case <-r.end:
	case <-ctx.Done():
	}
	return sandbox.Result{Outcome: sandbox.Succeeded}, nil
}

// TestOperatorSeesAnExecution reads what `temporal workflow describe` shows of a
// program that waits and then runs.
func TestOperatorSeesAnExecution(t *testing.T) {
	r := &talker{admit: make(chan struct{}), end: make(chan struct{})}
	w := newWorld(t, config{script: countOnce, plugin: func(c *plugin.Config) { c.Sandbox = r }})
	run := w.start(wflo.Run{User: "ann"}, wflo.WorkflowAgent, agentTask())
	seen := func(what string, ok func(step.Progress) bool) (p step.Progress) {
		eventually(t, what, func() bool {
			d, err := w.DescribeWorkflowExecution(t.Context(), run.GetID(), "")
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range d.GetPendingActivities() {
				p = step.Progress{}
				if a.GetHeartbeatDetails() != nil && a.GetActivityType().GetName() == string(step.SandboxRun) {
					if err := converter.GetDefaultDataConverter().FromPayloads(a.GetHeartbeatDetails(), &p); err != nil {
						t.Fatal(err)
					}
					if ok(p) {
						return true
					}
				}
			}
			return false
		})
		return p
	}
	got := seen("waiting", func(p step.Progress) bool { return p.Queue != nil })
	want := step.Progress{Queue: &sandbox.QueueState{Waiting: true, Reason: "memory of the host", Position: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("while it waits (-want +got):\n%s", diff)
	}
	close(r.admit)
	got = seen("output", func(p step.Progress) bool { return p.Output > 0 })
	if diff := cmp.Diff(step.Progress{Output: 16, Tail: "epoch 1\nepoch 2\n"}, got); diff != "" {
		t.Errorf("while it runs (-want +got):\n%s", diff)
	}
	close(r.end)
	if err := w.wait(run, nil); err != nil {
		t.Error(err)
	}
}
