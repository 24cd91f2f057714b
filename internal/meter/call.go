package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/llm"
	"github.com/wflo-ai/wflo-go/pricing"
)

// minTokens is the shortest answer that is worth a call.
const minTokens = 64

// call is one request on its way.
type call struct {
	t    *Transport
	req  *http.Request
	ask  *ask
	who  identity
	at   time.Time
	hold wflo.Hold
	free func() // gives the number of the question back
	stop context.CancelFunc

	limit time.Duration // how long the call may take
	until time.Time     // when it is given up, if anything but the caller ends it
	sent  time.Time
}

// do reserves, sends, and leaves the settling to the body of the response.
func (c *call) do() (*http.Response, error) {
	key, free := c.t.effect(c.who, c.req, c.ask.body)
	c.free = free
	c.limit = c.t.cfg.Timeout
	if end, ok := c.req.Context().Deadline(); ok && c.who.named.Key == "" {
		// A call with a key of its own reserves the same whenever it is repeated.
		c.limit = max(0, min(c.limit, time.Until(end)))
	}
	c.until = time.Now().Add(c.limit)
	if err := c.reserve(key); err != nil {
		free()
		if isRefusal(err) && c.t.cfg.Observer != nil {
			c.t.cfg.Observer.BudgetExceeded(c.who.run.Workflow)
		}
		return nil, err
	}
	c.who.named.Granted, c.who.named.Room = c.hold.Granted, c.hold.Room
	if c.hold.State == wflo.HoldSettled {
		c.who.named.Settled, c.who.named.Replayed = true, true
		return replay(c.req, c.hold.Outcome)
	}
	out, err := c.request()
	if err != nil {
		return nil, errors.Join(err, c.release())
	}
	return c.send(out)
}

// ceiling are rates of which each is the dearest that its side can meet.
func ceiling(p wflo.Price) wflo.Price {
	p.Input = max(p.Input, p.CacheRead, p.CacheWrite5m, p.CacheWrite1h)
	p.Output = max(p.Output, p.Reasoning)
	return p
}

// cost is the most that the call can cost with answers of so many tokens.
func (c *call) cost(output int64) wflo.Money {
	return pricing.Cost(ceiling(c.ask.price), wflo.Usage{
		Input: c.ask.input, Output: saturate(output, c.ask.answers), Millis: c.millis(),
	})
}

// millis is the time that is reserved for models that bill by time.
func (c *call) millis() int64 {
	if c.ask.price.PerSecond == 0 {
		return 0
	}
	return millisUp(c.limit)
}

