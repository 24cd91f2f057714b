package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/cache/memory"
)

// newCached is a bench with a cache.
func newCached(t *testing.T, limit wflo.Money) (*bench, *heard) {
	t.Helper()
	b := newBench(t, limit)
	h := newHeard()
	b.llm.Observer, b.llm.CacheTTL = h, time.Hour
	cache, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b.llm.Cache = cache
	return b, h
}

// step is the bench's run at another step.
func (b *bench) step(n int) wflo.Run {
	run := b.run
	run.Step = fmt.Sprint("s#", n)
	return run
}

// TestSecondAnswerIsFree bills no tokens either: an agent's Answer.Usage and the
// provider's invoice are to add up to the same.
func TestSecondAnswerIsFree(t *testing.T) {
	b, h := newCached(t, wflo.USD)
	first, err := b.chatAs(b.step(1), ask("hi"))
	if err != nil || first.Cached || first.Saved != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := b.chatAs(b.step(2), ask("hi"))
	if err != nil || !second.Cached || second.Cost != 0 || second.Saved != first.Cost || second.Usage != (wflo.Usage{}) || second.Text != first.Text {
		t.Errorf("%+v, %v", second, err)
	}
	if s := b.spend(); s.Spent != first.Cost || s.Reserved != 0 || b.vendor.calls() != 1 {
		t.Errorf("%+v, %d calls", s, b.vendor.calls())
	}
	if len(b.ledger.saved) != 1 {
		t.Fatalf("saved %+v", b.ledger.saved)
	}
	s := b.ledger.saved[0]
	if s.Source != b.step(1).EffectKey() || s.Key != b.step(2).EffectKey() || s.Saved != first.Cost || s.Price.ID == "" || s.Usage != first.Usage || first.Usage.Total() == 0 || len(s.Scopes) == 0 {
		t.Errorf("saved %+v", s)
	}
	if diff := cmp.Diff(map[string]int{"miss": 1, "hit": 1}, h.cache); diff != "" || h.calls != 1 {
		t.Errorf("%s; %d calls counted", diff, h.calls)
	}
}

// TestRetryIsNoHit repeats effects that were settled, by a call and by a hit:
// the ledger answers before the cache does.
func TestRetryIsNoHit(t *testing.T) {
	b, h := newCached(t, wflo.USD)
	for step := 1; step <= 2; step++ {
		first, err := b.chatAs(b.step(step), ask("hi"))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			again, err := b.chatAs(b.step(step), ask("hi"))
			if err != nil || cmp.Diff(first, again) != "" {
				t.Errorf("step %d: %+v, %v; the first time %+v", step, again, err, first)
			}
		}
	}
	if h.cache["hit"] != 1 || len(b.ledger.saved) != 1 || b.vendor.calls() != 1 {
		t.Errorf("%v, %d saved, %d calls", h.cache, len(b.ledger.saved), b.vendor.calls())
	}
}

