package llm

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		ms, after string
		want      time.Duration
	}{
		{"", "", 0},
		{"", "7", 7 * time.Second},
		{"", " 1.5 ", 1500 * time.Millisecond},
		{"", "Sun, 22 Nov 2026 12:01:00 GMT", time.Minute},
		{"", "Sunday, 22-Nov-26 12:01:00 GMT", time.Minute},
		{"", "Sun, 22 Nov 2026 11:00:00 GMT", 0},
		{"250", "7", 250 * time.Millisecond},
		{"soon", "7", 7 * time.Second},
		{"", "-1", 0}, {"", "NaN", 0}, {"", "later", 0}, {"-5", "", 0},
		{"", "1e300", maxRetryAfter}, {"", "Inf", maxRetryAfter},
		{"", "Sun, 22 Nov 2099 12:01:00 GMT", maxRetryAfter},
	}
	for _, tt := range tests {
		h := http.Header{}
		h.Set("Retry-After", tt.after)
		h.Set("Retry-After-Ms", tt.ms)
		if got := retryAfter(h, noon); got != tt.want {
			t.Errorf("%q %q: got %v, want %v", tt.ms, tt.after, got, tt.want)
		}
	}
}

func TestRetryInfo(t *testing.T) {
	body := `{"error":{"code":429,"message":"quota","details":[{"@type":"a"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}]}}`
	if got := retryInfo([]byte(body)); got != 37*time.Second {
		t.Errorf("got %v", got)
	}
	if got := retryInfo([]byte(`{"error":"x"}`)); got != 0 {
		t.Errorf("got %v from nothing", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("250", "7")
	f.Add("", "Sun, 22 Nov 2026 12:01:00 GMT")
	f.Add("0x1p-2", "Inf")
	f.Fuzz(func(t *testing.T, ms, after string) {
		got := retryAfter(http.Header{"Retry-After-Ms": {ms}, "Retry-After": {after}}, noon)
		if got < 0 || got > maxRetryAfter {
			t.Errorf("%q %q: %v", ms, after, got)
		}
	})
}

func TestExplain(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"message":"a","type":"t"},"message":"b"}`: "a",
		`{"error":"a","message":"b"}`:                        "a",
		`{"message":"b","id":"1"}`:                           "b",
		`{"detail":"c"}`:                                     "c",
		`{"detail":[{"loc":["x"]}]}`:                         `{"detail":[{"loc":["x"]}]}`,
		`{"error":{"code":5}}`:                               `{"error":{"code":5}}`,
		`<html>502</html>`:                                   `<html>502</html>`,
	} {
		if got := Explain([]byte(body)); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// No body may bring out the key, a line break or too long a text.
func FuzzErrorText(f *testing.F) {
	const key = "sk-secret-0123456789"
	f.Add([]byte(`{"error":{"message":"bad `+key+`"}}`), "hint")
	f.Add([]byte(strings.Repeat("x", 470)+key), "")
	f.Add([]byte("\xff\x00\n{"), "")
	f.Fuzz(func(t *testing.T, body []byte, hint string) {
		if len(hint) > 100 || strings.Contains(hint, key) {
			return
		}
		c := &Call{vendor: Vendor{Name: "acme", Key: key}, model: "m"}
		text := c.text(Explain(body), hint)
		if strings.Contains(text, key) || len(text)+len(hint) > maxErrorText || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r\x00") {
			t.Errorf("%q", text)
		}
	})
}

func events(t *testing.T, r io.Reader) ([]string, error) {
	t.Helper()
	var out []string
	for data, err := range Events(r) {
		if err != nil {
			return out, err
		}
		out = append(out, string(data))
	}
	return out, nil
}

func TestEvents(t *testing.T) {
	stream := ": hi\n\nevent: a\ndata: 1\nid: 7\n\ndata:2\r\ndata: 3\r\n\r\n\n\ndata\n\ndata: \n\ndata: last"
	want := []string{"1", "2\n3", "last"}
	for _, r := range []io.Reader{strings.NewReader(stream), iotest.OneByteReader(strings.NewReader(stream))} {
		got, err := events(t, r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	broken := errors.New("broken")
	got, err := events(t, io.MultiReader(strings.NewReader("data: 1\n\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// How the network cuts a stream must not matter.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: 1\n\ndata: 2\ndata: 3\r\n\r\n"))
	f.Add([]byte("data\n:\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := events(t, strings.NewReader(string(stream)))
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := events(t, iotest.OneByteReader(strings.NewReader(string(stream))))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Error(diff)
		}
	})
}

// A body of exactly the limit passes; one byte more does not.
func TestBodyLimit(t *testing.T) {
	for extra, want := range []error{nil, errTooLarge} {
		c := &Call{}
		b := &body{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("a", 10+extra))), call: c, left: 10}
		data, err := io.ReadAll(b)
		if !errors.Is(err, want) || len(data) != 10 || !errors.Is(c.broken, want) {
			t.Errorf("%d bytes: read %d, %v, noted %v", 10+extra, len(data), err, c.broken)
		}
	}
}
