package scripted

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// anthropic is the Messages format. https://platform.claude.com/docs/en/api/messages
type anthropic struct{}

func (anthropic) provider() string   { return Anthropic }
func (anthropic) id(call int) string { return fmt.Sprintf("msg_%06d", call) }
func (anthropic) framing() framing   { return framing{named: true, eol: "\n"} }

func (anthropic) billed(o outcome) wflo.Usage { return disjoint(o) }

func (anthropic) admit(r *http.Request, key string) *refusal {
	token := r.Header.Get("X-Api-Key")
	if token == "" {
		token = bearer(r.Header)
	}
	switch {
	case key != "" && token == "":
		return &refusal{status: http.StatusUnauthorized, message: "x-api-key header is required"}
	case key != "" && !sameKey(token, key):
		return &refusal{status: http.StatusUnauthorized, message: "invalid x-api-key"}
	case r.Header.Get("Anthropic-Version") == "":
		return &refusal{status: http.StatusBadRequest, message: "anthropic-version: header is required"}
	}
	return nil
}

var anthropicFields = []string{
	"model", "messages", "system", "tools", "max_tokens", "stream", "temperature", "top_k", "top_p", "stop_sequences",
	"metadata", "thinking", "tool_choice", "service_tier", "inference_geo", "container", "cache_control", "output_config",
	"speed", "diagnostics",
}

func (anthropic) parse(_ *http.Request, body []byte) (request, *refusal) {
	rd := &reader{dotted: true, unknown: func(at, key string) string {
		if at != "" {
			key = at + "." + key
		}
		return key + ": Extra inputs are not permitted"
	}}
	o := rd.object("", body, anthropicFields...)
	q := request{turn: Turn{Model: o.needText("model"), Stream: o.flag("stream")}}
	o.need("max_tokens", "messages")
	q.turn.MaxTokens = o.positive("max_tokens")
	o.within("temperature", 0, 1)
	q.turn.System = contentText(rd, o, "system")
	for _, e := range o.list("tools") {
		t := rd.object(e.at, e.raw, "type", "name", "description", "input_schema", "cache_control", "strict",
			"eager_input_streaming", "defer_loading", "allowed_callers", "input_examples")
		if kind := t.text("type"); kind != "" && kind != "custom" {
			rd.refuse(t.path("type"), "%s: %q is not supported here, only custom tools are", t.path("type"), kind)
		}
		t.need("input_schema")
		q.turn.Tools = append(q.turn.Tools, wflo.Tool{
			Name: t.toolName("name", 128, ""), Description: t.text("description"), Parameters: t.schema("input_schema"),
		})
	}
	for _, e := range o.list("messages") {
		anthropicMessage(rd, e, &q.turn)
	}
	switch {
	case rd.bad != nil:
	case len(q.turn.Messages) == 0:
		rd.refuse("messages", "messages: at least one message is required")
	case q.turn.Messages[0].Role != wflo.RoleUser:
		rd.refuse("messages", "messages: first message must use the \"user\" role")
	}
	rd.pairTools("messages", q.turn.Messages)
	return q, rd.bad
}

func anthropicMessage(rd *reader, e element, t *Turn) {
	m := rd.object(e.at, e.raw, "role", "content")
	m.need("content")
	role := wflo.Role(m.needText("role"))
	if role != wflo.RoleUser && role != wflo.RoleAssistant {
		rd.refuse(m.path("role"), "%s: must be \"user\" or \"assistant\"", m.path("role"))
	}
	said := wflo.Message{Role: role}
	if m.isString("content") {
		said.Text = m.text("content")
		if said.Text == "" {
			rd.refuse(m.path("content"), "%s: text content blocks must be non-empty", m.path("content"))
		}
		t.Messages = append(t.Messages, said)
		return
	}
	blocks := m.list("content")
	results := 0
	for i, block := range blocks {
		if result, ok := anthropicBlock(rd, block, &said); ok {
			if results < i {
				rd.refuse(block.at, "%s: tool_result blocks must come first in a message", block.at)
			}
			results++
			t.Messages = append(t.Messages, result)
		}
	}
	if results < len(blocks) || len(blocks) == 0 {
		t.Messages = append(t.Messages, said)
	}
}

// anthropicBlock adds a content block to what the message says, or gives the
// tool result that it is.
func anthropicBlock(rd *reader, e element, said *wflo.Message) (result wflo.Message, ok bool) {
	b := rd.object(e.at, e.raw, "type", "text", "id", "name", "input", "caller", "toolset_name", "tool_use_id", "content",
		"is_error", "thinking", "signature", "data", "cache_control", "citations")
	fromUser := said.Role == wflo.RoleUser
	switch kind := b.needText("type"); {
	case kind == "text":
		said.Text += b.needText("text")
	case kind == "tool_use" && !fromUser:
		b.need("input")
		said.ToolCalls = append(said.ToolCalls, wflo.ToolCall{
			ID: b.needText("id"), Name: b.needText("name"), Arguments: argumentText(b.anyObject("input")),
		})
	case kind == "tool_result" && fromUser:
		return wflo.Message{
			Role: wflo.RoleTool, Text: contentText(rd, b, "content"), ToolCallID: b.needText("tool_use_id"), ToolFailed: b.flag("is_error"),
		}, true
	case kind == "thinking" && !fromUser:
		b.need("thinking", "signature")
	case kind == "redacted_thinking" && !fromUser:
		b.need("data")
	default:
		rd.refuse(b.path("type"), "%s: %q is not supported in a message of the %s", b.path("type"), kind, said.Role)
	}
	return wflo.Message{}, false
}

