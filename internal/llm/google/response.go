package google

import (
	"bytes"
	"encoding/json"
	"strings"

	"google.golang.org/genai"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// gathering puts an answer together from one or more chunks of the same shape.
type gathering struct {
	id, model string
	finish    wflo.StopReason // set when the answer is complete
	text      strings.Builder
	calls     []*genai.Part
	usage     *genai.GenerateContentResponseUsageMetadata
}

// add takes a chunk and returns the text it brought.
func (g *gathering) add(chunk *genai.GenerateContentResponse) string {
	if chunk.ResponseID != "" {
		g.id = chunk.ResponseID
	}
	if chunk.ModelVersion != "" {
		g.model = chunk.ModelVersion
	}
	// Every chunk counts from the beginning; the last count is the bill.
	if chunk.UsageMetadata != nil {
		g.usage = chunk.UsageMetadata
	}
	if f := chunk.PromptFeedback; f != nil && f.BlockReason != "" {
		g.finish = wflo.StopFiltered
	}
	if len(chunk.Candidates) == 0 || chunk.Candidates[0] == nil {
		return ""
	}
	candidate := chunk.Candidates[0]
	if candidate.FinishReason != "" && candidate.FinishReason != genai.FinishReasonUnspecified {
		g.finish = stop(candidate.FinishReason)
	}
	if candidate.Content == nil {
		return ""
	}
	return g.parts(candidate.Content.Parts)
}

func (g *gathering) parts(parts []*genai.Part) string {
	var text string
	for _, p := range parts {
		switch {
		case p == nil:
		case p.FunctionCall != nil:
			g.calls = append(g.calls, p)
		case !p.Thought:
			text += p.Text
		}
	}
	g.text.WriteString(text)
	return text
}

// reply gives the answer. arguments are the texts of the calls' arguments in
// order, as they came over the wire.
func (g *gathering) reply(arguments []string) wflo.Reply {
	r := wflo.Reply{Text: g.text.String(), Stop: g.finish, Model: g.model, ResponseID: g.id}
	if r.Stop == "" {
		r.Stop = wflo.StopOther
	}
	for i, p := range g.calls {
		call := wflo.ToolCall{ID: p.FunctionCall.ID, Name: p.FunctionCall.Name, Arguments: "{}", Opaque: llm.Seal(name, p.ThoughtSignature)}
		if call.ID == "" {
			call.ID = llm.CallID(g.id, i)
		}
		if i < len(arguments) && arguments[i] != "" {
			call.Arguments = arguments[i]
		}
		r.ToolCalls = append(r.ToolCalls, call)
	}
	if g.usage != nil {
		r.Usage = usage(g.usage)
	}
	return r
}

func stop(reason genai.FinishReason) wflo.StopReason {
	switch reason {
	case genai.FinishReasonStop:
		return wflo.StopEnd
	case genai.FinishReasonMaxTokens:
		return wflo.StopMaxTokens
	case genai.FinishReasonSafety, genai.FinishReasonRecitation, genai.FinishReasonBlocklist,
		genai.FinishReasonProhibitedContent, genai.FinishReasonSPII, genai.FinishReasonImageSafety,
		genai.FinishReasonImageProhibitedContent, genai.FinishReasonImageRecitation:
		return wflo.StopFiltered
	}
	return wflo.StopOther
}

// usage is the SDK's count in buckets.
func usage(u *genai.GenerateContentResponseUsageMetadata) wflo.Usage {
	return counts{
		prompt: int64(u.PromptTokenCount), cached: int64(u.CachedContentTokenCount), toolUse: int64(u.ToolUsePromptTokenCount),
		answer: int64(u.CandidatesTokenCount), thoughts: int64(u.ThoughtsTokenCount), total: int64(u.TotalTokenCount),
	}.buckets()
}

// wire is the part of a chunk that the SDK does not keep exactly.
type wire struct {
	Candidates []struct {
		Content struct {
			Parts []struct {
				FunctionCall *struct {
					Args json.RawMessage `json:"args"`
				} `json:"functionCall"`
			} `json:"parts"`
		} `json:"content"`
	} `json:"candidates"`
}

// rawArguments are the texts of the arguments of all calls in one chunk.
func rawArguments(chunk []byte) []string {
	var w wire
	if json.Unmarshal(chunk, &w) != nil || len(w.Candidates) == 0 {
		return nil
	}
	var out []string
	for _, p := range w.Candidates[0].Content.Parts {
		if p.FunctionCall == nil {
			continue
		}
		var compact bytes.Buffer
		if len(p.FunctionCall.Args) > 0 && json.Compact(&compact, p.FunctionCall.Args) == nil {
			out = append(out, compact.String())
		} else {
			out = append(out, "")
		}
	}
	return out
}

// rawStreamArguments is rawArguments for a stream of chunks.
func rawStreamArguments(stream []byte) []string {
	var out []string
	for data, err := range llm.Events(bytes.NewReader(stream)) {
		if err != nil {
			return out
		}
		out = append(out, rawArguments(data)...)
	}
	return out
}
