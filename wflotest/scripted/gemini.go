package scripted

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// gemini is the generateContent format of the Gemini API.
// https://ai.google.dev/api/generate-content
type gemini struct{}

func (gemini) provider() string   { return Google }
func (gemini) id(call int) string { return fmt.Sprintf("gemini-%06d", call) }
func (gemini) framing() framing   { return framing{eol: "\r\n"} }

func (gemini) billed(o outcome) wflo.Usage { return disjoint(o) }

// admit answers as the vendor does: 403 without a key, 400 with a wrong one.
func (gemini) admit(r *http.Request, key string) *refusal {
	token := r.Header.Get("X-Goog-Api-Key")
	if token == "" {
		token = r.URL.Query().Get("key")
	}
	switch {
	case key == "" || sameKey(token, key):
		return nil
	case token == "":
		return &refusal{status: http.StatusForbidden, message: "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity to call this API."}
	}
	return &refusal{status: http.StatusBadRequest, code: "API_KEY_INVALID", message: "API key not valid. Please pass a valid API key."}
}

var geminiConfigFields = []string{
	"temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseLogprobs", "logprobs",
	"presencePenalty", "frequencyPenalty", "seed", "responseMimeType", "responseSchema", "responseJsonSchema",
	"responseModalities", "mediaResolution", "thinkingConfig", "enableEnhancedCivicAnswers", "responseFormat",
}

func (gemini) parse(r *http.Request, body []byte) (request, *refusal) {
	rd := &reader{camel: true, unknown: func(at, key string) string {
		where := ""
		if at != "" {
			where = " at '" + at + "'"
		}
		return fmt.Sprintf("Invalid JSON payload received. Unknown name %q%s: Cannot find field.", key, where)
	}}
	model, method, _ := strings.Cut(r.PathValue("call"), ":")
	q := request{turn: Turn{Model: model}}
	switch {
	case method == "generateContent":
	case method == "streamGenerateContent" && r.URL.Query().Get("alt") == "sse":
		q.turn.Stream = true
	case method == "streamGenerateContent":
		return q, &refusal{status: http.StatusBadRequest, message: "streamGenerateContent: only alt=sse is spoken here"}
	default:
		return q, &refusal{status: http.StatusNotFound, message: "no such method: " + r.PathValue("call")}
	}
	o := rd.object("", body, "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig",
		"cachedContent", "labels", "serviceTier", "store")
	c := o.object("generationConfig", geminiConfigFields...)
	q.turn.MaxTokens = c.positive("maxOutputTokens")
	c.within("temperature", 0, 2)
	if c.positive("candidateCount") > 1 {
		rd.refuse("generationConfig.candidateCount", "generationConfig.candidateCount: this stand-in gives one candidate")
	}
	q.thoughts = c.object("thinkingConfig", "includeThoughts", "thinkingBudget", "thinkingLevel").flag("includeThoughts")
	q.turn.System = geminiSystem(rd, o)
	q.turn.Tools = geminiTools(rd, o)
	o.need("contents")
	(&geminiTalk{rd: rd, turn: &q.turn}).read(o)
	return q, rd.bad
}

func geminiSystem(rd *reader, o object) string {
	text := ""
	for _, e := range o.object("systemInstruction", "role", "parts").list("parts") {
		p := rd.object(e.at, e.raw, "text")
		p.need("text")
		text = joinTexts(text, p.text("text"))
	}
	return text
}

func geminiTools(rd *reader, o object) []wflo.Tool {
	var tools []wflo.Tool
	for _, e := range o.list("tools") {
		t := rd.object(e.at, e.raw, "functionDeclarations")
		for _, e := range t.list("functionDeclarations") {
			f := rd.object(e.at, e.raw, "name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior")
			tool := wflo.Tool{Name: f.toolName("name", 64, ".:"), Description: f.text("description"), Parameters: f.schema("parameters")}
			if f.has("parametersJsonSchema") {
				if tool.Parameters != nil {
					rd.refuse(f.at, "%s: parameters and parametersJsonSchema exclude each other", f.at)
				}
				tool.Parameters = f.schema("parametersJsonSchema")
			}
			tools = append(tools, tool)
		}
	}
	return tools
}