var anthropicStops = map[stop]string{stopEnd: "end_turn", stopTools: "tool_use", stopLength: "max_tokens"}

// usageObject counts cached tokens outside of input_tokens, and thinking inside
// of output_tokens.
func (anthropic) usageObject(o outcome) obj {
	service, speed, geo := anthropicService(o.tier)
	return obj{
		"input_tokens": o.prompt - o.cached, "output_tokens": o.output + o.reasoned,
		"cache_read_input_tokens": o.cached, "cache_creation_input_tokens": 0,
		"cache_creation":        obj{"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
		"output_tokens_details": obj{"thinking_tokens": o.reasoned}, "service_tier": service,
		"speed": speed, "inference_geo": geo,
	}
}

// anthropicService tells the vendor's three words for who answered apart.
func anthropicService(tier string) (service, speed, geo string) {
	service, speed, geo = "standard", "standard", "global"
	for word := range strings.SplitSeq(tier, "+") {
		region, isRegion := strings.CutPrefix(word, "geo:")
		switch {
		case word == "":
		case isRegion:
			geo = region
		case word == "fast":
			speed = word
		default:
			service = word
		}
	}
	return service, speed, geo
}

// blocks are the content blocks of an answer.
func (anthropic) blocks(o outcome) []obj {
	blocks := []obj{}
	if o.reasoning != "" {
		blocks = append(blocks, obj{"type": "thinking", "thinking": o.reasoning, "signature": "sig_" + o.id})
	}
	if o.text != "" {
		blocks = append(blocks, obj{"type": "text", "text": o.text})
	}
	for _, c := range o.tools {
		blocks = append(blocks, obj{"type": "tool_use", "id": c.ID, "name": c.Name, "input": argumentObject(c.Arguments)})
	}
	return blocks
}

func (d anthropic) whole(q request, o outcome) any {
	reply := obj{
		"id": o.id, "type": "message", "role": "assistant", "model": q.turn.Model, "content": d.blocks(o),
		"stop_reason": anthropicStops[o.stop], "stop_sequence": nil,
	}
	if !o.omitUsage {
		reply["usage"] = d.usageObject(o)
	}
	return reply
}

func (d anthropic) stream(q request, o outcome) []event {
	say := func(name string, data obj) event {
		data["type"] = name
		return event{name: name, data: data}
	}
	start := obj{
		"id": o.id, "type": "message", "role": "assistant", "model": q.turn.Model, "content": []obj{},
		"stop_reason": nil, "stop_sequence": nil,
	}
	end := obj{"delta": obj{"stop_reason": anthropicStops[o.stop], "stop_sequence": nil}}
	if !o.omitUsage {
		// The first count of output is a beginning, the last is the total; a
		// client that adds them up is wrong by one.
		first := d.usageObject(o)
		first["output_tokens"] = min(1, o.output+o.reasoned)
		first["output_tokens_details"] = obj{"thinking_tokens": 0}
		start["usage"], end["usage"] = first, d.usageObject(o)
	}
	events := []event{say("message_start", obj{"message": start}), say("ping", obj{})}
	for i, block := range d.blocks(o) {
		empty, deltas := anthropicDeltas(block)
		events = append(events, say("content_block_start", obj{"index": i, "content_block": empty}))
		for _, delta := range deltas {
			events = append(events, say("content_block_delta", obj{"index": i, "delta": delta}))
		}
		events = append(events, say("content_block_stop", obj{"index": i}))
	}
	return append(events, say("message_delta", end), say("message_stop", obj{}))
}

// anthropicDeltas splits a block into the empty block that opens it and what
// fills it.
func anthropicDeltas(block obj) (empty obj, deltas []obj) {
	switch block["type"] {
	case "thinking":
		for _, part := range pieces(block["thinking"].(string)) {
			deltas = append(deltas, obj{"type": "thinking_delta", "thinking": part})
		}
		deltas = append(deltas, obj{"type": "signature_delta", "signature": block["signature"]})
		return obj{"type": "thinking", "thinking": "", "signature": ""}, deltas
	case "text":
		for _, part := range pieces(block["text"].(string)) {
			deltas = append(deltas, obj{"type": "text_delta", "text": part})
		}
		return obj{"type": "text", "text": ""}, deltas
	}
	deltas = append(deltas, obj{"type": "input_json_delta", "partial_json": ""})
	for _, part := range pieces(string(block["input"].(json.RawMessage))) {
		deltas = append(deltas, obj{"type": "input_json_delta", "partial_json": part})
	}
	return obj{"type": "tool_use", "id": block["id"], "name": block["name"], "input": obj{}}, deltas
}

func (anthropic) complaint(bad refusal, id string, _ time.Duration) any {
	kind := "invalid_request_error"
	switch {
	case bad.status == http.StatusUnauthorized:
		kind = "authentication_error"
	case bad.status == http.StatusForbidden:
		kind = "permission_error"
	case bad.status == http.StatusNotFound:
		kind = "not_found_error"
	case bad.status == http.StatusRequestEntityTooLarge:
		kind = "request_too_large"
	case bad.status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case bad.status == 529:
		kind = "overloaded_error"
	case bad.status >= 500:
		kind = "api_error"
	}
	return obj{"type": "error", "error": obj{"type": kind, "message": bad.message}, "request_id": "req_" + id}
}
