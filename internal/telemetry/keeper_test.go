package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

// shelf is a store of lines.
type shelf struct {
	mu      sync.Mutex
	lines   []wflo.LogLine
	batches int
	err     error
	hang    bool // until the context ends
}

func (s *shelf) append(ctx context.Context, lines []wflo.LogLine) error {
	if s.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.lines, s.batches = append(s.lines, lines...), s.batches+1
	return nil
}

// kept runs write with a logger whose lines are kept, and gives them.
func kept(t *testing.T, cfg KeeperConfig, write func(*slog.Logger, *Keeper)) []wflo.LogLine {
	t.Helper()
	s := &shelf{}
	cfg.Append = s.append
	k := NewKeeper(cfg)
	write(NewRunLogger(slog.New(slog.DiscardHandler), RunLoggerConfig{Level: NewLevel(slog.LevelInfo), Redactor: NewRedactor("topsecret"), Keeper: k, RunFromContext: runFromContext}), k)
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	for i := range s.lines {
		if s.lines[i].Worker != k.worker || s.lines[i].At.IsZero() || s.lines[i].At.Location() != time.UTC {
			t.Errorf("line %+v", s.lines[i])
		}
		s.lines[i].Worker, s.lines[i].At = "", time.Time{}
	}
	return s.lines
}

func TestKeeperKeepsLinesOfRuns(t *testing.T) {
	run := wflo.Run{WorkflowID: "w", FirstRunID: "f", User: "ann", Team: "ops", Step: "g0/charge#1", Correlation: "req-7"}
	ctx := withSpan(t, withRun(t.Context(), run), trace.FlagsSampled)
	full := wflo.LogLine{WorkflowID: "w", FirstRunID: "f", User: "ann", Team: "ops", Step: "g0/charge#1", Correlation: "req-7", TraceID: testTraceID, SpanID: testSpanID}
	line := func(level slog.Level, message, attrs string, change ...func(*wflo.LogLine)) wflo.LogLine {
		l := full
		l.Level, l.Message = level, message
		if attrs != "" {
			l.Attributes = json.RawMessage(attrs)
		}
		for _, c := range change {
			c(&l)
		}
		return l
	}
	got := kept(t, KeeperConfig{}, func(l *slog.Logger, k *Keeper) {
		l.Info("of no run")
		l.DebugContext(ctx, "below the level")
		l.InfoContext(ctx, "plain")
		l.With("a", 1).WithGroup("g").With("b", "topsecret").WarnContext(ctx, "in a group", "c", errors.New("boom"), "d", time.Second)
		l.With("workflow_id", "other", "execution_id", "of it").ErrorContext(ctx, "explicit", "step", "mine")
		l.InfoContext(ctx, "topsecret", "time", "now", "msg", "m")
		l.Info("of an attempt", "WorkflowID", "w", "RunID", "attempt-2", "Namespace", "default")
		l.Info("of a worker", "WorkflowID", "", "RunID", "attempt-2", "Namespace", "default")
		k.Know("attempt-2", run)
		l.Info("Workflow panic", "WorkflowID", "w", "RunID", "attempt-2", "Namespace", "default")
		l.InfoContext(ctx, "bad \xff text", "x", "\xff")
	})
	want := []wflo.LogLine{
		line(slog.LevelInfo, "plain", ""),
		line(slog.LevelWarn, "in a group", `{"a":1,"g":{"b":"[redacted]","c":"boom","d":1000000000}}`),
		line(slog.LevelError, "explicit", "", func(l *wflo.LogLine) { l.WorkflowID, l.FirstRunID, l.Step = "other", "of it", "mine" }),
		line(slog.LevelInfo, Redacted, `{"time_":"now","msg_":"m"}`),
		{Message: "of an attempt", WorkflowID: "w", FirstRunID: "attempt-2", Attributes: json.RawMessage(`{"RunID":"attempt-2"}`)},
		line(slog.LevelInfo, "Workflow panic", `{"RunID":"attempt-2"}`, func(l *wflo.LogLine) { l.Step, l.TraceID, l.SpanID = "", "", "" }),
		line(slog.LevelInfo, "bad \uFFFD text", "{\"x\":\"\uFFFD\"}"),
	}
	asText := cmp.Transformer("text", func(m json.RawMessage) string { return string(m) })
	if diff := cmp.Diff(want, got, asText); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestKeeperBoundsLines: whatever somebody logs, a line is JSON and no longer than it may
// be.
func TestKeeperBoundsLines(t *testing.T) {
	ctx := withRun(t.Context(), wflo.Run{WorkflowID: strings.Repeat("w", 200), FirstRunID: "f"})
	const most = 1 << 10
	var reasons sync.Map
	got := kept(t, KeeperConfig{MaxBytes: most, Dropped: func(reason string, n int) { reasons.Store(reason, n) }}, func(l *slog.Logger, _ *Keeper) {
		l.InfoContext(ctx, strings.Repeat("é", 4000))
		l.InfoContext(ctx, strings.Repeat("\x00", 4000))
		l.InfoContext(ctx, "m", "a", strings.Repeat("x", 1<<20), "b", map[string]string{"k": strings.Repeat("y", 1<<20)}, "c", []byte(strings.Repeat("z", 1<<20)))
		args := []any{}
		for i := range 1000 {
			args = append(args, fmt.Sprint("key", i), i)
		}
		l.InfoContext(ctx, "many", args...)
		l.InfoContext(withRun(ctx, wflo.Run{WorkflowID: strings.Repeat("w", most), FirstRunID: "f"}), "no room")
	})
	if len(got) != 4 {
		t.Fatalf("%d lines", len(got))
	}
	for _, line := range got {
		data, err := json.Marshal(line)
		if err != nil || len(data) > most {
			t.Errorf("%.30s: %d bytes, %v", line.Message, len(data), err)
		}
	}
	if !strings.Contains(got[0].Message, "bytes left out") || !strings.Contains(string(got[2].Attributes), "bytes left out") || string(got[3].Attributes) != `{"attributes_left_out":1000}` {
		t.Errorf("%s\n%s\n%s", got[0].Message, got[2].Attributes, got[3].Attributes)
	}
	if n, _ := reasons.Load(dropSize); n != 1 {
		t.Errorf("%v lines had no room", n)
	}
}

// TestKeeperHoldsNobodyUp: with a store that fails, one that hangs, and one that is too
// slow, whoever writes goes on, lines are counted, and one warning a minute says so. The
// time is synctest's: were a writer to wait for the store, it would see that time go by.
func TestKeeperHoldsNobodyUp(t *testing.T) {
	for name, store := range map[string]*shelf{"fails": {err: errors.New("disk full")}, "hangs": {hang: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var warnings bytes.Buffer
				registry := prometheus.NewRegistry()
				k := NewKeeper(KeeperConfig{Append: store.append, Dropped: NewMetrics(Config{Registry: registry}).LogLinesDropped(), Logger: slog.New(slog.NewTextHandler(&warnings, nil))})
				l := NewRunLogger(slog.New(slog.NewJSONHandler(io.Discard, nil)), RunLoggerConfig{Keeper: k, RunFromContext: runFromContext})
				ctx := withRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "f"})
				begin := time.Now()
				const n = 4 * keeperQueue
				for range n {
					l.InfoContext(ctx, "m")
				}
				if waited := time.Since(begin); waited != 0 {
					t.Errorf("writers waited %s", waited)
				}
				<-time.After(3*keepWarn + time.Second) // synctest's
				l.InfoContext(ctx, "m")
				<-time.After(keepWarn)
				begin = time.Now()
				_ = k.Close()
				if waited := time.Since(begin); waited > keepLast {
					t.Errorf("Close waited %s", waited)
				}
				dropped, err := testutil.GatherAndCount(registry, "wflo_log_lines_dropped_total")
				if err != nil || dropped != 3 {
					t.Errorf("%d series, %v", dropped, err)
				}
				if got := droppedIn(t, registry); got != n+1 {
					t.Errorf("%v lines were counted, want %d", got, n+1)
				}
				if said := strings.Count(warnings.String(), "were not kept"); said < 1 || said > 5 {
					t.Errorf("%d warnings in four minutes:\n%s", said, &warnings)
				}
			})
		})
	}
}

