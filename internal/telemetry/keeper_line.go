package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// RunLoggerConfig sets up the logger of a worker.
type RunLoggerConfig struct {
	// Level is what decides about lines that are kept; nil means that of the base, or
	// slog.LevelInfo where it has none. The base decides itself what it writes.
	Level *Level
	// Redactor takes secrets out; nil knows what secrets look like.
	Redactor *Redactor
	// Keeper keeps lines of runs; nil means that they are written only.
	Keeper *Keeper
	// RunFromContext finds the run that a context belongs to. Required.
	RunFromContext func(ctx context.Context) (wflo.Run, bool)
}

// NewRunLogger is base with the ids of the run and of the span on every line, without
// secrets, and with lines of runs kept. base may be anybody's; NewLogger's own adds ids
// already, and so they do not come twice.
func NewRunLogger(base *slog.Logger, cfg RunLoggerConfig) *slog.Logger {
	h := &contextHandler{base: base.Handler(), runOf: cfg.RunFromContext}
	if own, ok := base.Handler().(*contextHandler); ok {
		c := *own
		h, h.runOf = &c, cfg.RunFromContext
	}
	if cfg.Level == nil {
		cfg.Level = h.lv
	}
	if cfg.Level == nil {
		cfg.Level = NewLevel(slog.LevelInfo)
	}
	h.lv = cfg.Level
	next := h.base
	if own, ok := next.(*redactHandler); ok {
		next = own.next
	}
	if cfg.Keeper != nil {
		next = &bothHandler{base: next, keep: &keepHandler{keeper: cfg.Keeper, level: cfg.Level}}
	}
	h.base = cfg.Redactor.Handler(next)
	return slog.New(h)
}

// bothHandler writes lines and keeps those of runs.
type bothHandler struct {
	base slog.Handler
	keep *keepHandler
}

// Enabled implements slog.Handler.
func (h *bothHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.keep.enabled(level) || h.base.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *bothHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &bothHandler{base: h.base.WithAttrs(attrs), keep: h.keep.with(attrs)}
}

// WithGroup implements slog.Handler. The handler in front keeps groups itself and never
// calls it.
func (h *bothHandler) WithGroup(name string) slog.Handler {
	return &bothHandler{base: h.base.WithGroup(name), keep: h.keep}
}

// Handle implements slog.Handler.
func (h *bothHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.keep.enabled(r.Level) {
		h.keep.handle(r)
	}
	if h.base.Enabled(ctx, r.Level) {
		return h.base.Handle(ctx, r)
	}
	return nil
}

// keepHandler makes kept lines of records that belong to a run.
type keepHandler struct {
	keeper *Keeper
	level  *Level
	attrs  []slog.Attr
}

func (h *keepHandler) enabled(level slog.Level) bool { return level >= h.level.Level() }

func (h *keepHandler) with(attrs []slog.Attr) *keepHandler {
	return &keepHandler{keeper: h.keeper, level: h.level, attrs: append(slices.Clip(h.attrs), attrs...)}
}

