package cohere

import (
	"bytes"
	"encoding/json"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// UsageOf reads what a response of version 2 of the Chat and Embed APIs says
// about its cost: a whole body, or the data of the event that ends a stream. The
// vendor names no model in it, and has one service, so model and tier are empty.
// ok is false where it does not say, or says what cannot be.
func UsageOf(raw []byte) (u wflo.Usage, model, tier string, ok bool) {
	var c Counter
	c.Add(raw)
	b := c.Bill()
	return b.Usage, b.Model, b.Tier, b.OK()
}

// Counter puts together what the events of a stream say about its cost. The zero
// value is ready. It is for one response.
type Counter struct{ bill llm.Bill }

// Bill is what is known so far.
func (c *Counter) Bill() llm.Bill { return c.bill }

type wireUnits struct {
	Input  *float64 `json:"input_tokens"`
	Output *float64 `json:"output_tokens"`
}

type wireUsage struct {
	Billed *wireUnits `json:"billed_units"`
	Tokens *wireUnits `json:"tokens"`
}

type event struct {
	ID     string     `json:"id"`
	Type   string     `json:"type"`
	Finish *string    `json:"finish_reason"`
	Usage  *wireUsage `json:"usage"`
	// Meta is where embeddings have it. They have no output.
	Meta *struct {
		Billed *wireUnits `json:"billed_units"`
	} `json:"meta"`
	Delta struct {
		Finish *string    `json:"finish_reason"`
		Usage  *wireUsage `json:"usage"`
	} `json:"delta"`
}

// Add takes a whole body or the data of an event. What is no JSON is skipped.
func (c *Counter) Add(data []byte) {
	if c.bill.ResponseID != "" && !bytes.Contains(data, []byte(`"finish_reason"`)) {
		return // a piece of text
	}
	var e event
	if json.Unmarshal(data, &e) != nil {
		return
	}
	if e.ID != "" {
		c.bill.ResponseID = e.ID
	}
	used := e.Usage
	if used == nil {
		used = e.Delta.Usage
	}
	if used != nil {
		c.bill.Usage, c.bill.Counted = bucketsOf(used.Billed, used.Tokens)
	}
	if e.Meta != nil && e.Meta.Billed != nil && e.Meta.Billed.Input != nil {
		c.bill.Usage, c.bill.Counted, c.bill.Ended = wflo.Usage{Input: tokens(*e.Meta.Billed.Input)}, true, true
	}
	c.bill.Ended = c.bill.Ended || e.Finish != nil || e.Delta.Finish != nil
}

// bucketsOf takes the billed units, which leave out the tokens that the vendor
// adds and does not charge. Without them the counted tokens stand in: they are
// more.
func bucketsOf(billed, counted *wireUnits) (wflo.Usage, bool) {
	for _, u := range []*wireUnits{billed, counted} {
		if u != nil && u.Input != nil && u.Output != nil {
			return wflo.Usage{Input: tokens(*u.Input), Output: tokens(*u.Output)}, true
		}
	}
	return wflo.Usage{}, false
}