// TestWhatIsNotShared asks a second time in ways that must not be answered by
// the first answer.
func TestWhatIsNotShared(t *testing.T) {
	half := 0.5
	tests := []struct {
		name   string
		change func(*bench, *wflo.Run, *wflo.Prompt)
		shared bool
	}{
		{"the same", func(*bench, *wflo.Run, *wflo.Prompt) {}, true},
		{"another user of the team", func(_ *bench, r *wflo.Run, _ *wflo.Prompt) { r.User = "bob" }, true},
		{"with the provider's name", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.Model = "openai/gpt-5.4-mini" }, true},
		{"blanks in a schema", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) {
			p.Tools = []wflo.Tool{{Name: "f", Parameters: json.RawMessage(`{"a": 1, "b": {"y":2,"x":1}}`)}}
		}, true},
		{"another schema", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) {
			p.Tools = []wflo.Tool{{Name: "f", Parameters: json.RawMessage(`{"b":{"x":1,"y":3},"a":1}`)}}
		}, false},
		{"another team", func(_ *bench, r *wflo.Run, _ *wflo.Prompt) { r.Team = "search" }, false},
		{"an organisation", func(_ *bench, r *wflo.Run, _ *wflo.Prompt) { r.Org = "payments" }, false},
		{"another text", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.Messages = ask("hi!").Messages }, false},
		{"a system text", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.System = "be brief" }, false},
		{"another model", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.Model = "gpt-5.4-nano" }, false},
		{"another length", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.MaxTokens = 99 }, false},
		{"a temperature", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.Temperature = &half }, false},
		{"without a cache, please", func(_ *bench, _ *wflo.Run, p *wflo.Prompt) { p.NoCache = true }, false},
		{"the cache is switched off", func(b *bench, _ *wflo.Run, _ *wflo.Prompt) { b.llm.CacheTTL = 0 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := newCached(t, wflo.USD)
			b.run.Team = "payments"
			p := ask("hi")
			p.Tools = []wflo.Tool{{Name: "f", Parameters: json.RawMessage(`{"b":{"x":1,"y":2},"a":1}`)}}
			if _, err := b.chatAs(b.step(1), p); err != nil {
				t.Fatal(err)
			}
			run := b.step(2)
			tt.change(b, &run, &p)
			reply, err := b.chatAs(run, p)
			if err != nil || reply.Cached != tt.shared || (b.vendor.calls() == 1) != tt.shared {
				t.Errorf("cached %v, %v, %d calls; want %v", reply.Cached, err, b.vendor.calls(), tt.shared)
			}
		})
	}
}

// TestWhatIsNotKept answers in ways that the next one must not get.
func TestWhatIsNotKept(t *testing.T) {
	for _, change := range []func(*wflo.Reply){
		func(r *wflo.Reply) { r.Stop = wflo.StopMaxTokens },
		func(r *wflo.Reply) { r.Stop = wflo.StopFiltered },
		func(r *wflo.Reply) { r.Stop = wflo.StopOther },
		func(r *wflo.Reply) { r.Text = "" },
	} {
		b, h := newCached(t, wflo.USD)
		b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
			r, err := answered(p)
			change(&r)
			return r, err
		}
		for step := range 3 {
			if reply, err := b.chatAs(b.step(step), ask("hi")); err != nil || reply.Cached || reply.Cost == 0 {
				t.Errorf("%+v, %v", reply, err)
			}
		}
		if b.vendor.calls() != 3 || h.cache["error"] != 0 {
			t.Errorf("%d calls, %v", b.vendor.calls(), h.cache)
		}
	}
}

func TestToolCallsAreKept(t *testing.T) {
	b, _ := newCached(t, wflo.USD)
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		r, err := answered(p)
		r.Text, r.Stop, r.ToolCalls = "", wflo.StopTools, []wflo.ToolCall{{ID: "1", Name: "f", Arguments: "{}"}}
		return r, err
	}
	for step := range 2 {
		reply, err := b.chatAs(b.step(step), ask("hi"))
		if err != nil || len(reply.ToolCalls) != 1 || reply.Cached != (step == 1) {
			t.Errorf("%+v, %v", reply, err)
		}
	}
}

// gated is a ledger that tells when so many holds were released: those who wait
// for an answer hold no money.
type gated struct {
	*book
	mu   sync.Mutex
	left int
	open chan struct{}
}

func (g *gated) Release(ctx context.Context, key wflo.EffectKey, attempt int) error {
	err := g.book.Release(ctx, key, attempt)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left--; g.left == 0 {
		close(g.open)
	}
	return err
}

