// Package telemetry is how a worker tells what it does: Prometheus metrics,
// OpenTelemetry traces and structured logs.
//
// Three constructors take the same [Config]. [NewMetrics] counts what happened,
// with one method per event, and also gives Temporal's own SDK a place for its
// metrics. [NewTracing] exports spans when the environment names a collector and
// does nothing otherwise; [TemporalInterceptor] makes one trace of a run, across
// workers, retries and continue-as-new. [NewLogger] writes lines that name the
// run and the span they belong to.
//
// The three meet in the context: the run that Config.RunFromContext finds there
// and its span give log lines their ids, and metrics their exemplars.
//
// The package refuses to let telemetry hurt the worker: label values are
// bounded, whatever callers pass; nothing here panics on a value; and content of
// prompts, replies and payloads never passes through it.
package telemetry

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// Config says how a worker tells what it does. The zero value works. Each
// constructor reads the fields that concern it.
type Config struct {
	// Registry receives the metrics; one registry takes one Metrics. nil means a
	// new one, which also shows the Go runtime and the process.
	Registry *prometheus.Registry
	// MaxNames bounds the distinct values of every label that holds a name:
	// workflows, activities, providers, models. Later names are counted as
	// "other". 0 means 200.
	MaxNames int

	// ServiceName is the service.name of spans where OTEL_SERVICE_NAME is not
	// set. Empty means "wflo".
	ServiceName string
	// ServiceVersion is the service.version of spans; empty leaves it out.
	ServiceVersion string
	// Endpoint is the base URL of an OTLP/HTTP collector, such as
	// "http://localhost:4318". OTEL_ variables that choose an exporter or an
	// endpoint win. Empty means that only those turn tracing on.
	Endpoint string
	// SampleRate is the share of new traces that are kept, above 0 and up to 1;
	// OTEL_TRACES_SAMPLER wins. 0 means all.
	SampleRate float64

	// SpansDropped counts spans that no collector got, by why: queue or export. nil means
	// that nobody counts. It may be called at the same time, and must not block.
	SpansDropped func(reason string, spans int)

	// Level is the lowest level that is logged. nil means slog.LevelInfo.
	Level slog.Leveler
	// Format of the log lines: "json" or "text". Anything else means "json".
	Format string

	// RunFromContext finds the run that a context belongs to. nil means that no
	// context has one.
	RunFromContext func(ctx context.Context) (wflo.Run, bool)
	// Logger hears of exports and scrapes that went wrong. nil means
	// slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxNames <= 0 {
		c.MaxNames = 200
	}
	if c.ServiceName == "" {
		c.ServiceName = "wflo"
	}
	if c.Level == nil {
		c.Level = slog.LevelInfo
	}
	if c.RunFromContext == nil {
		c.RunFromContext = func(context.Context) (wflo.Run, bool) { return wflo.Run{}, false }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
