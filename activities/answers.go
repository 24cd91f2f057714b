package activities

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

const (
	// turnLease is how long others wait for a worker that died while it worked on
	// an answer. One that lives extends it every third of that.
	turnLease = 30 * time.Second
	// cacheTimeout bounds one use of the cache: it must not cost more time than
	// it saves.
	cacheTimeout = 2 * time.Second
	// unkeptFor is how long it is remembered that an answer could not be kept, so
	// that those who want the same do not wait for each other.
	unkeptFor = 30 * time.Second
)

// What Observer.LLMCache is told.
const (
	cacheHit   = "hit"
	cacheMiss  = "miss"
	cacheError = "error"
)

// kept is the value in the cache. One without a reply says that the answer
// could not be kept.
type kept struct {
	Source wflo.EffectKey `json:"source,omitempty"`
	Reply  *wflo.Reply    `json:"reply,omitempty"`
}

var errNotKept = errors.New("not an answer that was kept")

// validate refuses what another program put there.
func (k kept) validate() error {
	if k.Source == "" || k.Reply.Provider == "" || !complete(*k.Reply) {
		return errNotKept
	}
	return k.Reply.Usage.Validate()
}

// caches says whether the call may be answered by the cache.
func (l *LLM) caches(c *call) bool {
	return l.Cache != nil && l.CacheTTL > 0 && !c.prompt.NoCache
}

// answer takes the answer from the cache, or makes the call as the only one of
// all workers that wants the same and keeps the answer for the others. It has
// the hold of the call, or the refusal: what is in the cache costs nothing, so
// it is given out all the same. The ledger comes first because an effect that
// was settled is no hit.
func (l *LLM) answer(ctx context.Context, t *try, c *call, hold wflo.Hold, refusal error) (wflo.Reply, error) {
	key, err := questionKey(t.run, c)
	if err != nil {
		return wflo.Reply{}, err
	}
	found := l.claim(ctx, key)
	held := refusal == nil
	if found.elsewhere {
		// Who waits needs no money meanwhile; the other one may need it.
		if err := l.letGo(ctx, t, hold, held); err != nil {
			return wflo.Reply{}, err
		}
		if found = l.await(ctx, key, c.until); ctx.Err() != nil {
			return wflo.Reply{}, ctx.Err()
		}
		held, refusal = false, nil
	}
	if found.value != nil {
		if err := l.letGo(ctx, t, hold, held); err != nil {
			return wflo.Reply{}, err
		}
		return l.hit(ctx, t, c, *found.value)
	}
	defer l.work(ctx, found.lease)()
	if !held && refusal == nil {
		hold, refusal = l.reserve(ctx, t, c)
		if refusal == nil && hold.State == wflo.HoldSettled {
			return recorded(hold)
		}
	}
	if refusal != nil {
		if errors.Is(refusal, wflo.ErrBudgetExceeded) {
			l.Observer.BudgetExceeded(t.run.Workflow)
		}
		return wflo.Reply{}, refusal
	}
	reply, err := l.pay(ctx, t, c, hold)
	if err == nil && !found.broken {
		l.Observer.LLMCache(ctx, cacheMiss)
		l.keep(ctx, key, hold.Key, reply)
	}
	return reply, err
}

// letGo gives back a hold whose call is not made.
func (l *LLM) letGo(ctx context.Context, t *try, hold wflo.Hold, held bool) error {
	if !held {
		return nil
	}
	t.attempt = hold.Attempt + 1
	err := Persist(ctx, func(ctx context.Context) error { return l.Ledger.Release(ctx, hold.Key, hold.Attempt) })
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// hit gives out an earlier answer, and records what that saved.
func (l *LLM) hit(ctx context.Context, t *try, c *call, k kept) (wflo.Reply, error) {
	reply := *k.Reply
	price, err := l.priceOf(c, reply)
	if err != nil {
		// Its service tier is not in the book any more; the model is.
		if price, err = l.Prices.Find(c.provider.Name(), c.prompt.Model, c.at, reply.Usage.Prompt()); err != nil {
			return wflo.Reply{}, fmt.Errorf("price of a cached answer: %w", err)
		}
	}
	billed := reply.Usage // to who asked first
	reply.Usage, reply.Cost, reply.Cached, reply.Saved = wflo.Usage{}, 0, true, pricing.Cost(price, billed)
	outcome, err := json.Marshal(reply)
	if err != nil {
		return wflo.Reply{}, fmt.Errorf("encode reply: %w", err)
	}
	s := wflo.Saving{
		Key: t.run.EffectKey(), Attempt: t.attempt, Run: t.run, Scopes: t.run.Scopes(c.provider.Name(), c.prompt.Model),
		Source: k.Source, Usage: billed, Price: price, Provider: reply.Provider, Model: reply.Model, Saved: reply.Saved, Outcome: outcome,
	}
	err = Persist(ctx, func(ctx context.Context) error { return l.Ledger.Save(ctx, s) })
	if err != nil {
		return wflo.Reply{}, fmt.Errorf("record a cached answer: %w", err)
	}
	l.Observer.LLMCache(ctx, cacheHit)
	return reply, nil
}

// turn is what asking the cache came to: the value, that somebody else works on
// it, or the right to make the call.
type turn struct {
	value     *kept
	elsewhere bool
	lease     Lease // nil where there is none: others may make the call too
	broken    bool  // the cache cannot be used
}

// claim looks for an answer, and else for the right to make the call.
func (l *LLM) claim(ctx context.Context, key string) turn {
	k, err := l.look(ctx, key)
	if err == nil && k == nil {
		var lease Lease
		var ok bool
		if lease, ok, err = l.lock(ctx, key); err == nil {
			if !ok {
				return turn{elsewhere: true}
			}
			// Somebody may have finished between the look and the lock.
			if k, err = l.look(ctx, key); err == nil && k == nil {
				return turn{lease: lease}
			}
			lease.Unlock()
		}
	}
	switch {
	case err != nil:
		l.failed(ctx, "read", err)
		return turn{broken: true}
	case k.Reply == nil:
		return turn{}
	}
	return turn{value: k}
}

func (l *LLM) lock(ctx context.Context, key string) (Lease, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	return l.Cache.Lock(ctx, key, l.leaseTime())
}

func (l *LLM) leaseTime() time.Duration {
	if l.lease > 0 {
		return l.lease
	}
	return turnLease
}

// work extends the lease until done is called, which gives it back. It goes on
// when the cache fails for a moment, and ends with the lease.
func (l *LLM) work(ctx context.Context, lease Lease) (done func()) {
	if lease == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(l.leaseTime() / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ok, err := l.extend(ctx, lease)
			if err != nil {
				l.failed(ctx, "extend", err)
			} else if !ok {
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		lease.Unlock()
	}
}

func (l *LLM) extend(ctx context.Context, lease Lease) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, min(cacheTimeout, l.leaseTime()/3))
	defer cancel()
	return lease.Extend(ctx, l.leaseTime())
}

