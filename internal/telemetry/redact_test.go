package telemetry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

// vendorSecrets are values that nobody had to tell us of. They are put together here so
// that no scanner takes this file for a leak.
var vendorSecrets = map[string]string{
	"wflo key":      "wflo_" + strings.Repeat("a2", 8) + "_" + strings.Repeat("b3", 26),
	"bearer":        "Bearer abcDEF123456",
	"openai":        "sk-" + "proj-abcdefABCDEF0123456789",
	"stripe":        "sk_" + "live_abcdefABCDEF0123456789",
	"slack":         "xoxb-" + "1234567890-abcdefghij",
	"slack app":     "xapp-" + "1-A111-222-abcdef",
	"aws":           "AKIA" + "IOSFODNN7EXAMPLE",
	"github":        "ghp_" + strings.Repeat("Ab1", 12),
	"gitlab":        "glpat-" + "abcdefghijklmnopqrst",
	"google":        "AIza" + strings.Repeat("x", 35),
	"webhook":       "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	"jwt":           "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N",
	"url password":  "postgres://ann:hunter2secret@db/x",
	"pair":          "api_key=abcdef123",
	"pair of env":   "STRIPE_SECRET=abcdef123",
	"json":          `{"password":"hunter2 and more"}`,
	"json in json":  `{\"client_secret\":\"hunter2\"}`,
	"slack hook":    "https://hooks.slack.com/services/T000/B000/XXXXXXXX",
	"private key":   "-----BEGIN " + "EC PRIVATE KEY-----\nMHcCAQEEIA\nabc=\n-----END EC PRIVATE KEY-----",
	"cut short key": "-----BEGIN " + "PRIVATE KEY-----\nMHcCAQEEIA",
}

// cores is what must not be left of them.
var cores = map[string]string{
	"bearer": "abcDEF123456", "url password": "hunter2secret", "pair": "abcdef123", "pair of env": "abcdef123", "json": "hunter2", "json in json": "hunter2",
	"slack hook": "B000", "private key": "MHcCAQEEIA", "cut short key": "MHcCAQEEIA",
}

func TestRedactorKnowsWhatSecretsLookLike(t *testing.T) {
	for name, secret := range vendorSecrets {
		core := cores[name]
		if core == "" {
			core = secret
		}
		got := (*Redactor)(nil).String("before " + secret + " after")
		if strings.Contains(got, core) || !strings.Contains(got, Redacted) || !strings.HasPrefix(got, "before ") {
			t.Errorf("%s: %q", name, got)
		}
		if name != "cut short key" && !strings.HasSuffix(got, " after") {
			t.Errorf("%s took what came after: %q", name, got)
		}
		if again := (*Redactor)(nil).String(got); again != got {
			t.Errorf("%s: a second time gives %q", name, again)
		}
	}
}

