package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// DefaultMaxTokens bounds an answer when the prompt does not, in tokens. The
// worst case of every call is reserved, so a model's own maximum would block
// budgets that the call will never use.
const DefaultMaxTokens = 4096

// minTokens is the shortest answer that is worth a call: a prompt whose budget
// can pay for less is refused instead of being answered with a stump.
const minTokens = 64

// LLM calls language models within budgets. Its methods are registered as
// activities.
type LLM struct {
	// Providers are the configured vendors by name.
	Providers map[string]Provider
	// Prices finds rates. Required.
	Prices Prices
	// Ledger keeps budgets. Required.
	Ledger Ledger
	// Observer counts. Required.
	Observer Observer
	// MaxTokens bounds an answer when the prompt does not; zero means
	// DefaultMaxTokens.
	MaxTokens int64
}

// Chat makes one metered call: it reserves the worst case on every budget of
// the run, calls the provider, and settles what the call cost. An effect that
// was settled before (a worker died after paying, a run was reset) returns the
// recorded answer and neither calls nor pays again.
func (l *LLM) Chat(ctx context.Context, p wflo.Prompt) (wflo.Reply, error) {
	run, _ := wflo.RunFrom(ctx)
	if err := p.Validate(); err != nil {
		return wflo.Reply{}, err
	}
	c, err := l.plan(p, time.Now())
	if err != nil {
		return wflo.Reply{}, err
	}
	hold, err := l.reserve(ctx, run, c)
	if err != nil {
		if errors.Is(err, wflo.ErrBudgetExceeded) {
			l.Observer.BudgetExceeded(run.Workflow)
		}
		return wflo.Reply{}, err
	}
	if hold.State == wflo.HoldSettled {
		return recorded(hold)
	}
	reply, err := l.send(ctx, c)
	if err != nil {
		return wflo.Reply{}, l.giveUp(ctx, hold, err)
	}
	reply, err = l.settle(ctx, hold, c, reply)
	if err == nil {
		l.Observer.LLMCall(ctx, reply.Provider, reply.Model, reply.Usage, reply.Cost)
	}
	return reply, err
}

// call is a prompt that is ready to be reserved and sent.
type call struct {
	prompt   wflo.Prompt
	provider Provider
	price    wflo.Price // the dearest rates that the call can meet
	input    int64      // upper bound of prompt tokens
	at       time.Time
}

// plan finds provider and rates, before anything is paid.
func (l *LLM) plan(p wflo.Prompt, at time.Time) (*call, error) {
	if p.MaxTokens == 0 {
		p.MaxTokens = l.MaxTokens
	}
	if p.MaxTokens == 0 {
		p.MaxTokens = DefaultMaxTokens
	}
	input := pricing.InputBound(p)
	price, err := l.Prices.FindWorst("", p.Model, at, input)
	if err != nil {
		return nil, err
	}
	vendor, _, _ := strings.Cut(price.ID, "/")
	provider, ok := l.Providers[vendor]
	if !ok {
		return nil, wflo.Errorf(wflo.CodeMissingKey, hintFor(vendor), "model %s: provider %s is not configured on this worker", p.Model, vendor)
	}
	p.Model = strings.TrimPrefix(p.Model, vendor+"/")
	return &call{prompt: p, provider: provider, price: price, input: input, at: at}, nil
}

func hintFor(vendor string) string {
	if key, ok := map[string]string{
		"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GEMINI_API_KEY", "cohere": "CO_API_KEY",
	}[vendor]; ok {
		return "set " + key + " in the worker's environment"
	}
	return "configure the provider in plugin.Config.Providers"
}

// reserve holds the worst case of the call. Where the budget cannot pay for the
// whole answer, the answer is cut to the head-room, and only a call that would
// not even get minTokens is refused.
func (l *LLM) reserve(ctx context.Context, run wflo.Run, c *call) (wflo.Hold, error) {
	attempt := int(activity.GetInfo(ctx).Attempt)
	for range 100 {
		if err := l.fit(ctx, run, c); err != nil {
			return wflo.Hold{}, err
		}
		worst, _ := pricing.Estimate(c.price, c.prompt)
		hold, err := l.Ledger.Reserve(ctx, wflo.Reservation{
			Key: run.EffectKey(), Attempt: attempt, Amount: worst, Budgets: run.Lines,
			Run: run, Provider: c.provider.Name(), Model: c.prompt.Model,
		})
		switch {
		case errors.Is(err, wflo.ErrConflict):
			// The same attempt was reserved with another amount: a reset run
			// that finds its predecessor's hold. The next number is free.
			attempt++
		case errors.Is(err, wflo.ErrBudgetExceeded):
			return wflo.Hold{}, l.refused(ctx, run, c, err)
		case err != nil:
			return wflo.Hold{}, fmt.Errorf("reserve: %w", err)
		case hold.State == wflo.HoldSettled, hold.State == wflo.HoldOpen && !hold.Repeated:
			return hold, nil
		default:
			// Somebody else's hold, open or given up: that call may have been
			// sent. The reservation of the next number closes it as unknown.
			attempt++
		}
	}
	return wflo.Hold{}, wflo.Errorf(wflo.CodeConflict, "look at the run's ledger with wflo status", "step %s: no free attempt in the ledger", run.Step)
}

