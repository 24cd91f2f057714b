package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

func decode(t *testing.T, line []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return m
}

func TestLoggerJSON(t *testing.T) {
	run := wflo.Run{WorkflowID: "refund-42", FirstRunID: "run-1", User: "ana", Team: "billing", Step: "charge", Correlation: "req-7"}
	ids := map[string]any{
		"workflow_id": "refund-42", "execution_id": "run-1", "user_id": "ana", "team": "billing", "step": "charge", "correlation_id": "req-7",
		"trace_id": testTraceID, "span_id": testSpanID,
	}
	with := func(m map[string]any, more ...map[string]any) map[string]any {
		m = maps.Clone(m)
		for _, o := range more {
			maps.Copy(m, o)
		}
		return m
	}
	full := withSpan(t, withRun(t.Context(), run), trace.FlagsSampled)
	tests := []struct {
		name string
		ctx  context.Context
		log  func(context.Context, *slog.Logger)
		want map[string]any // without timestamp
	}{
		{"no run", t.Context(), func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "hi", "n", 1) },
			map[string]any{"level": "INFO", "message": "hi", "n": 1.0}},
		{"run and span", full, func(ctx context.Context, l *slog.Logger) { l.ErrorContext(ctx, "hi", "error", errors.New("boom")) },
			with(ids, map[string]any{"level": "ERROR", "message": "hi", "error": "boom"})},
		{"empty fields stay away", withRun(t.Context(), wflo.Run{WorkflowID: "w"}), func(ctx context.Context, l *slog.Logger) { l.WarnContext(ctx, "hi") },
			map[string]any{"level": "WARN", "message": "hi", "workflow_id": "w"}},
		{"explicit wins", full, func(ctx context.Context, l *slog.Logger) {
			l.With("workflow_id", "other").InfoContext(ctx, "hi", "step", "mine")
		}, with(ids, map[string]any{"level": "INFO", "message": "hi", "workflow_id": "other", "step": "mine"})},
		{"built-in keys of callers", t.Context(), func(ctx context.Context, l *slog.Logger) {
			l.With("time", "now", "level", 9).InfoContext(ctx, "hi", "message", "m", "msg", "n", "timestamp", "t")
		}, map[string]any{"level": "INFO", "message": "hi", "time_": "now", "level_": 9.0, "message_": "m", "msg_": "n", "timestamp_": "t"}},
		{"groups", full, func(ctx context.Context, l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2, "level", 3).WithGroup("h").InfoContext(ctx, "hi", "c", 3, "msg", "inner")
		}, with(ids, map[string]any{"level": "INFO", "message": "hi", "a": 1.0,
			"g": map[string]any{"b": 2.0, "level": 3.0, "h": map[string]any{"c": 3.0, "msg": "inner"}}})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			tt.log(tt.ctx, NewLogger(&buf, Config{RunFromContext: runFromContext}))
			got := decode(t, buf.Bytes())
			stamp, ok := got["timestamp"].(string)
			if _, err := time.Parse(time.RFC3339Nano, stamp); !ok || err != nil {
				t.Errorf("timestamp %v: %v", got["timestamp"], err)
			}
			delete(got, "timestamp")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
			// Decoding hides a key that comes twice.
			for key := range got {
				if key != "level" && key != "b" && strings.Count(buf.String(), `"`+key+`":`) > 1 {
					t.Errorf("key %q twice in %s", key, buf.String())
				}
			}
		})
	}
}

// Loggers derived from one parent must not write into each other's attributes.
func TestLoggerSiblings(t *testing.T) {
	var buf bytes.Buffer
	parent := NewLogger(&buf, Config{}).WithGroup("g").With("a", 1)
	left, right := parent.With("b", "left"), parent.With("b", "right")
	left.Info("l")
	right.Info("r")
	lines := bytes.Split(bytes.TrimSpace(buf.Bytes()), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range []string{"left", "right"} {
		if got := decode(t, lines[i])["g"].(map[string]any)["b"]; got != want {
			t.Errorf("line %d: b = %v, want %s", i, got, want)
		}
	}
}

func TestLoggerLevelAndFormat(t *testing.T) {
	var buf bytes.Buffer
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	l := NewLogger(&buf, Config{Level: level, Format: "text", RunFromContext: runFromContext})
	l.Info("quiet")
	if buf.Len() > 0 {
		t.Errorf("below the level: %s", &buf)
	}
	level.Set(slog.LevelDebug)
	l.DebugContext(withRun(t.Context(), wflo.Run{WorkflowID: "w 1"}), "loud")
	got := buf.String()
	if !strings.HasPrefix(got, "timestamp=") || !strings.HasSuffix(got, " level=DEBUG message=loud workflow_id=\"w 1\"\n") {
		t.Errorf("text line %q", got)
	}
}

// What an agent or a model says ends up in logs. It must not forge lines or
// drive the terminal of who reads them.
func TestLoggerControlCharacters(t *testing.T) {
	evil := "a\nlevel=ERROR\r\x1b[2J\x00\x07\x7f\u009b31m\u202e\u2028\U000e0041\xffz\"\\é日"
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			var buf bytes.Buffer
			l := NewLogger(&buf, Config{Format: format, RunFromContext: runFromContext})
			l.InfoContext(withRun(t.Context(), wflo.Run{WorkflowID: evil, Step: evil}), evil, evil, evil, "e", errors.New(evil))
			checkSafe(t, buf.String())
			if format == "json" {
				got := decode(t, buf.Bytes())
				if want := strings.ToValidUTF8(evil, "\uFFFD"); got["message"] != want || got["workflow_id"] != want {
					t.Errorf("changed: %q", got)
				}
			}
		})
	}
}

func checkSafe(t *testing.T, out string) {
	t.Helper()
	line, rest, ok := strings.Cut(out, "\n")
	if !ok || rest != "" {
		t.Errorf("not one line: %q", out)
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q at %d in %q", line[i:min(i+4, len(line))], i, line)
	}
}

func FuzzLoggerIsSafe(f *testing.F) {
	f.Add("key", "value\u009b")
	f.Add("\u202e", "\xff\U000e0041")
	f.Add("0", "\x7f")
	f.Fuzz(func(t *testing.T, key, value string) {
		for _, format := range []string{"json", "text"} {
			var buf bytes.Buffer
			NewLogger(&buf, Config{Format: format}).Info(value, key, value)
			checkSafe(t, buf.String())
			if format == "json" {
				decode(t, buf.Bytes())
			}
		}
	})
}

func TestLoggerConcurrent(t *testing.T) {
	var buf bytes.Buffer // slog's handler serialises its writes
	l := NewLogger(&buf, Config{RunFromContext: runFromContext}).With("a", 1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l.With("b", 2).WithGroup("g").InfoContext(withRun(t.Context(), wflo.Run{User: "u"}), "m", "c", 3)
			}
		})
	}
	wg.Wait()
	lines := slices.Collect(bytes.Lines(buf.Bytes()))
	if len(lines) != 400 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		if got := decode(t, line); got["user_id"] != "u" {
			t.Fatalf("line %s", line)
		}
	}
}
