package activities_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/pricing"
)

// slow is a provider that takes so long for an answer, and gives up with the
// call's context.
type slow struct {
	vendor
	takes time.Duration
}

func (s *slow) Chat(ctx context.Context, p wflo.Prompt, delta func(string)) (wflo.Reply, error) {
	reply, err := s.vendor.Chat(ctx, p, delta)
	select {
	case <-time.After(s.takes):
		return reply, err
	case <-ctx.Done():
		return wflo.Reply{}, &activities.CallError{Retryable: true, Billable: true, Err: ctx.Err()}
	}
}

// vague is a slow provider whose errors say nothing.
type vague struct{ slow }

func (v *vague) Chat(ctx context.Context, p wflo.Prompt, delta func(string)) (wflo.Reply, error) {
	reply, err := v.slow.Chat(ctx, p, delta)
	if err != nil {
		err = context.Cause(ctx)
	}
	return reply, err
}

// within is chat with a deadline for the activity.
func (b *bench) within(d time.Duration, p wflo.Prompt) (wflo.Reply, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return b.chatCtx(ctx, b.run, p)
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

// perSecond costs a tenth of a cent per second, and a dollar per million tokens.
const perSecond = `{"provider":"openai","id":"gpt-5.4-mini","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"1","output":"1"},"per_second":"0.001"}]}`

// TestPricePerSecond reserves for the time that the activity has, and pays for
// what the provider took.
func TestPricePerSecond(t *testing.T) {
	for _, tt := range []struct {
		name       string
		has, takes time.Duration // what the activity has; zero means no deadline
		held       time.Duration
		usage      int64 // what the vendor says, in milliseconds
		millis     int64
	}{
		{"measured", 20 * time.Second, 1500 * time.Millisecond, 20 * time.Second, 0, 1500},
		{"rounded up", 20 * time.Second, 1500*time.Millisecond + 1, 20 * time.Second, 0, 1501},
		{"as the vendor says", 20 * time.Second, time.Second, 20 * time.Second, 700, 700},
		{"without a deadline", 0, 900 * time.Millisecond, 10 * time.Minute, 0, 900},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 10*wflo.USD)
				b.llm.Prices = ownRows(t, perSecond)
				b.llm.Strict = true
				b.llm.Providers["openai"] = &slow{takes: tt.takes, vendor: vendor{answer: func(p wflo.Prompt) (wflo.Reply, error) {
					r, err := answered(p)
					r.Usage.Millis = tt.usage
					return r, err
				}}}
				var reply wflo.Reply
				var err error
				if tt.has == 0 {
					reply, err = b.llm.Chat(wflo.WithRun(context.Background(), b.run), ask("hi"))
				} else {
					reply, err = b.within(tt.has, ask("hi"))
				}
				want := wflo.Money(tt.millis)*wflo.MicroUSD + 1500*wflo.MicroUSD
				if err != nil || reply.Usage.Millis != tt.millis || reply.Cost != want {
					t.Errorf("%+v, %v; want %s for %d ms", reply, err, want, tt.millis)
				}
				p := ask("hi")
				p.MaxTokens = activities.DefaultMaxTokens
				price, err := b.llm.Prices.FindWorst("openai", p.Model, time.Now(), pricing.InputBound(p))
				if err != nil {
					t.Fatal(err)
				}
				if worst, _ := pricing.EstimateWithin(price, p, tt.held); b.ledger.reserved[0].Amount != worst {
					t.Errorf("reserved %s, want %s", b.ledger.reserved[0].Amount, worst)
				}
			})
		})
	}
}

// TestPricePerSecondIsBounded gives a call as much time as it has reserved for,
// and cuts its answer to what is left besides.
func TestPricePerSecondIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 12*wflo.USD/1000)
		b.llm.Prices = ownRows(t, perSecond)
		s := &slow{takes: time.Second, vendor: vendor{answer: answered}}
		b.llm.Providers["openai"] = s
		if _, err := b.within(10*time.Second, ask("hi")); err != nil {
			t.Fatal(err)
		}
		// Ten of the twelve thousandths are for the time.
		if got := s.seen[0].MaxTokens; got < 1500 || got >= 2000 {
			t.Errorf("an answer of %d tokens", got)
		}
		b.run.Step = "s#2"
		if _, err := b.within(20*time.Second, ask("hi")); !errors.Is(err, wflo.ErrBudgetExceeded) {
			t.Errorf("a call that may take longer than the budget pays for: %v", err)
		}
	})
}

