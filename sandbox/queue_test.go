package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQueueWatch(t *testing.T) {
	QueueWatch(t.Context())(QueueState{Waiting: true})
	QueueWatch(WithQueueWatch(t.Context(), nil))(QueueState{Waiting: true})
	var got []QueueState
	ctx := WithQueueWatch(t.Context(), func(s QueueState) { got = append(got, s) })
	want := []QueueState{{Waiting: true, Reason: "memory of the host", Position: 2}, {}}
	for _, s := range want {
		QueueWatch(ctx)(s)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

// TestOneShotIsNoRunsBox keeps the constant apart from the boxes of runs, which
// are named "workflow id/run id".
func TestOneShotIsNoRunsBox(t *testing.T) {
	if err := ValidateBox(OneShot); err != nil || len(OneShot) != 1 {
		t.Errorf("OneShot is %q, %v; a specification with it must be valid in workflow code", OneShot, err)
	}
}
