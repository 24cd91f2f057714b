package sandbox

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

func TestOutcomeOf(t *testing.T) {
	for name, tt := range map[string]struct {
		res  Result
		err  error
		want Outcome
	}{
		"result":            {Result{Outcome: OutOfMemory}, nil, OutOfMemory},
		"invalid":           {Result{}, wflo.Invalid("spec.argv", "is empty", ""), Denied},
		"denied, wrapped":   {Result{}, fmt.Errorf("run: %w", wflo.Errorf(wflo.CodePolicyDenied, "", "no")), Denied},
		"cancelled":         {Result{}, fmt.Errorf("wait: %w", context.Canceled), Cancelled},
		"unavailable":       {Result{}, wflo.Errorf(wflo.CodeSandboxUnavailable, "", "no engine"), Lost},
		"lost":              {Result{}, wflo.Errorf(wflo.CodeSandboxLost, "", "gone"), Lost},
		"anything else":     {Result{}, errors.New("broken pipe"), Lost},
		"error with result": {Result{Outcome: Succeeded}, errors.New("broken pipe"), Lost},
	} {
		t.Run(name, func(t *testing.T) {
			if got := OutcomeOf(tt.res, tt.err); got != tt.want {
				t.Errorf("OutcomeOf = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestResultOK(t *testing.T) {
	for _, o := range []Outcome{"", Nonzero, Signalled, OutOfMemory, Timeout, CPUTimeout, OutputLimit, DiskFull, StartFailed, Cancelled, Denied, Lost} {
		if (Result{Outcome: o}).OK() {
			t.Errorf("%q is OK", o)
		}
	}
	if !(Result{Outcome: Succeeded}).OK() {
		t.Error("a success is not OK")
	}
}