// refused tells a budget that is spent from one that other calls of the run
// hold at the moment: those settle at a fraction of their worst case, so the
// call is worth another try soon.
func (l *LLM) refused(ctx context.Context, run wflo.Run, c *call, cause error) error {
	least := c.prompt
	least.MaxTokens = minTokens
	need, _ := pricing.Estimate(c.price, least)
	for _, line := range run.Lines {
		s, err := l.Ledger.Spend(ctx, line.ID)
		if err != nil || (s.Limit > 0 && s.Limit-s.Spent < need) {
			return cause
		}
	}
	return &busyError{err: cause}
}

// fit cuts the answer to what the tightest budget can pay now. It is advice:
// the reservation decides.
func (l *LLM) fit(ctx context.Context, run wflo.Run, c *call) error {
	for _, line := range run.Lines {
		s, err := l.Ledger.Spend(ctx, line.ID)
		if err != nil {
			return fmt.Errorf("read budget %s: %w", line.ID, err)
		}
		limit := s.Limit
		if limit == 0 {
			limit = line.Limit
		}
		if limit == 0 {
			continue
		}
		room := limit - s.Spent - s.Reserved
		if most := pricing.MaxOutput(c.price, c.input, room); most < c.prompt.MaxTokens && most >= minTokens {
			c.prompt.MaxTokens = most
		}
	}
	return nil
}

// send calls the provider and heartbeats while it waits.
func (l *LLM) send(ctx context.Context, c *call) (wflo.Reply, error) {
	defer pulse(ctx, func() any { return "waiting for " + c.provider.Name() })()
	return c.provider.Chat(ctx, c.prompt, nil)
}

// settle books what the call cost at the rates of the model that billed.
func (l *LLM) settle(ctx context.Context, hold wflo.Hold, c *call, reply wflo.Reply) (wflo.Reply, error) {
	if err := reply.Usage.Validate(); err != nil {
		return wflo.Reply{}, l.giveUp(ctx, hold, &CallError{Billable: true, Err: fmt.Errorf("%s: %w", c.provider.Name(), err)})
	}
	price, err := l.Prices.Find(c.provider.Name(), reply.Model, c.at, reply.Usage.Prompt())
	if err != nil {
		// Vendors answer with snapshot names that the book may not list; the
		// model that was asked for is priced, or plan would have refused.
		if price, err = l.Prices.Find(c.provider.Name(), c.prompt.Model, c.at, reply.Usage.Prompt()); err != nil {
			return wflo.Reply{}, l.giveUp(ctx, hold, &CallError{Billable: true, Err: err})
		}
	}
	reply.Cost = pricing.Cost(price, reply.Usage)
	outcome, err := json.Marshal(reply)
	if err != nil {
		return wflo.Reply{}, l.giveUp(ctx, hold, &CallError{Billable: true, Err: fmt.Errorf("encode reply: %w", err)})
	}
	s := wflo.Settlement{
		Key: hold.Key, Attempt: hold.Attempt, Amount: reply.Cost, Usage: reply.Usage, Price: price,
		Provider: reply.Provider, Model: reply.Model, ResponseID: reply.ResponseID, Outcome: outcome,
	}
	err = persist(ctx, func(ctx context.Context) error { return l.Ledger.Settle(ctx, s) })
	if err != nil {
		return wflo.Reply{}, fmt.Errorf("settle %s: %w", reply.ResponseID, err)
	}
	return reply, nil
}

// giveUp closes the hold of a call that failed, and returns why it failed. Only
// a call that was certainly not billed gets its money back.
func (l *LLM) giveUp(ctx context.Context, hold wflo.Hold, cause error) error {
	var call *CallError
	closeHold := l.Ledger.MarkUnknown
	if errors.As(cause, &call) && !call.Billable {
		closeHold = l.Ledger.Release
	}
	err := persist(ctx, func(ctx context.Context) error { return closeHold(ctx, hold.Key, hold.Attempt) })
	if err != nil {
		// The hold stays open, so the money stays reserved; the next attempt
		// charges it as unknown.
		return errors.Join(cause, fmt.Errorf("close hold: %w", err))
	}
	return cause
}

// persist does a ledger write that must not be lost: cancellation of the
// activity does not reach it, and it outlasts a short outage.
func persist(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	wait := 50 * time.Millisecond
	for {
		err := write(ctx)
		if err == nil || wflo.CodeOf(err) != "" || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = min(2*wait, 5*time.Second)
		}
	}
}

func recorded(hold wflo.Hold) (wflo.Reply, error) {
	var reply wflo.Reply
	if err := json.Unmarshal(hold.Outcome, &reply); err != nil {
		return wflo.Reply{}, fmt.Errorf("read recorded answer: %w", err)
	}
	return reply, nil
}
