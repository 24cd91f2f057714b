package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/wflo-ai/wflo-go"
)

// NewTracing makes the tracer provider of a worker. It exports over OTLP when
// OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or config.Endpoint asks for it, and is a
// no-op otherwise, or with OTEL_SDK_DISABLED=true. The other OTEL_ variables
// (protocol, headers, sampler, service name, resource, batch) work as specified
// by OpenTelemetry.
//
// shutdown exports what is left and stops, within flushTime; it is never nil. Exports
// that fail are told to config.Logger, once a minute, and do not hold up the worker:
// spans wait in a queue of spanQueue length (OTEL_BSP_MAX_QUEUE_SIZE, with those that are
// being exported), and what does not fit is dropped and counted. An environment or a config that cannot work is an *wflo.Error with
// CodeInvalid.
func NewTracing(ctx context.Context, config Config) (tp trace.TracerProvider, shutdown func(context.Context) error, err error) {
	logged := config.Logger != nil
	config = config.withDefaults()
	off := func(context.Context) error { return nil }
	if !tracingWanted(config) {
		return noop.NewTracerProvider(), off, nil
	}
	if err := validateTracing(config); err != nil {
		return nil, off, err
	}
	res, err := newResource(ctx, config)
	if err != nil {
		return nil, off, err
	}
	exporter, err := newExporter(ctx, config)
	if err != nil {
		return nil, off, err
	}
	if autoexport.IsNoneSpanExporter(exporter) {
		return noop.NewTracerProvider(), off, nil
	}
	if logged {
		// OpenTelemetry has one error handler per process.
		otel.SetErrorHandler(&exportErrors{logger: config.Logger, every: time.Minute, now: time.Now})
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithSpanProcessor(newSpanQueue(exporter, config.SpansDropped)), sdktrace.WithResource(res), sdktrace.WithIDGenerator(idGenerator{}),
	}
	if config.SampleRate > 0 && os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(config.SampleRate))))
	}
	provider := sdktrace.NewTracerProvider(options...)
	return provider, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushTime)
		defer cancel()
		return provider.Shutdown(ctx)
	}, nil
}

// flushTime is how long a worker that ends waits for a collector.
const flushTime = 5 * time.Second

// tracingWanted says whether anything names a place for traces.
func tracingWanted(config Config) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	return config.Endpoint != "" || os.Getenv("OTEL_TRACES_EXPORTER") != "" || endpointInEnv()
}

func endpointInEnv() bool {
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

func validateTracing(config Config) error {
	if !(config.SampleRate >= 0 && config.SampleRate <= 1) { // so that NaN is refused too
		return wflo.Invalid("trace sample rate", "is not between 0 and 1", "0.1 keeps one trace in ten")
	}
	if config.Endpoint == "" {
		return nil
	}
	// Without the URL in the error, because it may hold a password.
	if u, err := url.Parse(config.Endpoint); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return wflo.Invalid("trace endpoint", "is not an http or https URL", "write it like http://localhost:4318")
	}
	return nil
}

func newResource(ctx context.Context, config Config) (*resource.Resource, error) {
	attributes := resource.WithAttributes(semconv.ServiceName(config.ServiceName))
	if config.ServiceVersion != "" {
		attributes = resource.WithAttributes(semconv.ServiceName(config.ServiceName), semconv.ServiceVersion(config.ServiceVersion))
	}
	// The environment comes last because later ones win.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(), attributes, resource.WithFromEnv())
	if errors.Is(err, resource.ErrSchemaURLConflict) {
		err = nil // the attributes are there, only without a schema
	}
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "write OTEL_RESOURCE_ATTRIBUTES as name=value,name=value", "describe the traced service: %w", err)
	}
	return res, nil
}

func newExporter(ctx context.Context, config Config) (sdktrace.SpanExporter, error) {
	switch name := os.Getenv("OTEL_TRACES_EXPORTER"); name {
	case "jaeger", "zipkin":
		return nil, wflo.Errorf(wflo.CodeInvalid, "set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_ENDPOINT to its OTLP port, such as http://"+name+":4318",
			"the trace exporter %s is gone from OpenTelemetry; it takes OTLP", name)
	case "", "otlp":
		if config.Endpoint != "" && !endpointInEnv() {
			target := strings.TrimSuffix(config.Endpoint, "/") + "/v1/traces"
			exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(target))
			return exporter, exporterError(err)
		}
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	return exporter, exporterError(err)
}

func exporterError(err error) error {
	if err == nil {
		return nil
	}
	return wflo.Errorf(wflo.CodeInvalid, "OTEL_TRACES_EXPORTER is otlp, console or none, and OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf or grpc",
		"export traces: %w", err)
}

// exportErrors passes on what OpenTelemetry would print to standard error. A collector
// that is down fails every few seconds, which is told once in a while with a count.
type exportErrors struct {
	logger *slog.Logger
	every  time.Duration
	now    func() time.Time

	mu     sync.Mutex
	told   time.Time
	untold int
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	if !e.told.IsZero() && now.Sub(e.told) < e.every {
		e.untold++
		return
	}
	e.logger.Warn("telemetry incomplete", "error", err, "more_since", e.untold)
	e.told, e.untold = now, 0
}
