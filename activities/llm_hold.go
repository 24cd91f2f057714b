package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// maxNumbers bounds the search for a free attempt number. A run has a few
// attempts with a few models each.
const maxNumbers = 200

// reserve holds the worst case of the call, or what there is room for as long
// as that pays for minTokens of answer. The hold is new, or that of an attempt
// that was settled. t.attempt becomes the hold's number, and is free when the
// call is refused.
func (l *LLM) reserve(ctx context.Context, t *try, c *call) (hold wflo.Hold, err error) {
	ctx, span := startSpan(ctx, "ledger reserve")
	defer func() {
		span.SetAttributes(costOf("wflo.budget.reserved", hold.Granted)...)
		endSpan(span, err)
	}()
	r := wflo.Reservation{
		Key: t.run.EffectKey(), Amount: c.cost(c.prompt.MaxTokens), Least: c.cost(min(minTokens, c.prompt.MaxTokens)),
		Budgets: t.run.Lines, Scopes: t.run.Scopes(c.provider.Name(), c.prompt.Model),
		Run: t.run, Provider: c.provider.Name(), Model: c.prompt.Model,
	}
	for ; t.attempt <= maxNumbers; t.attempt++ {
		r.Attempt = t.attempt
		hold, err := l.Ledger.Reserve(ctx, r)
		switch {
		case errors.Is(err, wflo.ErrConflict):
			// The same number was reserved with another amount, by an earlier
			// attempt or before a reset. The next one may be free.
		case errors.Is(err, wflo.ErrBudgetExceeded):
			return wflo.Hold{}, refused(err)
		case err != nil:
			return wflo.Hold{}, fmt.Errorf("reserve: %w", err)
		case hold.State == wflo.HoldSettled:
			return hold, nil
		case hold.State == wflo.HoldOpen && !hold.Repeated:
			if hold.Granted < r.Least {
				return wflo.Hold{}, fmt.Errorf("reserve: the ledger holds %s, less than the %s that the call needs", hold.Granted, r.Least)
			}
			return hold, nil
		default:
			// Somebody else's hold, open or given up: that call may have been
			// sent. The reservation of the next number closes it as unknown.
		}
	}
	return wflo.Hold{}, wflo.Errorf(wflo.CodeConflict, "look at the run's ledger with wflo status", "step %s: no free attempt in the ledger", t.run.Step)
}

// refused tells a budget that is spent from one that other calls hold at the
// moment: those settle at a fraction of their worst case, so the call is worth
// another try soon.
func refused(err error) error {
	var r *wflo.Refusal
	if errors.As(err, &r) && r.Reserved > 0 && r.Limit-r.Spent >= r.Asked {
		return &busyError{err: err}
	}
	return err
}

// settle books what the call cost at the rates of the model that billed.
func (l *LLM) settle(ctx context.Context, hold wflo.Hold, c *call, reply wflo.Reply) (wflo.Reply, error) {
	if err := reply.Usage.Validate(); err != nil {
		return wflo.Reply{}, l.giveUp(ctx, hold, &CallError{Billable: true, Err: fmt.Errorf("%s: %w", c.provider.Name(), err)})
	}
	price, err := l.priceOf(c, reply)
	if err != nil {
		return wflo.Reply{}, l.giveUp(ctx, hold, &CallError{Billable: true, Err: err})
	}
	if price.PerSecond > 0 && reply.Usage.Millis == 0 {
		reply.Usage.Millis = millisUp(c.took)
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
	booking, span := startSpan(ctx, "ledger settle", trace.WithAttributes(costOf("wflo.budget.settled", s.Amount)...))
	err = Persist(booking, func(ctx context.Context) error { return l.Ledger.Settle(ctx, s) })
	endSpan(span, err)
	if err != nil {
		return wflo.Reply{}, fmt.Errorf("settle %s: %w", reply.ResponseID, err)
	}
	return reply, nil
}

// priceOf finds the rates for a reply at the moment of the call, in the service
// tier that billed. Vendors answer with snapshot names that the book may not
// list; the model that was asked for is priced, or plan would have refused.
func (l *LLM) priceOf(c *call, reply wflo.Reply) (wflo.Price, error) {
	if price, err := l.Prices.Find(c.provider.Name(), pricing.WithTier(reply.Model, reply.Tier), c.at, reply.Usage.Prompt()); err == nil {
		return price, nil
	}
	return l.Prices.Find(c.provider.Name(), pricing.WithTier(c.prompt.Model, reply.Tier), c.at, reply.Usage.Prompt())
}

// giveUp closes the hold of a call that failed, and returns why it failed. Only
// a call that was certainly not billed gets its money back.
func (l *LLM) giveUp(ctx context.Context, hold wflo.Hold, cause error) error {
	var call *CallError
	closeHold := l.Ledger.MarkUnknown
	if errors.As(cause, &call) && !call.Billable {
		closeHold = l.Ledger.Release
	}
	err := Persist(ctx, func(ctx context.Context) error { return closeHold(ctx, hold.Key, hold.Attempt) })
	if err != nil {
		// The hold stays open, so the money stays reserved; the next attempt
		// charges it as unknown.
		return errors.Join(cause, fmt.Errorf("close hold: %w", err))
	}
	return cause
}

// Persist does a ledger write that must not be lost: cancellation of ctx does
// not reach it, and it is tried again for half a minute while the ledger cannot
// be reached. An answer of the ledger, a refusal too, is final.
func Persist(ctx context.Context, write func(context.Context) error) error {
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
