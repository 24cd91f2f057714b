package wflo

import (
	"errors"
	"fmt"
	"strings"
)

// Code names a kind of failure. Codes are the ApplicationError type strings on
// Temporal's wire, so they never change once released.
type Code string

// The failures that callers and operators tell apart.
const (
	CodeInvalid            Code = "wflo.Invalid"            // the input is wrong; a retry cannot help
	CodeUnknownModel       Code = "wflo.UnknownModel"       // no price or no provider for the model
	CodeMissingKey         Code = "wflo.MissingKey"         // a credential is not configured
	CodeBudgetExceeded     Code = "wflo.BudgetExceeded"     // the worst case does not fit the budget
	CodeApprovalRejected   Code = "wflo.ApprovalRejected"   // a person said no
	CodeApprovalTimeout    Code = "wflo.ApprovalTimeout"    // nobody answered in time
	CodeApprovalExpired    Code = "wflo.ApprovalExpired"    // it was granted too long ago, or taken back
	CodeUnopened           Code = "wflo.Unopened"           // the run does not ask this, or not yet
	CodeHalted             Code = "wflo.Halted"             // the run was halted by an operator
	CodePolicyDenied       Code = "wflo.PolicyDenied"       // a rule forbids it
	CodePayloadTooLarge    Code = "wflo.PayloadTooLarge"    // a result is over the limit
	CodeSandboxUnavailable Code = "wflo.SandboxUnavailable" // no engine, or no image
	CodeSandboxLost        Code = "wflo.SandboxLost"        // the engine or its host went away during an execution
	CodeForgotten          Code = "wflo.Forgotten"          // the worker does not have what the call refers to
	CodeProvider           Code = "wflo.Provider"           // the model's provider refused or failed
	CodeLoop               Code = "wflo.Loop"               // the agent repeats itself
	CodeTurnLimit          Code = "wflo.TurnLimit"          // the model did not finish in the allowed turns
	CodeConflict           Code = "wflo.Conflict"           // the same key was used for something else
)

// Sentinels for errors.Is. Every [Error] matches the sentinel of its code.
var (
	ErrInvalid            = errors.New("invalid input")
	ErrUnknownModel       = errors.New("unknown model")
	ErrMissingKey         = errors.New("missing key")
	ErrBudgetExceeded     = errors.New("budget exceeded")
	ErrApprovalRejected   = errors.New("approval rejected")
	ErrApprovalTimeout    = errors.New("approval timed out")
	ErrApprovalExpired    = errors.New("approval expired")
	ErrUnopened           = errors.New("gate not open")
	ErrHalted             = errors.New("run halted")
	ErrPolicyDenied       = errors.New("denied by policy")
	ErrPayloadTooLarge    = errors.New("payload too large")
	ErrSandboxUnavailable = errors.New("sandbox unavailable")
	ErrSandboxLost        = errors.New("sandbox lost")
	ErrProvider           = errors.New("provider failed")
	ErrLoop               = errors.New("agent repeats itself")
	ErrTurnLimit          = errors.New("turn limit reached")
	ErrConflict           = errors.New("key conflict")
)

var sentinels = map[Code]error{
	CodeInvalid: ErrInvalid, CodeUnknownModel: ErrUnknownModel, CodeMissingKey: ErrMissingKey,
	CodeBudgetExceeded: ErrBudgetExceeded, CodeApprovalRejected: ErrApprovalRejected,
	CodeApprovalTimeout: ErrApprovalTimeout, CodeApprovalExpired: ErrApprovalExpired,
	CodeUnopened: ErrUnopened, CodeHalted: ErrHalted, CodePolicyDenied: ErrPolicyDenied,
	CodePayloadTooLarge: ErrPayloadTooLarge, CodeSandboxUnavailable: ErrSandboxUnavailable,
	CodeSandboxLost: ErrSandboxLost, CodeProvider: ErrProvider, CodeTurnLimit: ErrTurnLimit, CodeLoop: ErrLoop, CodeConflict: ErrConflict,
}

// Error is a failure that somebody can act on: what is wrong, and what to do.
// It never holds a secret.
type Error struct {
	Code Code `json:"code"`
	// Message says what is wrong and where, without a full stop.
	Message string `json:"message"`
	// Hint says what to do about it. It may be empty.
	Hint string `json:"hint,omitempty"`
	// Err is the cause, if another error is.
	Err error `json:"-"`
}

// Errorf makes an Error. A %w verb sets the cause.
func Errorf(code Code, hint, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Hint: hint, Err: errors.Unwrap(err)}
}

// Invalid is the Error for a field that holds what it must not.
func Invalid(field, problem, hint string) *Error {
	return &Error{Code: CodeInvalid, Message: field + " " + problem, Hint: hint}
}

// Error is the message, with the hint in parentheses.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the sentinel of the code, and another Error of the same code.
func (e *Error) Is(target error) bool {
	if other, ok := target.(*Error); ok {
		return other.Code == e.Code
	}
	return target != nil && sentinels[e.Code] == target
}

// CodeOf finds the code of the first Error in err's tree, or "".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// HintOf finds the hint of the first Error in err's tree, or "".
func HintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// Explain splits err into what went wrong and what to do about it, for displays
// that show the hint on a line of its own, and for wires that carry it apart.
func Explain(err error) (message, hint string) {
	hint = HintOf(err)
	message = err.Error()
	if hint != "" {
		message = strings.Replace(message, " ("+hint+")", "", 1)
	}
	return message, hint
}

// Sentinel gives the errors.Is target for a code that came over the wire, or
// nil for a code that is not wflo's.
func (c Code) Sentinel() error { return sentinels[c] }
