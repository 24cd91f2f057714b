package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"time"

	"github.com/getsentry/sentry-go"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of what waits for Sentry. What does not fit is dropped, never waited for.
const (
	sentryQueue   = 100
	sentryTimeout = 10 * time.Second // of one request
	sentryLast    = 2 * time.Second  // what Close waits for
)

// SentryConfig sets up reports of errors.
type SentryConfig struct {
	// DSN is the project's address; empty means SENTRY_DSN, and no reports without that.
	DSN string
	// Environment and Release are shown with every report; empty means SENTRY_ENVIRONMENT
	// and SENTRY_RELEASE.
	Environment, Release string
	// RunFromContext finds the run that a context belongs to. Required.
	RunFromContext func(ctx context.Context) (wflo.Run, bool)
	// Logger hears that reports are on. nil means slog.Default().
	Logger *slog.Logger
}

// Sentry reports errors that ended something for good, with the ids of their run and
// without any content: what went wrong is in the logs, under the same ids. Reports are
// sent aside, and dropped where the server does not take them. nil reports nothing. Its
// methods may be called at the same time.
type Sentry struct {
	client *sentry.Client
	runOf  func(context.Context) (wflo.Run, bool)
}

// NewSentry gives nil where no DSN is set. A DSN that is none is an *wflo.Error with
// CodeInvalid, in which it is not repeated.
func NewSentry(cfg SentryConfig) (*Sentry, error) {
	if cfg.DSN == "" {
		cfg.DSN = os.Getenv("SENTRY_DSN")
	}
	if cfg.DSN == "" {
		return nil, nil //nolint:nilnil // nil reports nothing
	}
	if cfg.Release == "" {
		cfg.Release = os.Getenv("SENTRY_RELEASE")
	}
	if cfg.Release == "" {
		cfg.Release = "wflo" // else the library runs git in the working directory
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	transport := sentry.NewHTTPTransport()
	transport.BufferSize, transport.Timeout = sentryQueue, sentryTimeout
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: cfg.DSN, Environment: cfg.Environment, Release: cfg.Release, Transport: transport,
		// None of the library's own: they add the list of modules, source lines and more.
		Integrations:           func([]sentry.Integration) []sentry.Integration { return nil },
		MaxBreadcrumbs:         -1,
		DisableTelemetryBuffer: true, // it would replace the transport that never waits
		DisableClientReports:   true,
	})
	if err != nil {
		return nil, wflo.Invalid("SENTRY_DSN", "is not the address of a project", "copy it from the project's settings, such as https://KEY@HOST/PROJECT")
	}
	cfg.Logger.Info("errors are reported to Sentry", "release", cfg.Release)
	return &Sentry{client: client, runOf: cfg.RunFromContext}, nil
}

// ActivityFailure is what is told of an activity that failed for good.
type ActivityFailure struct {
	// Activity and Workflow are names of types.
	Activity, Workflow string
	// Code says what kind of error it was: a wflo.Code, the type of an application error,
	// or a Go type.
	Code string
	// Attempt counts from 1.
	Attempt int
}

// ActivityFailed reports a failure. The run and the span are those of ctx.
func (s *Sentry) ActivityFailed(ctx context.Context, f ActivityFailure) {
	if s == nil {
		return
	}
	f.Code = kindName(f.Code)
	event := sentry.NewEvent()
	event.Level = sentry.LevelError
	event.Transaction = f.Activity
	event.Fingerprint = []string{f.Activity, f.Code}
	event.Exception = []sentry.Exception{{Type: f.Code, Value: fmt.Sprintf("activity %s failed for good after %d attempts", f.Activity, f.Attempt)}}
	event.Tags = map[string]string{"activity": f.Activity, "workflow": f.Workflow, "code": f.Code, "attempt": fmt.Sprint(f.Attempt)}
	if run, ok := s.runOf(ctx); ok {
		maps.Copy(event.Tags, map[string]string{
			"workflow_id": run.WorkflowID, "execution_id": run.FirstRunID, "user_id": run.User, "team": run.Team,
			"step": run.Step, "correlation_id": run.Correlation,
		})
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		event.Tags["trace_id"], event.Tags["span_id"] = sc.TraceID().String(), sc.SpanID().String()
		event.Contexts["trace"] = sentry.Context{"trace_id": sc.TraceID().String(), "span_id": sc.SpanID().String()}
	}
	maps.DeleteFunc(event.Tags, func(_, value string) bool { return value == "" })
	s.client.CaptureEvent(event, nil, nil)
}

// Close sends what is left, for two seconds at most.
func (s *Sentry) Close() error {
	if s == nil {
		return nil
	}
	s.client.Flush(sentryLast)
	s.client.Close()
	return nil
}

var identifier = regexp.MustCompile(`^[\w.*/:\[\]-]{1,100}$`)

// kindName keeps out what is no name: the type of an application error is text that its
// author may have put anything into.
func kindName(kind string) string {
	if !identifier.MatchString(kind) {
		return "error"
	}
	return kind
}
