package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
)

// DefaultMaxTokens bounds an answer when the prompt does not, in tokens. The
// worst case of every call is reserved, so a model's own maximum would block
// budgets that the call will never use.
const DefaultMaxTokens = 4096

// minTokens is the shortest answer that is worth a call: a prompt whose budget
// can pay for less is refused instead of being answered with a stump.
const minTokens = 64

// LLM calls language models within budgets. Its methods are registered as
// activities. Set the fields before the first call and do not copy it after:
// what it learns of models and providers is kept inside.
type LLM struct {
	// Providers are the configured vendors by name.
	Providers map[string]Provider
	// Prices finds rates. Required.
	Prices Prices
	// Ledger keeps budgets. Required.
	Ledger Ledger
	// Observer counts. Required.
	Observer Observer
	// Logger hears of what a call survives: caches and providers that fail. Nil
	// means silence.
	Logger *slog.Logger
	// MaxTokens bounds an answer when the prompt does not; zero means
	// DefaultMaxTokens.
	MaxTokens int64
	// Strict reserves for the most tokens that a prompt can be counted as. Else
	// its size is estimated from what like calls were billed, which reserves
	// about a quarter as much for English, and a call may cost more than was
	// reserved for it: the ledger records that, and refuses the next one.
	Strict bool
	// Estimator learns how prompts are counted, unless Strict. Nil means one of
	// its own; share it with what else calls models.
	Estimator *Estimator
	// Routes send calls to other models than they ask for; the first that
	// matches counts. Check them with ValidateRoutes.
	Routes []Route
	// Cache keeps answers for CacheTTL. Nil, or a zero CacheTTL, means that
	// every call is made.
	Cache    Cache
	CacheTTL time.Duration
	// Conversations keeps what was said, so that the turns of an agent do not repeat it;
	// nil means that every prompt comes whole.
	Conversations Conversations
	// CaptureContent puts what is asked and answered on the spans of calls.
	CaptureContent bool

	sizes   Estimator
	circuit circuit
	usage   shares
	talks   talks
	lease   time.Duration // zero means turnLease
}

// Chat makes one metered call: it reserves the worst case on every budget of
// the run, calls the provider, and settles what the call cost. An effect that
// was settled before (a worker died after paying, a run was reset) returns the
// recorded answer and neither calls nor pays again. When a provider fails, the
// route's other models and the prompt's Fallback are tried, each with a
// reservation of its own and a share of the time that is left; an answer that the
// cache has costs nothing.
func (l *LLM) Chat(ctx context.Context, p wflo.Prompt) (wflo.Reply, error) {
	run, ok := wflo.RunFrom(ctx)
	if !ok {
		// All calls without one would be the same effect.
		return wflo.Reply{}, wflo.Invalid("context", "carries no run", "register the activity through the plugin, or use wflo.WithRun")
	}
	asked := p
	p, err := l.whole(ctx, asked)
	if err != nil {
		return wflo.Reply{}, err
	}
	if err := p.Validate(); err != nil {
		return wflo.Reply{}, err
	}
	reply, err := l.chat(ctx, run, p)
	if err == nil {
		reply.Conversation = l.keepTalk(ctx, asked, p, reply)
	}
	return reply, err
}

// chat makes the call with the first model that answers.
func (l *LLM) chat(ctx context.Context, run wflo.Run, p wflo.Prompt) (wflo.Reply, error) {
	targets, err := l.targets(ctx, run, p)
	if err != nil {
		return wflo.Reply{}, err
	}
	// Numbers are taken from the first on, whatever number Temporal gives the
	// attempt: the ledger then finds what an earlier attempt, or the run before
	// its reset, has settled, because there are no gaps.
	t := &try{run: run, attempt: 1}
	var failed failures
	for i, c := range targets {
		c.share(ctx, len(targets)-i)
		reply, err := l.ask(ctx, t, c)
		if err == nil {
			return reply, nil
		}
		failed.add(c, err)
		if ctx.Err() != nil || !mendable(err) || i == len(targets)-1 {
			break
		}
		next := targets[i+1]
		l.Observer.LLMFailover(ctx, c.provider.Name(), c.prompt.Model)
		l.log().WarnContext(ctx, "model failed, another is asked", "model", c.name(), "next", next.name(), "error", err.Error())
	}
	return wflo.Reply{}, failed.err()
}

