package govern

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/wflo-ai/wflo-go/plugin"
)

// BenchmarkObserve is the workflow of BenchmarkPluginOverhead with everything that it can
// tell of itself, spans to a collector and lines to the database, and without; metrics
// are counted by both. The collector takes spans as they come and keeps none.
func BenchmarkObserve(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a body that breaks off is the exporter's to try again
	}))
	b.Cleanup(sink.Close)
	quiet := newWorld(b, config{queue: queueOf(b) + "-quiet", plugin: func(c *plugin.Config) {
		c.Database, c.Logs.Off, c.Logger = "", true, slog.New(slog.DiscardHandler)
	}})
	b.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", sink.URL) // read when a plugin is made
	telling := newWorld(b, config{plugin: func(c *plugin.Config) {
		c.Database, c.Logger = "", slog.New(slog.NewJSONHandler(io.Discard, nil))
	}})
	told, mute := &runner{b: b, c: telling.Client, queue: telling.queue}, &runner{b: b, c: quiet.Client, queue: quiet.queue}
	interleave(b, 10, told, mute)
	with, without := p50(told.took), p50(mute.took)
	b.ReportMetric(ms(with), "with-p50-ms")
	b.ReportMetric(ms(without), "without-p50-ms")
	b.ReportMetric(float64(with)/float64(without), "ratio")
}
