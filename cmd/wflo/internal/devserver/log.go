package devserver

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.temporal.io/server/common/log/tag"
)

// serverLog lets the Temporal server log to slog. It never ends the process:
// the server's fatal and panic levels are errors here.
type serverLog struct {
	out    *slog.Logger
	level  slog.Leveler
	silent *atomic.Bool
}

func newServerLog(out *slog.Logger, level slog.Leveler) *serverLog {
	return &serverLog{out: out, level: level, silent: new(atomic.Bool)}
}

// silence drops everything from now on.
func (l *serverLog) silence() { l.silent.Store(true) }

func (l *serverLog) Debug(msg string, tags ...tag.Tag)  { l.write(slog.LevelDebug, msg, tags) }
func (l *serverLog) Info(msg string, tags ...tag.Tag)   { l.write(slog.LevelInfo, msg, tags) }
func (l *serverLog) Warn(msg string, tags ...tag.Tag)   { l.write(slog.LevelWarn, msg, tags) }
func (l *serverLog) Error(msg string, tags ...tag.Tag)  { l.write(slog.LevelError, msg, tags) }
func (l *serverLog) DPanic(msg string, tags ...tag.Tag) { l.write(slog.LevelError, msg, tags) }
func (l *serverLog) Panic(msg string, tags ...tag.Tag)  { l.write(slog.LevelError, msg, tags) }
func (l *serverLog) Fatal(msg string, tags ...tag.Tag)  { l.write(slog.LevelError, msg, tags) }

// SLog gives the parts of the server that use slog the same filter.
func (l *serverLog) SLog() *slog.Logger { return slog.New(gate{l, l.out.Handler()}) }

func (l *serverLog) enabled(level slog.Level) bool {
	return !l.silent.Load() && level >= l.level.Level()
}

func (l *serverLog) write(level slog.Level, msg string, tags []tag.Tag) {
	ctx := context.Background()
	if !l.enabled(level) || !l.out.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, len(tags))
	for i, t := range tags {
		attrs[i] = slog.Any(t.Key(), t.Value())
	}
	l.out.LogAttrs(ctx, level, msg, attrs...)
}

// gate is a handler behind the level and the silence of a serverLog.
type gate struct {
	log *serverLog
	slog.Handler
}

func (g gate) Enabled(ctx context.Context, level slog.Level) bool {
	return g.log.enabled(level) && g.Handler.Enabled(ctx, level)
}

func (g gate) WithAttrs(attrs []slog.Attr) slog.Handler {
	return gate{g.log, g.Handler.WithAttrs(attrs)}
}

func (g gate) WithGroup(name string) slog.Handler { return gate{g.log, g.Handler.WithGroup(name)} }
