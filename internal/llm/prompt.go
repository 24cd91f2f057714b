package llm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Check refuses a prompt that no vendor could take, before anything is sent.
// Unlike [wflo.Prompt.Validate] it wants MaxTokens set: an answer without a
// bound would not fit any reservation.
func Check(p wflo.Prompt) error {
	if err := p.Validate(); err != nil {
		return err
	}
	switch {
	case p.MaxTokens == 0:
		return wflo.Invalid("prompt.max_tokens", "is 0", "the worker must set a bound before it calls a provider")
	case p.MaxTokens > math.MaxInt32:
		// Two of the wire formats count in 32 bits.
		return wflo.Invalid("prompt.max_tokens", fmt.Sprintf("is %d", p.MaxTokens), fmt.Sprintf("use at most %d", math.MaxInt32))
	}
	if t := p.Temperature; t != nil && (math.IsNaN(*t) || math.IsInf(*t, 0)) {
		return wflo.Invalid("prompt.temperature", "is not a number", "use a value such as 0.7")
	}
	for i, m := range p.Messages {
		switch m.Role {
		case wflo.RoleUser, wflo.RoleAssistant:
		case wflo.RoleTool:
			if m.ToolCallID == "" && m.ToolName == "" {
				return wflo.Invalid(fmt.Sprintf("prompt.messages[%d]", i), "answers no tool call", "set tool_call_id and tool_name")
			}
		default:
			return wflo.Invalid(fmt.Sprintf("prompt.messages[%d].role", i), fmt.Sprintf("is %q", string(m.Role)), "use user, assistant or tool")
		}
	}
	for i, t := range p.Tools {
		if t.Name == "" {
			return wflo.Invalid(fmt.Sprintf("prompt.tools[%d].name", i), "is empty", "name the tool")
		}
		if _, err := Schema(t); err != nil {
			return wflo.Invalid(fmt.Sprintf("prompt.tools[%d].parameters", i), "is not a JSON object", "give the JSON Schema of the arguments")
		}
	}
	return nil
}

// MissingKey is the error of a driver that was configured without credential.
func MissingKey(provider, env string) error {
	return wflo.Errorf(wflo.CodeMissingKey, "set "+env, "%s has no API key", provider)
}

// BaseURL checks a configured base URL and returns it without trailing slash;
// an empty one gives the default.
func BaseURL(configured, standard string) (*url.URL, error) {
	if configured == "" {
		configured = standard
	}
	const hint = "use a URL such as https://host/v1"
	u, err := url.Parse(configured)
	if err != nil {
		// The parser's error repeats the URL, which may hold a password.
		return nil, wflo.Invalid("base_url", "is not a URL", hint)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, wflo.Invalid("base_url", "is not an http or https URL", hint)
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, wflo.Invalid("base_url", "holds a user, query or fragment", hint)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

// Schema is the tool's JSON Schema by its top-level keys, with the text below
// them untouched. A tool without one takes an empty object.
func Schema(t wflo.Tool) (map[string]any, error) {
	if len(bytes.TrimSpace(t.Parameters)) == 0 {
		return map[string]any{"type": "object", "properties": map[string]any{}}, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(t.Parameters, &keys); err != nil {
		return nil, err
	}
	if keys == nil {
		return nil, fmt.Errorf("schema is null")
	}
	schema := make(map[string]any, len(keys))
	for k, v := range keys {
		schema[k] = v
	}
	return schema, nil
}

// Arguments is what a model wrote as a tool's arguments, as the JSON object
// that some vendors demand when the conversation is sent back: nothing becomes
// {}, and what is no object becomes {"_malformed": text}, so that the
// conversation can go on and the model sees what it did.
func Arguments(text string) json.RawMessage {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return json.RawMessage("{}")
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(trimmed), &object) == nil && object != nil {
		return json.RawMessage(trimmed)
	}
	wrapped, err := json.Marshal(map[string]string{"_malformed": text})
	if err != nil {
		// A map of strings always marshals.
		panic(err)
	}
	return wrapped
}

// ToolText is a tool's result for vendors that have no field for failure.
func ToolText(m wflo.Message) string {
	if m.ToolFailed {
		return "The tool failed: " + m.Text
	}
	return m.Text
}

// Seal makes a [wflo.ToolCall.Opaque] that only the same provider opens, so
// that a conversation may move from one vendor to another.
func Seal(provider string, state []byte) string {
	if len(state) == 0 {
		return ""
	}
	return base64.StdEncoding.EncodeToString(append([]byte(provider+"\x00"), state...))
}

// Open gives the state that Seal packed, or nil when it is another provider's.
func Open(provider, opaque string) []byte {
	data, err := base64.StdEncoding.DecodeString(opaque)
	if err != nil {
		return nil
	}
	state, ours := bytes.CutPrefix(data, []byte(provider+"\x00"))
	if !ours {
		return nil
	}
	return state
}

// Rest is what remains of total besides the parts that vendors count within it.
// When the parts are larger than the total they cannot be within it, so the
// vendor counts them besides, and all of total remains: a doubt never makes a
// call cheaper than it was.
func Rest(total int64, parts ...int64) int64 {
	rest := total
	for _, p := range parts {
		rest -= p
	}
	if rest < 0 {
		return total
	}
	return rest
}

// Output splits an answer's tokens into text and reasoning. total is all that
// the vendor counted, in and out, or 0; if it exceeds the prompt and the answer, the
// surplus was generated besides (some vendors leave reasoning out of the
// answer's count) and is not lost.
func Output(prompt, answer, reasoning, total int64) (text, thought int64) {
	surplus := total - prompt - answer
	if surplus <= 0 {
		return Rest(answer, reasoning), reasoning
	}
	if surplus >= reasoning {
		return answer + surplus - reasoning, reasoning
	}
	return Rest(answer, reasoning) + surplus, reasoning
}