// TestOwnRowsFindTheirProvider prices a model of the book and one that only the
// operator knows by rows of the operator's own.
func TestOwnRowsFindTheirProvider(t *testing.T) {
	b := newBench(t, wflo.USD)
	b.llm.Prices = ownRows(t, `
		{"provider":"openai","id":"gpt-5.4-mini","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"7","output":"7"}}]},
		{"provider":"acme","id":"talk-1","mode":"chat","status":"current","rates":[{"per_mtok":{"input":"9","output":"9"}}]}`)
	acme := &vendor{name: "acme", answer: says("acme", "talk-1")}
	b.llm.Providers["acme"] = acme
	for i, tt := range []struct {
		model, provider, sent string
		cost                  wflo.Money
	}{
		{"gpt-5.4-mini", "openai", "gpt-5.4-mini", 1500 * 7 * wflo.MicroUSD},
		{"openai/gpt-5.4-mini", "openai", "gpt-5.4-mini", 1500 * 7 * wflo.MicroUSD},
		{"talk-1", "acme", "talk-1", 150 * 9 * wflo.MicroUSD},
		{"acme/talk-1", "acme", "talk-1", 150 * 9 * wflo.MicroUSD},
	} {
		for _, routes := range [][]activities.Route{nil, {{Model: tt.provider + "/" + tt.sent, Scopes: []string{"model:" + tt.provider + "/" + tt.sent}, To: []string{tt.model}}}} {
			b.llm.Routes = routes
			p := ask("hi")
			p.Model = tt.model
			reply, err := b.chatAs(b.step(10*i+len(routes)), p)
			if err != nil || reply.Provider != tt.provider || reply.Cost != tt.cost {
				t.Errorf("%s: %+v, %v; want %s from %s", tt.model, reply, err, tt.cost, tt.provider)
			}
		}
	}
	if got := acme.seen[3].Model; got != "talk-1" {
		t.Errorf("the vendor was asked for %q", got)
	}
	if id := b.ledger.settled[0].Price.ID; !strings.HasPrefix(id, "override:openai/") {
		t.Errorf("priced by %s", id)
	}
}

// TestProviderThatHangs leaves each of the others a share of the time, and the
// last one all that is left.
func TestProviderThatHangs(t *testing.T) {
	const never = 24 * time.Hour
	for _, tt := range []struct {
		name  string
		first activities.Provider
		takes [2]time.Duration // the others'
		want  string
		after time.Duration
	}{
		{"the next answers", &slow{takes: never}, [2]time.Duration{time.Second, never}, "anthropic", 21 * time.Second},
		{"two hang", &slow{takes: never}, [2]time.Duration{never, 19 * time.Second}, "google", 59 * time.Second},
		{"its error says nothing", &vague{slow{takes: never}}, [2]time.Duration{time.Second, never}, "anthropic", 21 * time.Second},
		{"all hang", &slow{takes: never}, [2]time.Duration{never, never}, "", 60 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, wflo.USD)
				for _, s := range []*slow{{vendor: vendor{name: "anthropic", answer: says("anthropic", haiku)}, takes: tt.takes[0]}, {vendor: vendor{name: "google", answer: says("google", flash)}, takes: tt.takes[1]}} {
					b.llm.Providers[s.name] = s
				}
				switch s := tt.first.(type) {
				case *slow:
					s.answer = answered
				case *vague:
					s.answer = answered
				}
				b.llm.Providers["openai"] = tt.first
				p := ask("hi")
				p.Fallback = []string{haiku, flash}
				start := time.Now()
				reply, err := b.within(time.Minute, p)
				if (err == nil) != (tt.want != "") || reply.Provider != tt.want || time.Since(start) != tt.after {
					t.Errorf("%+v, %v after %s; want %s after %s", reply, err, time.Since(start), tt.want, tt.after)
				}
				if tt.want == "" && !activities.Retryable(err) {
					t.Errorf("a retry cannot help: %v", err)
				}
				// Who hangs may have billed.
				if s := b.spend(); s.Unknown == 0 || s.Spent != s.Unknown+reply.Cost || s.Reserved != 0 {
					t.Errorf("spend %+v", s)
				}
			})
		})
	}
}

