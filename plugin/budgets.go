package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// declareTimeout bounds the declaration of budgets at the start.
const declareTimeout = 30 * time.Second

// validateBudgets finds what would only show when a call is to be paid.
func (c Config) validateBudgets() error {
	if c.AlertEvery < 0 || c.HoldSweepEvery < 0 || c.NoticesEvery < 0 {
		return wflo.Invalid("plugin.Config", "has a negative interval", "use 0 for the default of AlertEvery, HoldSweepEvery and NoticesEvery")
	}
	first := map[string]int{}
	for i, b := range c.Budgets {
		field := fmt.Sprintf("plugin.Config.Budgets[%d]", i)
		if err := b.Validate(); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		if before, taken := first[b.ID()]; taken {
			return wflo.Invalid(field, fmt.Sprintf("declares %s again, after Budgets[%d]", b.ID(), before), "declare each scope and name once")
		}
		first[b.ID()] = i
	}
	return nil
}

// declare tells the ledger which budgets there are.
func (p *Plugin) declare(ctx context.Context) error {
	if len(p.cfg.Budgets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, declareTimeout)
	defer cancel()
	if err := p.parts.ledger.DeclareBudgets(ctx, p.cfg.Budgets); err != nil {
		return fmt.Errorf("declare budgets: %w", err)
	}
	return nil
}
