package config

import (
	"log/slog"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Logs says which log lines of runs are kept.
type Logs struct {
	// Off keeps none.
	Off bool
	// Level is the least level that is kept; zero is info.
	Level slog.Level
	// MaxAge is how long, MaxLines how many of a run, and MaxBytes how long a line may be;
	// zero means the default.
	MaxAge   time.Duration
	MaxLines int
	MaxBytes int
}

func (r *reader) logs(n ast.Node, l *Logs) error {
	set, err := r.mapping(n, "logs",
		r.boolField("off", &l.Off), r.durationField("max_age", &l.MaxAge), r.intField("max_lines", &l.MaxLines), r.intField("max_bytes", &l.MaxBytes),
		field{"level", func(n ast.Node) error {
			name, err := r.text(n, "level")
			if err != nil {
				return err
			}
			for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
				if name == strings.ToLower(level.String()) {
					l.Level = level
					return nil
				}
			}
			return r.fail(n, "use debug, info, warn or error", "level is %q", short(name))
		}},
	)
	if err != nil {
		return err
	}
	if l.MaxLines < 0 {
		return r.fail(set["max_lines"], "use a positive number, or off: true", "max_lines is negative")
	}
	if l.MaxBytes != 0 && l.MaxBytes < 1024 {
		return r.fail(set["max_bytes"], "use 1024 or more: a line has ids", "max_bytes is less than 1024")
	}
	return nil
}
