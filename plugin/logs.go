package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"go.temporal.io/sdk/log"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Logs says which log lines of runs are kept in the database, for `wflo logs`. The zero
// value keeps them for a week. Keeping is aside: no activity waits for it, and lines that
// the database does not take are dropped and counted (wflo_log_lines_dropped_total).
type Logs struct {
	// Off keeps none: lines are written to Config.Logger only.
	Off bool
	// Level is the least level that is kept, until it is changed at run time; that of
	// Config.Logger counts where it is one of telemetry's. Zero is slog.LevelInfo.
	Level slog.Level
	// MaxAge is how long lines are kept; zero means a week.
	MaxAge time.Duration
	// MaxLines is how many lines are kept of a run; zero means 10,000. One more says that
	// the rest is left out.
	MaxLines int
	// MaxBytes is the most bytes of a line, encoded as JSON: what is longer is cut. Zero
	// means 8 KiB.
	MaxBytes int
}

// Defaults of Logs.
const (
	logsAge   = 7 * 24 * time.Hour
	logsLines = 10_000
	// logsLeast is the least of MaxBytes: ids need room.
	logsLeast = 1 << 10
	// logsPurge is how often lines are purged that are too old.
	logsPurge = time.Hour
)

func (l Logs) withDefaults() (Logs, error) {
	if l.MaxAge < 0 || l.MaxLines < 0 || l.MaxBytes < 0 || l.MaxBytes > 0 && l.MaxBytes < logsLeast {
		return l, wflo.Invalid("plugin.Config.Logs", "has a bound that is negative, or a line of less than a KiB", "use 0 for the defaults, or Off")
	}
	if l.MaxAge == 0 {
		l.MaxAge = logsAge
	}
	if l.MaxLines == 0 {
		l.MaxLines = logsLines
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = telemetry.DefaultLineBytes
	}
	return l, nil
}

// logging is what becomes of the lines of a worker.
type logging struct {
	level    *telemetry.Level
	redactor *telemetry.Redactor
	keeper   *telemetry.Keeper // nil where lines are not kept
	sentry   *telemetry.Sentry // nil where errors are not reported
	// aside keeps lines of runs and writes none; nil where they are not kept.
	aside *slog.Logger
}

// openLogs puts the ids of runs on the worker's lines, takes secrets out of them, has
// them kept, and has errors reported. From here on Config.Logger does all that.
func (p *Plugin) openLogs() error {
	cfg, err := p.cfg.Logs.withDefaults()
	if err != nil {
		return err
	}
	base := ownOutput(p.cfg.Logger)
	l := &p.logs
	l.redactor = telemetry.NewRedactor(secretsOf(p.cfg, os.Environ())...)
	l.level, _ = telemetry.LevelOf(base)
	if l.level == nil {
		l.level = telemetry.NewLevel(cfg.Level)
	}
	if l.sentry, err = telemetry.NewSentry(telemetry.SentryConfig{RunFromContext: wflo.RunFrom, Logger: base}); err != nil {
		return err
	}
	p.closers = append(p.closers, l.sentry.Close)
	if store, ok := p.parts.ledger.(interface{ Logs() activities.Logs }); ok && !cfg.Off {
		p.keepLogs(store.Logs(), cfg, base)
	}
	lines := telemetry.RunLoggerConfig{Level: l.level, Redactor: l.redactor, Keeper: l.keeper, RunFromContext: wflo.RunFrom}
	p.cfg.Logger = telemetry.NewRunLogger(base, lines)
	if l.keeper != nil {
		l.aside = telemetry.NewRunLogger(slog.New(slog.DiscardHandler), lines)
	}
	return nil
}

// keepLogs begins to keep lines, and to purge those that are too old.
func (p *Plugin) keepLogs(store activities.Logs, cfg Logs, base *slog.Logger) {
	p.logs.keeper = telemetry.NewKeeper(telemetry.KeeperConfig{
		Append: func(ctx context.Context, lines []wflo.LogLine) error {
			if err := store.AppendLogs(ctx, cfg.MaxLines, lines...); err != nil {
				return fmt.Errorf("keep log lines: %w", err)
			}
			return nil
		},
		MaxBytes: cfg.MaxBytes, Dropped: p.metrics.LogLinesDropped(), Logger: base,
	})
	p.closers = append(p.closers, p.logs.keeper.Close)
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.rounds["logs"] = cancel
	p.mu.Unlock()
	p.running.Go(func() {
		p.every(ctx, logsPurge, "purge log lines", func(ctx context.Context) error {
			_, err := store.PurgeLogs(ctx, time.Now().Add(-cfg.MaxAge))
			return err
		})
	})
}

