package meter_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/meter"
	"github.com/wflo-ai/wflo-go/internal/meter/metertest"
	"github.com/wflo-ai/wflo-go/pricing"
)

// counting is a vendor without a network that takes so long and counts a prompt
// as a token per so many bytes.
type counting struct {
	takes       time.Duration
	bytesPer100 int // bytes per hundred tokens
	mu          sync.Mutex
	counted     []int64
}

func (v *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(v.takes):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	n := int64(len(body) * 100 / v.bytesPer100)
	v.mu.Lock()
	v.counted = append(v.counted, n)
	v.mu.Unlock()
	answer := fmt.Sprintf(`{"id":"c1","model":"gpt-5.4-mini","choices":[{"finish_reason":"stop","message":{"content":"hi"}}],"usage":{"prompt_tokens":%d,"completion_tokens":50,"total_tokens":%d}}`, n, n+50)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: req,
	}, nil
}

// overheard remembers what an observer is told.
type overheard struct {
	meter.Observer
	reserved, counted []int64
	over              wflo.Money
	calls             int
}

func (o *overheard) LLMCall(context.Context, string, string, wflo.Usage, wflo.Money) { o.calls++ }

func (o *overheard) LLMEstimate(_ context.Context, _, _ string, reserved, counted int64) {
	o.reserved, o.counted = append(o.reserved, reserved), append(o.counted, counted)
}

func (o *overheard) LLMOverdraft(_ context.Context, _, _ string, over wflo.Money) { o.over += over }

