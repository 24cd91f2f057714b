package workflows_test

import (
	"fmt"
	"testing"

	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go/workflows"
)

// TestRestoreToALaterSnapshot: what a later snapshot adds to an earlier one has that the
// earlier one was taken, or the code would wait for it for ever.
func TestRestoreToALaterSnapshot(t *testing.T) {
	p := newPast(t)
	runs := 0
	err := p.run(func(ctx workflow.Context) error {
		runs++
		for _, name := range []string{"a", "b", "c"} {
			if _, err := must(ctx, name); err != nil {
				return err
			}
			if _, err := workflows.TakeSnapshot(ctx, name); err != nil {
				return err
			}
		}
		if runs == 1 {
			return workflows.Restore(ctx, "b")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[a b c c]"; fmt.Sprint(p.did) != want {
		t.Errorf("did %v, want %s", p.did, want)
	}
}