// ownOutput replaces the standard library's first logger: one that wraps it cannot become
// the default logger itself, because each would write to the other for ever.
func ownOutput(base *slog.Logger) *slog.Logger {
	if fmt.Sprintf("%T", base.Handler()) != "*slog.defaultHandler" {
		return base
	}
	return telemetry.NewLogger(os.Stderr, telemetry.Config{Format: "text", Level: telemetry.NewLevel(slog.LevelInfo)})
}

// Logger is the worker's logger: Config.Logger with the ids of the context's run on every
// line, without the secrets that the worker knows, and with lines of runs kept. To have
// what activities write with package slog kept as well, make it the default:
//
//	slog.SetDefault(guard.Logger())
func (p *Plugin) Logger() *slog.Logger { return p.cfg.Logger }

// LogLevel is the least level that is kept and, where Config.Logger is of telemetry's
// NewLogger with a level that can be changed, written.
func (p *Plugin) LogLevel() slog.Level { return p.logs.level.Level() }

// SetLogLevel changes it for a while, at most a day, or for good where that is zero.
func (p *Plugin) SetLogLevel(level slog.Level, during time.Duration) error {
	_, err := p.logs.level.Set(level, during)
	return err
}

// clientLogger is what Temporal's SDK logs to: the worker's logger, or the user's own
// with lines of runs kept besides.
func (p *Plugin) clientLogger(own log.Logger) log.Logger {
	switch {
	case own == nil:
		return log.NewStructuredLogger(p.cfg.Logger)
	case p.logs.aside == nil:
		return own
	}
	return twoLoggers{own, log.NewStructuredLogger(p.logs.aside)}
}

// twoLoggers write every line twice.
type twoLoggers [2]log.Logger

var _ log.WithLogger = twoLoggers{}

func (t twoLoggers) Debug(msg string, keyvals ...any) {
	t[0].Debug(msg, keyvals...)
	t[1].Debug(msg, keyvals...)
}
func (t twoLoggers) Info(msg string, keyvals ...any) {
	t[0].Info(msg, keyvals...)
	t[1].Info(msg, keyvals...)
}
func (t twoLoggers) Warn(msg string, keyvals ...any) {
	t[0].Warn(msg, keyvals...)
	t[1].Warn(msg, keyvals...)
}
func (t twoLoggers) Error(msg string, keyvals ...any) {
	t[0].Error(msg, keyvals...)
	t[1].Error(msg, keyvals...)
}

// With implements log.WithLogger.
func (t twoLoggers) With(keyvals ...any) log.Logger {
	return twoLoggers{log.With(t[0], keyvals...), log.With(t[1], keyvals...)}
}

// secretName is how variables are called that hold secrets.
var secretName = regexp.MustCompile(`(?i)(^|_)(key|apikey|token|secret|password|passwd|pwd|pass|credentials?)$`)

// secretsOf are the values that must not be in a line, of what the plugin is configured
// with and of the environment.
func secretsOf(cfg Config, environ []string) []string {
	var all []string
	for _, provider := range cfg.Providers {
		all = append(all, provider.APIKey)
	}
	for _, key := range cfg.GatewayKeys {
		all = append(all, key.Secret)
	}
	all = append(all, passwordOf(cfg.Database), passwordOf(cfg.CacheURL))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case strings.HasPrefix(value, "/"): // where a secret is
		case secretName.MatchString(name), strings.HasPrefix(name, "WFLO_SECRET_"):
			all = append(all, value)
		default:
			all = append(all, passwordOf(value))
		}
	}
	return all
}

// passwordOf is the password in a URL, or empty.
func passwordOf(address string) string {
	if !strings.Contains(address, "://") {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return password
}

// learning tells the redactor of every secret that is handed to a program.
func (p *Plugin) learning(store sandbox.Secrets) sandbox.Secrets {
	if store == nil {
		return nil
	}
	return learner{store, p.logs.redactor}
}

type learner struct {
	sandbox.Secrets
	redactor *telemetry.Redactor
}

// Secret implements sandbox.Secrets.
func (l learner) Secret(ctx context.Context, name string) ([]byte, error) {
	value, err := l.Secrets.Secret(ctx, name)
	if err == nil && l.redactor != nil {
		l.redactor.Learn(string(value))
	}
	return value, err
}
