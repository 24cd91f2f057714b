package openai

import (
	"errors"
	"strings"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/ssestream"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// reply translates a whole answer. One without choices is still a reply: its
// usage says what it cost.
func reply(a *sdk.ChatCompletion) wflo.Reply {
	r := wflo.Reply{Stop: wflo.StopOther, Model: a.Model, Tier: llm.Tier(string(a.ServiceTier)), ResponseID: a.ID, Usage: usage(a.Usage)}
	if len(a.Choices) == 0 {
		return r
	}
	choice := a.Choices[0]
	r.Text, r.Stop = choice.Message.Content, stop(choice.FinishReason)
	if r.Text == "" && choice.Message.Refusal != "" {
		r.Text, r.Stop = choice.Message.Refusal, wflo.StopFiltered
	}
	for i, call := range choice.Message.ToolCalls {
		r.ToolCalls = append(r.ToolCalls, toolCall(a.ID, i, call.ID, call.Function.Name, call.Function.Arguments))
	}
	return r
}

func toolCall(responseID string, index int, id, name, arguments string) wflo.ToolCall {
	if id == "" {
		id = llm.CallID(responseID, index)
	}
	return wflo.ToolCall{ID: id, Name: name, Arguments: arguments}
}

func stop(reason string) wflo.StopReason {
	switch reason {
	case "stop":
		return wflo.StopEnd
	case "tool_calls", "function_call":
		return wflo.StopTools
	case "length":
		return wflo.StopMaxTokens
	case "content_filter":
		return wflo.StopFiltered
	}
	return wflo.StopOther
}

// usage is the SDK's count in buckets.
func usage(u sdk.CompletionUsage) wflo.Usage {
	return counts{
		prompt: u.PromptTokens, cached: u.PromptTokensDetails.CachedTokens, written: u.PromptTokensDetails.CacheWriteTokens,
		answer: u.CompletionTokens, reasoning: u.CompletionTokensDetails.ReasoningTokens, total: u.TotalTokens,
	}.buckets()
}

// gathering puts a stream's chunks together.
type gathering struct {
	id, model, finish string
	tier              string // as the last chunk that named one had it
	text, refusal     strings.Builder
	calls             []sdk.ChatCompletionChunkChoiceDeltaToolCall
	position          map[int64]int // the server's index of a call to its place in calls
	usage             *sdk.CompletionUsage
}

// add takes a chunk and returns the text it brought.
func (g *gathering) add(chunk sdk.ChatCompletionChunk) string {
	if chunk.ID != "" {
		g.id = chunk.ID
	}
	if chunk.Model != "" {
		g.model = chunk.Model
	}
	if chunk.ServiceTier != "" {
		g.tier = string(chunk.ServiceTier)
	}
	// Some servers count along in every chunk; the last count is the bill.
	if chunk.JSON.Usage.Valid() {
		g.usage = &chunk.Usage
	}
	if len(chunk.Choices) == 0 {
		return ""
	}
	choice := chunk.Choices[0]
	if choice.FinishReason != "" {
		g.finish = choice.FinishReason
	}
	g.text.WriteString(choice.Delta.Content)
	g.refusal.WriteString(choice.Delta.Refusal)
	for _, piece := range choice.Delta.ToolCalls {
		g.addCall(piece)
	}
	return choice.Delta.Content
}

// addCall appends a piece to the call with its index. A new id under a known
// index is a new call: some servers number all calls 0.
func (g *gathering) addCall(piece sdk.ChatCompletionChunkChoiceDeltaToolCall) {
	at, known := g.position[piece.Index]
	if !known || (piece.ID != "" && g.calls[at].ID != "" && g.calls[at].ID != piece.ID) {
		if g.position == nil {
			g.position = make(map[int64]int)
		}
		g.position[piece.Index] = len(g.calls)
		g.calls = append(g.calls, piece)
		return
	}
	call := &g.calls[at]
	if call.ID == "" {
		call.ID = piece.ID
	}
	if call.Function.Name == "" {
		call.Function.Name = piece.Function.Name
	}
	call.Function.Arguments += piece.Function.Arguments
}

// complete says that nothing more is needed: the answer ended and was counted.
func (g *gathering) complete() bool { return g.finish != "" && g.usage != nil }

func (g *gathering) reply() wflo.Reply {
	r := wflo.Reply{Text: g.text.String(), Stop: stop(g.finish), Model: g.model, Tier: llm.Tier(g.tier), ResponseID: g.id}
	if r.Text == "" && g.refusal.Len() > 0 {
		r.Text, r.Stop = g.refusal.String(), wflo.StopFiltered
	}
	for i, call := range g.calls {
		r.ToolCalls = append(r.ToolCalls, toolCall(g.id, i, call.ID, call.Function.Name, call.Function.Arguments))
	}
	if g.usage != nil {
		r.Usage = usage(*g.usage)
	}
	return r
}

// streamError gives the vendor's words when an error came inside the stream.
func streamError(err error) error {
	var e *ssestream.StreamError
	if errors.As(err, &e) {
		return errors.New(llm.Explain(e.Event.Data))
	}
	return err
}
