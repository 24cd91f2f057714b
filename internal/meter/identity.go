package meter

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
)

// identity says whose call it is and which of its calls.
type identity struct {
	run     wflo.Run
	attempt int
	// scope is the attempt of an activity within which equal requests are
	// counted; empty outside of one.
	scope    string
	deadline time.Time
	// named is the caller's own name for the call.
	named *Call
}

// identify reads from the context whom the request acts for.
func (t *Transport) identify(req *http.Request) (identity, error) {
	ctx := req.Context()
	who := identity{attempt: 1}
	who.named, _ = ctx.Value(callKey{}).(*Call)
	if who.named == nil {
		who.named = &Call{}
	}
	run, ok := wflo.RunFrom(ctx)
	if !ok && t.cfg.Run != nil {
		run, ok = t.cfg.Run(req)
	}
	if !ok {
		return who, wflo.Invalid("request", "belongs to no run, so nobody would pay for it",
			"pass the activity's context to the SDK, and give the worker wflo's plugin")
	}
	who.run = run
	if activity.IsActivity(ctx) {
		info := activity.GetInfo(ctx)
		who.attempt = max(1, int(info.Attempt))
		who.scope = string(run.EffectKey()) + "/" + strconv.Itoa(who.attempt) + "/" + string(info.TaskToken)
		who.deadline = info.Deadline
	}
	return who, nil
}

// stable says whether a later try of the same call finds this one's record.
func (w identity) stable() bool { return w.scope != "" || w.named.Key != "" }

// effect names the call: the step, what is asked, and which of several equal
// questions it is. free gives that number back, for a call that was not billed:
// the next try of the same question is the same effect.
func (t *Transport) effect(who identity, req *http.Request, body []byte) (key wflo.EffectKey, free func()) {
	h := sha256.New()
	put := func(part string) { fmt.Fprintf(h, "%d:%s;", len(part), part) }
	sum := sha256.Sum256(body)
	put(string(who.run.EffectKey()))
	put(req.Method)
	put(req.URL.Path)
	put(string(sum[:]))
	put(who.named.Key)
	free = func() {}
	switch {
	case who.named.Key != "":
	case who.scope != "":
		var n int
		n, free = t.uses.take(who.scope, hex.EncodeToString(h.Sum(nil)), who.deadline)
		put(strconv.Itoa(n))
	default:
		put(rand.Text())
	}
	return wflo.EffectKey(hex.EncodeToString(h.Sum(nil))), free
}

// again names the effect that repeats one whose answer was too large to keep.
func again(key wflo.EffectKey) wflo.EffectKey {
	sum := sha256.Sum256([]byte("again:" + key))
	return wflo.EffectKey(hex.EncodeToString(sum[:]))
}

// occurrences numbers equal requests within one attempt of an activity, so that
// the same question asked twice is two calls, and the second attempt finds the
// answers of both. The zero value is ready.
type occurrences struct {
	mu       sync.Mutex
	attempts map[string]*usage
	swept    time.Time
}

type usage struct {
	until time.Time
	taken map[string]map[int]bool
}

// keepUses is how long numbers are kept for an attempt that has no deadline;
// sweepUses is how often those of attempts that are over are dropped.
const (
	keepUses  = 24 * time.Hour
	sweepUses = time.Minute
)

// take gives the lowest number that is free. give returns it.
func (o *occurrences) take(scope, question string, until time.Time) (n int, give func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if until.IsZero() {
		until = now.Add(keepUses)
	}
	o.sweep(now)
	u := o.attempts[scope]
	if u == nil {
		u = &usage{taken: map[string]map[int]bool{}}
		if o.attempts == nil {
			o.attempts = map[string]*usage{}
		}
		o.attempts[scope] = u
	}
	u.until = until
	if u.taken[question] == nil {
		u.taken[question] = map[int]bool{}
	}
	for u.taken[question][n] {
		n++
	}
	u.taken[question][n] = true
	return n, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(u.taken[question], n)
	}
}

func (o *occurrences) sweep(now time.Time) {
	if now.Sub(o.swept) < sweepUses {
		return
	}
	o.swept = now
	for scope, u := range o.attempts {
		if now.After(u.until) {
			delete(o.attempts, scope)
		}
	}
}
