package activities

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
)

// Retryable says whether Temporal would try again after err.
func Retryable(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(toWire(err), &app) && !app.NonRetryable()
}

// Owned is what undoing asks before it begins.
var Owned = owned

// SetLease sets how long a worker that died keeps others from the call.
func (l *LLM) SetLease(d time.Duration) { l.lease = d }
