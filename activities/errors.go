package activities

import (
	"cmp"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// busyDelay is about how long a model call takes.
const busyDelay = 5 * time.Second

// busyError is a budget that has money, though held by other calls.
type busyError struct{ err error }

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// toWire turns an activity's error into what Temporal records: wflo's errors
// keep their code as type and their hint as first detail, and are not retried,
// because the same input would fail again, unless a machine is to blame; the
// second detail of a budget that has no room is the wflo.Refusal; a provider's
// fault is retried when it can help, no sooner than the provider
// asked.
func toWire(err error) error {
	if err == nil {
		return nil
	}
	message, hint := wflo.Explain(err)
	var busy *busyError
	if errors.As(err, &busy) {
		return temporal.NewApplicationErrorWithOptions(message, string(wflo.CodeBudgetExceeded), temporal.ApplicationErrorOptions{
			NextRetryDelay: busyDelay, Details: details(err, hint),
		})
	}
	var e *wflo.Error
	known := errors.As(err, &e)
	// Drivers put a *wflo.Error into their verdict. Whichever is outside counts.
	var call, inside *CallError
	if errors.As(err, &call) && (!known || !errors.As(e, &inside)) {
		return temporal.NewApplicationErrorWithOptions(message, string(wflo.CodeProvider), temporal.ApplicationErrorOptions{
			NonRetryable: !call.Retryable, NextRetryDelay: call.RetryAfter,
			Details: []any{cmp.Or(hint, providerHint(call))},
		})
	}
	if known {
		return temporal.NewApplicationErrorWithOptions(message, string(e.Code), temporal.ApplicationErrorOptions{
			NonRetryable: !transient(e.Code), Cause: e.Err, Details: details(err, hint),
		})
	}
	return err
}

// details is the hint, and the refusal where a budget gave one, which workflow
// code asks for by type.
func details(err error, hint string) []any {
	var refusal *wflo.Refusal
	if errors.As(err, &refusal) {
		return []any{hint, *refusal}
	}
	return []any{hint}
}

// transient says that the machinery failed and not the input: an engine comes
// back, and another worker's may be there already.
func transient(code wflo.Code) bool {
	return code == wflo.CodeSandboxUnavailable || code == wflo.CodeSandboxLost
}

func providerHint(e *CallError) string {
	switch {
	case e.Status == 401 || e.Status == 403:
		return "check the provider's API key"
	case e.Status == 404:
		return "check the model's name and the provider's base URL"
	case e.Status == 429:
		return "the provider limits the rate; the call is retried when it allows"
	case e.Retryable:
		return "the provider failed for the moment; the call is retried"
	}
	return "the provider refused the request"
}