// geminiTalk reads the contents. Ids of calls are optional there, so a response
// without one belongs to the first open call of its name.
type geminiTalk struct {
	rd   *reader
	turn *Turn
	open []wflo.ToolCall
	made int
}

func (g *geminiTalk) read(o object) {
	for _, e := range o.list("contents") {
		c := g.rd.object(e.at, e.raw, "role", "parts")
		c.need("parts")
		role := c.text("role")
		switch role {
		case "", "user", "function":
			g.user(c)
		case "model":
			g.model(c)
		default:
			g.rd.refuse(c.path("role"), "Please use a valid role: user, model.")
		}
	}
	if g.rd.bad == nil && len(g.turn.Messages) == 0 {
		g.rd.refuse("contents", "* GenerateContentRequest.contents: contents is not specified")
	}
	g.rd.pairTools("contents", g.turn.Messages)
}

var geminiPart = []string{"text", "thought", "thoughtSignature", "functionCall", "functionResponse", "partMetadata"}

func (g *geminiTalk) user(c object) {
	said := wflo.Message{Role: wflo.RoleUser}
	texts := 0
	for _, e := range c.list("parts") {
		p := g.rd.object(e.at, e.raw, geminiPart...)
		switch {
		case p.has("functionResponse"):
			g.response(p.object("functionResponse", "id", "name", "response", "willContinue", "scheduling", "parts"))
		case p.has("text"):
			said.Text += p.text("text")
			texts++
		default:
			g.rd.refuse(e.at, "%s: required oneof field 'data' must have one initialized field", e.at)
		}
	}
	if texts > 0 {
		g.turn.Messages = append(g.turn.Messages, said)
	}
}

// response reads a tool's result. The vendor's convention is the field "output"
// for a result and "error" for a failure; a lone one of them is the text.
func (g *geminiTalk) response(f object) {
	f.need("response")
	name, id := f.needText("name"), f.text("id")
	var fields map[string]json.RawMessage
	f.decode("response", &fields, "a JSON object")
	m := wflo.Message{Role: wflo.RoleTool, ToolName: name, ToolFailed: fields["error"] != nil, Text: string(f.compact("response"))}
	if len(fields) == 1 {
		for _, key := range []string{"output", "result", "error"} {
			var text string
			if fields[key] != nil && json.Unmarshal(fields[key], &text) == nil {
				m.Text = text
			}
		}
	}
	for i, c := range g.open {
		if c.Name == name && (id == "" || c.ID == id) {
			id = c.ID
			g.open = append(g.open[:i:i], g.open[i+1:]...)
			m.ToolCallID = id
			g.turn.Messages = append(g.turn.Messages, m)
			return
		}
	}
	g.rd.refuse(f.at, "%s: the function response for %q does not follow a function call of that name", f.at, name)
}

func (g *geminiTalk) model(c object) {
	said := wflo.Message{Role: wflo.RoleAssistant}
	for _, e := range c.list("parts") {
		p := g.rd.object(e.at, e.raw, geminiPart...)
		switch {
		case p.flag("thought"):
		case p.has("functionCall"):
			said.ToolCalls = append(said.ToolCalls, g.call(p, len(said.ToolCalls) == 0))
		case p.has("text"):
			said.Text += p.text("text")
		case p.has("thoughtSignature"):
		default:
			g.rd.refuse(e.at, "%s: required oneof field 'data' must have one initialized field", e.at)
		}
	}
	g.open = append(g.open, said.ToolCalls...)
	g.turn.Messages = append(g.turn.Messages, said)
}

// call reads a function call. Gemini 3 refuses the first one of a turn when it
// comes back without the signature that it was sent with.
func (g *geminiTalk) call(p object, first bool) wflo.ToolCall {
	f := p.object("functionCall", "id", "name", "args")
	signature := p.text("thoughtSignature")
	if _, err := base64.StdEncoding.DecodeString(signature); err != nil {
		g.rd.refuse(p.path("thoughtSignature"), "%s: Base64 decoding failed", p.path("thoughtSignature"))
	}
	if first && signature == "" && signs(g.turn.Model) {
		g.rd.refuse(p.at, "Function call is missing a thought_signature in functionCall parts. "+
			"This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance.")
	}
	g.made++
	c := wflo.ToolCall{ID: f.text("id"), Name: f.needText("name"), Arguments: "{}", Opaque: signature}
	if c.ID == "" {
		c.ID = fmt.Sprintf("position_%d", g.made)
	}
	if f.has("args") {
		c.Arguments = argumentText(f.anyObject("args"))
	}
	return c
}

