package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/temporal"
)

// Bounds of what a span says about an error, in bytes. Errors may quote what a program
// or a server wrote.
const (
	maxMessage = 4 << 10
	maxStack   = 16 << 10
)

// errorSpan records errors by their wire type, with all that is known of where they
// come from.
type errorSpan struct{ trace.Span }

// RecordError implements trace.Span.
func (s *errorSpan) RecordError(err error, _ ...trace.EventOption) {
	if err == nil || !s.IsRecording() {
		return
	}
	kind := errorType(err)
	s.SetAttributes(attribute.String("error.type", kind))
	s.AddEvent("exception", trace.WithAttributes(
		attribute.String("exception.type", kind),
		attribute.String("exception.message", bounded(err.Error(), maxMessage)),
		attribute.String("exception.stacktrace", bounded(stackOf(err), maxStack)),
	))
}

// SetStatus implements trace.Span.
func (s *errorSpan) SetStatus(code codes.Code, description string) {
	s.Span.SetStatus(code, bounded(description, maxMessage))
}

// errorType is what the error is called on the wire: wflo's code, or the type that the
// author gave, or else that of Go.
func errorType(err error) string {
	var app *temporal.ApplicationError
	var cancelled *temporal.CanceledError
	var timeout *temporal.TimeoutError
	switch {
	case errors.As(err, &app) && app.Type() != "":
		return bounded(app.Type(), maxValueBytes)
	case errors.As(err, &timeout):
		return "timeout"
	case errors.As(err, &cancelled), errors.Is(err, context.Canceled):
		return "cancelled"
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner // what wraps it is called the same everywhere
	}
	return fmt.Sprintf("%T", err)
}

// stackOf is where an error comes from: the stack where something kept one, such as of
// a panic, and else what it was wrapped in on its way, the outermost first.
func stackOf(err error) string {
	var kept interface{ StackTrace() string }
	if errors.As(err, &kept) && kept.StackTrace() != "" {
		return kept.StackTrace()
	}
	var b strings.Builder
	for depth := 0; err != nil && depth < 32; depth++ {
		if depth > 0 {
			b.WriteString("\ncaused by ")
		}
		fmt.Fprintf(&b, "%T: %s", err, bounded(err.Error(), maxMessage))
		err = errors.Unwrap(err)
	}
	return b.String()
}

// bounded is valid text of at most so many bytes.
func bounded(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
