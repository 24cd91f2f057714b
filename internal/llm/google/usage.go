package google

import (
	"bytes"
	"encoding/json"
	"strings"

	"google.golang.org/genai"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// UsageOf reads what a response of generateContent, streamGenerateContent or
// embedContent says about its cost: a whole body, the data of one stream event,
// or the array that a stream is without server-sent events. ok is false where it
// does not say, or says what cannot be.
func UsageOf(raw []byte) (u wflo.Usage, model, tier string, ok bool) {
	var c Counter
	c.Add(raw)
	b := c.Bill()
	return b.Usage, b.Model, b.Tier, b.OK()
}

// Counter puts together what the events of a stream say about its cost: each one
// counts from the beginning. The zero value is ready. It is for one response.
type Counter struct{ bill llm.Bill }

// Bill is what is known so far. Embeddings do not name their model.
func (c *Counter) Bill() llm.Bill { return c.bill }

// wireUsage is usageMetadata. The Live API says response where generateContent
// says candidates.
type wireUsage struct {
	Prompt      int64  `json:"promptTokenCount"`
	Cached      int64  `json:"cachedContentTokenCount"`
	ToolUse     int64  `json:"toolUsePromptTokenCount"`
	Candidates  int64  `json:"candidatesTokenCount"`
	Response    int64  `json:"responseTokenCount"`
	Thoughts    int64  `json:"thoughtsTokenCount"`
	Total       int64  `json:"totalTokenCount"`
	TrafficType string `json:"trafficType"`
	ServiceTier string `json:"serviceTier"`
}

type chunk struct {
	Usage      *wireUsage `json:"usageMetadata"`
	Model      string     `json:"modelVersion"`
	ID         string     `json:"responseId"`
	Candidates []struct {
		FinishReason string `json:"finishReason"`
	} `json:"candidates"`
	Feedback struct {
		BlockReason string `json:"blockReason"`
	} `json:"promptFeedback"`
	Embedding  json.RawMessage `json:"embedding"`
	Embeddings json.RawMessage `json:"embeddings"`
}

// Add takes a whole body, the data of an event, or an array of these. What is no
// JSON is skipped.
func (c *Counter) Add(data []byte) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		var all []chunk
		if json.Unmarshal(data, &all) == nil {
			for _, one := range all {
				c.take(one)
			}
		}
		return
	}
	var one chunk
	if json.Unmarshal(data, &one) == nil {
		c.take(one)
	}
}

func (c *Counter) take(one chunk) {
	if one.ID != "" {
		c.bill.ResponseID = one.ID
	}
	if one.Model != "" {
		c.bill.Model = one.Model
	}
	if u := one.Usage; u != nil {
		c.bill.Counted = true
		c.bill.Usage = counts{
			prompt: u.Prompt, cached: u.Cached, toolUse: u.ToolUse, answer: max(u.Candidates, u.Response),
			thoughts: u.Thoughts, total: u.Total,
		}.buckets()
		c.bill.Tier = tierName(u.TrafficType, u.ServiceTier)
	}
	c.bill.Ended = c.bill.Ended || one.Feedback.BlockReason != "" || one.Embedding != nil || one.Embeddings != nil
	for _, candidate := range one.Candidates {
		c.bill.Ended = c.bill.Ended || candidate.FinishReason != "" && candidate.FinishReason != string(genai.FinishReasonUnspecified)
	}
}

// tierName puts the words of Vertex (trafficType) and of the Gemini API
// (serviceTier) into one language.
func tierName(traffic, service string) string {
	return llm.Tier(strings.TrimPrefix(strings.ToLower(traffic), "on_demand_"), service)
}

// counts are Gemini's: the prompt includes what the cache served; the prompts of
// tools come besides, and so do thoughts.
type counts struct {
	prompt, cached, toolUse, answer, thoughts, total int64
}

func (c counts) buckets() wflo.Usage {
	u := wflo.Usage{Input: llm.Rest(c.prompt+c.toolUse, c.cached), CacheRead: c.cached}
	u.Output, u.Reasoning = llm.Output(u.Prompt(), c.answer+c.thoughts, c.thoughts, c.total)
	return u
}

// billedTier reads the tier from a body, because the SDK drops one of its fields.
func billedTier(body []byte) string {
	var c Counter
	c.Add(body)
	return c.bill.Tier
}

// billedStreamTier is billedTier for a stream.
func billedStreamTier(stream []byte) string {
	var c Counter
	for data, err := range llm.Events(bytes.NewReader(stream)) {
		if err != nil {
			break
		}
		c.Add(data)
	}
	return c.bill.Tier
}
