package govern

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go/plugin"
)

// BenchmarkThroughput is how many runs of one activity end in a second, with the plugin
// and its ledger in a file, and without, on the same server; so many are open at a time.
// Each iteration is one batch of both, which take turns at going first.
func BenchmarkThroughput(b *testing.B) {
	for _, open := range []int{1, 10, 50, 200} {
		b.Run(fmt.Sprint("open=", open), func(b *testing.B) {
			governed, plain := governedRunner(b, server), plainRunner(b, server)
			governed.run(1)
			plain.run(1)
			governed.took, plain.took = nil, nil
			batch := max(open, 20)
			for i := 0; b.Loop(); i++ {
				first, second := governed, plain
				if i%2 == 1 {
					first, second = plain, governed
				}
				first.batch(batch, open)
				second.batch(batch, open)
			}
			with, without := float64(batch)/p50(governed.took).Seconds(), float64(batch)/p50(plain.took).Seconds()
			b.ReportMetric(with, "runs/s")
			b.ReportMetric(without, "plain-runs/s")
			b.ReportMetric(without/with, "ratio")
			b.ReportMetric(0, "ns/op") // both together say nothing
		})
	}
}

// batch has n workflows of one activity run, so many at a time, and takes the time of all.
func (r *runner) batch(n, open int) {
	begin := time.Now()
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	var wg sync.WaitGroup
	for range open {
		wg.Go(func() {
			for range todo {
				if err := r.once(1); err != nil {
					r.b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r.took = append(r.took, time.Since(begin))
}

// BenchmarkTurns is what a turn of an agent adds to the history: a call of the model, and
// one of a tool with 2,000 bytes of output, in agents of 10, 30 and 90 turns. It runs once
// whatever -benchtime says.
func BenchmarkTurns(b *testing.B) {
	for _, turns := range []int{10, 30, 90} {
		b.Run(fmt.Sprint("turns=", turns), func(b *testing.B) {
			script, box := chatty(turns)
			w := newWorld(b, config{script: script, box: box, plugin: func(c *plugin.Config) { c.Database = "" }})
			var events, bytes int
			var took time.Duration
			for done := false; b.Loop(); done = true {
				if done {
					continue
				}
				begin := time.Now()
				history, _ := w.converse(queueOf(b), turns)
				took = time.Since(begin)
				for _, e := range history {
					events++
					bytes += proto.Size(e)
				}
			}
			b.ReportMetric(float64(events)/float64(turns), "events/turn")
			b.ReportMetric(float64(bytes)/float64(turns), "B/turn")
			b.ReportMetric(ms(took)/float64(turns), "ms/turn")
			b.ReportMetric(0, "ns/op") // it ran once
		})
	}
}
