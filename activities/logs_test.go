package activities

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

func TestIsFinal(t *testing.T) {
	boom, declined := errors.New("boom"), temporal.NewApplicationError("no", "Declined")
	attempt := func(n, most int32, types ...string) activity.Info {
		return activity.Info{Attempt: n, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Minute, BackoffCoefficient: 2, MaximumInterval: 3 * time.Minute, MaximumAttempts: most, NonRetryableErrorTypes: types}}
	}
	within := func(n int32, left time.Duration) activity.Info {
		i := attempt(n, 0)
		i.ScheduledTime, i.ScheduleToCloseTimeout = time.Now(), left
		return i
	}
	for name, c := range map[string]struct {
		info activity.Info
		err  error
		want bool
	}{
		"no error":             {attempt(1, 1), nil, false},
		"the last attempt":     {attempt(3, 3), boom, true},
		"not the last":         {attempt(2, 3), boom, false},
		"for ever":             {attempt(1000, 0), boom, false},
		"nobody said":          {activity.Info{Attempt: 1}, boom, false},
		"not retryable":        {activity.Info{Attempt: 1}, fmt.Errorf("do: %w", temporal.NewNonRetryableApplicationError("no", "x", nil)), true},
		"its type is not":      {attempt(1, 0, "Declined"), declined, true},
		"another type is not":  {attempt(1, 0, "Other"), declined, false},
		"cancelled":            {attempt(3, 3), temporal.NewCanceledError(), false},
		"its context ended":    {attempt(3, 3), fmt.Errorf("do: %w", context.Canceled), false},
		"completed by another": {attempt(3, 3), activity.ErrResultPending, false},
		"no time for another":  {within(1, 30*time.Second), boom, true},
		"time for another":     {within(1, time.Hour), boom, false},
		"waits double":         {within(2, 90*time.Second), boom, true},
		"waits at most":        {within(60, 4*time.Minute), boom, false},
	} {
		if got := IsFinal(c.info, c.err); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
