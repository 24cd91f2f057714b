package plugin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/cache/memory"
	"github.com/wflo-ai/wflo-go/internal/cache/redis"
	"github.com/wflo-ai/wflo-go/internal/meter"
)

// cache is where answers are kept, or nil.
func (p *Plugin) cache(ctx context.Context) (activities.Cache, error) {
	switch {
	case p.cfg.CacheTTL == 0:
		return nil, nil //nolint:nilnil // no cache was asked for
	case p.cfg.Cache != nil:
		return p.cfg.Cache, nil // the caller closes what the caller made
	case p.cfg.CacheURL == "":
		c, err := memory.New(memory.Config{})
		if err != nil {
			return nil, fmt.Errorf("make the response cache: %w", err)
		}
		p.closers = append(p.closers, c.Close)
		return c, nil
	}
	c, err := redis.Open(ctx, redis.Config{URL: p.cfg.CacheURL})
	if err != nil {
		return nil, fmt.Errorf("open the response cache: %w", err)
	}
	p.closers = append(p.closers, c.Close)
	return c, nil
}

// validateCost finds mistakes in routes and in the cache.
func (c Config) validateCost() error {
	if c.CacheTTL < 0 {
		return wflo.Invalid("plugin.Config.CacheTTL", "is negative", "use 0 for no cache")
	}
	if err := activities.ValidateRoutes(c.Routes, c.Prices); err != nil {
		return fmt.Errorf("plugin.Config: %w", err)
	}
	return nil
}

// Transport governs the SDK of any vendor of models in your own activities: give
// its http.Client this transport, and use the activity's context for its calls.
// Each is priced, reserved on the run's budgets, cut to their head-room, and
// settled by what the response bills; a call that does not fit fails with
// wflo.ErrBudgetExceeded before a byte is sent. base carries the requests; nil
// means http.DefaultTransport.
func (p *Plugin) Transport(base http.RoundTripper) http.RoundTripper {
	return meter.New(meter.Config{
		Ledger: p.parts.ledger, Prices: p.cfg.Prices, Observer: p.metrics, Logger: p.cfg.Logger, Base: base, MaxTokens: p.cfg.MaxTokens,
	})
}

// HTTPClient is a client with that transport, for SDKs that take one.
func (p *Plugin) HTTPClient() *http.Client { return &http.Client{Transport: p.Transport(nil)} }