// await asks until the other one has answered or given up, and heartbeats
// meanwhile. Half of the time until the call is given up is left for one of its
// own.
func (l *LLM) await(ctx context.Context, key string, until time.Time) turn {
	defer pulse(ctx, func() any { return "waiting for the answer to the same question" })()
	over := time.NewTimer(time.Until(until) / 2)
	defer over.Stop()
	wait := 20 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return turn{}
		case <-over.C:
			return turn{}
		case <-time.After(wait):
		}
		if found := l.claim(ctx, key); !found.elsewhere {
			return found
		}
		wait = min(wait*3/2, 500*time.Millisecond)
	}
}

// look reads the value of a key; nil when there is none. One that is not ours is
// noted and counts as none: the call that follows overwrites it.
func (l *LLM) look(ctx context.Context, key string) (*kept, error) {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	data, ok, err := l.Cache.Get(ctx, key)
	if err != nil || !ok {
		return nil, err
	}
	var k kept
	if err = json.Unmarshal(data, &k); err == nil && k.Reply != nil {
		err = k.validate()
	}
	if err != nil {
		l.failed(ctx, "read "+key, err)
		return nil, nil
	}
	return &k, nil
}

// keep stores a complete answer; of another it stores that there is none.
func (l *LLM) keep(ctx context.Context, key string, source wflo.EffectKey, reply wflo.Reply) {
	k, ttl := kept{Source: source, Reply: &reply}, l.CacheTTL
	if !complete(reply) {
		k, ttl = kept{}, min(ttl, unkeptFor)
	}
	data, err := json.Marshal(k)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cacheTimeout)
		defer cancel()
		err = l.Cache.Put(ctx, key, data, ttl)
	}
	if err != nil {
		l.failed(ctx, "write", err)
	}
}

// failed notes that the cache could not be used. The call goes on without it.
func (l *LLM) failed(ctx context.Context, doing string, err error) {
	if ctx.Err() != nil {
		return
	}
	l.Observer.LLMCache(ctx, cacheError)
	l.log().WarnContext(ctx, "response cache failed", "doing", doing, "error", err.Error())
}

// complete says whether an answer is worth keeping: it was neither cut nor
// withheld, and says something.
func complete(r wflo.Reply) bool {
	return (r.Stop == wflo.StopEnd || r.Stop == wflo.StopTools) && (r.Text != "" || len(r.ToolCalls) > 0)
}

// question is all that an answer depends on, and whose it is. Its JSON is the
// same for the same question. A change of it makes all earlier answers unknown.
type question struct {
	Version     int            `json:"version"`
	Tenant      string         `json:"tenant"`
	Provider    string         `json:"provider"`
	Model       string         `json:"model"`
	System      string         `json:"system"`
	Messages    []wflo.Message `json:"messages"`
	Tools       []questionTool `json:"tools"`
	MaxTokens   int64          `json:"max_tokens"`
	Temperature *float64       `json:"temperature"`
}

type questionTool struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Parameters  any    `json:"parameters"`
}

// questionKey names the question, as the SHA-256 of its canonical JSON in hex.
// The length of the answer is the one that was asked for, not the one that the
// budget pays for: a complete answer is the same.
func questionKey(run wflo.Run, c *call) (string, error) {
	q := question{
		Version: 1, Tenant: tenant(run), Provider: c.provider.Name(), Model: c.prompt.Model, System: c.prompt.System,
		Messages: c.prompt.Messages, MaxTokens: c.prompt.MaxTokens, Temperature: c.prompt.Temperature,
	}
	for _, t := range c.prompt.Tools {
		q.Tools = append(q.Tools, questionTool{t.Name, t.Description, canonical(t.Parameters)})
	}
	// Strings, numbers and what canonical gives can be encoded; a temperature
	// that is no number cannot come with an activity's input, which is JSON.
	data, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("encode question: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// canonical decodes a schema, so that its keys are sorted and blanks do not
// count. One that is not JSON counts as its text.
func canonical(schema json.RawMessage) any {
	d := json.NewDecoder(bytes.NewReader(schema))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return string(schema)
	}
	return v
}

// tenant is who may share answers: the organisation, or the closest that is
// known to it.
func tenant(run wflo.Run) string {
	switch {
	case run.Org != "":
		return "org:" + run.Org
	case run.Team != "":
		return "team:" + run.Team
	case run.User != "":
		return "user:" + run.User
	}
	return "namespace:" + run.Namespace
}
