package telemetry

import (
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// present are gauges of what waits now, and of the rounds that look. What waits is read
// from what workers share, so every worker shows the same: take the max of them, not the
// sum.
type present struct {
	gates       *prometheus.GaugeVec
	oldest      *prometheus.GaugeVec
	dead        prometheus.Gauge
	backlog     *prometheus.GaugeVec
	backlogAge  *prometheus.GaugeVec
	rounds      *prometheus.CounterVec
	roundsTook  *prometheus.HistogramVec
	roundsNames *names
}

// risks are what gates say of themselves; whatever else they say is unknown.
var risks = []wflo.Risk{wflo.RiskLow, wflo.RiskMedium, wflo.RiskHigh, wflo.RiskCritical, nameUnknown}

func (p *present) register(add func(name string, c prometheus.Collector), counter func(name, help string, labels ...string) *prometheus.CounterVec) {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		add(name, g)
		return g
	}
	p.gates = gauge("wflo_approvals_waiting", "Approval gates that are open now, by risk. Every worker of a database shows the same.", "risk")
	p.oldest = gauge("wflo_approvals_oldest_seconds", "Age of the oldest open approval gate, by risk; 0 without one.", "risk")
	p.dead = gauge("wflo_compensation_dead_letters", "Compensations that failed for good and wait for a person.").WithLabelValues()
	p.backlog = gauge("wflo_task_queue_backlog", "Tasks that wait for a worker in this worker's queue, as Temporal estimates them.", "task_queue", "type")
	p.backlogAge = gauge("wflo_task_queue_backlog_age_seconds", "Age of the oldest task that waits for a worker.", "task_queue", "type")
	p.roundsNames = newNames(maxStates)
	p.rounds = counter("wflo_rounds_total", "Rounds of what a worker does beside runs, such as sweeping and collecting, by outcome: ok, error.", "round", "outcome")
	p.roundsTook = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wflo_round_duration_seconds", Help: "How long rounds took.", Buckets: activityBuckets,
	}, []string{"round"})
	add("wflo_round_duration_seconds", p.roundsTook)
	build := gauge("wflo_build_info", "1; the labels say which wflo this is and what built it.", "version", "revision", "go_version")
	build.WithLabelValues(Built()).Set(1)
}

// Built is what the program knows of wflo's version: its own, or that of the module.
func Built() (version, revision, goVersion string) {
	version, revision = nameUnknown, nameUnknown
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, revision, runtime.Version()
	}
	const module = "github.com/wflo-ai/wflo-go"
	if info.Main.Path == module && info.Main.Version != "" {
		version = info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module && d.Version != "" {
			version = d.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return labelValue(version), labelValue(revision), runtime.Version()
}

// GatesWaiting shows the gates that are open now.
func (m *Metrics) GatesWaiting(open []wflo.Gate, now time.Time) {
	count, oldest := map[wflo.Risk]int{}, map[wflo.Risk]time.Duration{}
	for _, g := range open {
		risk := g.Approval.Risk
		if !slices.Contains(risks, risk) {
			risk = nameUnknown
		}
		count[risk]++
		oldest[risk] = max(oldest[risk], now.Sub(g.OpenedAt))
	}
	for _, risk := range risks {
		m.present.gates.WithLabelValues(string(risk)).Set(float64(count[risk]))
		m.present.oldest.WithLabelValues(string(risk)).Set(oldest[risk].Seconds())
	}
}

// DeadLetters shows how many compensations wait for a person.
func (m *Metrics) DeadLetters(n int) { m.present.dead.Set(float64(n)) }

// Backlog shows what waits in a task queue for workers of a type, "workflow" or
// "activity": how many tasks, and how old the oldest is.
func (m *Metrics) Backlog(queue, kind string, tasks int64, age time.Duration) {
	queue = m.queues.admit(queue)
	m.present.backlog.WithLabelValues(queue, kind).Set(float64(max(tasks, 0)))
	m.present.backlogAge.WithLabelValues(queue, kind).Set(seconds(age))
}

// Round counts a round of what a worker does beside runs.
func (m *Metrics) Round(name string, err error, took time.Duration) {
	name = m.present.roundsNames.admit(name)
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.present.rounds.WithLabelValues(name, outcome).Inc()
	m.present.roundsTook.WithLabelValues(name).Observe(seconds(took))
}
