package telemetry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Redacted stands where a secret was.
const Redacted = "[redacted]"

// Bounds of what a Redactor remembers. A value that is shorter would be found in plain
// words, and hide them.
const (
	minSecretBytes = 6
	maxSecrets     = 10_000
)

// Redactor takes secrets out of text: values that it was told, in the encodings in which
// they usually come back, and everything that looks like a key of wflo or of a common
// vendor, a bearer token, a password in a URL or a private key. Its methods may be called
// at the same time. nil knows what secrets look like and no values.
type Redactor struct {
	mu     sync.Mutex
	values map[string]struct{}
	known  atomic.Pointer[strings.Replacer]
}

// NewRedactor makes one that knows some values.
func NewRedactor(values ...string) *Redactor {
	r := &Redactor{values: map[string]struct{}{}}
	r.Learn(values...)
	return r
}

// Learn adds values. Those of less than six bytes are not looked for. What was logged
// before stays as it is.
func (r *Redactor) Learn(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.values)
	for _, value := range values {
		for _, form := range forms(strings.TrimSpace(value)) {
			if len(form) >= minSecretBytes && len(r.values) < maxSecrets {
				r.values[form] = struct{}{}
			}
		}
	}
	if len(r.values) == before {
		return
	}
	// At each place the first that fits is taken: the longest.
	all := make([]string, 0, len(r.values))
	for value := range r.values {
		all = append(all, value)
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(all))
	for _, value := range all {
		pairs = append(pairs, value, Redacted)
	}
	r.known.Store(strings.NewReplacer(pairs...))
}

// forms are the ways in which a value comes back in messages.
func forms(value string) []string {
	if len(value) < minSecretBytes {
		return nil
	}
	all := []string{value, url.QueryEscape(value), url.PathEscape(value)}
	if quoted, err := json.Marshal(value); err == nil {
		all = append(all, string(quoted[1:len(quoted)-1]))
	}
	quoted := fmt.Sprintf("%q", value)
	all = append(all, quoted[1:len(quoted)-1])
	// Up to the last three bytes the encoding does not depend on what follows.
	if whole := len(value) / 3 * 3; whole >= 2*minSecretBytes {
		all = append(all, base64.StdEncoding.EncodeToString([]byte(value[:whole])), base64.URLEncoding.EncodeToString([]byte(value[:whole])))
	}
	for line := range strings.Lines(value) { // of a value of several, one line is enough to harm
		if line = strings.TrimSpace(line); len(line) >= 3*minSecretBytes && line != value {
			all = append(all, line)
		}
	}
	return all
}

// shape is what secrets of one kind look like. hint is in every one of them, so that most
// text is not searched with the expression.
type shape struct {
	hints   []string
	pattern *regexp.Regexp
	with    string
}

const sensitiveNames = `password|passwd|pwd|secret|client_secret|api_?key|apikey|access_?token|refresh_?token|id_?token|auth_?token|token|private_?key|authorization|x-api-key`

