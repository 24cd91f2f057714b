package scripted

import (
	"fmt"
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// openAI is the Chat Completions format.
// https://platform.openai.com/docs/api-reference/chat
type openAI struct{}

func (openAI) provider() string   { return OpenAI }
func (openAI) id(call int) string { return fmt.Sprintf("chatcmpl-%06d", call) }
func (openAI) framing() framing   { return framing{eol: "\n", done: true} }

func (openAI) billed(o outcome) wflo.Usage { return disjoint(o) }

func (openAI) admit(r *http.Request, key string) *refusal {
	switch token := bearer(r.Header); {
	case key == "" || sameKey(token, key):
		return nil
	case token == "":
		return &refusal{status: http.StatusUnauthorized, message: "You didn't provide an API key."}
	}
	return &refusal{status: http.StatusUnauthorized, code: "invalid_api_key", message: "Incorrect API key provided."}
}

// openAIFields are the fields that the vendor takes; those that the stand-in
// does not read change nothing.
var openAIFields = []string{
	"model", "messages", "tools", "max_tokens", "max_completion_tokens", "stream", "stream_options", "n",
	"temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "store", "user", "metadata",
	"logit_bias", "logprobs", "top_logprobs", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention",
	"prompt_cache_options", "safety_identifier", "reasoning_effort", "service_tier", "verbosity", "response_format",
	"tool_choice", "prediction", "web_search_options", "moderation",
}

func (openAI) parse(_ *http.Request, body []byte) (request, *refusal) {
	rd := &reader{unknown: func(at, key string) string {
		if at != "" {
			key = at + "." + key
		}
		return "Unrecognized request argument supplied: " + key
	}}
	o := rd.object("", body, openAIFields...)
	q := request{turn: Turn{Model: o.needText("model"), Stream: o.flag("stream")}}
	q.usage = o.object("stream_options", "include_usage", "include_obfuscation").flag("include_usage")
	if o.has("stream_options") && !q.turn.Stream {
		rd.refuse("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	o.within("temperature", 0, 2)
	if n := o.positive("n"); n > 1 {
		rd.refuse("n", "n: this stand-in gives one choice")
	}
	q.turn.MaxTokens = openAILimit(rd, o)
	q.turn.Tools = functionTools(rd, o)
	o.need("messages")
	for _, e := range o.list("messages") {
		openAIMessage(rd, e, &q.turn)
	}
	if rd.bad == nil && len(q.turn.Messages) == 0 && q.turn.System == "" {
		rd.refuse("messages", "messages: must not be empty")
	}
	rd.pairTools("messages", q.turn.Messages)
	return q, rd.bad
}

// openAILimit reads the token limit under either of its names. The vendor
// itself refuses the older one for its reasoning models; this stand-in does
// not, because it also stands in for compatible servers, which know only that.
func openAILimit(rd *reader, o object) int64 {
	old, limit := o.positive("max_tokens"), o.positive("max_completion_tokens")
	if old != 0 && limit != 0 {
		rd.refuse("max_tokens", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	}
	return max(old, limit)
}

// functionTools reads tools as OpenAI and Cohere write them.
func functionTools(rd *reader, o object) []wflo.Tool {
	var tools []wflo.Tool
	for _, e := range o.list("tools") {
		t := rd.object(e.at, e.raw, "type", "function")
		if kind := t.needText("type"); kind != "function" {
			rd.refuse(t.path("type"), "%s: must be \"function\"", t.path("type"))
		}
		t.need("function")
		f := t.object("function", "name", "description", "parameters", "strict")
		tools = append(tools, wflo.Tool{Name: f.toolName("name", 64, ""), Description: f.text("description"), Parameters: f.schema("parameters")})
	}
	return tools
}

func openAIMessage(rd *reader, e element, t *Turn) {
	m := rd.object(e.at, e.raw, "role", "content", "name", "refusal", "tool_calls", "tool_call_id", "annotations")
	switch role := m.needText("role"); role {
	case "system", "developer":
		m.need("content")
		t.System = joinTexts(t.System, contentText(rd, m, "content"))
	case "user":
		m.need("content")
		t.Messages = append(t.Messages, wflo.Message{Role: wflo.RoleUser, Text: contentText(rd, m, "content")})
	case "assistant":
		calls := functionCalls(rd, m)
		if len(calls) == 0 && !m.has("refusal") {
			m.need("content")
		}
		t.Messages = append(t.Messages, wflo.Message{Role: wflo.RoleAssistant, Text: contentText(rd, m, "content"), ToolCalls: calls})
	case "tool":
		m.need("content")
		text := contentText(rd, m, "content")
		t.Messages = append(t.Messages, wflo.Message{
			Role: wflo.RoleTool, Text: text, ToolCallID: m.needText("tool_call_id"), ToolFailed: looksFailed(text),
		})
	default:
		rd.refuse(m.path("role"), "%s: %q is not one of system, developer, user, assistant, tool", m.path("role"), role)
	}
}

// functionCalls reads tool calls as OpenAI and Cohere write them.
func functionCalls(rd *reader, m object) []wflo.ToolCall {
	var calls []wflo.ToolCall
	for _, e := range m.list("tool_calls") {
		c := rd.object(e.at, e.raw, "id", "type", "function")
		if kind := c.needText("type"); kind != "function" {
			rd.refuse(c.path("type"), "%s: must be \"function\"", c.path("type"))
		}
		c.need("function")
		f := c.object("function", "name", "arguments")
		f.need("arguments")
		calls = append(calls, wflo.ToolCall{ID: c.needText("id"), Name: f.needText("name"), Arguments: f.text("arguments")})
	}
	return calls
}

// contentText reads a content field: a string, or an array of text parts.
func contentText(rd *reader, m object, key string) string {
	if !m.has(key) || m.isString(key) {
		return m.text(key)
	}
	text := ""
	for _, e := range m.list(key) {
		p := rd.object(e.at, e.raw, "type", "text", "cache_control", "citations")
		if kind := p.needText("type"); kind != "text" {
			rd.refuse(p.path("type"), "%s: %q is not supported here, only text is", p.path("type"), kind)
		}
		p.need("text")
		text += p.text("text")
	}
	return text
}

func joinTexts(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n\n" + b
}

var openAIStops = map[stop]string{stopEnd: "stop", stopTools: "tool_calls", stopLength: "length"}

func (openAI) usageObject(o outcome) obj {
	return obj{
		"prompt_tokens":             o.prompt,
		"completion_tokens":         o.output + o.reasoned,
		"total_tokens":              o.prompt + o.output + o.reasoned,
		"prompt_tokens_details":     obj{"cached_tokens": o.cached, "audio_tokens": 0},
		"completion_tokens_details": obj{"reasoning_tokens": o.reasoned, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
	}
}

func (d openAI) whole(q request, o outcome) any {
	message := obj{"role": "assistant", "content": o.text, "refusal": nil}
	if len(o.tools) > 0 {
		message["tool_calls"] = functionCallObjects(o.tools)
		if o.text == "" {
			message["content"] = nil
		}
	}
	reply := obj{
		"id": o.id, "object": "chat.completion", "created": o.created(), "model": q.turn.Model, "service_tier": o.service("default"),
		"choices": []obj{{"index": 0, "message": message, "logprobs": nil, "finish_reason": openAIStops[o.stop]}},
	}
	if !o.omitUsage {
		reply["usage"] = d.usageObject(o)
	}
	return reply
}

func functionCallObjects(calls []wflo.ToolCall) []obj {
	var list []obj
	for _, c := range calls {
		list = append(list, obj{"id": c.ID, "type": "function", "function": obj{"name": c.Name, "arguments": c.Arguments}})
	}
	return list
}

func (d openAI) stream(q request, o outcome) []event {
	chunk := func(choices []obj, usage any) event {
		c := obj{"id": o.id, "object": "chat.completion.chunk", "created": o.created(), "model": q.turn.Model, "service_tier": o.service("default"), "choices": choices}
		if q.usage {
			c["usage"] = usage
		}
		return event{data: c}
	}
	delta := func(d obj, reason any) event {
		return chunk([]obj{{"index": 0, "delta": d, "logprobs": nil, "finish_reason": reason}}, nil)
	}
	events := []event{delta(obj{"role": "assistant", "content": "", "refusal": nil}, nil)}
	for _, part := range pieces(o.text) {
		events = append(events, delta(obj{"content": part}, nil))
	}
	for i, c := range o.tools {
		call := functionCallObjects([]wflo.ToolCall{{ID: c.ID, Name: c.Name}})[0]
		call["index"] = i
		events = append(events, delta(obj{"tool_calls": []obj{call}}, nil))
		for _, part := range pieces(c.Arguments) {
			events = append(events, delta(obj{"tool_calls": []obj{{"index": i, "function": obj{"arguments": part}}}}, nil))
		}
	}
	events = append(events, delta(obj{}, openAIStops[o.stop]))
	if q.usage && !o.omitUsage {
		events = append(events, chunk([]obj{}, d.usageObject(o)))
	}
	return events
}

func (openAI) complaint(bad refusal, _ string, _ time.Duration) any {
	kind := "invalid_request_error"
	switch {
	case bad.status == http.StatusTooManyRequests:
		kind, bad.code = "requests", "rate_limit_exceeded"
	case bad.status >= 500:
		kind = "server_error"
	}
	e := obj{"message": bad.message, "type": kind, "param": nil, "code": nil}
	if bad.param != "" {
		e["param"] = bad.param
	}
	if bad.code != "" {
		e["code"] = bad.code
	}
	return obj{"error": e}
}
