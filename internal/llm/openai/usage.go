package openai

import (
	"bytes"
	"encoding/json"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// UsageOf reads what a response of Chat Completions, Responses or Embeddings
// says about its cost: a whole body, or the data of the stream event that counts.
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

// wireUsage is the usage of all three APIs. Chat Completions says prompt and
// completion where Responses says input and output.
type wireUsage struct {
	PromptTokens     int64      `json:"prompt_tokens"`
	CompletionTokens int64      `json:"completion_tokens"`
	InputTokens      int64      `json:"input_tokens"`
	OutputTokens     int64      `json:"output_tokens"`
	TotalTokens      int64      `json:"total_tokens"`
	PromptDetails    wirePrompt `json:"prompt_tokens_details"`
	InputDetails     wirePrompt `json:"input_tokens_details"`
	CompletionDetail wireAnswer `json:"completion_tokens_details"`
	OutputDetails    wireAnswer `json:"output_tokens_details"`
}

type wirePrompt struct {
	Cached  int64 `json:"cached_tokens"`
	Written int64 `json:"cache_write_tokens"`
	ByTTL   struct {
		Long int64 `json:"ttl_12h_tokens"`
	} `json:"cache_write_tokens_details"`
}

type wireAnswer struct {
	Reasoning int64 `json:"reasoning_tokens"`
}

func (u wireUsage) counts() counts {
	// A server that speaks both languages at once says the same twice.
	return counts{
		prompt: max(u.PromptTokens, u.InputTokens), answer: max(u.CompletionTokens, u.OutputTokens), total: u.TotalTokens,
		cached:      max(u.PromptDetails.Cached, u.InputDetails.Cached),
		written:     max(u.PromptDetails.Written, u.InputDetails.Written),
		writtenLong: max(u.PromptDetails.ByTTL.Long, u.InputDetails.ByTTL.Long),
		reasoning:   max(u.CompletionDetail.Reasoning, u.OutputDetails.Reasoning),
	}
}

// response is a body or an event; Responses puts its own into a field of it.
type response struct {
	ID          string     `json:"id"`
	Model       string     `json:"model"`
	ServiceTier *string    `json:"service_tier"`
	Status      string     `json:"status"`
	Object      string     `json:"object"`
	Usage       *wireUsage `json:"usage"`
	Choices     []struct {
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
}

type event struct {
	response
	Type     string    `json:"type"`
	Response *response `json:"response"`
}

// telling are the keys of which an event must have one that is not null to be
// worth reading: most events of a stream are pieces of text. Inside of a text the
// quotes of such a word have backslashes, so what is found is a key, or a value
// that is that very word.
var telling = [][]byte{[]byte(`"usage"`), []byte(`"finish_reason"`), []byte(`"response"`)}

// Add takes a whole body or the data of an event. What is no JSON is skipped.
func (c *Counter) Add(data []byte) {
	if c.bill.Model != "" && !tells(data) {
		return
	}
	var e event
	if json.Unmarshal(data, &e) != nil {
		return
	}
	r := e.response
	if e.Response != nil {
		r = *e.Response
	}
	c.take(r)
	switch {
	case e.Type == "response.completed", e.Type == "response.incomplete", e.Type == "response.failed":
		c.bill.Ended = true
	case r.Object == "response":
		c.bill.Ended = c.bill.Ended || r.Status == "completed" || r.Status == "incomplete" || r.Status == "failed"
	case r.Object == "list":
		c.bill.Ended = c.bill.Counted
	}
}

// take keeps what a response says: what comes later replaces what was there,
// because counts are sums from the beginning.
func (c *Counter) take(r response) {
	if r.ID != "" {
		c.bill.ResponseID = r.ID
	}
	if r.Model != "" {
		c.bill.Model = r.Model
	}
	if r.ServiceTier != nil {
		c.bill.Tier = llm.Tier(*r.ServiceTier)
	}
	if r.Usage != nil {
		c.bill.Usage, c.bill.Counted = r.Usage.counts().buckets(), true
	}
	for _, choice := range r.Choices {
		c.bill.Ended = c.bill.Ended || choice.FinishReason != ""
	}
}

// tells says whether an event has one of these keys with a value. Keys that are
// written with escapes, which no server is known to do, are not seen: the call is
// then charged as one without usage, in full.
func tells(data []byte) bool {
	for _, key := range telling {
		for rest := data; ; {
			i := bytes.Index(rest, key)
			if i < 0 {
				break
			}
			rest = rest[i+len(key):]
			if hasValue(rest) {
				return true
			}
		}
	}
	return false
}

// hasValue says whether what stands behind a key gives it a value that is not
// null.
func hasValue(behind []byte) bool {
	value, ok := bytes.CutPrefix(bytes.TrimLeft(behind, blanks), []byte(":"))
	return ok && !bytes.HasPrefix(bytes.TrimLeft(value, blanks), []byte("null"))
}

// blanks are those of JSON.
const blanks = " \t\r\n"

// counts are OpenAI's: the prompt includes what caches served or took, the
// answer includes reasoning.
type counts struct {
	prompt, cached, written, writtenLong, answer, reasoning, total int64
}

// buckets makes the counts disjoint. Servers that count parts besides are
// recognised by parts larger than the whole, or by the total.
func (c counts) buckets() wflo.Usage {
	u := wflo.Usage{
		Input: llm.Rest(c.prompt, c.cached, max(c.written, c.writtenLong)), CacheRead: c.cached,
		CacheWrite5m: llm.Rest(max(c.written, c.writtenLong), c.writtenLong), CacheWrite1h: c.writtenLong,
	}
	u.Output, u.Reasoning = llm.Output(u.Prompt(), c.answer, c.reasoning, c.total)
	return u
}
