package activities

import (
	"errors"

	"go.temporal.io/sdk/temporal"
)

// Retryable says whether Temporal would try again after err.
func Retryable(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(toWire(err), &app) && !app.NonRetryable()
}
