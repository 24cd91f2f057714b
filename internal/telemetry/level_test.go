//go:build unix

package telemetry

import (
	"context"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func TestLevelGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLevel(slog.LevelWarn)
		set := func(level slog.Level, during time.Duration) {
			t.Helper()
			if _, err := l.Set(level, during); err != nil {
				t.Fatal(err)
			}
		}
		is := func(what string, want slog.Level) {
			t.Helper()
			synctest.Wait()
			if got := l.Level(); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		set(slog.LevelDebug, 10*time.Minute)
		is("for a while", slog.LevelDebug)
		want := LevelState{Level: slog.LevelDebug, Until: time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second), Then: slog.LevelWarn}
		if diff := cmp.Diff(want, l.State()); diff != "" {
			t.Error(diff)
		}
		<-time.After(9 * time.Minute) // synctest's
		set(slog.LevelError, 10*time.Minute)
		<-time.After(2 * time.Minute)
		is("the change before has ended", slog.LevelError)
		<-time.After(8 * time.Minute)
		is("after", slog.LevelWarn)
		set(slog.LevelInfo, time.Minute)
		set(slog.LevelError, 0)
		<-time.After(time.Hour)
		is("for good", slog.LevelError)
		if diff := cmp.Diff(LevelState{Level: slog.LevelError, Then: slog.LevelError}, l.State()); diff != "" {
			t.Error(diff)
		}
		for _, during := range []time.Duration{-1, maxLevelTime + 1} {
			if _, err := l.Set(slog.LevelDebug, during); wflo.CodeOf(err) != wflo.CodeInvalid {
				t.Errorf("for %s: %v", during, err)
			}
		}
		if s := l.Toggle(); s.Level != slog.LevelDebug || s.Then != slog.LevelError {
			t.Errorf("%+v", s)
		}
		if s := l.Toggle(); s.Level != slog.LevelError || !s.Until.IsZero() {
			t.Errorf("%+v", s)
		}
		l.Toggle()
		<-time.After(toggleTime)
		is("after a toggle", slog.LevelError)
		set(slog.LevelDebug, 0)
		if s := l.Toggle(); s.Level != slog.LevelInfo {
			t.Errorf("%+v", s)
		}
	})
}

func TestLevelOf(t *testing.T) {
	level := NewLevel(slog.LevelWarn)
	own := NewLogger(io.Discard, Config{Level: level})
	for name, l := range map[string]*slog.Logger{
		"NewLogger": own, "with": own.With("a", 1).WithGroup("g"),
		"NewRunLogger": NewRunLogger(own, RunLoggerConfig{RunFromContext: runFromContext}),
	} {
		if got, ok := LevelOf(l); !ok || got != level {
			t.Errorf("%s: %v", name, got)
		}
	}
	for name, l := range map[string]*slog.Logger{"nil": nil, "another's": slog.New(slog.DiscardHandler), "fixed": NewLogger(io.Discard, Config{})} {
		if _, ok := LevelOf(l); ok {
			t.Errorf("%s has a level", name)
		}
	}
	if _, err := level.Set(slog.LevelDebug, 0); err != nil || !own.Enabled(t.Context(), slog.LevelDebug) {
		t.Errorf("the level has no effect, %v", err)
	}
}

// told is a handler that says when a line came.
type told struct {
	slog.Handler
	lines chan string
}

func (h told) Handle(_ context.Context, r slog.Record) error { h.lines <- r.Message; return nil }

func TestToggleOnSignal(t *testing.T) {
	level := NewLevel(slog.LevelInfo)
	lines := make(chan string)
	done := ToggleOnSignal(t.Context(), level, slog.New(told{slog.NewTextHandler(io.Discard, nil), lines}))
	defer done()
	for _, want := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-lines
		if level.Level() != want {
			t.Errorf("level %s, want %s", level.Level(), want)
		}
	}
}
