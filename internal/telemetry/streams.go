package telemetry

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// streams counts who follows runs at the consoles of this process.
type streams struct {
	mu  sync.Mutex
	now []func() int
}

func (s *streams) register(add func(name string, c prometheus.Collector)) {
	add("wflo_event_streams", prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wflo_event_streams", Help: "Clients that follow a run now: open pages, wflo tail, programs. A console takes 2048.",
	}, func() float64 { return float64(s.sum()) }))
}

func (s *streams) sum() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, now := range s.now {
		n += now()
	}
	return n
}

// exposition serves metrics, and takes in what whoever serves it has to count.
type exposition struct {
	http.Handler
	streams *streams
}

// EventStreams has a console's open streams counted: now gives how many there are. It is
// called once by each console.
func (e *exposition) EventStreams(now func() int) {
	e.streams.mu.Lock()
	defer e.streams.mu.Unlock()
	e.streams.now = append(e.streams.now, now)
}
