package workflows

import (
	"errors"
	"strings"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// fromWire turns an activity's failure into a *wflo.Error when its type is one
// of ours, so that a workflow can use errors.Is with wflo's sentinels. The cause
// of a budget's error is its *wflo.Refusal. Other errors stay as they are.
func fromWire(err error) error {
	if err == nil || wflo.CodeOf(err) != "" {
		return err
	}
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || wflo.Code(app.Type()).Sentinel() == nil {
		return err
	}
	e := &wflo.Error{Code: wflo.Code(app.Type()), Message: app.Message(), Err: err}
	if !app.HasDetails() {
		return e
	}
	var hint string
	if app.Details(&hint) == nil {
		e.Hint = hint
	}
	var r wflo.Refusal
	if e.Code == wflo.CodeBudgetExceeded && app.Details(&hint, &r) == nil && r.Budget != "" {
		e.Hint, e.Err = hint, &r
	}
	return e
}

// cause is what happened, without the envelopes of activity and attempt around it, for
// records that people read. Temporal makes a failure of each error that Go code wraps: the
// first has the words of all, apart from causes that were given besides the message.
func cause(err error) string {
	text, fresh := err.Error(), true
	for ; err != nil; err = errors.Unwrap(err) {
		switch e := err.(type) { //nolint:errorlint // every link of the chain is looked at
		case *temporal.ActivityError, *temporal.ChildWorkflowExecutionError, *temporal.WorkflowExecutionError:
			fresh = true
		case *temporal.ApplicationError:
			switch m := e.Message(); {
			case fresh:
				text, fresh = m, false
			case !strings.Contains(text, m):
				text += ": " + m
			}
		}
	}
	return clip(text, 500)
}

// toWire turns a workflow's failure into what Temporal records: the type is the
// code, the first detail the hint, the second of a budget's error its refusal,
// which a parent reads. It is not retryable, because a rule, a budget or a person
// decided, and a new run would only ask again.
func toWire(err error) error {
	var e *wflo.Error
	if !errors.As(err, &e) {
		return err
	}
	message, hint := wflo.Explain(err)
	opts := temporal.ApplicationErrorOptions{NonRetryable: true, Cause: e.Err, Details: []any{hint}}
	var r *wflo.Refusal
	if e.Code == wflo.CodeBudgetExceeded && errors.As(err, &r) {
		opts.Cause, opts.Details = nil, []any{hint, r}
	}
	return temporal.NewApplicationErrorWithOptions(message, string(e.Code), opts)
}

// final says that an agent must not go on after err, whatever its tools do:
// retrying with another prompt cannot help and might spend or repeat.
func final(err error) bool {
	switch wflo.CodeOf(err) {
	case wflo.CodeBudgetExceeded, wflo.CodeHalted, wflo.CodeSandboxUnavailable, wflo.CodeSandboxLost, wflo.CodeUnknownModel, wflo.CodeMissingKey:
		return true
	}
	var refused *refusedError
	if errors.As(err, &refused) {
		return true
	}
	return temporal.IsCanceledError(err)
}
