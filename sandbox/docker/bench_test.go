package docker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// The benchmarks compare with the engine's own command line in the same run,
// taking turns, so that a machine that is busy is busy for both.

// series is what was measured of one thing.
type series struct{ took []time.Duration }

func (s *series) add(d time.Duration) { s.took = append(s.took, d) }

func (s *series) at(percent int) time.Duration {
	slices.Sort(s.took)
	return s.took[(len(s.took)-1)*percent/100]
}

// report gives the median and the 99th percentile in milliseconds.
func (s *series) report(b *testing.B, name string) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(s.at(50)), name+"-p50-ms")
	b.ReportMetric(ms(s.at(99)), name+"-p99-ms")
}

func ratio(b *testing.B, name string, of, to *series) {
	b.ReportMetric(float64(of.at(50))/float64(to.at(50)), name+"-ratio")
}

// stocked waits until the pool has what it wants.
func stocked(b *testing.B, r *Runner) {
	b.Helper()
	for !r.pool.stocked() {
		if err := pause(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// command runs the engine's command line and gives the time to its first byte of
// output and to its end.
func command(b *testing.B, args ...string) (first, total time.Duration) {
	b.Helper()
	begin := time.Now()
	cmd := exec.Command("docker", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReader(out)
	if _, err := r.ReadByte(); err == nil {
		first = time.Since(begin)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatalf("docker %v: %v", args, err)
	}
	return first, time.Since(begin)
}

// sandboxed runs a program with a Runner and gives the same times.
func sandboxed(b *testing.B, r *Runner, spec sandbox.Spec) (first, total time.Duration) {
	b.Helper()
	begin, once := time.Now(), sync.Once{}
	res, err := r.Run(b.Context(), spec, func(sandbox.Stream, []byte) {
		once.Do(func() { first = time.Since(begin) })
	})
	if err != nil || !res.OK() {
		b.Fatalf("%s %s, %v", res.Outcome, res.Reason, err)
	}
	return first, time.Since(begin)
}

// likeOurs are the flags of docker run that give a container the same limits.
var likeOurs = []string{
	"--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "524m",
	"--memory-swap", "524m", "--cpus", "0.5", "--pids-limit", "152", "--tmpfs", "/tmp:size=64m", "--user", "65534:65534",
}

// BenchmarkFirstByte is from the call to the first byte of output: in a sandbox
// that waits, in one that a box keeps, with docker exec in a container that
// runs, and with docker run.
func BenchmarkFirstByte(b *testing.B) {
	r := open(b, func(c *Config) { c.Pool.Size = 4 })
	echo := []string{"echo", "x"}
	out, err := exec.Command("docker", "run", "-d", "--network", "none", DefaultImage, "sleep", "3600").Output()
	if err != nil {
		b.Fatal(err)
	}
	id := strings.TrimSpace(string(out))
	defer func() { _ = exec.Command("docker", "rm", "-f", id).Run() }() // a container of the benchmark alone
	sandboxed(b, r, sandbox.Spec{Argv: echo})
	sandboxed(b, r, sandbox.Spec{Argv: echo, Box: "bench"})
	var pool, kept, keyed, docked, cold series
	for i := 0; b.Loop(); i++ {
		stocked(b, r)
		d, _ := sandboxed(b, r, sandbox.Spec{Argv: echo})
		pool.add(d)
		d, _ = sandboxed(b, r, sandbox.Spec{Argv: echo, Box: "bench"})
		kept.add(d)
		d, _ = sandboxed(b, r, sandbox.Spec{Argv: echo, Box: "bench", Key: fmt.Sprint("key ", i)})
		keyed.add(d)
		d, _ = command(b, append([]string{"exec", id}, echo...)...)
		docked.add(d)
		d, _ = command(b, append([]string{"run", "--rm", DefaultImage}, echo...)...)
		cold.add(d)
	}
	pool.report(b, "pool")
	kept.report(b, "box")
	keyed.report(b, "box-with-key")
	ratio(b, "docker-exec-to-pool", &docked, &pool)
	ratio(b, "docker-run-to-pool", &cold, &pool)
	if err := r.Close(b.Context(), "bench"); err != nil {
		b.Error(err)
	}
}

// BenchmarkCold is from the call to the end of a program in a sandbox that has
// to be started, against docker run with the same limits.
func BenchmarkCold(b *testing.B) {
	r := open(b, nil)
	var ours, theirs series
	for b.Loop() {
		_, d := sandboxed(b, r, sandbox.Spec{Argv: []string{"true"}})
		ours.add(d)
		_, d = command(b, append(append([]string{"run"}, likeOurs...), DefaultImage, "true")...)
		theirs.add(d)
	}
	ours.report(b, "cold")
	ratio(b, "cold-to-docker-run", &ours, &theirs)
}

// BenchmarkKill is from cancelling to the result.
func BenchmarkKill(b *testing.B) {
	r := open(b, nil)
	var took series
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		var begin time.Time
		res, err := r.Run(ctx, sandbox.Spec{Box: "bench", Language: sandbox.Bash, Source: "trap '' TERM; echo ready; while :; do sleep 60; done"}, func(sandbox.Stream, []byte) {
			begin = time.Now()
			cancel()
		})
		if err != nil || res.Outcome != sandbox.Cancelled {
			b.Fatalf("%s, %v", res.Outcome, err)
		}
		took.add(time.Since(begin))
		cancel()
	}
	took.report(b, "kill")
	if err := r.Close(b.Context(), "bench"); err != nil {
		b.Error(err)
	}
}

// BenchmarkThroughput is one-shots from four callers at a time, with and without
// a pool, against docker run in a row.
func BenchmarkThroughput(b *testing.B) {
	rate := func(r *Runner) float64 {
		const n = 40
		begin := time.Now()
		var left atomic.Int64
		left.Store(n)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if res, err := r.Run(b.Context(), sandbox.Spec{Argv: []string{"true"}}, nil); err != nil || !res.OK() {
						b.Errorf("%s, %v", res.Outcome, err)
					}
				}
			})
		}
		wg.Wait()
		return n / time.Since(begin).Seconds()
	}
	without, with := open(b, nil), open(b, func(c *Config) { c.Pool.Size = 8 })
	var ours, pooled, fill, theirs float64
	rounds := 0
	for b.Loop() {
		ours += rate(without)
		pooled += rate(with)
		fill += refill(b)
		begin := time.Now()
		const n = 10
		for range n {
			command(b, "run", "--rm", "--network", "none", DefaultImage, "true")
		}
		theirs += n / time.Since(begin).Seconds()
		rounds++
	}
	b.ReportMetric(ours/float64(rounds), "cold-runs/s")
	b.ReportMetric(pooled/float64(rounds), "pool-runs/s")
	b.ReportMetric(fill/float64(rounds), "refill/s")
	b.ReportMetric(ours/theirs, "runs-to-docker-run-ratio")
}

