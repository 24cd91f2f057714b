package plugin

import (
	"context"
	"fmt"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/cache/memory"
	"github.com/wflo-ai/wflo-go/internal/cache/redis"
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
	if err := c.Meter.validate(); err != nil {
		return err
	}
	if err := activities.ValidateRoutes(c.Routes, c.Prices); err != nil {
		return fmt.Errorf("plugin.Config: %w", err)
	}
	return nil
}
