package activities

import (
	"context"

	"github.com/wflo-ai/wflo-go"
)

// Quotes tells policies what a model call may cost: the most that any of the models
// would be charged that may be asked for it. It is a function because methods of LLM
// are activities.
func Quotes(l *LLM) func(ctx context.Context, run wflo.Run, p wflo.Prompt) (Quote, error) {
	return func(ctx context.Context, run wflo.Run, p wflo.Prompt) (Quote, error) {
		targets, err := l.targets(ctx, run, p)
		if err != nil {
			return Quote{}, err
		}
		q := Quote{Provider: targets[0].provider.Name(), Model: targets[0].prompt.Model}
		for _, c := range targets {
			c.limit = callLimit
			q.Cost = max(q.Cost, c.cost(c.prompt.MaxTokens))
		}
		return q, nil
	}
}