// millisUp is a duration in milliseconds, rounded up as vendors do.
func millisUp(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// reserve holds the worst case of the call, or as much of it as the budgets have
// room for if that pays for an answer worth having.
func (c *call) reserve(key wflo.EffectKey) error {
	run, a := c.who.run, c.ask
	r := wflo.Reservation{
		Key: key, Attempt: c.who.attempt, Amount: c.cost(a.output), Least: c.cost(a.least),
		Budgets: run.Lines, Scopes: run.Scopes(a.provider, a.model), Run: run, Provider: a.provider, Model: a.model,
	}
	if run.Namespace == "" {
		r.Within = c.t.cfg.Timeout
	}
	for range 100 {
		hold, err := c.t.cfg.Ledger.Reserve(c.req.Context(), r)
		switch {
		case errors.Is(err, wflo.ErrConflict):
			// The same attempt was reserved with another amount. The next number
			// is free.
			r.Attempt++
		case isRefusal(err):
			return err
		case err != nil:
			return fmt.Errorf("reserve: %w", err)
		case hold.State == wflo.HoldSettled && len(hold.Outcome) == 0:
			r.Key, r.Attempt = again(r.Key), c.who.attempt
		case hold.State == wflo.HoldSettled, hold.State == wflo.HoldOpen && !hold.Repeated:
			c.hold = hold
			return nil
		case hold.State == wflo.HoldOpen && c.who.scope == "":
			return wflo.Errorf(wflo.CodeConflict, "wait for it, and send the same request again",
				"a call with the same idempotency key is running")
		default:
			// The hold of an earlier try, open or given up: that call may have
			// been sent. The reservation of the next number closes it as unknown.
			r.Attempt++
		}
	}
	return wflo.Errorf(wflo.CodeConflict, "look at the run's ledger with wflo status", "step %s: no free attempt in the ledger", run.Step)
}

// granted is how many tokens each answer may have.
func (c *call) granted() int64 {
	if c.hold.Granted >= c.cost(c.ask.output) {
		return c.ask.output
	}
	return min(c.ask.output, pricing.MaxOutputWithin(c.ask.price, c.ask.input, c.hold.Granted, c.limit)/c.ask.answers)
}

// request is the caller's, with the answer's bound in it.
func (c *call) request() (*http.Request, error) {
	body, err := c.ask.bounded(c.granted())
	if err != nil {
		return nil, err
	}
	ctx := c.req.Context()
	c.stop = func() {}
	if c.who.run.Namespace == "" || c.ask.price.PerSecond > 0 {
		ctx, c.stop = context.WithDeadline(ctx, c.until)
	}
	out := c.req.Clone(ctx)
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	// Without GetBody net/http repeats no request on a connection that broke: the
	// first one may have been billed.
	out.GetBody = nil
	out.TransferEncoding = nil
	out.Header.Del("Content-Length")
	// A compressed response could not be read; net/http asks for compression and
	// undoes it when the request does not.
	out.Header.Del("Accept-Encoding")
	return out, nil
}

func (c *call) send(out *http.Request) (*http.Response, error) {
	var observed, connected atomic.Bool
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { observed.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}
	if err := out.Context().Err(); err != nil {
		c.stop()
		return nil, errors.Join(err, c.release())
	}
	c.sent = time.Now()
	resp, err := c.t.cfg.Base.RoundTrip(out.WithContext(httptrace.WithClientTrace(out.Context(), trace)))
	if err != nil {
		c.stop()
		if observed.Load() && !connected.Load() {
			return nil, errors.Join(err, c.release())
		}
		return nil, errors.Join(err, c.unknown("no response: "+reason(err)))
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		resp.Body = &closing{ReadCloser: resp.Body, stop: c.stop}
		if err := c.release(); err != nil {
			return nil, errors.Join(err, resp.Body.Close())
		}
		return resp, nil
	}
	resp.Body = newReading(c, resp)
	return resp, nil
}

// closing ends the time of a call with its body.
type closing struct {
	io.ReadCloser
	stop context.CancelFunc
}

func (b *closing) Close() error {
	defer b.stop()
	return b.ReadCloser.Close()
}

// settle books what the vendor billed, at the rates of the model that did.
func (c *call) settle(bill llm.Bill, outcome []byte) error {
	model := bill.Model
	price, err := c.t.cfg.Prices.Find(c.ask.provider, pricing.WithTier(model, bill.Tier), c.at, bill.Usage.Prompt())
	if model == "" || err != nil {
		// Vendors answer with snapshot names that the book may not list, and
		// Azure with a deployment's; the model that was asked for has a price.
		model = c.ask.model
		if price, err = c.t.cfg.Prices.Find(c.ask.provider, pricing.WithTier(model, bill.Tier), c.at, bill.Usage.Prompt()); err != nil {
			return c.unknown("no price for what billed: " + err.Error())
		}
	}
	if price.PerSecond > 0 {
		bill.Usage.Millis = millisUp(time.Since(c.sent))
	}
	s := wflo.Settlement{
		Key: c.hold.Key, Attempt: c.hold.Attempt, Amount: pricing.Cost(price, bill.Usage), Usage: bill.Usage, Price: price,
		Provider: c.ask.provider, Model: model, ResponseID: clip(bill.ResponseID), Outcome: outcome,
	}
	ctx := c.req.Context()
	if err := activities.Persist(ctx, func(ctx context.Context) error { return c.t.cfg.Ledger.Settle(ctx, s) }); err != nil {
		// The hold stays open: the next attempt or the sweep charges it in full.
		c.t.cfg.Logger.WarnContext(ctx, "call is not settled", "key", string(c.hold.Key), "model", c.ask.model, "error", err.Error())
		return fmt.Errorf("settle %s: %w", s.ResponseID, err)
	}
	c.who.named.Settled, c.who.named.Cost = true, s.Amount
	c.learn(s)
	return nil
}

// estimating is what an Observer may be as well.
type estimating interface {
	LLMEstimate(ctx context.Context, provider, model string, reserved, counted int64)
	LLMOverdraft(ctx context.Context, provider, model string, over wflo.Money)
}

// learn tells what the call came to, and keeps what helps to estimate the next.
func (c *call) learn(s wflo.Settlement) {
	used := s.Usage.Prompt()
	// What is outside of the request says nothing about its bytes.
	known := used > 0 && c.ask.outside == 0
	if known && c.t.cfg.Estimator != nil {
		c.t.cfg.Estimator.Learn(c.who.run, c.ask.provider, c.ask.model, c.ask.size, used)
	}
	ctx := wflo.WithRun(c.req.Context(), c.who.run)
	if c.t.cfg.Observer != nil {
		c.t.cfg.Observer.LLMCall(ctx, s.Provider, s.Model, s.Usage, s.Amount)
	}
	if o, ok := c.t.cfg.Observer.(estimating); ok {
		if known {
			o.LLMEstimate(ctx, s.Provider, s.Model, c.ask.input, used)
		}
		if over := s.Amount - c.hold.Granted; over > 0 {
			o.LLMOverdraft(ctx, s.Provider, s.Model, over)
		}
	}
}

// release gives the hold back: the vendor did not answer, so it did not bill.
func (c *call) release() error {
	c.free()
	ctx := c.req.Context()
	err := activities.Persist(ctx, func(ctx context.Context) error { return c.t.cfg.Ledger.Release(ctx, c.hold.Key, c.hold.Attempt) })
	if err != nil {
		return fmt.Errorf("close hold: %w", err)
	}
	return nil
}

// unknown charges the hold in full: the vendor may have billed.
func (c *call) unknown(why string) error {
	ctx := c.req.Context()
	c.t.cfg.Logger.WarnContext(ctx, "cost of a call is unknown; its worst case is charged",
		"run", c.who.run.ID(), "provider", c.ask.provider, "model", c.ask.model, "reserved", c.hold.Granted.String(), "reason", why)
	err := activities.Persist(ctx, func(ctx context.Context) error { return c.t.cfg.Ledger.MarkUnknown(ctx, c.hold.Key, c.hold.Attempt) })
	if err != nil {
		return fmt.Errorf("close hold: %w", err)
	}
	c.who.named.Cost = c.hold.Granted
	return nil
}

// clip bounds a vendor's id.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 200)], "") }

// reason is err without the URL, whose query may hold a key.
func reason(err error) string {
	for _, target := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, target) {
			return target.Error()
		}
	}
	return "the connection failed"
}

// saturate multiplies counts of tokens.
func saturate(a, b int64) int64 {
	const most = 1 << 50
	if a > 0 && b > most/a {
		return most
	}
	return a * b
}
