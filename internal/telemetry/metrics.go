package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

// Buckets in seconds, except for ratios. People answer approvals in minutes to days; runs that
// wait for them take as long; the machinery takes milliseconds to minutes.
var (
	approvalBuckets = []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800}
	workflowBuckets = []float64{.1, .5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400, 259200, 604800}
	activityBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}
	queueBuckets    = []float64{.01, .1, .5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}
	ratioBuckets    = []float64{.1, .2, .3, .4, .5, .6, .7, .8, .9, 1, 1.1, 1.25, 1.5, 2, 4}
	creationBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2, 3, 5, 10, 20, 30, 60}
)

// maxStates bounds what labels that hold a state or an outcome have together, because they share
// one set of values. All of them are from closed lists in this repository, which have some fifty.
const maxStates = 100

// Metrics counts what a worker does. Its methods may be called at the same time.
//
// They count every call, so workflow code must call them only when it is not
// replaying.
type Metrics struct {
	registry *prometheus.Registry
	temporal *temporalMetrics
	runOf    func(context.Context) (wflo.Run, bool)
	logger   *slog.Logger

	workflows, activities, providers, models, states, outcomes, queues *names

	executions       *prometheus.CounterVec
	workflowDuration *prometheus.HistogramVec
	workflowCost     *prometheus.GaugeVec
	approvalsOpened  prometheus.Counter
	approvals        *prometheus.CounterVec
	approvalLatency  prometheus.Histogram
	sandboxes        *Sandboxes
	budgets          budgets
	policies         policies
	notices          notices
	recovery         recovery
	present          present
	trail            trail
	streams          streams
	spansDropped     *prometheus.CounterVec
	sandboxRuns      *prometheus.CounterVec
	sandboxDuration  *prometheus.HistogramVec
	sandboxQueue     prometheus.Histogram
	llmCalls         *prometheus.CounterVec
	llmTokens        *prometheus.CounterVec
	llmEstimate      *prometheus.HistogramVec
	llmOverdrafts    *prometheus.CounterVec
	llmFailovers     *prometheus.CounterVec
	llmCache         *prometheus.CounterVec
	budgetExceeded   *prometheus.CounterVec
	activityDuration *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them. It panics when the registry
// already has metrics of the same names, which is a mistake in the program.
func NewMetrics(config Config) *Metrics {
	config = config.withDefaults()
	m := &Metrics{
		registry: config.Registry, runOf: config.RunFromContext, logger: config.Logger,
		workflows: newNames(config.MaxNames), activities: newNames(config.MaxNames),
		providers: newNames(config.MaxNames), models: newNames(config.MaxNames), states: newNames(maxStates), outcomes: newNames(maxStates),
	}
	if m.registry == nil {
		m.registry = prometheus.NewRegistry()
		m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	m.budgets.agents, m.notices.channels, m.queues = newNames(config.MaxNames), newNames(config.MaxNames), newNames(config.MaxNames)
	own := m.register()
	m.temporal = newTemporalMetrics(own, config.Logger)
	m.registry.MustRegister(m.temporal)
	// Series that exist before their first event can be alerted on.
	for _, s := range []wflo.GateStatus{
		wflo.GateApproved, wflo.GateAnswered, wflo.GateRejected, wflo.GateTimedOut, wflo.GateCancelled, wflo.GateRevoked, wflo.GateExpired,
	} {
		m.approvals.WithLabelValues(string(s))
	}
	return m
}

// register makes and registers the metrics, and returns their names.
func (m *Metrics) register() map[string]bool {
	own := make(map[string]bool)
	add := func(name string, c prometheus.Collector) {
		own[name] = true
		m.registry.MustRegister(c)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		add(name, c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		add(name, h)
		return h
	}
	single := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		add(name, h)
		return h
	}
	m.executions = counter("wflo_workflow_executions_total", "Workflow executions that closed.", "status")
	m.workflowDuration = histogram("wflo_workflow_duration_seconds", "Time from start to close of an execution.", workflowBuckets, "workflow_name")
	// A gauge although it only grows: OpenMetrics would show a counter of this
	// name as wflo_workflow_cost_usd_total, and dashboards would find nothing.
	m.workflowCost = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wflo_workflow_cost_usd", Help: "US dollars spent since the process started."}, []string{"workflow_name"})
	add("wflo_workflow_cost_usd", m.workflowCost)
	m.approvalsOpened = prometheus.NewCounter(prometheus.CounterOpts{Name: "wflo_approvals_opened_total", Help: "Approval gates that opened."})
	add("wflo_approvals_opened_total", m.approvalsOpened)
	m.approvals = counter("wflo_approval_requests_total", "Approval gates that closed; those that were revoked or expired afterwards count again as that.", "status")
	m.approvalLatency = single("wflo_approval_latency_seconds", "Time from the opening to the closing of an approval gate.", approvalBuckets)
	m.sandboxes = newSandboxes()
	m.sandboxes.register(add)
	m.sandboxRuns = counter("wflo_sandbox_executions_total", "Programs that were to run in a sandbox, by what became of them.", "outcome")
	m.sandboxDuration = histogram("wflo_sandbox_execution_duration_seconds", "Time that an execution in a sandbox took in all.", activityBuckets, "outcome")
	m.sandboxQueue = single("wflo_sandbox_queue_seconds", "Time that executions waited for room on the host.", queueBuckets)
	m.llmCalls = counter("wflo_llm_api_calls_total", "Calls of language models.", "provider", "model")
	m.llmTokens = counter("wflo_llm_tokens_total", "Tokens of language models, in disjoint types.", "provider", "model", "type")
	m.llmEstimate = histogram("wflo_llm_input_estimate_ratio", "Prompt tokens that the provider counted, per token that was reserved for; above 1 the estimate was too low.", ratioBuckets, "provider", "model")
	m.llmOverdrafts = counter("wflo_llm_overdrafts_total", "Calls that cost more than was reserved for them.", "provider", "model")
	m.llmFailovers = counter("wflo_llm_failovers_total", "Calls that were sent to another model because this one failed.", "provider", "model")
	m.llmCache = counter("wflo_llm_cache_total", "What the response cache did for calls: hit, miss, or error.", "outcome")
	m.budgets.register(counter)
	m.policies.register(add)
	m.notices.register(add)
	m.recovery.register(counter, histogram)
	m.present.register(add, counter)
	m.trail.register(add)
	m.streams.register(add)
	m.registerSpans(counter)
	m.budgetExceeded = counter("wflo_budget_exceeded_total", "Calls that were refused because a budget had no room.", "workflow_name")
	m.activityDuration = histogram("wflo_activity_duration_seconds", "Time that one attempt of an activity took.", activityBuckets, "activity", "status")
	return own
}

// WorkflowClosed counts a run that ended with a status such as "completed" and took d
// since its start. Workflow code has no context of a span: the correlation id leads to
// the trace.
func (m *Metrics) WorkflowClosed(r wflo.Run, status string, d time.Duration) {
	ctx := wflo.WithRun(context.Background(), r)
	m.inc(ctx, m.executions.WithLabelValues(m.states.admit(status)))
	m.observe(ctx, m.workflowDuration.WithLabelValues(m.workflows.admit(r.Workflow)), d)
}

// LLMCall counts a call that was billed: its tokens, and its cost on the
// workflow of the run in ctx. A negative count or cost is left out.
func (m *Metrics) LLMCall(ctx context.Context, provider, model string, u wflo.Usage, cost wflo.Money) {
	provider, model = m.providers.admit(provider), m.models.admit(model)
	m.inc(ctx, m.llmCalls.WithLabelValues(provider, model))
	for _, b := range []struct {
		kind string
		n    int64
	}{
		{"input", u.Input}, {"cache_read", u.CacheRead}, {"cache_write_5m", u.CacheWrite5m},
		{"cache_write_1h", u.CacheWrite1h}, {"output", u.Output}, {"reasoning", u.Reasoning},
	} {
		if b.n > 0 {
			m.llmTokens.WithLabelValues(provider, model, b.kind).Add(float64(b.n))
		}
	}
	if cost > 0 {
		run, _ := m.runOf(ctx)
		m.workflowCost.WithLabelValues(m.workflows.admit(run.Workflow)).Add(cost.Float())
	}
}

// LLMEstimate counts how many prompt tokens the provider counted for each that
// was reserved for. Counts that are not positive are left out.
func (m *Metrics) LLMEstimate(_ context.Context, provider, model string, reserved, counted int64) {
	if reserved > 0 && counted > 0 {
		m.llmEstimate.WithLabelValues(m.providers.admit(provider), m.models.admit(model)).Observe(float64(counted) / float64(reserved))
	}
}

// LLMOverdraft counts a call that cost more than was reserved for it. How much
// is in the ledger.
func (m *Metrics) LLMOverdraft(ctx context.Context, provider, model string, _ wflo.Money) {
	m.inc(ctx, m.llmOverdrafts.WithLabelValues(m.providers.admit(provider), m.models.admit(model)))
}

// LLMFailover counts a call that was sent to another model because this one
// failed.
func (m *Metrics) LLMFailover(ctx context.Context, provider, model string) {
	m.inc(ctx, m.llmFailovers.WithLabelValues(m.providers.admit(provider), m.models.admit(model)))
}

// LLMCache counts what the response cache did for a call.
func (m *Metrics) LLMCache(ctx context.Context, outcome string) {
	m.inc(ctx, m.llmCache.WithLabelValues(m.states.admit(outcome)))
}

// BudgetExceeded counts a call of the named workflow type that was refused
// because a budget had no room.
func (m *Metrics) BudgetExceeded(workflow string) {
	m.budgetExceeded.WithLabelValues(m.workflows.admit(workflow)).Inc()
}

// Sandboxes is what a runner of sandboxes tells.
func (m *Metrics) Sandboxes() *Sandboxes { return m.sandboxes }

// SandboxRun counts an execution in a sandbox that took d, by a sandbox.Outcome.
func (m *Metrics) SandboxRun(ctx context.Context, outcome string, d time.Duration) {
	outcome = m.outcomes.admit(outcome)
	m.inc(ctx, m.sandboxRuns.WithLabelValues(outcome))
	m.observe(ctx, m.sandboxDuration.WithLabelValues(outcome), d)
}

// SandboxQueued counts the time that an execution waited for room.
func (m *Metrics) SandboxQueued(ctx context.Context, d time.Duration) {
	m.observe(ctx, m.sandboxQueue, d)
}

// ApprovalOpened counts a gate that opened.
func (m *Metrics) ApprovalOpened() { m.approvalsOpened.Inc() }

// ApprovalClosed counts a gate that closed with a status, latency after it
// opened. The end of an approval that had been given is no latency of people.
func (m *Metrics) ApprovalClosed(ctx context.Context, status wflo.GateStatus, latency time.Duration) {
	m.inc(ctx, m.approvals.WithLabelValues(m.states.admit(string(status))))
	if status != wflo.GateRevoked && status != wflo.GateExpired {
		m.observe(ctx, m.approvalLatency, latency)
	}
}

// Activity counts one attempt of the named activity that took d and ended with
// a status such as "completed" or "failed".
func (m *Metrics) Activity(ctx context.Context, name, status string, d time.Duration) {
	m.observe(ctx, m.activityDuration.WithLabelValues(m.activities.admit(name), m.states.admit(status)), d)
}

// Registry is where the metrics are, for those who add their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics to Prometheus. Exemplars show in the OpenMetrics
// format only. A metric that cannot be read does not hide the others. A console that
// serves it finds the method EventStreams on it, by which its streams are counted.
func (m *Metrics) Handler() http.Handler {
	return &exposition{streams: &m.streams, Handler: promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:          scrapeLog{m.logger},
		ErrorHandling:     promhttp.ContinueOnError,
		Registry:          m.registry,
		EnableOpenMetrics: true,
	})}
}

