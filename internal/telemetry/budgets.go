package telemetry

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// budgets are the metrics of budgets and of what stops spending.
type budgets struct {
	agents  *names
	alerts  *prometheus.CounterVec
	raised  prometheus.Counter
	loops   *prometheus.CounterVec
	decided *prometheus.CounterVec
}

func (b *budgets) register(counter func(name, help string, labels ...string) *prometheus.CounterVec) {
	b.alerts = counter("wflo_budget_alerts_total", "Alerts of budgets that were delivered.", "kind", "percent")
	b.raised = counter("wflo_budget_topups_total", "Budgets that runs had raised after an approval.").WithLabelValues()
	b.loops = counter("wflo_agent_loops_total", "Agents that were ended because they repeated themselves.", "agent")
	b.decided = counter("wflo_holds_swept_total", "Holds that nobody closed, by what the sweep found.", "found")
}

// BudgetAlert counts an alert that the worker's handlers took.
func (m *Metrics) BudgetAlert(kind wflo.AlertKind, percent int) {
	m.budgets.alerts.WithLabelValues(m.states.admit(string(kind)), strconv.Itoa(min(max(percent, 0), 100))).Inc()
}

// BudgetRaised counts a top-up that an approver gave to a waiting run.
func (m *Metrics) BudgetRaised() { m.budgets.raised.Inc() }

// LoopStopped counts an agent that was ended because it repeated itself.
func (m *Metrics) LoopStopped(agent string) {
	m.budgets.loops.WithLabelValues(m.budgets.agents.admit(agent)).Inc()
}

// HoldSwept counts a hold that was open for long, by what the sweep found.
func (m *Metrics) HoldSwept(found string) {
	m.budgets.decided.WithLabelValues(m.states.admit(found)).Inc()
}
