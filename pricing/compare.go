package pricing

import (
	"cmp"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Quote is what one model would charge.
type Quote struct {
	Provider string     `json:"provider"`
	Model    string     `json:"model"`
	Cost     wflo.Money `json:"cost"`
	Price    wflo.Price `json:"price"`
}

// Compare prices the usage with every current chat model that has a rate at that
// moment and a context window which is not known to be too small, cheapest
// first. Rows for every model of a provider (self-hosted ones) are left out:
// they name no model. The same text has other token counts with other models, by
// a fifth to a half between vendors, so close costs are not an order.
func (b *Book) Compare(u wflo.Usage, at time.Time) []Quote {
	var quotes []Quote
	for _, r := range b.rows {
		if r.Status != statusCurrent || r.Mode != modeChat || r.ID == anyModel || r.ContextWindow > 0 && u.Total() > r.ContextWindow {
			continue
		}
		p, err := b.Find(r.Provider, r.ID, at, u.Prompt())
		if err != nil {
			continue
		}
		quotes = append(quotes, Quote{Provider: r.Provider, Model: r.ID, Cost: Cost(p, u), Price: p})
	}
	slices.SortFunc(quotes, func(a, c Quote) int {
		return cmp.Or(cmp.Compare(a.Cost, c.Cost), cmp.Compare(a.Provider, c.Provider), cmp.Compare(a.Model, c.Model))
	})
	return quotes
}