func (h *keepHandler) handle(r slog.Record) {
	k := h.keeper
	line := wflo.LogLine{At: r.Time.UTC().Round(0), Level: r.Level, Message: r.Message, Worker: k.worker}
	if r.Time.IsZero() {
		line.At = time.Now().UTC()
	}
	var workflowID, runID string // as Temporal's SDK names them
	attrs := make([]slog.Attr, 0, len(h.attrs)+r.NumAttrs())
	add := func(a slog.Attr) bool {
		if !takeID(&line, &workflowID, &runID, a) {
			attrs = append(attrs, a)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	if run, ok := k.runs.find(runID); ok && (line.FirstRunID == "" || line.WorkflowID == "") {
		line.WorkflowID, line.FirstRunID, line.User, line.Team, line.Correlation = run.WorkflowID, run.FirstRunID, run.User, run.Team, run.Correlation
	}
	if line.FirstRunID == "" {
		line.FirstRunID = runID // the same, unless the run was continued and this worker did not hear of it
	}
	if line.WorkflowID == "" {
		line.WorkflowID = workflowID
	}
	if line.WorkflowID == "" || line.FirstRunID == "" {
		return // not about a run
	}
	if !fit(&line, attrs, k.cfg.MaxBytes) {
		k.drop(dropSize, 1)
		return
	}
	k.put(line)
}

// takeID takes the ids of a line out of its attributes: ours, and those of Temporal's
// SDK, whose RunID is that of one attempt of the run.
func takeID(line *wflo.LogLine, workflowID, runID *string, a slog.Attr) bool {
	var into *string
	switch a.Key {
	case "workflow_id":
		into = &line.WorkflowID
	case "execution_id":
		into = &line.FirstRunID
	case "user_id":
		into = &line.User
	case "team":
		into = &line.Team
	case "step":
		into = &line.Step
	case "correlation_id":
		into = &line.Correlation
	case "trace_id":
		into = &line.TraceID
	case "span_id":
		into = &line.SpanID
	case "RunID":
		*runID = a.Value.String()
		return false
	case "WorkflowID":
		into = workflowID
	case "Namespace":
		return true // the same on all lines
	default:
		return false
	}
	if value := a.Value.String(); value != "" {
		*into = strings.ToValidUTF8(value, "\uFFFD")
	}
	return true
}

// fit puts message and attributes into a line of at most so many bytes, cut where that
// must be; false where even that is too long.
func fit(line *wflo.LogLine, attrs []slog.Attr, most int) bool {
	message := strings.ToValidUTF8(line.Message, "\uFFFD")
	for _, long := range []int{most, most / 4, most / 16, most / 64, 16} {
		line.Message, line.Attributes = clip(message, long), encodeAttrs(attrs, long)
		if fits(*line, most) {
			return true
		}
	}
	line.Message = clip(message, 16)
	line.Attributes = fmt.Appendf(nil, `{"attributes_left_out":%d}`, len(attrs))
	return fits(*line, most)
}

// fits says that a line's JSON, with the number that the store gives it, has at most so
// many bytes.
func fits(line wflo.LogLine, most int) bool {
	texts := len(line.Message) + len(line.WorkflowID) + len(line.FirstRunID) + len(line.User) + len(line.Team) + len(line.Step) + len(line.Correlation)
	if 6*texts+len(line.Attributes)+512 <= most {
		return true // the usual line: what its encoding can be at the most need not be exact
	}
	data, err := json.Marshal(line)
	return err == nil && len(data)+len(`"seq":1234567890,`) <= most
}

// clip is text of about most bytes at the most, and how much is missing.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	cut := max(0, most)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes left out)", text[:cut], len(text)-cut)
}

// encodeAttrs is a JSON object of attributes as slog writes them, with texts cut; nil
// where there are none.
func encodeAttrs(attrs []slog.Attr, most int) json.RawMessage {
	if len(attrs) == 0 {
		return nil
	}
	var buf bytes.Buffer
	h := slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.Level(-1 << 30), ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(clip(strings.ToValidUTF8(a.Value.String(), "\uFFFD"), most))
		}
		return shorten(a, most)
	}})
	r := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	r.AddAttrs(free(attrs)...)
	if err := h.Handle(context.Background(), r); err != nil {
		return nil
	}
	out := bytes.TrimSpace(buf.Bytes())
	if !json.Valid(out) || string(out) == "{}" {
		return nil
	}
	return bytes.Clone(out)
}

// shorten replaces a value of any type that is too long by its JSON as text, cut.
func shorten(a slog.Attr, most int) slog.Attr {
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	if data, err := json.Marshal(a.Value.Any()); err == nil && len(data) > most {
		a.Value = slog.StringValue(clip(string(data), most))
	}
	return a
}