// say sends one chat completion and reads the answer.
func (d *desk) say(ctx context.Context, text string) error {
	body := fmt.Sprintf(`{"model":"gpt-5.4-mini","max_tokens":100,"messages":[{"role":"user","content":%q}]}`, text)
	req, err := http.NewRequestWithContext(wflo.WithRun(ctx, d.run), http.MethodPost, "https://api.openai.com/v1/chat/completions", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// newQuiet is a desk over a vendor without a network.
func newQuiet(v http.RoundTripper, limit wflo.Money, change func(*meter.Config)) *desk {
	d := &desk{books: &metertest.Books{}}
	d.run = wflo.Run{WorkflowID: "w", FirstRunID: "r", Step: "ask"}
	d.run.Lines = []wflo.BudgetLine{{ID: wflo.RunBudgetID(d.run.ID()), Limit: limit}}
	d.cfg = meter.Config{Ledger: d.books, Prices: pricing.Default(), Base: v}
	if change != nil {
		change(&d.cfg)
	}
	d.http = &http.Client{Transport: meter.New(d.cfg)}
	return d
}

// TestTransportLearns asks the same kind of question until the reservation is
// near what is billed, and strictly, where it stays at the bytes.
func TestTransportLearns(t *testing.T) {
	text := strings.Repeat("some words of plain English ", 300)
	for _, strict := range []bool{false, true} {
		o := &overheard{}
		v := &counting{bytesPer100: 450}
		d := newQuiet(v, 10*wflo.USD, func(c *meter.Config) {
			c.Observer = o
			if !strict {
				c.Estimator = &activities.Estimator{}
			}
		})
		for range 20 {
			if err := d.say(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		d.check(t)
		if diff := cmp.Diff(v.counted, o.counted); diff != "" || o.over != 0 || o.calls != 20 {
			t.Errorf("strict %v: overdraft %s, %d calls, %s", strict, o.over, o.calls, diff)
		}
		bytes := int64(len(text))
		first, last := o.reserved[0], o.reserved[19]
		if strict && (first < bytes || last != first) {
			t.Errorf("strict: %d and %d tokens for %d bytes", first, last, bytes)
		}
		if !strict && (first >= bytes/2 || last >= first || last > o.counted[19]*3/2 || last < o.counted[19]) {
			t.Errorf("reserved %d, then %d; billed %d", first, last, o.counted[19])
		}
	}
}

// TestEstimatesAreShared lets a transport profit from what another one learned
// of the same model, in another step.
func TestEstimatesAreShared(t *testing.T) {
	text := strings.Repeat("some words of plain English ", 300)
	shared := &activities.Estimator{}
	var last []int64
	for _, step := range []string{"first", "second"} {
		o := &overheard{}
		d := newQuiet(&counting{bytesPer100: 450}, 10*wflo.USD, func(c *meter.Config) { c.Observer, c.Estimator = o, shared })
		d.run.Step = step
		for range 10 {
			if err := d.say(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		last = append(last, o.reserved[9])
		if step == "second" && o.reserved[0] != last[0] {
			t.Errorf("the second begins with %d, the first ended with %d", o.reserved[0], last[0])
		}
	}
}

// TestDenseBodiesAreReservedInFull sends a data URL that is counted as a token
// per 1.45 bytes to a transport that has learned of English.
func TestDenseBodiesAreReservedInFull(t *testing.T) {
	o := &overheard{}
	v := &counting{bytesPer100: 450}
	d := newQuiet(v, 10*wflo.USD, func(c *meter.Config) { c.Observer, c.Estimator = o, &activities.Estimator{} })
	for range 10 {
		if err := d.say(t.Context(), strings.Repeat("plain English ", 300)); err != nil {
			t.Fatal(err)
		}
	}
	noise := make([]byte, 30_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	v.bytesPer100 = 145
	if err := d.say(t.Context(), "data:image/png;base64,"+base64.StdEncoding.EncodeToString(noise)); err != nil {
		t.Fatal(err)
	}
	if o.over != 0 || o.reserved[10] < o.counted[10] {
		t.Errorf("reserved %d, counted %d, overdraft %s", o.reserved[10], o.counted[10], o.over)
	}
	d.check(t)
}

// TestOverdraftIsHeard has a vendor that counts more than ever before.
func TestOverdraftIsHeard(t *testing.T) {
	o := &overheard{}
	v := &counting{bytesPer100: 100}
	d := newQuiet(v, 10*wflo.USD, func(c *meter.Config) { c.Observer, c.Estimator = o, &activities.Estimator{} })
	if err := d.say(t.Context(), strings.Repeat("plain English ", 300)); err != nil {
		t.Fatal(err)
	}
	if e := d.books.Entries()[0]; o.over == 0 || e.Overdraft != o.over {
		t.Errorf("overdraft %s in the ledger, %s told", e.Overdraft, o.over)
	}
}

// ownRows is the embedded book with an operator's rows over it.
func ownRows(t *testing.T, rows string) *pricing.Book {
	t.Helper()
	over, err := pricing.Parse(strings.NewReader(`{"version":1,"currency":"USD","date":"2026-11-01","models":[` + rows + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return pricing.Default().With(over)
}

// TestOwnRowPerSecond prices the model by a row of the operator's own: what is
// reserved for time is what the caller has, and what is billed is measured.
func TestOwnRowPerSecond(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline time.Duration // of the caller; zero means none
		timeout  time.Duration // of the transport; zero means its default
		held     time.Duration
	}{
		{"default", 0, 0, meter.DefaultTimeout},
		{"timeout", 0, 30 * time.Second, 30 * time.Second},
		{"deadline", 20 * time.Second, 0, 20 * time.Second},
		{"later deadline", 20 * time.Minute, 30 * time.Second, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &counting{bytesPer100: 400, takes: 1500*time.Millisecond - 1}
				d := newQuiet(v, 10*wflo.USD, func(c *meter.Config) {
					c.Timeout = tt.timeout
					c.Prices = ownRows(t, `{"provider":"openai","id":"gpt-5.4-mini","mode":"chat","unit":"second","status":"current","rates":[{"per_second":"0.001"}]}`)
				})
				ctx := context.Background()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				if err := d.say(ctx, "hi"); err != nil {
					t.Fatal(err)
				}
				e := d.books.Entries()[0]
				if e.Usage.Millis != 1500 || e.Amount != 1500*wflo.MicroUSD || !strings.HasPrefix(e.Price.ID, "override:openai/") || e.Provider != "openai" {
					t.Errorf("entry %+v", e)
				}
				if want := wflo.Money(tt.held.Milliseconds()) * wflo.MicroUSD; e.Reserved != want {
					t.Errorf("reserved %s, want %s", e.Reserved, want)
				}
				d.check(t)
			})
		})
	}
}

// TestOwnRowPerSecondEnds gives a call up when the time that it has reserved for
// is over.
func TestOwnRowPerSecondEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newQuiet(&counting{bytesPer100: 400, takes: time.Hour}, 10*wflo.USD, func(c *meter.Config) {
			c.Timeout = time.Minute
			c.Prices = ownRows(t, `{"provider":"openai","id":"gpt-5.4-mini","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"1"},"per_second":"0.001"}]}`)
		})
		d.run.Namespace = "n" // whose call ends with its activity otherwise
		start := time.Now()
		if err := d.say(context.Background(), "hi"); err == nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if h := d.books.Holds(); len(h) != 1 || h[0].State != wflo.HoldUnknown {
			t.Errorf("holds %+v", h)
		}
		d.check(t)
	})
}