func (m *Metrics) inc(ctx context.Context, c prometheus.Counter) {
	if e := m.exemplar(ctx); e != nil {
		if a, ok := c.(prometheus.ExemplarAdder); ok {
			a.AddWithExemplar(1, e)
			return
		}
	}
	c.Inc()
}

func (m *Metrics) observe(ctx context.Context, o prometheus.Observer, d time.Duration) {
	if e := m.exemplar(ctx); e != nil {
		if x, ok := o.(prometheus.ExemplarObserver); ok {
			x.ObserveWithExemplar(seconds(d), e)
			return
		}
	}
	o.Observe(seconds(d))
}

// exemplar points from a sample to what caused it: a trace that is really
// exported, and the correlation id of the run. It is nil when there is neither.
func (m *Metrics) exemplar(ctx context.Context) prometheus.Labels {
	var e prometheus.Labels
	room := prometheus.ExemplarMaxRunes
	add := func(name, value string) {
		// More than the limit, and invalid UTF-8, make the client panic.
		size := utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
		if value == "" || size > room || !utf8.ValidString(value) {
			return
		}
		if e == nil {
			e = make(prometheus.Labels, 2)
		}
		room -= size
		e[name] = value
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() && sc.IsSampled() {
		add("trace_id", sc.TraceID().String())
	}
	if run, ok := m.runOf(ctx); ok {
		add("correlation_id", run.Correlation)
	}
	return e
}

// seconds is d for a metric. Clocks that jump give negative durations, which
// would make sums shrink.
func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }

// scrapeLog passes errors of scrapes on.
type scrapeLog struct{ logger *slog.Logger }

func (l scrapeLog) Println(v ...any) {
	l.logger.Warn("metrics incomplete", "error", fmt.Sprint(v...))
}
