package pricing_test

import (
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/pricing"
)

// A response says how many tokens it took and which service answered; both
// decide what it cost.
func ExampleWithTier() {
	reply := wflo.Reply{
		Provider: "openai", Model: "gpt-5.4-2026-03-05", Tier: "priority",
		Usage: wflo.Usage{Input: 500, CacheRead: 1500, Output: 500},
	}
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	price, err := pricing.Default().Find(reply.Provider, pricing.WithTier(reply.Model, reply.Tier), at, reply.Usage.Prompt())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(price.ID, pricing.PerMillion(price.Output))
	fmt.Println(pricing.Cost(price, reply.Usage).Decimal())
	_, err = pricing.Default().Find(reply.Provider, pricing.WithTier(reply.Model, "ultrafast"), at, reply.Usage.Prompt())
	fmt.Println(wflo.CodeOf(err))
	// Output:
	// openai/gpt-5.4@start#priority 30
	// 0.01825
	// wflo.UnknownModel
}
