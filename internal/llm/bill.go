package llm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Bill is what a response says about its own cost. The drivers read it from
// their SDK's types; the UsageOf and Counter of each vendor's package read it
// from the wire, for calls that somebody else makes.
type Bill struct {
	// Usage is in disjoint buckets.
	Usage wflo.Usage
	// Model and Tier are those that billed; see wflo.Reply.
	Model, Tier string
	ResponseID  string
	// Counted says that the response had a usage. Of a stream that goes on it may
	// be a count so far.
	Counted bool
	// Ended says that the answer came to its end: it is whole, or the event that
	// ends a stream was there.
	Ended bool
}

// OK says whether the bill can be charged: it counts, and it is believable.
func (b Bill) OK() bool { return b.Counted && Believable(b.Usage) == nil }

// maxTokens is the largest believable count of tokens in one bucket. It keeps
// nonsense from a broken server away from arithmetic on money.
const maxTokens = 1 << 40

// Believable says what is wrong with a usage, if anything: no prompt, a negative
// count, or one beyond every model. What such a call cost is not known.
func Believable(u wflo.Usage) error {
	if u.Prompt() == 0 {
		return fmt.Errorf("the answer came without usage")
	}
	for _, n := range []int64{u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.Output, u.Reasoning} {
		if n < 0 || n > maxTokens {
			return fmt.Errorf("the answer's usage counts %d tokens", n)
		}
	}
	return nil
}

// standardWords are what vendors call the service that has the list price.
var standardWords = []string{"", "default", "standard", "on_demand", "unspecified", "traffic_type_unspecified", "global", "not_available"}

// Tier puts a vendor's words for the service that billed into the form of
// wflo.Reply.Tier: lower case, without those for the standard service, each once,
// in order. A word that nobody knows stays: the price book refuses it.
func Tier(words ...string) string {
	var out []string
	for _, w := range words {
		w = strings.ToLower(strings.TrimSpace(w))
		if !slices.Contains(standardWords, w) && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "+")
}

// Region is the word for data that has to stay in a region, in Tier.
func Region(name string) string {
	if slices.Contains(standardWords, strings.ToLower(strings.TrimSpace(name))) {
		return ""
	}
	return "geo:" + name
}
