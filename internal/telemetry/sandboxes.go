package telemetry

import (
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLive bounds the sandboxes whose use is shown one by one; maxEnded is how
// many that ended are remembered, against a sample that was taken before the end
// and is told after it.
const (
	maxLive  = 1000
	maxEnded = 1000
)

// Sandboxes counts what a runner tells of its sandboxes: it is the runner's
// observer. Its methods may be called at the same time and in any order.
type Sandboxes struct {
	how       *names
	creation  prometheus.Histogram
	creations *prometheus.CounterVec
	cpu       *prometheus.GaugeVec
	memory    *prometheus.GaugeVec
	moves     prometheus.Counter

	mu    sync.Mutex
	live  map[string]struct{}
	ended map[string]struct{}
	order []string // of ended, oldest first
}

func newSandboxes() *Sandboxes {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"sandbox_id"})
	}
	return &Sandboxes{
		how: newNames(maxStates),
		creation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wflo_sandbox_creation_duration_seconds", Help: "Time until a sandbox was there for an execution.", Buckets: creationBuckets,
		}),
		creations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wflo_sandbox_creations_total", Help: "Sandboxes that executions got, by how.",
		}, []string{"how"}),
		cpu:    gauge("wflo_sandbox_cpu_usage_percent", "CPU that a sandbox uses now; 100 is one core."),
		memory: gauge("wflo_sandbox_memory_usage_bytes", "Memory that a sandbox uses now."),
		moves:  newMoves(),
		live:   map[string]struct{}{}, ended: map[string]struct{}{},
	}
}

func (s *Sandboxes) register(add func(string, prometheus.Collector)) {
	add("wflo_sandbox_creation_duration_seconds", s.creation)
	add("wflo_sandbox_creations_total", s.creations)
	add("wflo_sandbox_cpu_usage_percent", s.cpu)
	add("wflo_sandbox_memory_usage_bytes", s.memory)
	add(movesName, s.moves)
}

// Created counts a sandbox that an execution got, "warm" or "cold", and how long
// that took.
func (s *Sandboxes) Created(how string, took time.Duration) {
	s.creation.Observe(seconds(took))
	s.creations.WithLabelValues(s.how.admit(how)).Inc()
}

// Usage shows what a live sandbox uses now: CPU in percent of one core, memory
// in bytes. Of a sandbox that has ended it shows nothing.
func (s *Sandboxes) Usage(id string, cpuPercent float64, memory int64) {
	id = labelValue(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ended[id]; ok || id == "" {
		return
	}
	if _, ok := s.live[id]; !ok && len(s.live) >= maxLive {
		return
	}
	s.live[id] = struct{}{}
	if math.IsNaN(cpuPercent) || math.IsInf(cpuPercent, 0) {
		cpuPercent = 0 // a sample of no length
	}
	s.cpu.WithLabelValues(id).Set(max(cpuPercent, 0))
	s.memory.WithLabelValues(id).Set(max(float64(memory), 0))
}

// Ended removes what is shown of a sandbox.
func (s *Sandboxes) Ended(id string) {
	id = labelValue(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, id)
	s.cpu.DeleteLabelValues(id)
	s.memory.DeleteLabelValues(id)
	if _, ok := s.ended[id]; ok {
		return
	}
	s.ended[id] = struct{}{}
	s.order = append(s.order, id)
	if len(s.order) > maxEnded {
		delete(s.ended, s.order[0])
		s.order = s.order[1:]
	}
}
