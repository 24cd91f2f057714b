package anthropic

import (
	"strings"

	sdk "github.com/anthropics/anthropic-sdk-go"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// block is a part of an answer, whole or gathered from a stream.
type block struct {
	kind, id, tool  string
	text, arguments string
	thought         thought
}

// reply translates a whole answer.
func reply(m *sdk.Message) wflo.Reply {
	blocks := make([]block, 0, len(m.Content))
	for _, b := range m.Content {
		blocks = append(blocks, block{
			kind: b.Type, id: b.ID, tool: b.Name, text: b.Text, arguments: string(b.Input),
			thought: thought{Text: b.Thinking, Signature: b.Signature, Redacted: b.Data},
		})
	}
	r := join(blocks)
	r.Stop, r.Model, r.ResponseID = stop(m.StopReason), m.Model, m.ID
	r.Usage, r.Tier = start(m.Usage).buckets(), tierOf(m.Usage).name()
	return r
}

func join(blocks []block) wflo.Reply {
	var r wflo.Reply
	var kept []thought
	for _, b := range blocks {
		switch b.kind {
		case "text":
			r.Text += b.text
		case "thinking", "redacted_thinking":
			kept = append(kept, b.thought)
		case "tool_use":
			r.ToolCalls = append(r.ToolCalls, wflo.ToolCall{ID: b.id, Name: b.tool, Arguments: b.arguments, Opaque: seal(kept)})
			kept = nil
		}
	}
	return r
}

func stop(reason sdk.StopReason) wflo.StopReason {
	switch reason {
	case sdk.StopReasonEndTurn, sdk.StopReasonStopSequence:
		return wflo.StopEnd
	case sdk.StopReasonToolUse:
		return wflo.StopTools
	case sdk.StopReasonMaxTokens, sdk.StopReasonModelContextWindowExceeded:
		return wflo.StopMaxTokens
	case sdk.StopReasonRefusal:
		return wflo.StopFiltered
	}
	return wflo.StopOther
}

// counts are Anthropic's, which are disjoint on the way in: input excludes what
// caches served or took. Thinking is within the output.
type counts struct {
	input, cacheRead, written, written1h, output, thinking int64
}

func start(u sdk.Usage) counts {
	return counts{
		input: u.InputTokens, cacheRead: u.CacheReadInputTokens,
		// The split and the sum should agree; the larger one is charged.
		written:   max(u.CacheCreationInputTokens, u.CacheCreation.Ephemeral5mInputTokens+u.CacheCreation.Ephemeral1hInputTokens),
		written1h: u.CacheCreation.Ephemeral1hInputTokens,
		output:    u.OutputTokens, thinking: u.OutputTokensDetails.ThinkingTokens,
	}
}

// raise takes later counts, which replace and never add: they are sums from the
// beginning, and those that are left out are zero here.
func (c *counts) raise(later counts) {
	c.input = max(c.input, later.input)
	c.cacheRead = max(c.cacheRead, later.cacheRead)
	c.written = max(c.written, later.written)
	c.written1h = max(c.written1h, later.written1h)
	c.output = max(c.output, later.output)
	c.thinking = max(c.thinking, later.thinking)
}

// end is the counts of the event that ends a stream.
func end(u sdk.MessageDeltaUsage) counts {
	return counts{
		input: u.InputTokens, cacheRead: u.CacheReadInputTokens, written: u.CacheCreationInputTokens,
		output: u.OutputTokens, thinking: u.OutputTokensDetails.ThinkingTokens,
	}
}

func tierOf(u sdk.Usage) tier {
	return tier{service: string(u.ServiceTier), speed: string(u.Speed), geo: u.InferenceGeo}
}

// buckets makes the counts disjoint. Writes without a split went to the cache of
// five minutes: it is the API's default, and this driver asks for no other.
func (c counts) buckets() wflo.Usage {
	text, thinking := llm.Output(0, c.output, c.thinking, 0)
	return wflo.Usage{
		Input: c.input, CacheRead: c.cacheRead,
		CacheWrite5m: llm.Rest(c.written, c.written1h), CacheWrite1h: c.written1h,
		Output: text, Reasoning: thinking,
	}
}

// gathering puts a stream's events together.
type gathering struct {
	id, model string
	stop      sdk.StopReason // set when the answer is complete
	blocks    []block
	counts    counts
	tier      tier
}

// add takes an event and returns the text it brought.
func (g *gathering) add(e sdk.MessageStreamEventUnion) string {
	switch e.Type {
	case "message_start":
		g.id, g.model, g.counts = e.Message.ID, e.Message.Model, start(e.Message.Usage)
		g.tier = tierOf(e.Message.Usage)
	case "message_delta":
		if e.Delta.StopReason != "" {
			g.stop = e.Delta.StopReason
		}
		g.counts.raise(end(e.Usage))
	case "content_block_start":
		b := e.ContentBlock
		g.blocks = append(g.blocks, block{
			kind: b.Type, id: b.ID, tool: b.Name, text: b.Text,
			thought: thought{Text: b.Thinking, Signature: b.Signature, Redacted: b.Data},
		})
		return b.Text
	case "content_block_delta":
		if len(g.blocks) > 0 {
			// Blocks come one after the other, so a delta is the last one's.
			return g.blocks[len(g.blocks)-1].extend(e.Delta)
		}
	}
	return ""
}

func (b *block) extend(d sdk.MessageStreamEventUnionDelta) string {
	b.text += d.Text
	b.arguments += d.PartialJSON
	b.thought.Text += d.Thinking
	b.thought.Signature += d.Signature
	return d.Text
}

func (g *gathering) reply() wflo.Reply {
	for i, b := range g.blocks {
		// Without pieces the arguments are the empty object of the start event.
		if b.kind == "tool_use" && strings.TrimSpace(b.arguments) == "" {
			g.blocks[i].arguments = "{}"
		}
	}
	r := join(g.blocks)
	r.Stop, r.Model, r.ResponseID = stop(g.stop), g.model, g.id
	r.Usage, r.Tier = g.counts.buckets(), g.tier.name()
	return r
}