// TestProviderThatHangsRests: it is not asked first for ever.
func TestProviderThatHangsRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wflo.USD)
		hangs := &slow{takes: time.Hour, vendor: vendor{answer: answered}}
		b.llm.Providers["openai"] = hangs
		b.llm.Providers["anthropic"] = &vendor{name: "anthropic", answer: says("anthropic", haiku)}
		p := ask("hi")
		p.Fallback = []string{haiku}
		for range 6 {
			b.run.Step += "x"
			if reply, err := b.within(time.Minute, p); err != nil || reply.Provider != "anthropic" {
				t.Fatalf("%+v, %v", reply, err)
			}
		}
		if hangs.calls() != 5 {
			t.Errorf("%d calls of the one that hangs", hangs.calls())
		}
	})
}

// TestLongCallIsMadeOnce takes many times the lease: who works extends it, and
// those who wait do so for as long as their own time allows.
func TestLongCallIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, h := newCached(t, wflo.USD)
		b.llm.SetLease(300 * time.Millisecond)
		s := &slow{takes: 20 * time.Second, vendor: vendor{answer: answered}}
		b.llm.Providers["openai"] = s
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if reply, err := b.chatCtx(ctx, b.step(i), ask("hi")); err != nil || reply.Text != "hello" {
					t.Errorf("%+v, %v", reply, err)
				}
			})
		}
		wg.Wait()
		if s.calls() != 1 || h.cache["hit"] != 7 || h.cache["error"] != 0 {
			t.Errorf("%d calls, %v", s.calls(), h.cache)
		}
	})
}

// stuck is a cache whose leases cannot be extended, because it is down or
// because they have ended.
type stuck struct {
	activities.Cache
	err   error
	tries *atomic.Int64
}

type stuckLease struct {
	activities.Lease
	c stuck
}

func (c stuck) Lock(ctx context.Context, key string, d time.Duration) (activities.Lease, bool, error) {
	l, ok, err := c.Cache.Lock(ctx, key, d)
	return stuckLease{l, c}, ok, err
}

func (l stuckLease) Extend(context.Context, time.Duration) (bool, error) {
	l.c.tries.Add(1)
	return false, l.c.err
}

// TestLeaseThatEnds lets another one make the call, as when a worker died: a
// cache is never the reason why nobody answers.
func TestLeaseThatEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		tries int64
	}{{"ended", nil, 2}, {"down", errDown, 2 * 59}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, h := newCached(t, wflo.USD)
				cache := stuck{b.llm.Cache, tt.err, &atomic.Int64{}}
				b.llm.Cache = cache
				b.llm.SetLease(time.Second)
				s := &slow{takes: 20*time.Second - time.Millisecond, vendor: vendor{answer: answered}}
				b.llm.Providers["openai"] = s
				var wg sync.WaitGroup
				for i := range 2 {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						defer cancel()
						if reply, err := b.chatCtx(ctx, b.step(i), ask("hi")); err != nil || reply.Cached {
							t.Errorf("%+v, %v", reply, err)
						}
					})
				}
				wg.Wait()
				if s.calls() != 2 || b.spend().Reserved != 0 || cache.tries.Load() != tt.tries || (h.cache["error"] > 0) != (tt.err != nil) {
					t.Errorf("%d calls, %+v, %d tries, %v", s.calls(), b.spend(), cache.tries.Load(), h.cache)
				}
			})
		})
	}
}
