package activities

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// TestToWire is what Temporal gets to know of an error: whether to try again,
// when, and what to tell people.
func TestToWire(t *testing.T) {
	budget := wflo.Errorf(wflo.CodeBudgetExceeded, "raise it", "no room")
	tests := []struct {
		name  string
		err   error
		kind  wflo.Code
		final bool
		delay time.Duration
		hint  string
	}{
		{"wflo's own", fmt.Errorf("ask: %w", budget), wflo.CodeBudgetExceeded, true, 0, "raise it"},
		{"worker's rules", wflo.Errorf(wflo.CodePolicyDenied, "ask", "no"), wflo.CodePolicyDenied, true, 0, "ask"},
		{"wrong input", wflo.Invalid("spec.argv", "is empty", "fill it"), wflo.CodeInvalid, true, 0, "fill it"},
		{"no engine", fmt.Errorf("sandbox: %w", wflo.Errorf(wflo.CodeSandboxUnavailable, "start it", "no")), wflo.CodeSandboxUnavailable, false, 0, "start it"},
		{"engine gone", fmt.Errorf("sandbox: %w", wflo.Errorf(wflo.CodeSandboxLost, "look", "eof")), wflo.CodeSandboxLost, false, 0, "look"},
		{"money that others hold", &busyError{err: budget}, wflo.CodeBudgetExceeded, false, busyDelay, "raise it"},
		{
			"rate limit", &CallError{Status: 429, Retryable: true, RetryAfter: 7 * time.Second, Err: errors.New("slow down")},
			wflo.CodeProvider, false, 7 * time.Second, "the provider limits the rate; the call is retried when it allows",
		},
		{"bad key", &CallError{Status: 401, Err: errors.New("no")}, wflo.CodeProvider, true, 0, "check the provider's API key"},
		{"no such model", &CallError{Status: 404, Err: errors.New("no")}, wflo.CodeProvider, true, 0, "check the model's name and the provider's base URL"},
		{"bad request", &CallError{Status: 400, Err: errors.New("no")}, wflo.CodeProvider, true, 0, "the provider refused the request"},
		{
			"connection cut", fmt.Errorf("x: %w", &CallError{Retryable: true, Billable: true, Err: errors.New("reset")}),
			wflo.CodeProvider, false, 0, "the provider failed for the moment; the call is retried",
		},
		{
			"a driver's verdict", fmt.Errorf("ask: %w", &CallError{Status: 503, Retryable: true, RetryAfter: time.Second, Err: &wflo.Error{Code: wflo.CodeProvider, Message: "503"}}),
			wflo.CodeProvider, false, time.Second, "the provider failed for the moment; the call is retried",
		},
		{
			"a driver's last word", &CallError{Status: 401, Err: wflo.Errorf(wflo.CodeProvider, "check the key in OPENAI_API_KEY", "401")},
			wflo.CodeProvider, true, 0, "check the key in OPENAI_API_KEY",
		},
		{
			"a rule about a verdict", wflo.Errorf(wflo.CodePolicyDenied, "ask", "no more: %w", &CallError{Retryable: true, Err: errors.New("reset")}),
			wflo.CodePolicyDenied, true, 0, "ask",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var app *temporal.ApplicationError
			if !errors.As(toWire(tt.err), &app) {
				t.Fatalf("%v is no application error", tt.err)
			}
			var hint string
			if err := app.Details(&hint); err != nil {
				t.Fatal(err)
			}
			if app.Type() != string(tt.kind) || app.NonRetryable() != tt.final || app.NextRetryDelay() != tt.delay || hint != tt.hint {
				t.Errorf("type %s, final %v, delay %s, hint %q", app.Type(), app.NonRetryable(), app.NextRetryDelay(), hint)
			}
		})
	}
	plain := errors.New("a user's own")
	if got := toWire(plain); got != plain { //nolint:errorlint // the same value, not its like
		t.Errorf("a user's error became %v", got)
	}
	if toWire(nil) != nil {
		t.Error("nil became an error")
	}
}

// TestRefusalOnTheWire is what workflow code gets to know of a budget, whether
// the call is tried again or not.
func TestRefusalOnTheWire(t *testing.T) {
	refusal := wflo.Refusal{
		Budget: "team:payments", Limit: wflo.USD, Spent: 7, Reserved: 3, Asked: 5,
		WindowEnd: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), OnExceeded: wflo.ExceedAsk,
	}
	err := fmt.Errorf("ask: %w", wflo.Errorf(wflo.CodeBudgetExceeded, "raise it", "no room: %w", &refusal))
	for _, err := range []error{err, &busyError{err: err}} {
		var app *temporal.ApplicationError
		if !errors.As(toWire(err), &app) {
			t.Fatalf("%v is no application error", err)
		}
		var hint string
		var got wflo.Refusal
		if err := app.Details(&hint, &got); err != nil {
			t.Fatal(err)
		}
		if hint != "raise it" || got != refusal || app.Type() != string(wflo.CodeBudgetExceeded) {
			t.Errorf("type %s, hint %q, refusal %+v", app.Type(), hint, got)
		}
	}
}
