package pricing

import "strings"

// tierMark stands between a model and the service tier that bills.
const tierMark = "#"

// WithTier names a model in a service tier (wflo.Reply.Tier), as [Book.Find] and
// [Book.FindWorst] take it: "gpt-5.4#flex". Without a tier it is the model.
func WithTier(model, tier string) string {
	if tier == "" {
		return model
	}
	return model + tierMark + tier
}

// SplitTier takes a model's name and its service tier apart.
func SplitTier(model string) (name, tier string) {
	name, tier, _ = strings.Cut(model, tierMark)
	return name, tier
}
