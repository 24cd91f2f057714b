package workflows

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go/internal/step"
)

// Approvals are kept where something was done on them, in the step or in one within it.
func TestUnspentApprovals(t *testing.T) {
	gate := func(key, bound string) step.Outcome {
		return step.Outcome{Kind: step.OutcomeGate, Key: key, Bound: bound}
	}
	call := func(key string, around ...string) step.Outcome {
		return step.Outcome{Kind: step.OutcomeActivity, Key: key, Around: around}
	}
	granted := call("g0/pay#1")
	granted.Grant = "g0/wflo.gate/pay#1"
	nested := step.Outcome{Kind: step.OutcomeStep, Key: "inner", In: "g0/wire#1"}
	for name, c := range map[string]struct {
		all  []step.Outcome
		kept []int
	}{
		"outside of steps, for nothing": {[]step.Outcome{gate("g0/wflo.gate/go#1", "")}, []int{0}},
		"outside of steps, for a call":  {[]step.Outcome{gate("g0/wflo.gate/pay#1", "pay"), call("g0/other#1")}, []int{1}},
		"a call that was made":          {[]step.Outcome{gate("g0/wflo.gate/pay#1", "pay"), granted}, []int{0, 1}},
		"a step, with its snapshot": {
			[]step.Outcome{gate("g0/wire#1/wflo.gate/ask#0", ""), call("g0/other#1"), call("g0/wire#1/wflo.snapshot#1")}, []int{1},
		},
		"a step with a key, tried again": {[]step.Outcome{gate("wire-7~1/wflo.gate/ask#0", ""), call("wire-7/do#1"), call("wire-70/do#1")}, []int{0, 1, 2}},
		"a step that another one follows": {
			[]step.Outcome{gate("wire-7/wflo.gate/ask#0", ""), call("wire-8/do#1")}, []int{1},
		},
		"a step in which a call ended":   {[]step.Outcome{gate("g0/wire#1/wflo.gate/ask#0", ""), call("g0/wire#1/do#1")}, []int{0, 1}},
		"a step in which a step ended":   {[]step.Outcome{gate("g0/wire#1/wflo.gate/ask#0", ""), nested}, []int{0, 1}},
		"a step in which a step goes on": {[]step.Outcome{gate("g0/wire#1/wflo.gate/ask#0", ""), call("inner/do#1", "g0/wire#1")}, []int{0, 1}},
		"the snapshot of a step within it": {
			[]step.Outcome{gate("g0/wire#1/wflo.gate/ask#0", ""), call("inner/wflo.snapshot#1", "g0/wire#1"), call("g0/other#1")}, []int{2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var want, got []string
			for _, i := range c.kept {
				want = append(want, c.all[i].Key)
			}
			for _, o := range unspent(c.all) {
				got = append(got, o.Key)
			}
			if !slices.Equal(got, want) {
				t.Errorf("kept %v, want %v", got, want)
			}
		})
	}
}

// What people read of a failure has the words of all causes, and not those of envelopes.
func TestCauseHasAllWords(t *testing.T) {
	conv := temporal.GetDefaultFailureConverter()
	over := func(err error) error { return conv.FailureToError(conv.ErrorToFailure(err)) }
	withdraw := fmt.Errorf("withdraw: %w", fmt.Errorf("stat /srv/public: %w", errors.New("no such file or directory")))
	given := temporal.NewApplicationErrorWithOptions("the snapshot is damaged", "x", temporal.ApplicationErrorOptions{Cause: errors.New("blob 7 is missing")})
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "plain"},
		{over(withdraw), "withdraw: stat /srv/public: no such file or directory"},
		{fmt.Errorf("step publish: %w", over(withdraw)), "withdraw: stat /srv/public: no such file or directory"},
		{over(given), "the snapshot is damaged: blob 7 is missing"},
	} {
		if got := cause(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