// TestSingleFlight is 64 callers who want the same at the same time: one call is
// made, while which nobody else holds money, and 63 get its answer.
func TestSingleFlight(t *testing.T) {
	const callers = 64
	b, h := newCached(t, 10*wflo.USD)
	g := &gated{book: b.ledger, left: callers - 1, open: make(chan struct{})}
	b.llm.Ledger = g
	var held wflo.Money
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		<-g.open // until all the others wait
		held = b.spend().Reserved
		return answered(p)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	hits := 0
	for i := range callers {
		wg.Go(func() {
			reply, err := b.chatAs(b.step(i), ask("hi"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || reply.Text != "hello" {
				t.Errorf("%+v, %v", reply, err)
			}
			if reply.Cached {
				hits++
			}
		})
	}
	wg.Wait()
	if b.vendor.calls() != 1 || hits != callers-1 || h.cache["hit"] != callers-1 || len(b.ledger.saved) != callers-1 || len(b.ledger.settled) != 1 {
		t.Errorf("%d calls, %d hits, %d saved, %d settled, %v", b.vendor.calls(), hits, len(b.ledger.saved), len(b.ledger.settled), h.cache)
	}
	if one := b.ledger.reserved[0].Amount; held != one {
		t.Errorf("%s were held during the call; one call needs %s", held, one)
	}
	if s := b.spend(); s.Reserved != 0 || s.Spent != b.ledger.settled[0].Amount {
		t.Errorf("spend %+v", s)
	}
}

// TestHitNeedsNoMoney is a budget that is used up: an answer that is there costs
// nothing.
func TestHitNeedsNoMoney(t *testing.T) {
	b, h := newCached(t, wflo.USD)
	if _, err := b.chatAs(b.step(1), ask("hi")); err != nil {
		t.Fatal(err)
	}
	b.ledger.spends[b.run.Lines[0].ID].Spent = wflo.USD
	if reply, err := b.chatAs(b.step(2), ask("hi")); err != nil || !reply.Cached {
		t.Errorf("%+v, %v", reply, err)
	}
	if _, err := b.chatAs(b.step(3), ask("something else")); !errors.Is(err, wflo.ErrBudgetExceeded) || h.exceeded != 1 {
		t.Errorf("%v, %d refusals counted", err, h.exceeded)
	}
	// The refused call has given its turn back: who has money makes it.
	b.ledger.spends[b.run.Lines[0].ID].Spent = 0
	if reply, err := b.chatAs(b.step(4), ask("something else")); err != nil || reply.Cached {
		t.Errorf("%+v, %v", reply, err)
	}
}

// TestOwnerThatFails leaves the call to one of those who waited.
func TestOwnerThatFails(t *testing.T) {
	b, _ := newCached(t, wflo.USD)
	g := &gated{book: b.ledger, left: 1, open: make(chan struct{})}
	b.llm.Ledger = g
	var once sync.Once
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		failed := false
		once.Do(func() {
			<-g.open
			failed = true
		})
		if failed {
			return fails(503)(p)
		}
		return answered(p)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	failures := 0
	for i := range 2 {
		wg.Go(func() {
			reply, err := b.chatAs(b.step(i), ask("hi"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures++
			} else if reply.Cached || reply.Cost == 0 {
				t.Errorf("%+v", reply)
			}
		})
	}
	wg.Wait()
	if failures != 1 || b.vendor.calls() != 2 || b.spend().Reserved != 0 {
		t.Errorf("%d failures, %d calls, %+v", failures, b.vendor.calls(), b.spend())
	}
}

// told is a cache that tells when somebody found a lock taken.
type told struct {
	activities.Cache
	taken chan struct{}
	once  *sync.Once
}

func (c told) Lock(ctx context.Context, key string, lease time.Duration) (activities.Lease, bool, error) {
	l, ok, err := c.Cache.Lock(ctx, key, lease)
	if err == nil && !ok {
		c.once.Do(func() { close(c.taken) })
	}
	return l, ok, err
}

// TestRefusedWaiterTriesAgain is a call without money that waits for another
// one's answer: that fails, which frees the money.
func TestRefusedWaiterTriesAgain(t *testing.T) {
	b, _ := newCached(t, wflo.Cent)
	cache := told{Cache: b.llm.Cache, taken: make(chan struct{}), once: &sync.Once{}}
	b.llm.Cache = cache
	started := make(chan struct{})
	var once sync.Once
	b.vendor.answer = func(p wflo.Prompt) (wflo.Reply, error) {
		reply, err := answered(p)
		once.Do(func() {
			close(started)
			<-cache.taken
			reply, err = fails(503)(p)
		})
		return reply, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := b.chatAs(b.step(1), ask("hi")); err == nil {
			t.Error("the first call did not fail")
		}
	})
	<-started
	if s := b.spend(); s.Reserved != s.Limit {
		t.Errorf("%+v; the first call should hold all of it", s)
	}
	reply, err := b.chatAs(b.step(2), ask("hi"))
	if err != nil || reply.Cached || reply.Cost == 0 {
		t.Errorf("%+v, %v", reply, err)
	}
	wg.Wait()
	if b.vendor.calls() != 2 || b.spend().Reserved != 0 {
		t.Errorf("%d calls, %+v", b.vendor.calls(), b.spend())
	}
}

// frail is a cache whose operations fail one by one.
type frail struct {
	activities.Cache
	get, put, lock bool
	garbage        []byte
}

var errDown = errors.New("the cache is down")

func (f frail) Get(ctx context.Context, key string) ([]byte, bool, error) {
	switch {
	case f.get:
		return nil, false, errDown
	case f.garbage != nil:
		return f.garbage, true, nil
	}
	return f.Cache.Get(ctx, key)
}

func (f frail) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if f.put {
		return errDown
	}
	return f.Cache.Put(ctx, key, value, ttl)
}

func (f frail) Lock(ctx context.Context, key string, lease time.Duration) (activities.Lease, bool, error) {
	if f.lock {
		return nil, false, errDown
	}
	return f.Cache.Lock(ctx, key, lease)
}

// TestBrokenCache never fails a call.
func TestBrokenCache(t *testing.T) {
	for name, broken := range map[string]frail{
		"get": {get: true}, "put": {put: true}, "lock": {lock: true}, "all": {get: true, put: true, lock: true},
		"not JSON":       {garbage: []byte("\xff")},
		"no answer":      {garbage: []byte(`{"source":"x","reply":{"text":"","stop":"end","provider":"openai"}}`)},
		"cut answer":     {garbage: []byte(`{"source":"x","reply":{"text":"h","stop":"max_tokens","provider":"openai"}}`)},
		"absurd usage":   {garbage: []byte(`{"source":"x","reply":{"text":"h","stop":"end","provider":"openai","usage":{"input":-1,"output":0}}}`)},
		"of nobody":      {garbage: []byte(`{"reply":{"text":"h","stop":"end","provider":"openai"}}`)},
		"of no provider": {garbage: []byte(`{"source":"x","reply":{"text":"h","stop":"end"}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			b, h := newCached(t, wflo.USD)
			broken.Cache = b.llm.Cache
			b.llm.Cache = broken
			for step := range 2 {
				if reply, err := b.chatAs(b.step(step), ask("hi")); err != nil || reply.Cached || reply.Text != "hello" {
					t.Errorf("%+v, %v", reply, err)
				}
			}
			if h.cache["error"] == 0 || b.vendor.calls() != 2 || b.spend().Reserved != 0 {
				t.Errorf("%v, %d calls, %+v", h.cache, b.vendor.calls(), b.spend())
			}
		})
	}
}

// TestFallbackAnswersAreKept under the name of the model that gave them: who
// asks the one that failed does not get them.
func TestFallbackAnswersAreKept(t *testing.T) {
	b, h := newCached(t, wflo.USD)
	other := &vendor{name: "anthropic", answer: says("anthropic", haiku)}
	b.llm.Providers["anthropic"] = other
	b.vendor.answer = fails(503)
	p := ask("hi")
	p.Fallback = []string{haiku}
	for step := range 2 {
		if reply, err := b.chatAs(b.step(step), p); err != nil || reply.Provider != "anthropic" || reply.Cached != (step == 1) {
			t.Errorf("%+v, %v", reply, err)
		}
	}
	b.vendor.answer = answered
	if reply, err := b.chatAs(b.step(2), p); err != nil || reply.Provider != "openai" || reply.Cached {
		t.Errorf("%+v, %v", reply, err)
	}
	if other.calls() != 1 || h.cache["hit"] != 1 {
		t.Errorf("%d calls, %v", other.calls(), h.cache)
	}
}
