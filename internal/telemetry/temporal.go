package telemetry

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/client"
)

// timerBuckets, in seconds, cover calls that take milliseconds and runs that
// take days, because one set serves all timers of the SDK.
var timerBuckets = []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400}

// Bounds of what the SDK and workflow code can make: metrics, and series of one
// metric. A metric above the bound is dropped.
const (
	maxFamilies = 1000
	maxSeries   = 2000
)

// overflowTag stands for the tags of all series above maxSeries.
const overflowTag = "overflow"

// TemporalHandler gives Temporal's SDK, and workflow code through
// workflow.GetMetricsHandler, a place for its metrics: on the same registry, and
// named as in Temporal's dashboards, with _total behind counters and _seconds
// behind timers, which are histograms. It is set as client.Options.MetricsHandler.
//
// The same metric may come with different tags. Names and tags that Prometheus
// does not allow are rewritten, and what clashes with another metric is dropped
// with a warning.
func (m *Metrics) TemporalHandler() client.MetricsHandler {
	return &temporalHandler{metrics: m.temporal}
}

type metricKind string

const (
	kindCounter metricKind = "counter"
	kindGauge   metricKind = "gauge"
	kindTimer   metricKind = "timer"
)

// kindOwn marks the names of wflo's own metrics as taken.
const kindOwn metricKind = "own metric of wflo"

// temporalMetrics holds the series of the SDK. It is an unchecked collector: it
// describes nothing in advance, so a metric may have other labels each time.
type temporalMetrics struct {
	logger   *slog.Logger
	mu       sync.RWMutex
	families map[string]*family // by metric name
}

type family struct {
	kind   metricKind
	series map[string]prometheus.Metric // by the key of the tags
	warned bool                         // that another kind was dropped
}

func newTemporalMetrics(own map[string]bool, logger *slog.Logger) *temporalMetrics {
	t := &temporalMetrics{logger: logger, families: make(map[string]*family)}
	for name := range own {
		t.families[name] = &family{kind: kindOwn}
	}
	return t
}

// Describe sends nothing, which makes the collector unchecked.
func (*temporalMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends all series.
func (t *temporalMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range t.snapshot() {
		ch <- s
	}
}

// snapshot copies the series, so that a slow scrape does not hold up workers.
func (t *temporalMetrics) snapshot() []prometheus.Metric {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []prometheus.Metric
	for _, f := range t.families {
		for _, s := range f.series {
			all = append(all, s)
		}
	}
	return all
}

// find returns the series of a metric for the tags of h, or nil when the name
// clashes with another metric.
func (t *temporalMetrics) find(kind metricKind, name string, h *temporalHandler) prometheus.Metric {
	name = metricName(kind, name)
	t.mu.RLock()
	if f, ok := t.families[name]; ok && f.kind == kind {
		if s, ok := f.series[h.key]; ok {
			t.mu.RUnlock()
			return s
		}
	}
	t.mu.RUnlock()
	return t.make(kind, name, h)
}

func (t *temporalMetrics) make(kind metricKind, name string, h *temporalHandler) prometheus.Metric {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.families[name]
	if !ok {
		if len(t.families) >= maxFamilies {
			return nil
		}
		f = &family{kind: kind, series: make(map[string]prometheus.Metric)}
		t.families[name] = f
	}
	if f.kind != kind {
		if !f.warned {
			f.warned = true
			t.logger.Warn("metric dropped: its name is taken", "metric", name, "kind", string(kind), "taken_by", string(f.kind))
		}
		return nil
	}
	key, labels := h.key, prometheus.Labels(h.tags)
	if _, ok := f.series[key]; !ok && len(f.series) >= maxSeries {
		key, labels = overflowTag, prometheus.Labels{overflowTag: "true"}
	}
	if s, ok := f.series[key]; ok {
		return s
	}
	s := newSeries(kind, name, labels)
	f.series[key] = s
	return s
}

func newSeries(kind metricKind, name string, labels prometheus.Labels) prometheus.Metric {
	// Series of one name must agree on the help text.
	help := "A " + string(kind) + " of the Temporal SDK or of workflow code."
	switch kind {
	case kindCounter:
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels})
	case kindGauge:
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	default:
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: labels, Buckets: timerBuckets})
	}
}

// temporalHandler is a set of tags. It never changes.
type temporalHandler struct {
	metrics *temporalMetrics
	tags    map[string]string
	key     string // names and values of the tags in order
}

// WithTags implements client.MetricsHandler.
func (h *temporalHandler) WithTags(tags map[string]string) client.MetricsHandler {
	if len(tags) == 0 {
		return h
	}
	all := make(map[string]string, len(h.tags)+len(tags))
	maps.Copy(all, h.tags)
	// In order, so that two tags that become one name always give the same.
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		all[tagName(name)] = labelValue(tags[name])
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		// 0xff is in no valid UTF-8, so different tags give different keys.
		key.WriteString(name)
		key.WriteByte(0xff)
		key.WriteString(all[name])
		key.WriteByte(0xff)
	}
	return &temporalHandler{metrics: h.metrics, tags: all, key: key.String()}
}

// Counter implements client.MetricsHandler.
func (h *temporalHandler) Counter(name string) client.MetricsCounter {
	c, ok := h.metrics.find(kindCounter, name, h).(prometheus.Counter)
	if !ok {
		return client.MetricsNopHandler.Counter(name)
	}
	return temporalCounter{c}
}

// Gauge implements client.MetricsHandler.
func (h *temporalHandler) Gauge(name string) client.MetricsGauge {
	g, ok := h.metrics.find(kindGauge, name, h).(prometheus.Gauge)
	if !ok {
		return client.MetricsNopHandler.Gauge(name)
	}
	return temporalGauge{g}
}

// Timer implements client.MetricsHandler.
func (h *temporalHandler) Timer(name string) client.MetricsTimer {
	o, ok := h.metrics.find(kindTimer, name, h).(prometheus.Histogram)
	if !ok {
		return client.MetricsNopHandler.Timer(name)
	}
	return temporalTimer{o}
}

type temporalCounter struct{ counter prometheus.Counter }

// Inc adds n; a negative n, on which the client panics, is left out.
func (c temporalCounter) Inc(n int64) {
	if n > 0 {
		c.counter.Add(float64(n))
	}
}

type temporalGauge struct{ gauge prometheus.Gauge }

func (g temporalGauge) Update(v float64) { g.gauge.Set(v) }

type temporalTimer struct{ histogram prometheus.Histogram }

func (t temporalTimer) Record(d time.Duration) { t.histogram.Observe(seconds(d)) }

// metricName is name as Prometheus wants it for a metric of the kind.
func metricName(kind metricKind, name string) string {
	name = plainName(name, true)
	suffix := map[metricKind]string{kindCounter: "_total", kindTimer: "_seconds"}[kind]
	if strings.HasSuffix(name, suffix) {
		return name
	}
	return name + suffix
}

// tagName is name as Prometheus wants it for a label. Labels that begin with
// two underscores, and the buckets' own, are not for users.
func tagName(name string) string {
	name = plainName(name, false)
	if strings.HasPrefix(name, "__") || name == "le" || name == "quantile" {
		return "tag_" + strings.TrimLeft(name, "_")
	}
	return name
}

// plainName replaces what Prometheus did not allow in names before it took all
// of UTF-8, because older servers still read us.
func plainName(name string, colon bool) string {
	if name == "" {
		return nameUnknown
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == ':' && colon:
			return r
		}
		return '_'
	}, name)
	name = name[:min(len(name), maxValueBytes)]
	if name[0] >= '0' && name[0] <= '9' {
		return "_" + name
	}
	return name
}
