package scripted

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// cohere is the v2 chat format. https://docs.cohere.com/reference/chat
//
// The vendor's Go client splits a stream wherever a read ends (cohere-go issue
// 103). Streams of less than 4 KiB, which is its read buffer, always survive
// that here; longer ones fail in that client when it is slow, as with the vendor.
type cohere struct{}

func (cohere) provider() string   { return Cohere }
func (cohere) id(call int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", call) }
func (cohere) framing() framing   { return framing{named: true, eol: "\n", done: true, lateBlank: true} }

func (cohere) billed(o outcome) wflo.Usage {
	return wflo.Usage{Input: o.prompt, Output: o.output + o.reasoned}
}

func (cohere) admit(r *http.Request, key string) *refusal {
	switch token := bearer(r.Header); {
	case key == "" || sameKey(token, key):
		return nil
	case token == "":
		return &refusal{status: http.StatusUnauthorized, message: "no api key supplied"}
	}
	return &refusal{status: http.StatusUnauthorized, message: "invalid api token"}
}

func (cohere) parse(_ *http.Request, body []byte) (request, *refusal) {
	rd := &reader{unknown: func(at, key string) string {
		if at != "" {
			key = at + "." + key
		}
		return "invalid request: unknown field " + key
	}}
	o := rd.object("", body, "model", "messages", "tools", "stream", "max_tokens", "strict_tools", "documents",
		"citation_options", "response_format", "safety_mode", "stop_sequences", "temperature", "seed", "frequency_penalty",
		"presence_penalty", "k", "p", "logprobs", "tool_choice", "thinking", "priority")
	q := request{turn: Turn{Model: o.needText("model"), Stream: o.flag("stream"), MaxTokens: o.positive("max_tokens")}}
	if o.has("documents") {
		rd.refuse("documents", "documents: not supported here, only text is")
	}
	o.within("temperature", 0, math.MaxFloat64)
	q.turn.Tools = functionTools(rd, o)
	for i, t := range q.turn.Tools {
		if t.Parameters == nil {
			rd.refuse("tools", "tools[%d].function.parameters: field required", i)
		}
	}
	o.need("messages")
	for _, e := range o.list("messages") {
		cohereMessage(rd, e, &q.turn)
	}
	if rd.bad == nil && len(q.turn.Messages) == 0 {
		rd.refuse("messages", "invalid request: messages must contain at least one user message")
	}
	rd.pairTools("messages", q.turn.Messages)
	return q, rd.bad
}

func cohereMessage(rd *reader, e element, t *Turn) {
	m := rd.object(e.at, e.raw, "role", "content", "tool_calls", "tool_plan", "tool_call_id", "citations")
	switch role := m.needText("role"); role {
	case "system":
		m.need("content")
		t.System = joinTexts(t.System, contentText(rd, m, "content"))
	case "user":
		m.need("content")
		t.Messages = append(t.Messages, wflo.Message{Role: wflo.RoleUser, Text: contentText(rd, m, "content")})
	case "assistant":
		calls := functionCalls(rd, m)
		if len(calls) == 0 {
			m.need("content")
		}
		text := joinTexts(m.text("tool_plan"), cohereContent(rd, m))
		t.Messages = append(t.Messages, wflo.Message{Role: wflo.RoleAssistant, Text: text, ToolCalls: calls})
	case "tool":
		m.need("content")
		text := cohereContent(rd, m)
		t.Messages = append(t.Messages, wflo.Message{
			Role: wflo.RoleTool, Text: text, ToolCallID: m.needText("tool_call_id"), ToolFailed: looksFailed(text),
		})
	default:
		rd.refuse(m.path("role"), "%s: %q is not one of system, user, assistant, tool", m.path("role"), role)
	}
}

// cohereContent reads content that may also hold thinking (skipped, as it is
// not sent to the model again) and documents (a tool's results).
func cohereContent(rd *reader, m object) string {
	if !m.has("content") || m.isString("content") {
		return m.text("content")
	}
	text := ""
	for _, e := range m.list("content") {
		p := rd.object(e.at, e.raw, "type", "text", "thinking", "document")
		switch kind := p.needText("type"); kind {
		case "text":
			p.need("text")
			text += p.text("text")
		case "thinking":
			p.need("thinking")
		case "document":
			p.need("document")
			d := p.object("document", "data", "id")
			d.need("data")
			if d.isString("data") {
				text += d.text("data")
			} else {
				text += string(d.compact("data"))
			}
		default:
			rd.refuse(p.path("type"), "%s: %q is not supported here, only text is", p.path("type"), kind)
		}
	}
	return text
}

var cohereStops = map[stop]string{stopEnd: "COMPLETE", stopTools: "TOOL_CALL", stopLength: "MAX_TOKENS"}

// framingTokens is what Cohere's chat template adds to a prompt: it shows in
// tokens and is not billed, so the two counts differ as the vendor's do.
const framingTokens = 3

func (cohere) usageObject(q request, o outcome) obj {
	out := o.output + o.reasoned
	framed := o.prompt + framingTokens*int64(1+len(q.turn.Messages))
	return obj{
		"billed_units": obj{"input_tokens": o.prompt, "output_tokens": out},
		"tokens":       obj{"input_tokens": framed, "output_tokens": out},
	}
}

func (d cohere) whole(q request, o outcome) any {
	message := obj{"role": "assistant"}
	content := []obj{}
	if o.reasoning != "" {
		content = append(content, obj{"type": "thinking", "thinking": o.reasoning})
	}
	switch {
	case len(o.tools) > 0:
		message["tool_calls"] = functionCallObjects(o.tools)
		if o.text != "" {
			message["tool_plan"] = o.text
		}
	default:
		content = append(content, obj{"type": "text", "text": o.text})
	}
	if len(content) > 0 {
		message["content"] = content
	}
	reply := obj{"id": o.id, "finish_reason": cohereStops[o.stop], "message": message}
	if !o.omitUsage {
		reply["usage"] = d.usageObject(q, o)
	}
	return reply
}

func (d cohere) stream(q request, o outcome) []event {
	var events []event
	say := func(kind string, fields obj) {
		fields["type"] = kind
		events = append(events, event{name: kind, data: fields})
	}
	message := func(m obj) obj { return obj{"message": m} }
	say("message-start", obj{"id": o.id, "delta": message(obj{"role": "assistant"})})
	index := 0
	content := func(kind, text string) {
		say("content-start", obj{"index": index, "delta": message(obj{"content": obj{"type": kind, kind: ""}})})
		for _, part := range pieces(text) {
			say("content-delta", obj{"index": index, "delta": message(obj{"content": obj{kind: part}})})
		}
		say("content-end", obj{"index": index})
		index++
	}
	if o.reasoning != "" {
		content("thinking", o.reasoning)
	}
	if len(o.tools) == 0 {
		content("text", o.text)
	} else {
		for _, part := range pieces(o.text) {
			say("tool-plan-delta", obj{"delta": message(obj{"tool_plan": part})})
		}
	}
	for i, c := range o.tools {
		say("tool-call-start", obj{"index": i, "delta": message(obj{"tool_calls": functionCallObjects([]wflo.ToolCall{{ID: c.ID, Name: c.Name}})[0]})})
		for _, part := range pieces(c.Arguments) {
			say("tool-call-delta", obj{"index": i, "delta": message(obj{"tool_calls": obj{"function": obj{"arguments": part}}})})
		}
		say("tool-call-end", obj{"index": i})
	}
	end := obj{"finish_reason": cohereStops[o.stop]}
	if !o.omitUsage {
		end["usage"] = d.usageObject(q, o)
	}
	say("message-end", obj{"id": o.id, "delta": end})
	return events
}

func (cohere) complaint(bad refusal, id string, _ time.Duration) any {
	return obj{"id": id, "message": bad.message}
}