// try is where a call has come to: who it is for, and the next attempt number
// that the ledger may not have seen.
type try struct {
	run     wflo.Run
	attempt int
}

// ask makes the call with one model, or finds that somebody did.
func (l *LLM) ask(ctx context.Context, t *try, c *call) (wflo.Reply, error) {
	hold, err := l.reserve(ctx, t, c)
	switch {
	case err == nil && hold.State == wflo.HoldSettled:
		return recorded(hold)
	case err != nil && !errors.Is(err, wflo.ErrBudgetExceeded):
		return wflo.Reply{}, err
	case l.caches(c):
		return l.answer(ctx, t, c, hold, err)
	case err != nil:
		l.Observer.BudgetExceeded(t.run.Workflow)
		return wflo.Reply{}, err
	}
	return l.pay(ctx, t, c, hold)
}

// pay calls the provider on a hold, and closes it.
func (l *LLM) pay(ctx context.Context, t *try, c *call, hold wflo.Hold) (wflo.Reply, error) {
	calling, span := l.traceChat(ctx, t.run, c, hold)
	reply, err := l.send(calling, c, hold)
	span.answered(reply, err)
	t.attempt = hold.Attempt + 1
	if err != nil {
		if mendable(err) && ctx.Err() == nil {
			l.circuit.failed(c.name(), time.Now())
		}
		span.finish(0, err)
		return wflo.Reply{}, l.giveUp(ctx, hold, err)
	}
	l.circuit.answered(c.name())
	reply, err = l.settle(ctx, hold, c, reply)
	span.finish(reply.Cost, err)
	if err != nil {
		return wflo.Reply{}, err
	}
	l.learn(ctx, t.run, c, hold, reply)
	return reply, nil
}

// learn tells what the call came to, and keeps what helps to estimate the next.
func (l *LLM) learn(ctx context.Context, run wflo.Run, c *call, hold wflo.Hold, reply wflo.Reply) {
	l.Observer.LLMCall(ctx, reply.Provider, reply.Model, reply.Usage, reply.Cost)
	if over := reply.Cost - hold.Granted; over > 0 {
		l.Observer.LLMOverdraft(ctx, reply.Provider, reply.Model, over)
	}
	used := reply.Usage.Prompt()
	if used > 0 {
		// A reply without prompt tokens is of a server that does not count them.
		l.Observer.LLMEstimate(ctx, reply.Provider, reply.Model, c.input, used)
		l.estimator().Learn(run, c.provider.Name(), c.prompt.Model, c.size, used)
	}
}

func (l *LLM) estimator() *Estimator {
	if l.Estimator != nil {
		return l.Estimator
	}
	return &l.sizes
}

// send calls the provider, for the answer that the hold can pay and no longer
// than the call's share of time, and heartbeats while it waits.
func (l *LLM) send(ctx context.Context, c *call, hold wflo.Hold) (wflo.Reply, error) {
	defer pulse(ctx, func() any { return "waiting for " + c.provider.Name() })()
	p := c.prompt
	p.MaxTokens = c.affordable(hold.Granted)
	bounded, cancel := context.WithDeadline(ctx, c.until)
	defer cancel()
	start := time.Now()
	reply, err := c.provider.Chat(bounded, p, nil)
	c.took = time.Since(start)
	switch {
	case err == nil:
	case ctx.Err() != nil && activity.IsActivity(ctx) && stopping(ctx):
		return reply, again(err, "the worker stopped while it waited for %s: %v", c.name(), err)
	case ctx.Err() == nil && bounded.Err() != nil && !mendable(err):
		// Another one may answer.
		return reply, again(err, "%s gave no answer within %s: %v", c.name(), c.limit, err)
	}
	return reply, err
}

// again is the error of a call that was cut off here, and may be made again. Unless the
// provider's error says otherwise, it may have billed. That error is told and no part of
// it, because what it says of other attempts does not hold.
func again(err error, format string, args ...any) error {
	var known *CallError
	billable := !errors.As(err, &known) || known.Billable
	return &CallError{Retryable: true, Billable: billable, Err: fmt.Errorf(format, args...)}
}

func (l *LLM) log() *slog.Logger {
	if l.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Logger
}
