package anthropic

import (
	"bytes"
	"encoding/json"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// UsageOf reads what a response of the Messages API says about its cost: a whole
// body, or the data of one stream event, which has only a part of it. ok is false
// where it does not say, or says what cannot be.
func UsageOf(raw []byte) (u wflo.Usage, model, tier string, ok bool) {
	var c Counter
	c.Add(raw)
	b := c.Bill()
	return b.Usage, b.Model, b.Tier, b.OK()
}

// Counter puts together what the events of a stream say about its cost: the
// first one has the prompt, the last one the answer. The zero value is ready. It
// is for one response.
type Counter struct {
	bill   llm.Bill
	counts counts
	tier   tier
}

// Bill is what is known so far.
func (c *Counter) Bill() llm.Bill {
	b := c.bill
	b.Usage, b.Tier = c.counts.buckets(), c.tier.name()
	return b
}

// tier is Anthropic's words for the service that billed.
type tier struct{ service, speed, geo string }

func (t tier) name() string { return llm.Tier(t.service, t.speed, llm.Region(t.geo)) }

type wireUsage struct {
	Input         int64 `json:"input_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	Written       int64 `json:"cache_creation_input_tokens"`
	CacheCreation struct {
		Short int64 `json:"ephemeral_5m_input_tokens"`
		Long  int64 `json:"ephemeral_1h_input_tokens"`
	} `json:"cache_creation"`
	Output        int64 `json:"output_tokens"`
	OutputDetails struct {
		Thinking int64 `json:"thinking_tokens"`
	} `json:"output_tokens_details"`
	ServiceTier string `json:"service_tier"`
	Speed       string `json:"speed"`
	Geo         string `json:"inference_geo"`
}

func (u wireUsage) counts() counts {
	return counts{
		input: u.Input, cacheRead: u.CacheRead,
		// The split and the sum should agree; the larger one is charged.
		written:   max(u.Written, u.CacheCreation.Short+u.CacheCreation.Long),
		written1h: u.CacheCreation.Long, output: u.Output, thinking: u.OutputDetails.Thinking,
	}
}

type message struct {
	ID         string     `json:"id"`
	Model      string     `json:"model"`
	StopReason *string    `json:"stop_reason"`
	Usage      *wireUsage `json:"usage"`
}

type event struct {
	message
	Type    string   `json:"type"`
	Message *message `json:"message"`
	Delta   struct {
		StopReason *string `json:"stop_reason"`
	} `json:"delta"`
}

// Add takes a whole body or the data of an event. What is no JSON is skipped.
func (c *Counter) Add(data []byte) {
	if !bytes.Contains(data, []byte(`"usage"`)) && !bytes.Contains(data, []byte(`"message_stop"`)) {
		return // a piece of text
	}
	var e event
	if json.Unmarshal(data, &e) != nil {
		return
	}
	switch e.Type {
	case "message_start":
		if e.Message != nil {
			c.take(*e.Message)
		}
	case "message":
		c.take(e.message)
		c.bill.Ended = e.StopReason != nil
	case "message_delta":
		c.take(e.message)
		c.bill.Ended = c.bill.Ended || e.Delta.StopReason != nil
	case "message_stop":
		c.bill.Ended = true
	}
}

// take raises the counts: those at the end of a stream are sums from the
// beginning, and what they leave out is zero here.
func (c *Counter) take(m message) {
	if m.ID != "" {
		c.bill.ResponseID = m.ID
	}
	if m.Model != "" {
		c.bill.Model = m.Model
	}
	if m.Usage == nil {
		return
	}
	c.bill.Counted = true
	c.counts.raise(m.Usage.counts())
	if m.Usage.ServiceTier != "" {
		c.tier.service = m.Usage.ServiceTier
	}
	if m.Usage.Speed != "" {
		c.tier.speed = m.Usage.Speed
	}
	if m.Usage.Geo != "" {
		c.tier.geo = m.Usage.Geo
	}
}