// refill is how many sandboxes a second an empty pool starts.
func refill(b *testing.B) float64 {
	b.Helper()
	r := open(b, func(c *Config) { c.Pool.Size = 8 })
	sandboxed(b, r, sandbox.Spec{Argv: []string{"true"}}) // and the pool begins
	begin := time.Now()
	stocked(b, r)
	rate := float64(r.config.Pool.Size) / time.Since(begin).Seconds()
	if err := r.Shutdown(b.Context()); err != nil {
		b.Error(err)
	}
	return rate
}

// BenchmarkHundred is a hundred sandboxes at the same time: the time until all
// run, and what an idle one takes of the host's memory besides its program.
func BenchmarkHundred(b *testing.B) {
	const n = 100
	limits := sandbox.Limits{Memory: 32 * sandbox.MiB, CPUs: 0.05}
	for b.Loop() {
		r := open(b, func(c *Config) {
			c.Admission.Memory, c.Admission.CPUs = 64*sandbox.GiB, 1000 // what is measured is the engine
		})
		before := available(b)
		begin := time.Now()
		ctx, cancel := context.WithCancel(b.Context())
		var ready, wg sync.WaitGroup
		ready.Add(n)
		for range n {
			wg.Go(func() {
				var once sync.Once
				res, err := r.Run(ctx, sandbox.Spec{Argv: []string{"sh", "-c", "echo ready; exec sleep 600"}, Limits: limits}, func(sandbox.Stream, []byte) {
					once.Do(ready.Done)
				})
				if err != nil || res.Outcome != sandbox.Cancelled {
					b.Errorf("%s %s, %v", res.Outcome, res.Reason, err)
				}
			})
		}
		ready.Wait()
		b.ReportMetric(time.Since(begin).Seconds(), "100-up-s")
		b.ReportMetric(float64(before-available(b))/n/float64(sandbox.MiB), "MiB-each")
		cancel()
		wg.Wait()
		if err := r.Shutdown(b.Context()); err != nil {
			b.Error(err)
		}
	}
}

// available is the memory that the host could give, in bytes.
func available(b *testing.B) int64 {
	b.Helper()
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no MemAvailable")
	return 0
}

