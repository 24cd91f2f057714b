package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
)

// Keys of every line.
const (
	keyTimestamp = "timestamp"
	keyLevel     = slog.LevelKey
	keyMessage   = "message"
)

// NewLogger writes lines with timestamp, level and message to w, one Write
// each. A line whose context belongs to a run also has workflow_id,
// execution_id (the first run id, which survives retries), user_id, team, step
// and correlation_id; in a span it has trace_id and span_id. An attribute of the
// same name that the caller gives explicitly wins.
//
// Lines cannot be forged and do nothing to a terminal: control characters,
// and marks that turn the direction of text, are escaped in both formats. What looks
// like a secret is not in them, see [Redactor].
//
// A config.Level that is a [*Level] can be found with [LevelOf].
func NewLogger(w io.Writer, config Config) *slog.Logger {
	config = config.withDefaults()
	options := &slog.HandlerOptions{Level: config.Level, ReplaceAttr: renameBuiltin}
	var base slog.Handler
	if config.Format == "text" {
		base = slog.NewTextHandler(escapingWriter{w}, options)
	} else {
		base = slog.NewJSONHandler(escapingWriter{w}, options)
	}
	h := &contextHandler{base: (*Redactor)(nil).Handler(base), runOf: config.RunFromContext}
	h.lv, _ = config.Level.(*Level)
	return slog.New(h)
}

// builtinMark marks caller's attributes whose key slog's own handler would take
// for one of its own.
const builtinMark = "_"

// renameBuiltin gives slog's own attributes our names. Those of callers come
// with a mark on colliding keys, see free.
func renameBuiltin(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		a.Key = keyTimestamp
	case slog.MessageKey:
		a.Key = keyMessage
	}
	return a
}

// free keeps callers' attributes off the keys of every line, because a JSON
// object with the same key twice means something else to each reader.
func free(attrs []slog.Attr) []slog.Attr {
	taken := func(a slog.Attr) bool {
		switch a.Key {
		case keyTimestamp, keyLevel, keyMessage, slog.TimeKey, slog.MessageKey:
			return true
		}
		return false
	}
	if !slices.ContainsFunc(attrs, taken) {
		return attrs
	}
	attrs = slices.Clone(attrs)
	for i := range attrs {
		if taken(attrs[i]) {
			attrs[i].Key += builtinMark
		}
	}
	return attrs
}

// contextHandler adds what the context says. It keeps groups itself, because
// what it adds belongs at the top of the line even in a logger with a group.
type contextHandler struct {
	base   slog.Handler
	runOf  func(context.Context) (wflo.Run, bool)
	lv     *Level   // nil where the level cannot be changed
	given  []string // keys that With set at the top
	groups []scope
}

// scope is a group that was opened, with the attributes set since then.
type scope struct {
	name  string
	attrs []slog.Attr
}

func (h *contextHandler) level() *Level { return h.lv }

// Enabled implements slog.Handler.
func (h *contextHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.base.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	if n := len(h.groups); n > 0 {
		c.groups = slices.Clone(h.groups)
		c.groups[n-1].attrs = append(slices.Clip(h.groups[n-1].attrs), attrs...)
		return &c
	}
	attrs = free(attrs)
	c.base = h.base.WithAttrs(attrs)
	c.given = slices.Clip(h.given)
	for _, a := range attrs {
		c.given = append(c.given, a.Key)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *contextHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.groups = append(slices.Clip(h.groups), scope{name: name})
	return &c
}

// Handle implements slog.Handler.
func (h *contextHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs := make([]slog.Attr, 0, r.NumAttrs()+8)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	for _, s := range slices.Backward(h.groups) {
		attrs = []slog.Attr{{Key: s.name, Value: slog.GroupValue(slices.Concat(s.attrs, attrs)...)}}
	}
	attrs = h.addContext(ctx, free(attrs))
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	line.AddAttrs(attrs...)
	return h.base.Handle(ctx, line)
}

// addContext appends what ctx says and attrs do not.
func (h *contextHandler) addContext(ctx context.Context, attrs []slog.Attr) []slog.Attr {
	own := len(attrs)
	add := func(key, value string) {
		taken := slices.Contains(h.given, key) ||
			slices.ContainsFunc(attrs[:own], func(a slog.Attr) bool { return a.Key == key })
		if value != "" && !taken {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if run, ok := h.runOf(ctx); ok {
		add("workflow_id", run.WorkflowID)
		add("execution_id", run.FirstRunID)
		add("user_id", run.User)
		add("team", run.Team)
		add("step", run.Step)
		add("correlation_id", run.Correlation)
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		add("trace_id", sc.TraceID().String())
		add("span_id", sc.SpanID().String())
	}
	return attrs
}

// escapingWriter escapes in finished lines what slog's handlers pass through:
// DEL, and in JSON also the C1 controls, which some terminals obey, and marks
// that turn the direction of text. In JSON they can only stand in strings.
type escapingWriter struct{ w io.Writer }

// Write implements io.Writer.
func (e escapingWriter) Write(line []byte) (int, error) {
	unsafe := func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }
	i := strings.IndexFunc(string(line), unsafe)
	if i < 0 {
		return e.w.Write(line)
	}
	out := append(make([]byte, 0, len(line)+16), line[:i]...)
	for _, r := range string(line[i:]) {
		switch {
		case !unsafe(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = appendEscape(appendEscape(out, hi), lo)
		default:
			out = appendEscape(out, r)
		}
	}
	if _, err := e.w.Write(out); err != nil {
		return 0, err
	}
	return len(line), nil
}

func appendEscape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
