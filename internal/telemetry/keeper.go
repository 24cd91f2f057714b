package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of what waits to be kept.
const (
	keeperQueue = 2048 // lines
	keeperBatch = 256
)

// Times of keeping.
const (
	keepEvery    = 200 * time.Millisecond // a line waits so long for others
	keepPatience = 10 * time.Second       // what one batch may take
	keepLast     = 5 * time.Second        // what Close waits for
	keepWarn     = time.Minute            // between warnings
)

// DefaultLineBytes is the most bytes of a line that is kept, as JSON.
const DefaultLineBytes = 8 << 10

// KeeperConfig sets up a Keeper.
type KeeperConfig struct {
	// Append keeps lines, and returns when ctx ends at the latest. Required.
	Append func(ctx context.Context, lines []wflo.LogLine) error
	// MaxBytes is the most bytes of a line as JSON: what is longer is cut. 0 means
	// DefaultLineBytes.
	MaxBytes int
	// Dropped counts lines that were not kept, by why. nil means that nobody counts. It
	// may be called at the same time, and must not block.
	Dropped func(reason string, lines int)
	// Logger gets a warning a minute while lines are dropped. It must not lead back to the
	// keeper. nil means slog.Default().
	Logger *slog.Logger
}

// Why lines are dropped.
const (
	dropQueue = "queue" // they come faster than they are kept
	dropStore = "store" // the store failed
	dropSize  = "size"  // its ids alone are too long
)

// Keeper hands the lines of runs to where they are kept, in batches and aside: whoever
// writes a line never waits for the store, and lines that it does not take are dropped
// and counted. Its methods may be called at the same time. Close it.
type Keeper struct {
	cfg    KeeperConfig
	worker string
	runs   knownRuns

	lines   chan wflo.LogLine
	mu      sync.RWMutex // held to send
	closed  bool
	closing chan struct{}
	done    chan struct{}
	cancel  context.CancelFunc

	dropped atomic.Int64 // since the last warning
	warned  time.Time
}

// NewKeeper makes a keeper, which works until Close.
func NewKeeper(cfg KeeperConfig) *Keeper {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultLineBytes
	}
	if cfg.Dropped == nil {
		cfg.Dropped = func(string, int) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{
		cfg: cfg, worker: fmt.Sprintf("%d@%s", os.Getpid(), host),
		lines: make(chan wflo.LogLine, keeperQueue), closing: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
	}
	go k.work(ctx) // until Close
	return k
}

// Know says which run a run id of Temporal belongs to, for lines that name nothing else.
func (k *Keeper) Know(runID string, run wflo.Run) { k.runs.add(runID, run) }

// put hands a line over, or drops it.
func (k *Keeper) put(line wflo.LogLine) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.closed {
		return
	}
	select {
	case k.lines <- line:
	default:
		k.drop(dropQueue, 1)
	}
}

func (k *Keeper) drop(reason string, lines int) {
	k.dropped.Add(int64(lines))
	k.cfg.Dropped(reason, lines)
}

// Close keeps what is there still, for some seconds at most. Lines that come afterwards
// are not kept.
func (k *Keeper) Close() error {
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	k.mu.Unlock()
	if first {
		close(k.closing)
		defer time.AfterFunc(keepLast, k.cancel).Stop()
	}
	<-k.done
	return nil
}

func (k *Keeper) work(ctx context.Context) {
	defer close(k.done)
	defer k.cancel()
	for {
		batch, more := k.collect()
		if len(batch) > 0 {
			k.keep(ctx, batch)
		}
		k.warn()
		if !more && len(batch) == 0 {
			return
		}
	}
}

// collect waits for a line, and a little for others. more is false once the keeper is
// being closed; then it gives what is left.
func (k *Keeper) collect() (batch []wflo.LogLine, more bool) {
	select {
	case line := <-k.lines:
		batch = append(batch, line)
	case <-k.closing:
		return k.rest(), false
	}
	wait := time.NewTimer(keepEvery)
	defer wait.Stop()
	for len(batch) < keeperBatch {
		select {
		case line := <-k.lines:
			batch = append(batch, line)
		case <-wait.C:
			return batch, true
		case <-k.closing:
			return batch, true
		}
	}
	return batch, true
}

func (k *Keeper) rest() (batch []wflo.LogLine) {
	for len(batch) < keeperBatch {
		select {
		case line := <-k.lines:
			batch = append(batch, line)
		default:
			return batch
		}
	}
	return batch
}

func (k *Keeper) keep(ctx context.Context, batch []wflo.LogLine) {
	ctx, cancel := context.WithTimeout(ctx, keepPatience)
	defer cancel()
	if err := k.cfg.Append(ctx, batch); err != nil {
		k.drop(dropStore, len(batch))
		k.say(err)
	}
}

// warn says how many lines were dropped since it was said last.
func (k *Keeper) warn() {
	if k.dropped.Load() > 0 {
		k.say(nil)
	}
}

func (k *Keeper) say(err error) {
	if !k.warned.IsZero() && time.Since(k.warned) < keepWarn {
		return
	}
	k.warned = time.Now()
	args := []any{"lines", k.dropped.Swap(0)}
	if err != nil {
		args = append(args, "error", err.Error())
	}
	k.cfg.Logger.Warn("log lines of runs were not kept", args...)
}

// maxKnownRuns bounds each of the two generations of knownRuns.
const maxKnownRuns = 5000

// knownRuns remembers which run a run id of Temporal belongs to. It forgets those that
// were not heard of for long.
type knownRuns struct {
	mu       sync.Mutex
	now, old map[string]wflo.Run
}

func (r *knownRuns) add(runID string, run wflo.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || len(r.now) >= maxKnownRuns {
		r.now, r.old = map[string]wflo.Run{}, r.now
	}
	r.now[runID] = run
}

func (r *knownRuns) find(runID string) (wflo.Run, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run, ok := r.now[runID]
	if !ok {
		run, ok = r.old[runID]
	}
	return run, ok
}

// LogLinesDropped registers wflo_log_lines_dropped_total, and gives what counts it. It is
// called once.
func (m *Metrics) LogLinesDropped() func(reason string, lines int) {
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wflo_log_lines_dropped_total", Help: "Log lines of runs that were written and not kept, by why.",
	}, []string{"reason"})
	m.registry.MustRegister(dropped)
	for _, reason := range []string{dropQueue, dropStore, dropSize} {
		dropped.WithLabelValues(reason) // there before the first, so that it can be alerted on
	}
	return func(reason string, lines int) { dropped.WithLabelValues(reason).Add(float64(lines)) }
}