func droppedIn(t *testing.T, registry *prometheus.Registry) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "wflo_log_lines_dropped_total" {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestKeeperInBatches: lines that come together are kept together, and one that comes
// alone does not wait for long.
func TestKeeperInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		k := NewKeeper(KeeperConfig{Append: s.append})
		defer func() { _ = k.Close() }()
		l := NewRunLogger(slog.New(slog.DiscardHandler), RunLoggerConfig{Keeper: k, RunFromContext: runFromContext})
		ctx := withRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "f"})
		for range 2*keeperBatch + 1 {
			l.InfoContext(ctx, "m")
		}
		<-time.After(keepEvery + time.Millisecond)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.lines) != 2*keeperBatch+1 || s.batches != 3 {
			t.Errorf("%d lines in %d batches", len(s.lines), s.batches)
		}
	})
}

func TestKeeperAfterClose(t *testing.T) {
	s := &shelf{}
	k := NewKeeper(KeeperConfig{Append: s.append})
	l := NewRunLogger(slog.New(slog.DiscardHandler), RunLoggerConfig{Keeper: k, RunFromContext: runFromContext})
	ctx := withRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "f"})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				l.InfoContext(ctx, "m")
			}
		})
	}
	if err := errors.Join(k.Close(), k.Close()); err != nil {
		t.Error(err)
	}
	all.Wait()
	before := len(s.lines)
	l.InfoContext(ctx, "late")
	if len(s.lines) != before {
		t.Error("a line was kept after Close")
	}
}

// TestRunLoggerWrites: what is kept is written as well, once, by whatever logger there was,
// and by its own level.
func TestRunLoggerWrites(t *testing.T) {
	ctx := withRun(t.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "f", Step: "s"})
	for name, base := range map[string]func(io.Writer) *slog.Logger{
		"ours": func(w io.Writer) *slog.Logger {
			return NewLogger(w, Config{RunFromContext: runFromContext}).With("service", "x")
		},
		"theirs": func(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)).With("service", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			s := &shelf{}
			k := NewKeeper(KeeperConfig{Append: s.append})
			l := NewRunLogger(base(&buf), RunLoggerConfig{Level: NewLevel(slog.LevelDebug), Redactor: NewRedactor("topsecret"), Keeper: k, RunFromContext: runFromContext})
			l.DebugContext(ctx, "kept only")
			l.With("a", 1).InfoContext(ctx, "both", "b", "topsecret")
			_ = k.Close()
			got := decode(t, buf.Bytes())
			for key, want := range map[string]any{"workflow_id": "w", "execution_id": "f", "step": "s", "a": 1.0, "b": Redacted, "service": "x", "level": "INFO"} {
				if got[key] != want || strings.Count(buf.String(), `"`+key+`":`) != 1 {
					t.Errorf("%s is %v in %s", key, got[key], &buf)
				}
			}
			if len(s.lines) != 2 || s.lines[0].Message != "kept only" || s.lines[1].Message != "both" {
				t.Errorf("kept %+v", s.lines)
			}
		})
	}
}
