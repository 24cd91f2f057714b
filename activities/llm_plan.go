package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// callLimit ends calls whose activity has no deadline.
const callLimit = 10 * time.Minute

// call is a prompt that is ready to be reserved and sent to one model.
type call struct {
	prompt   wflo.Prompt // Model is the vendor's own name, MaxTokens is set
	provider Provider
	price    wflo.Price // the dearest rates that the call can meet
	size     Size
	input    int64 // prompt tokens to reserve for; size.Bound, or an estimate
	at       time.Time
	limit    time.Duration // how long the call may take, for models that bill by time
	until    time.Time     // when it is given up
	took     time.Duration // how long the provider took
}

// name is "provider/model".
func (c *call) name() string { return c.provider.Name() + "/" + c.prompt.Model }

// cost is the worst case of the call with an answer of so many tokens.
func (c *call) cost(maxTokens int64) wflo.Money {
	worst := c.price
	// A provider may write a prompt token to a cache, serve it from one, or
	// neither, and an answer's token may be reasoning.
	worst.Input = max(0, worst.Input, worst.CacheRead, worst.CacheWrite5m, worst.CacheWrite1h)
	worst.Output = max(0, worst.Output, worst.Reasoning)
	return pricing.Cost(worst, wflo.Usage{Input: c.input, Output: maxTokens, Millis: c.millis()})
}

// millis is the longest time that the call can be billed for.
func (c *call) millis() int64 {
	if c.price.PerSecond <= 0 {
		return 0
	}
	return millisUp(c.limit)
}

// millisUp is a duration in milliseconds, rounded up as vendors do.
func millisUp(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// share gives the call its part of the time that is left, when so many models
// may still be asked: one that never answers must leave time for the next.
func (c *call) share(ctx context.Context, models int) {
	now, left := time.Now(), callLimit
	if end, ok := ctx.Deadline(); ok {
		left = max(0, end.Sub(now))
	}
	c.limit = left / time.Duration(models)
	c.until = now.Add(c.limit)
}

// affordable is the longest answer that the held money pays for, in tokens, and
// not more than was asked for.
func (c *call) affordable(held wflo.Money) int64 {
	return min(c.prompt.MaxTokens, pricing.MaxOutputWithin(c.price, c.input, held, c.limit))
}

// plan finds provider and rates of one model, before anything is paid.
func (l *LLM) plan(run wflo.Run, p wflo.Prompt, at time.Time) (*call, error) {
	if p.MaxTokens == 0 {
		p.MaxTokens = l.MaxTokens
	}
	if p.MaxTokens == 0 {
		p.MaxTokens = DefaultMaxTokens
	}
	asked, size := p.Model, sizeOf(p)
	if _, tier := pricing.SplitTier(asked); tier != "" {
		return nil, wflo.Invalid("prompt.model", "names the service tier "+tier, "leave it out: calls ask for the standard service, and are charged for the one that they get")
	}
	price, err := l.Prices.FindWorst("", asked, at, size.Bound)
	if err != nil {
		return nil, err
	}
	vendor := vendorOf(price)
	provider, ok := l.Providers[vendor]
	if !ok {
		return nil, wflo.Errorf(wflo.CodeMissingKey, hintFor(vendor), "model %s: provider %s is not configured on this worker", asked, vendor)
	}
	p.Model = strings.TrimPrefix(asked, vendor+"/")
	c := &call{prompt: p, provider: provider, price: price, size: size, input: size.Bound, at: at}
	if l.Strict {
		return c, nil
	}
	c.input = l.estimator().Estimate(run, vendor, p.Model, size)
	// Fewer tokens may reach fewer tiers.
	if c.price, err = l.Prices.FindWorst(vendor, p.Model, at, c.input); err != nil {
		return nil, fmt.Errorf("price %s: %w", asked, err)
	}
	return c, nil
}

// vendorOf is the provider that sells at a price. The ids of an operator's own
// rows begin with a word that says so.
func vendorOf(p wflo.Price) string {
	vendor, _, _ := strings.Cut(strings.TrimPrefix(p.ID, "override:"), "/")
	return vendor
}

func hintFor(vendor string) string {
	if key, ok := map[string]string{
		"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GEMINI_API_KEY", "cohere": "CO_API_KEY",
	}[vendor]; ok {
		return "set " + key + " in the worker's environment"
	}
	return "configure the provider in plugin.Config.Providers"
}

// mendable says that another provider may do what this one could not: it has
// trouble, it limits the rate, it cannot be reached, or it does not take our
// key. What it refuses because of the request, others would refuse as well.
func mendable(err error) bool {
	var call *CallError
	if !errors.As(err, &call) {
		return false
	}
	switch call.Status {
	case 0:
		return call.Retryable
	case 401, 402, 403, 408, 429:
		return true
	}
	return call.Status >= 500 || call.Retryable
}

// failures are the errors of the models that were asked, in order.
type failures struct {
	names []string
	errs  []error
}

func (f *failures) add(c *call, err error) {
	f.names, f.errs = append(f.names, c.name()), append(f.errs, err)
}

// err is the first failure: it is the one of the model that should have
// answered, and providers recover. The last one counts instead when the first
// is final and the last is not, so that what a retry can help is retried.
func (f *failures) err() error {
	if len(f.errs) == 1 {
		return f.errs[0]
	}
	chosen := 0
	for i := len(f.errs) - 1; i > 0 && !retryable(f.errs[chosen]); i-- {
		if retryable(f.errs[i]) {
			chosen = i
		}
	}
	e := &failoverError{err: f.errs[chosen], name: f.names[chosen]}
	for i, name := range f.names {
		if i != chosen {
			message, _ := wflo.Explain(f.errs[i])
			e.others = append(e.others, name+": "+message)
		}
	}
	return e
}

// retryable says whether Temporal tries again after err.
func retryable(err error) bool {
	var app *temporal.ApplicationError
	return !errors.As(toWire(err), &app) || !app.NonRetryable()
}

// failoverError is a call that several models could not do.
type failoverError struct {
	name   string
	err    error
	others []string
}

func (e *failoverError) Error() string {
	return fmt.Sprintf("%s: %v; asked as well: %s", e.name, e.err, strings.Join(e.others, "; "))
}

func (e *failoverError) Unwrap() error { return e.err }