// signs says whether the model signs its function calls.
func signs(model string) bool { return strings.HasPrefix(model, "gemini-3") }

var geminiStops = map[stop]string{stopEnd: "STOP", stopTools: "STOP", stopLength: "MAX_TOKENS"}

// usageObject counts cached tokens inside of the prompt and thoughts outside of
// the candidates.
func (gemini) usageObject(o outcome, output int64) obj {
	u := obj{
		"promptTokenCount": o.prompt, "candidatesTokenCount": output, "totalTokenCount": o.prompt + output + o.reasoned,
		"promptTokensDetails": []obj{{"modality": "TEXT", "tokenCount": o.prompt}},
	}
	if o.cached > 0 {
		u["cachedContentTokenCount"] = o.cached
	}
	if o.reasoned > 0 {
		u["thoughtsTokenCount"] = o.reasoned
	}
	return u
}

func (gemini) functionParts(q request, o outcome) []obj {
	var parts []obj
	for i, c := range o.tools {
		part := obj{"functionCall": obj{"id": c.ID, "name": c.Name, "args": argumentObject(c.Arguments)}}
		switch {
		case c.Opaque != "":
			part["thoughtSignature"] = c.Opaque
		case i == 0 && signs(q.turn.Model):
			part["thoughtSignature"] = base64.StdEncoding.EncodeToString([]byte("signature of " + o.id))
		}
		parts = append(parts, part)
	}
	return parts
}

func (gemini) reply(q request, o outcome, parts []obj, reason string, usage obj) obj {
	if parts == nil {
		parts = []obj{}
	}
	candidate := obj{"index": 0, "content": obj{"role": "model", "parts": parts}}
	if reason != "" {
		candidate["finishReason"] = reason
	}
	reply := obj{"candidates": []obj{candidate}, "modelVersion": q.turn.Model, "responseId": o.id}
	if !o.omitUsage {
		if o.tier != "" {
			usage["serviceTier"] = o.tier
		}
		reply["usageMetadata"] = usage
	}
	return reply
}

func (d gemini) whole(q request, o outcome) any {
	var parts []obj
	if q.thoughts && o.reasoning != "" {
		parts = append(parts, obj{"text": o.reasoning, "thought": true})
	}
	if o.text != "" {
		parts = append(parts, obj{"text": o.text})
	}
	return d.reply(q, o, append(parts, d.functionParts(q, o)...), geminiStops[o.stop], d.usageObject(o, o.output))
}

// stream repeats the usage in every chunk with the output so far, as the vendor
// does: the last one counts.
func (d gemini) stream(q request, o outcome) []event {
	var events []event
	var output int64
	say := func(reason string, parts ...obj) {
		events = append(events, event{data: d.reply(q, o, parts, reason, d.usageObject(o, output))})
	}
	if q.thoughts {
		for _, part := range pieces(o.reasoning) {
			say("", obj{"text": part, "thought": true})
		}
	}
	for _, part := range pieces(o.text) {
		output += CountTokens(part)
		say("", obj{"text": part})
	}
	for i, part := range d.functionParts(q, o) {
		output += countCall(o.tools[i])
		say("", part)
	}
	output = o.output
	say(geminiStops[o.stop], obj{"text": ""})
	return events
}

var geminiStatus = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 408: "DEADLINE_EXCEEDED",
	409: "ABORTED", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
	503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}

func (gemini) complaint(bad refusal, _ string, retry time.Duration) any {
	status := geminiStatus[bad.status]
	if status == "" {
		status = "UNKNOWN"
	}
	details := []obj{}
	if bad.code != "" {
		details = append(details, obj{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": bad.code, "domain": "googleapis.com"})
	}
	if retry > 0 {
		details = append(details, obj{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": fmt.Sprintf("%gs", retry.Seconds())})
	}
	return obj{"error": obj{"code": bad.status, "message": bad.message, "status": status, "details": details}}
}
