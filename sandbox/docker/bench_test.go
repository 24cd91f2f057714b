package docker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// report gives the median and the 99th percentile of what was measured.
func report(b *testing.B, unit string, took []time.Duration) {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-"+unit+"-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-"+unit+"-ms")
}

// stocked waits until the pool has what it wants.
func stocked(b *testing.B, r *Runner) {
	b.Helper()
	for {
		if r.pool.stocked() {
			return
		}
		if err := pause(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRun is a program from the call to its result.
func BenchmarkRun(b *testing.B) {
	for name, c := range map[string]struct {
		spec sandbox.Spec
		pool int
	}{
		"cold":         {sandbox.Spec{Argv: []string{"true"}}, -1},
		"warm":         {sandbox.Spec{Argv: []string{"echo", "x"}}, 4},
		"box":          {sandbox.Spec{Argv: []string{"echo", "x"}, Box: "bench"}, 1},
		"box with key": {sandbox.Spec{Argv: []string{"echo", "x"}, Box: "bench", Key: "k"}, 1},
	} {
		b.Run(name, func(b *testing.B) {
			r := open(b, func(config *Config) { config.Pool.Size = c.pool })
			if res, err := r.Run(b.Context(), c.spec, nil); err != nil || !res.OK() {
				b.Fatalf("%s %s, %v", res.Outcome, res.Reason, err)
			}
			var first, total []time.Duration
			for b.Loop() {
				if c.pool > 1 {
					b.StopTimer()
					stocked(b, r)
					b.StartTimer()
				}
				begin, once := time.Now(), sync.Once{}
				res, err := r.Run(b.Context(), c.spec, func(sandbox.Stream, []byte) {
					once.Do(func() { first = append(first, time.Since(begin)) })
				})
				if err != nil || !res.OK() {
					b.Fatalf("%s, %v", res.Outcome, err)
				}
				total = append(total, time.Since(begin))
			}
			if len(first) > 0 {
				report(b, "byte", first)
			}
			report(b, "run", total)
			if c.spec.Box != "" {
				if err := r.Close(b.Context(), c.spec.Box); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// BenchmarkThroughput is one-shots from as many callers as there are slots.
func BenchmarkThroughput(b *testing.B) {
	for _, callers := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			r := open(b, nil)
			begin, n := time.Now(), 0
			var mu sync.Mutex
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if res, err := r.Run(b.Context(), sandbox.Spec{Argv: []string{"true"}}, nil); err != nil || !res.OK() {
						b.Errorf("%s, %v", res.Outcome, err)
						return
					}
					mu.Lock()
					n++
					mu.Unlock()
				}
			})
			b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "runs/s")
		})
	}
}