var shapes = []shape{
	{[]string{"PRIVATE KEY"}, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[^"]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|$)`), Redacted},
	{[]string{"wflo_"}, regexp.MustCompile(`wflo_[a-z2-7]{16}_[A-Za-z0-9]+`), Redacted},
	{[]string{"earer", "EARER"}, regexp.MustCompile(`(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{6,}`), "${1}" + Redacted},
	{[]string{"asic ", "ASIC "}, regexp.MustCompile(`(?i)\b(basic\s+)[A-Za-z0-9+/=_-]{8,}`), "${1}" + Redacted},
	{[]string{"sk-", "sk_", "rk_", "pk-lf-"}, regexp.MustCompile(`\b(?:sk-|[sr]k_(?:live|test)_)[A-Za-z0-9_-]{12,}`), Redacted},
	{[]string{"xox", "xapp-"}, regexp.MustCompile(`\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]{8,}`), Redacted},
	{[]string{"AKIA", "ASIA"}, regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), Redacted},
	{[]string{"gh", "github_pat_"}, regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})`), Redacted},
	{[]string{"glpat-"}, regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`), Redacted},
	{[]string{"AIza"}, regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{30,}`), Redacted},
	{[]string{"whsec_"}, regexp.MustCompile(`\bwhsec_[A-Za-z0-9+/=_-]{12,}`), Redacted},
	{[]string{"hooks.slack.com"}, regexp.MustCompile(`(hooks\.slack\.com/(?:services|workflows|triggers)/)[A-Za-z0-9/_-]+`), "${1}" + Redacted},
	{[]string{"eyJ"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), Redacted},
	{[]string{"://"}, regexp.MustCompile(`(://[^/?#\s:@"'\\]*:)[^/?#\s@"'\\]+@`), "${1}" + Redacted + "@"},
	{[]string{"="}, regexp.MustCompile(`(?i)\b((?:[a-z0-9]+[_-])*(?:` + sensitiveNames + `)=)[^\s"',;&}\[]{3,}`), "${1}" + Redacted},
	{[]string{`":`, `" :`}, regexp.MustCompile(`(?i)("(?:[a-z0-9]+[_-])*(?:` + sensitiveNames + `)\\?"\s*:\s*\\?")[^"\\\[]+`), "${1}" + Redacted},
}

// String is s without secrets.
func (r *Redactor) String(s string) string {
	if len(s) < minSecretBytes {
		return s
	}
	if r != nil {
		if known := r.known.Load(); known != nil {
			s = known.Replace(s)
		}
	}
	for _, sh := range shapes {
		if slices.ContainsFunc(sh.hints, func(hint string) bool { return strings.Contains(s, hint) }) {
			s = sh.pattern.ReplaceAllString(s, sh.with)
		}
	}
	return s
}

var sensitiveKey = regexp.MustCompile(`(?i)(?:^|[_.-])(?:` + sensitiveNames + `|cookie|set-cookie)$`)

// Attr is an attribute without secrets. What has a name that secrets have is taken out as
// a whole, unless it is a number or the like.
func (r *Redactor) Attr(a slog.Attr) slog.Attr {
	a.Key = r.String(a.Key)
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		if text := a.Value.String(); text != "" && sensitiveKey.MatchString(a.Key) {
			a.Value = slog.StringValue(Redacted)
		} else if clean := r.String(text); clean != text {
			a.Value = slog.StringValue(clean)
		}
	case slog.KindGroup:
		group := make([]slog.Attr, 0, len(a.Value.Group()))
		for _, in := range a.Value.Group() {
			group = append(group, r.Attr(in))
		}
		a.Value = slog.GroupValue(group...)
	case slog.KindAny:
		if a.Value.Any() != nil && sensitiveKey.MatchString(a.Key) {
			a.Value = slog.StringValue(Redacted)
		} else {
			a.Value = r.value(a.Value)
		}
	}
	return a
}

// value is a value of any type without secrets, as it is where it has none in either of
// the formats.
func (r *Redactor) value(v slog.Value) (clean slog.Value) {
	defer func() {
		if p := recover(); p != nil { // a method of the caller's value, which no handler survives either
			clean = slog.StringValue(fmt.Sprintf("!PANIC in %T", v.Any()))
		}
	}()
	switch x := v.Any().(type) {
	case nil, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, *slog.Source, slog.Level:
		return v
	case error:
		return slog.StringValue(r.String(x.Error()))
	case []byte:
		return r.bytes(v, x)
	case json.RawMessage:
		return r.bytes(v, x)
	}
	if data, err := json.Marshal(v.Any()); err == nil {
		if text := r.String(string(data)); text != string(data) {
			return slog.StringValue(text)
		}
	}
	shown := fmt.Sprintf("%+v", v.Any())
	if text := r.String(shown); text != shown {
		return slog.StringValue(text)
	}
	return v
}

// bytes looks into what JSON would hide in base64.
func (r *Redactor) bytes(v slog.Value, data []byte) slog.Value {
	if text := r.String(string(data)); text != string(data) {
		return slog.StringValue(text)
	}
	return v
}

// Handler takes secrets out of lines before next sees them.
func (r *Redactor) Handler(next slog.Handler) slog.Handler {
	return &redactHandler{next: next, redactor: r}
}

type redactHandler struct {
	next     slog.Handler
	redactor *Redactor
}

// Enabled implements slog.Handler.
func (h *redactHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *redactHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		clean = append(clean, h.redactor.Attr(a))
	}
	return &redactHandler{next: h.next.WithAttrs(clean), redactor: h.redactor}
}

// WithGroup implements slog.Handler.
func (h *redactHandler) WithGroup(name string) slog.Handler {
	return &redactHandler{next: h.next.WithGroup(h.redactor.String(name)), redactor: h.redactor}
}

// Handle implements slog.Handler.
func (h *redactHandler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, h.redactor.String(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.redactor.Attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}
