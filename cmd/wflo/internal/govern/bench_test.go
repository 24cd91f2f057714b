package govern

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// binary is the built command; `make bench` builds it first.
const binary = "../../../../bin/wflo"

// p50 is the median, and what the benchmarks report: one slow run of a shared
// machine must not decide.
func p50(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// runner runs one workflow of n activities and takes the time.
type runner struct {
	b     *testing.B
	c     client.Client
	queue string
	took  []time.Duration
}

func (r *runner) run(n int) {
	begin := time.Now()
	if err := r.once(n); err != nil {
		r.b.Fatal(err)
	}
	r.took = append(r.took, time.Since(begin))
}

func (r *runner) once(n int) error {
	run, err := r.c.ExecuteWorkflow(r.b.Context(), client.StartWorkflowOptions{TaskQueue: r.queue}, histories.Plain, n)
	if err != nil {
		return err
	}
	return run.Get(r.b.Context(), nil)
}

// plainRunner is Temporal as it is; governedRunner has the plugin, with its
// ledger in a file as `wflo dev` has.
func plainRunner(b *testing.B, s *devserver.Server) *runner {
	c := dial(b, s, "", nil)
	queue := queueOf(b) + "-plain"
	w := worker.New(c, queue, worker.Options{WorkerStopTimeout: time.Second})
	w.RegisterActivityWithOptions((&journal{}).do, activity.RegisterOptions{Name: histories.Do})
	histories.Register(w)
	start(b, w)
	return &runner{b: b, c: c, queue: queue}
}

func governedRunner(b *testing.B, s *devserver.Server) *runner {
	w := newWorld(b, config{server: s, plugin: func(c *plugin.Config) { c.Database = "" }})
	return &runner{b: b, c: w.Client, queue: w.queue}
}

// interleave warms both up, and then lets them take turns at going first, so
// that what else the machine does falls on both alike.
func interleave(b *testing.B, n int, one, other *runner) {
	for range 3 {
		one.run(n)
		other.run(n)
	}
	one.took, other.took = nil, nil
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			one.run(n)
			other.run(n)
		} else {
			other.run(n)
			one.run(n)
		}
	}
}

// BenchmarkPluginOverhead is a workflow of ten activities that do nothing, with
// the plugin and without, on the same server.
func BenchmarkPluginOverhead(b *testing.B) {
	governed, plain := governedRunner(b, server), plainRunner(b, server)
	interleave(b, 10, governed, plain)
	with, without := p50(governed.took), p50(plain.took)
	b.ReportMetric(ms(with), "with-p50-ms")
	b.ReportMetric(ms(without), "without-p50-ms")
	b.ReportMetric(float64(with)/float64(without), "ratio")
}

// BenchmarkOneActivity is a workflow of one governed activity, end to end, on
// the dev server's settings and on those of `temporal server start-dev`.
func BenchmarkOneActivity(b *testing.B) {
	stock, err := devserver.Start(b.Context(), devserver.Config{DataDir: b.TempDir(), Stock: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stock.Stop)
	ours, theirs := governedRunner(b, server), governedRunner(b, stock)
	interleave(b, 1, ours, theirs)
	b.ReportMetric(ms(p50(ours.took)), "p50-ms")
	b.ReportMetric(ms(p50(theirs.took)), "stock-p50-ms")
}

// BenchmarkDevStart is `wflo dev` from the start of the process until its ready
// file is there: with a new data directory, and with the one of before. It is
// the built command, and a few runs of it whatever -benchtime says.
func BenchmarkDevStart(b *testing.B) {
	for _, name := range []string{"new", "again"} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			if name == "again" {
				devStart(b, dir)
			}
			var took []time.Duration
			for range min(b.N, 7) {
				if name == "new" {
					dir = b.TempDir()
				}
				took = append(took, devStart(b, dir))
			}
			b.ReportMetric(p50(took).Seconds(), "p50-s")
			b.ReportMetric(slices.Max(took).Seconds(), "max-s")
			b.ReportMetric(0, "ns/op") // the runs are not b.N
		})
	}
}

// devStart starts the command, waits for its ready file, and ends it again.
func devStart(b *testing.B, dir string) time.Duration {
	b.Helper()
	ready := filepath.Join(b.TempDir(), "ready.json")
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "dev", "--port", "0", "--ui-port", "0", "--api-port", "0",
		"--data-dir", dir, "--ready-file", ready)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatalf("%v; run make bin/wflo", err)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(ready); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			cancel()
			b.Fatalf("no ready file: %v, %v", err, cmd.Wait())
		}
		<-tick.C
	}
	took := time.Since(begin)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatalf("wflo dev: %v", err)
	}
	return took
}
