package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Level is the least level that a process logs. It can be changed while the process
// runs, also for a while only. Its methods may be called at the same time.
type Level struct {
	now slog.LevelVar

	mu     sync.Mutex
	normal slog.Level
	until  time.Time   // zero where the level stays
	back   *time.Timer // nil where the level stays
}

// NewLevel starts at a level, to which changes for a while go back.
func NewLevel(at slog.Level) *Level {
	l := &Level{normal: at}
	l.now.Set(at)
	return l
}

// Level implements slog.Leveler.
func (l *Level) Level() slog.Level { return l.now.Level() }

// LevelState is a level and what becomes of it: the JSON of the API.
type LevelState struct {
	Level slog.Level `json:"level"`
	// Until is when the level goes back to Then; zero where it stays.
	Until time.Time  `json:"until,omitzero"`
	Then  slog.Level `json:"then"`
}

// State says what the level is and will be.
func (l *Level) State() LevelState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state()
}

func (l *Level) state() LevelState {
	return LevelState{Level: l.now.Level(), Until: l.until, Then: l.normal}
}

// maxLevelTime bounds a change for a while: what lasts longer is no exception.
const maxLevelTime = 24 * time.Hour

// Set changes the level for a while, or for good where that is zero. The change before
// ends at once.
func (l *Level) Set(level slog.Level, during time.Duration) (LevelState, error) {
	if during < 0 || during > maxLevelTime {
		return LevelState{}, wflo.Invalid("for", "is below zero or above "+maxLevelTime.String(), "use a duration such as 10m, or none for good")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
	if during == 0 {
		l.normal = level
	} else {
		l.revertAfter(during)
	}
	l.now.Set(level)
	return l.state(), nil
}

// revertAfter begins a change for a while.
func (l *Level) revertAfter(during time.Duration) {
	l.until = time.Now().Add(during).UTC().Truncate(time.Second)
	var timer *time.Timer
	// The function takes the lock that is held here, so it finds the timer set.
	timer = time.AfterFunc(during, func() { l.revert(&timer) })
	l.back = timer
}

// stop forgets a change for a while.
func (l *Level) stop() {
	if l.back != nil {
		l.back.Stop()
	}
	l.back, l.until = nil, time.Time{}
}

// revert ends a change for a while, unless another one has ended it.
func (l *Level) revert(timer **time.Timer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back == *timer {
		l.stop()
		l.now.Set(l.normal)
	}
}

// Toggle changes to debug for half an hour, or back where the level is debug already.
func (l *Level) Toggle() LevelState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.Level() <= slog.LevelDebug {
		l.stop()
		l.normal = max(l.normal, slog.LevelInfo)
		l.now.Set(l.normal)
		return l.state()
	}
	l.stop()
	l.revertAfter(toggleTime)
	l.now.Set(slog.LevelDebug)
	return l.state()
}

// toggleTime is how long a signal switches debug on.
const toggleTime = 30 * time.Minute

// levelled is a handler that goes by a Level.
type levelled interface{ level() *Level }

// LevelOf finds the level of a logger that can be changed; false where it has none,
// such as a logger that is not of this package.
func LevelOf(logger *slog.Logger) (*Level, bool) {
	if logger == nil {
		return nil, false
	}
	h, ok := logger.Handler().(levelled)
	if !ok || h.level() == nil {
		return nil, false
	}
	return h.level(), true
}

// ToggleOnSignal has SIGUSR1 switch debug on, and off again, until ctx ends and done is
// called, which waits. Where there is no such signal it does nothing.
func ToggleOnSignal(ctx context.Context, level *Level, logger *slog.Logger) (done func()) {
	signals, release := toggles()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		defer release()
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				s := level.Toggle()
				logger.WarnContext(ctx, "log level changed by a signal", "to", s.Level.String(), "until", s.Until)
			}
		}
	})
	return func() { cancel(); running.Wait() }
}
