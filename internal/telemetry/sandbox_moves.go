package telemetry

import "github.com/prometheus/client_golang/prometheus"

const movesName = "wflo_sandbox_moves_total"

func newMoves() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: movesName, Help: "Boxes that went to another host because theirs was gone."})
}

// Moved counts a box that has moved to another host.
func (s *Sandboxes) Moved() { s.moves.Inc() }