// BenchmarkStream is 1 GiB of output to the watcher, against docker run with its
// output thrown away, and what it takes of the worker's memory.
func BenchmarkStream(b *testing.B) {
	const size = 1 << 30
	write := fmt.Sprintf("head -c %d /dev/zero", size)
	r := open(b, nil)
	var ours, theirs time.Duration
	var peak uint64
	for b.Loop() {
		var got int64
		var most runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&most)
		base := most.HeapAlloc
		begin := time.Now()
		res, err := r.Run(b.Context(), sandbox.Spec{Argv: []string{"sh", "-c", write}, Limits: sandbox.Limits{CPUs: 2, OutputTotal: 2 * size}}, func(_ sandbox.Stream, p []byte) {
			if got += int64(len(p)); got%(64<<20) < int64(len(p)) {
				runtime.ReadMemStats(&most)
				peak = max(peak, most.HeapSys-base)
			}
		})
		if err != nil || !res.OK() || got != size {
			b.Fatalf("%s, %d bytes, %v", res.Outcome, got, err)
		}
		ours += time.Since(begin)
		_, d := command(b, "run", "--rm", "--network", "none", "--log-driver", "none", DefaultImage, "sh", "-c", write)
		theirs += d
	}
	b.ReportMetric(float64(b.N)*size/1e6/ours.Seconds(), "MB/s")
	b.ReportMetric(float64(theirs)/float64(ours), "speed-to-docker-run-ratio")
	b.ReportMetric(float64(peak)/float64(sandbox.MiB), "worker-heap-MiB")
}

// BenchmarkFiles is files into a box and out again, against docker cp on a
// container with a writable root, which is what docker cp needs.
func BenchmarkFiles(b *testing.B) {
	large := []wflo.File{{Name: "large", Data: bytes.Repeat([]byte("0123456789abcdef"), sandbox.MaxFiles/16)}}
	const small = 10_000
	r := open(b, nil)
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), large[0].Data, 0o600); err != nil {
		b.Fatal(err)
	}
	many := filepath.Join(dir, "many")
	var batches [][]wflo.File
	for i := range small {
		name := fmt.Sprintf("many/d%d/f%d", i/1000, i)
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			b.Fatal(err)
		}
		if i%sandbox.MaxFileCount == 0 {
			batches = append(batches, nil)
		}
		last := len(batches) - 1
		batches[last] = append(batches[last], wflo.File{Name: name, Data: []byte(name)})
	}
	out, err := exec.Command("docker", "create", "--network", "none", DefaultImage, "true").Output()
	if err != nil {
		b.Fatal(err)
	}
	id := strings.TrimSpace(string(out))
	defer func() { _ = exec.Command("docker", "rm", "-f", id).Run() }() // a container of the benchmark alone
	if err := r.WriteFiles(b.Context(), "bench", []wflo.File{{Name: "x"}}); err != nil {
		b.Fatal(err)
	}
	time1 := func(f func()) time.Duration { begin := time.Now(); f(); return time.Since(begin) }
	var in, outward, tiny, theirIn, theirOut, theirTiny time.Duration
	for b.Loop() {
		in += time1(func() {
			if err := r.WriteFiles(b.Context(), "bench", large); err != nil {
				b.Fatal(err)
			}
		})
		outward += time1(func() {
			if data, err := r.ReadFile(b.Context(), "bench", "large", sandbox.MaxFiles); err != nil || !bytes.Equal(data, large[0].Data) {
				b.Fatal(len(data), err)
			}
		})
		tiny += time1(func() {
			for _, files := range batches {
				if err := r.WriteFiles(b.Context(), "bench", files); err != nil {
					b.Fatal(err)
				}
			}
		})
		theirIn += time1(func() { command(b, "cp", "-q", filepath.Join(dir, "large"), id+":/tmp/large") })
		theirOut += time1(func() { command(b, "cp", "-q", id+":/tmp/large", filepath.Join(dir, "back")) })
		theirTiny += time1(func() { command(b, "cp", "-q", many, id+":/tmp/many") })
	}
	n := float64(b.N)
	b.ReportMetric(n*sandbox.MaxFiles/1e6/in.Seconds(), "in-MB/s")
	b.ReportMetric(n*sandbox.MaxFiles/1e6/outward.Seconds(), "out-MB/s")
	b.ReportMetric(n*small/tiny.Seconds(), "files/s")
	b.ReportMetric(float64(theirIn)/float64(in), "in-to-docker-cp-ratio")
	b.ReportMetric(float64(theirOut)/float64(outward), "out-to-docker-cp-ratio")
	b.ReportMetric(float64(theirTiny)/float64(tiny), "files-to-docker-cp-ratio")
	if err := r.Close(b.Context(), "bench"); err != nil {
		b.Error(err)
	}
}