func TestRedactorLeavesWordsAlone(t *testing.T) {
	for _, text := range []string{
		"", "the budget has no tokens", "secret DB is not configured on this worker", "read secret: permission denied", "https://example.com:8080/a?b=c",
		"input_tokens=12", "step g0/charge#1", "basic facts", "wflo_log_lines_dropped_total", "asked sk- and xox", "https://u@host/", "sha256:" + strings.Repeat("ab", 32),
	} {
		if got := NewRedactor("topsecret").String(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// lines logs with both formats and the Redactor in front.
func lines(r *Redactor, write func(*slog.Logger)) map[string]string {
	out := map[string]string{}
	for format, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
	} {
		var buf bytes.Buffer
		write(slog.New(r.Handler(handler(&buf))))
		out[format] = buf.String()
	}
	return out
}

type hidden struct {
	Name string
	key  string
	Deep map[string][]string
}

type lateValue struct{ text string }

func (l lateValue) LogValue() slog.Value { return slog.GroupValue(slog.String("v", l.text)) }

type shownAs struct{ text string }

func (s shownAs) String() string { return s.text }

type panics struct{}

func (*panics) Error() string { panic("no") }

func TestRedactorTakesSecretsOutOfAttributes(t *testing.T) {
	const secret = `s3cr3t "quoted"/+ value\n`
	r := NewRedactor(secret)
	text := "got " + secret + "!"
	for name, write := range map[string]func(*slog.Logger){
		"message":       func(l *slog.Logger) { l.Info(text) },
		"string":        func(l *slog.Logger) { l.Info("m", "a", text) },
		"key":           func(l *slog.Logger) { l.Info("m", text, 1) },
		"error":         func(l *slog.Logger) { l.Info("m", "a", fmt.Errorf("do: %w", errors.New(text))) },
		"quoted error":  func(l *slog.Logger) { l.Info("m", "a", fmt.Errorf("parse %q", secret)) },
		"bytes":         func(l *slog.Logger) { l.Info("m", "a", []byte(text)) },
		"raw JSON":      func(l *slog.Logger) { d, _ := json.Marshal(text); l.Info("m", "a", json.RawMessage(d)) },
		"group":         func(l *slog.Logger) { l.Info("m", slog.Group("g", slog.Group("h", "a", text))) },
		"with":          func(l *slog.Logger) { l.With("a", text).WithGroup("g").With("b", text).Info("m") },
		"group name":    func(l *slog.Logger) { l.WithGroup(text).Info("m", "a", 1) },
		"struct":        func(l *slog.Logger) { l.Info("m", "a", hidden{Name: text}) },
		"hidden field":  func(l *slog.Logger) { l.Info("m", "a", hidden{key: text}) },
		"deep":          func(l *slog.Logger) { l.Info("m", "a", &hidden{Deep: map[string][]string{"x": {"y", text}}}) },
		"log value":     func(l *slog.Logger) { l.Info("m", "a", lateValue{text}) },
		"stringer":      func(l *slog.Logger) { l.Info("m", "a", shownAs{text}) },
		"slice":         func(l *slog.Logger) { l.Info("m", "a", []string{text}) },
		"errors":        func(l *slog.Logger) { l.Info("m", "a", []error{errors.New(text)}) },
		"URL encoded":   func(l *slog.Logger) { l.Info("m", "a", "?q="+url.QueryEscape(secret)) },
		"base64":        func(l *slog.Logger) { l.Info("m", "a", base64.StdEncoding.EncodeToString([]byte(secret))) },
		"in a secret's": func(l *slog.Logger) { l.Info("m", "db_password", "x", "api-key", []byte("x")) },
	} {
		for format, line := range lines(r, write) {
			if strings.Contains(line, "s3cr3t") || strings.Contains(line, base64.StdEncoding.EncodeToString([]byte(secret))[:16]) || !strings.Contains(line, Redacted) {
				t.Errorf("%s as %s: %s", name, format, line)
			}
			if format == "json" && !json.Valid([]byte(line)) {
				t.Errorf("%s is no JSON: %s", name, line)
			}
		}
	}
}

func TestRedactorKeepsWhatIsNoSecret(t *testing.T) {
	write := func(l *slog.Logger) {
		l.With("a", 1).WithGroup("g").Info("hello", "b", []int{1}, "c", errors.New("boom"), "d", []byte("x"), "tokens", 12, "token", 7, "n", nil,
			slog.Group("h", "x", 1.5), "t", hidden{Name: "n"})
	}
	plain := map[string]string{}
	for format, line := range lines(NewRedactor("never seen"), write) {
		plain[format] = line[strings.Index(line, "hello"):]
	}
	var buf bytes.Buffer
	write(slog.New(slog.NewJSONHandler(&buf, nil)))
	if got := buf.String(); got[strings.Index(got, "hello"):] != plain["json"] {
		t.Errorf("changed: %s, was %s", plain["json"], got)
	}
	for _, line := range lines(nil, func(l *slog.Logger) { l.Info("m", "e", (*panics)(nil)) }) {
		if !strings.Contains(line, "!PANIC") {
			t.Errorf("a value that panics gave %s", line)
		}
	}
}

func TestRedactorLearns(t *testing.T) {
	r := NewRedactor()
	if got := r.String("abc-def-ghi"); got != "abc-def-ghi" {
		t.Errorf("%q", got)
	}
	r.Learn("def-ghi", "abc-def-ghi", "short", "", "one-long-line-of-a-key-file\nanother-long-line-of-it\n")
	for text, want := range map[string]string{
		"x abc-def-ghi y": "x " + Redacted + " y", "x def-ghi": "x " + Redacted, "short": "short", "has another-long-line-of-it alone": "has " + Redacted + " alone",
	} {
		if got := r.String(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// FuzzRedactor: whatever is around a secret, it is never in a line, and a line stays one.
func FuzzRedactor(f *testing.F) {
	f.Add("topsecret", "a", "b")
	f.Add("to\"p\\se\ncret", "\\", "\"")
	f.Add("=&?:@/ secret", "password=", "&x")
	f.Add("-----BEGIN x", "Bearer ", "\xff")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		secret = strings.ToValidUTF8(strings.TrimSpace(secret), "")
		if len(secret) < minSecretBytes || strings.Contains(Redacted, secret) || strings.Contains(before+after, secret) {
			return
		}
		r := NewRedactor(secret)
		text := before + secret + after
		if got := r.String(text); strings.Contains(got, secret) && !strings.Contains(r.String(before)+Redacted+r.String(after), secret) {
			t.Errorf("%q is in %q", secret, got)
		}
		for format, line := range lines(r, func(l *slog.Logger) {
			l.Info("m", "v", secret, "b", []byte(secret), "e", errors.New(secret), "s", []string{secret})
		}) {
			encoded, _ := json.Marshal(secret)
			if strings.Contains(line, string(encoded[1:len(encoded)-1])) && len(secret) > 12 {
				t.Errorf("%q is in %s line %q", secret, format, line)
			}
			if format == "json" && !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %q", line)
			}
		}
	})
}
