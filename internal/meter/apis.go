package meter

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go/internal/llm/anthropic"
	"github.com/wflo-ai/wflo-go/internal/llm/cohere"
	"github.com/wflo-ai/wflo-go/internal/llm/google"
	"github.com/wflo-ai/wflo-go/internal/llm/openai"
)

// api is one wire format of requests.
type api struct {
	vendor   string // who bills for it on a host that is not known
	answers  bool   // it generates; embeddings do not
	askUsage bool   // a stream counts only when asked to
	counter  func() counter
	// read fills in the ask from its fields.
	read func(a *ask, u *url.URL) error
}

func openaiCounter() counter    { return &openai.Counter{} }
func anthropicCounter() counter { return &anthropic.Counter{} }
func googleCounter() counter    { return &google.Counter{} }
func cohereCounter() counter    { return &cohere.Counter{} }

// endpoints are told by the end of the path, because base URLs differ.
var endpoints = map[string]*api{
	"/chat/completions": {vendor: "openai", answers: true, askUsage: true, counter: openaiCounter, read: readChat},
	"/responses":        {vendor: "openai", answers: true, counter: openaiCounter, read: readResponses},
	"/embeddings":       {vendor: "openai", counter: openaiCounter, read: readEmbeddings},
	"/v1/messages":      {vendor: "anthropic", answers: true, counter: anthropicCounter, read: readMessages},
	"/v2/chat":          {vendor: "cohere", answers: true, counter: cohereCounter, read: readCohereChat},
	"/v1/embed":         {vendor: "cohere", counter: cohereCounter, read: readCohereEmbed},
	"/v2/embed":         {vendor: "cohere", counter: cohereCounter, read: readCohereEmbed},
}

// geminiMethods stand behind the model's name.
var geminiMethods = map[string]*api{
	"generateContent":       {vendor: "google", answers: true, counter: googleCounter, read: readGenerate},
	"streamGenerateContent": {vendor: "google", answers: true, counter: googleCounter, read: readGenerateStream},
	"embedContent":          {vendor: "google", counter: googleCounter, read: readEmbedContent},
	"batchEmbedContents":    {vendor: "google", counter: googleCounter, read: readEmbedContents},
}

// tier remembers the request's words for a service.
func (a *ask) tier(keys ...string) error {
	for _, key := range keys {
		word, err := a.fields.text(key)
		if err != nil {
			return err
		}
		if word != "" {
			a.tiers = append(a.tiers, word)
		}
	}
	return nil
}

// limit reads the fields that bound an answer. What is missing is set later, in
// the last of them.
func (a *ask) limit(f fields, prefix []string, keys ...string) error {
	for _, key := range keys {
		n, err := f.count(key)
		if err != nil {
			return err
		}
		if n > 0 {
			a.limits = append(a.limits, append(slices.Clone(prefix), key))
			a.output = max(a.output, n)
		}
	}
	if len(a.limits) == 0 {
		a.limits = [][]string{append(slices.Clone(prefix), keys[len(keys)-1])}
	}
	return nil
}

// refuseFields names what is billed besides tokens, or runs on without us.
func (a *ask) refuseFields(f fields, keys ...string) error {
	if err := f.only(keys...); err != nil {
		return err
	}
	for _, key := range keys {
		if f.has(key) && string(f[key]) != "false" && string(f[key]) != "[]" {
			return unmeterable("%s is billed besides the tokens of the answer, or cannot be followed", key)
		}
	}
	return nil
}

// refers counts fields that stand for something that the body does not hold.
func (a *ask) refers(f fields, keys ...string) error {
	if err := f.only(keys...); err != nil {
		return err
	}
	for _, key := range keys {
		if f.has(key) {
			a.outside++
		}
	}
	return nil
}

// clientTools refuses tools that the vendor runs: it bills for them, and for
// tokens that the request does not hold.
func (a *ask) clientTools(kinds ...string) error {
	list, err := a.fields.list("tools")
	if err != nil {
		return err
	}
	a.tools = len(list) > 0
	a.extra += overheadPart * 2 * int64(len(list))
	for _, tool := range list {
		kind, err := tool.text("type")
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(kinds, func(k string) bool {
			return k == kind || strings.HasSuffix(k, "_") && strings.HasPrefix(kind, k)
		}) {
			return unmeterable("the tool %q is run and billed by the vendor", clip(kind))
		}
	}
	return nil
}

// parts counts the parts of a message that are not of a kind that its bytes bound.
func (a *ask) parts(message fields, key string, texts ...string) error {
	list, err := message.list(key)
	if err != nil {
		return err
	}
	for _, part := range list {
		if err := part.only("type"); err != nil {
			return err
		}
		kind, err := part.text("type")
		if err != nil {
			return err
		}
		if !slices.Contains(texts, kind) {
			a.outside++
		}
		if kind == "tool_result" {
			if err := a.parts(part, "content", texts...); err != nil {
				return err
			}
		}
	}
	return nil
}

// messages reads a list of messages with content.
func (a *ask) messages(key string, texts ...string) error {
	list, err := a.fields.list(key)
	if err != nil {
		return err
	}
	a.extra += overheadPart * int64(len(list))
	for _, m := range list {
		if err := m.only("content", "role"); err != nil {
			return err
		}
		role, err := m.text("role")
		if err != nil {
			return err
		}
		a.tools = a.tools || role == "tool"
		if err := a.parts(m, "content", texts...); err != nil {
			return err
		}
		if m.has("audio") {
			a.outside++
		}
	}
	return nil
}

// textOnly refuses answers in other kinds than text.
func textOnly(f fields, key string) error {
	if !f.has(key) {
		return nil
	}
	var kinds []string
	if err := json.Unmarshal(f[key], &kinds); err != nil {
		return unmeterable("%s is not a list of words", key)
	}
	for _, k := range kinds {
		if !strings.EqualFold(k, "text") {
			return unmeterable("%s asks for %q, whose tokens have another price", key, clip(k))
		}
	}
	return nil
}

// readChat reads OpenAI's chat completions.
// https://platform.openai.com/docs/api-reference/chat
func readChat(a *ask, u *url.URL) error {
	f := a.fields
	fallback := openai.FieldMaxTokens
	if knowsNewLimit(u) {
		fallback = openai.FieldMaxCompletionTokens
	}
	other := openai.FieldMaxCompletionTokens
	if fallback == other {
		other = openai.FieldMaxTokens
	}
	n, err := f.count("n")
	if err != nil {
		return err
	}
	a.answers = max(1, n)
	if a.stream, err = f.flag("stream"); err != nil {
		return err
	}
	return firstOf(
		func() error {
			return f.only("n", "max_tokens", "max_completion_tokens", "messages", "tools", "stream_options", "service_tier")
		},
		func() error { return a.refuseFields(f, "web_search_options", "audio", "background", "plugins") },
		func() error { return textOnly(f, "modalities") },
		func() error { return a.tier("service_tier") },
		func() error { return a.limit(f, nil, other, fallback) },
		func() error { return a.clientTools("function", "custom") },
		func() error { return a.messages("messages", "text", "refusal") },
	)
}

// readResponses reads OpenAI's Responses.
// https://platform.openai.com/docs/api-reference/responses
func readResponses(a *ask, _ *url.URL) error {
	f := a.fields
	var err error
	if a.stream, err = f.flag("stream"); err != nil {
		return err
	}
	return firstOf(
		func() error { return f.only("max_output_tokens", "input", "tools", "service_tier") },
		func() error { return a.refuseFields(f, "background") },
		func() error { return textOnly(f, "modalities") },
		func() error { return a.refers(f, "previous_response_id", "conversation", "prompt") },
		func() error { return a.tier("service_tier") },
		func() error { return a.limit(f, nil, "max_output_tokens") },
		func() error { return a.clientTools("function", "custom", "local_shell", "apply_patch") },
		a.items,
	)
}

// items reads the input of Responses.
func (a *ask) items() error {
	list, err := a.fields.list("input")
	if err != nil {
		return err
	}
	a.extra += overheadPart * int64(len(list))
	for _, item := range list {
		if err := item.only("type", "content", "output"); err != nil {
			return err
		}
		kind, err := item.text("type")
		if err != nil {
			return err
		}
		switch kind {
		case "", "message":
			err = a.parts(item, "content", "input_text", "output_text", "text", "refusal")
		case "function_call", "custom_tool_call", "local_shell_call", "apply_patch_call", "reasoning":
			a.tools = true
		case "function_call_output", "custom_tool_call_output", "local_shell_call_output", "apply_patch_call_output":
			a.tools = true
			err = a.parts(item, "output", "input_text", "output_text", "text")
		default:
			a.outside++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readEmbeddings reads OpenAI's embeddings: texts, or lists of tokens, of which
// each takes two bytes at least.
func readEmbeddings(a *ask, _ *url.URL) error {
	if err := a.fields.only("input"); err != nil {
		return err
	}
	if raw := bytes.TrimSpace(a.fields["input"]); len(raw) == 0 || raw[0] != '[' {
		return nil // one text
	}
	var texts []any
	if err := json.Unmarshal(a.fields["input"], &texts); err != nil {
		return unmeterable("input cannot be read")
	}
	for _, text := range texts {
		if _, isObject := text.(map[string]any); isObject {
			a.outside++
		}
	}
	a.extra += 8 * int64(len(texts))
	return nil
}

// readMessages reads Anthropic's messages.
// https://platform.claude.com/docs/en/api/messages
func readMessages(a *ask, _ *url.URL) error {
	f := a.fields
	var err error
	if a.stream, err = f.flag("stream"); err != nil {
		return err
	}
	geo, err := f.text("inference_geo")
	if err != nil {
		return err
	}
	if geo != "" {
		a.tiers = append(a.tiers, region(geo))
	}
	texts := []string{"text", "thinking", "redacted_thinking", "tool_use", "tool_result"}
	return firstOf(
		func() error {
			return f.only("max_tokens", "messages", "tools", "system", "thinking", "service_tier", "speed", "inference_geo")
		},
		func() error { return a.refuseFields(f, "mcp_servers", "container", "fallbacks") },
		func() error { return a.tier("service_tier", "speed") },
		func() error { return a.limit(f, nil, "max_tokens") },
		func() error { return a.thinking(f) },
		func() error { return a.clientTools("", "custom", "bash_", "text_editor_", "memory_") },
		func() error { return a.parts(f, "system", texts...) },
		func() error { return a.messages("messages", texts...) },
	)
}

// thinking keeps an answer longer than the thoughts that were asked for, which
// the vendor insists on.
func (a *ask) thinking(f fields) error {
	t, err := f.object("thinking")
	if err != nil {
		return err
	}
	budget, err := t.count("budget_tokens")
	if err != nil {
		return err
	}
	if budget > 0 {
		a.least = budget + minTokens
	}
	return nil
}

// readCohereChat reads Cohere's v2 chat. https://docs.cohere.com/reference/chat
func readCohereChat(a *ask, _ *url.URL) error {
	f := a.fields
	var err error
	if a.stream, err = f.flag("stream"); err != nil {
		return err
	}
	return firstOf(
		func() error { return f.only("max_tokens", "messages", "tools", "documents") },
		func() error { return a.limit(f, nil, "max_tokens") },
		func() error { return a.clientTools("function") },
		func() error { return a.messages("messages", "text", "thinking", "document") },
	)
}

// readCohereEmbed reads Cohere's embed. Images are billed apart, so they are
// refused.
func readCohereEmbed(a *ask, _ *url.URL) error {
	if err := a.refuseFields(a.fields, "images"); err != nil {
		return err
	}
	inputs, err := a.fields.list("inputs")
	if err != nil {
		return err
	}
	for _, in := range inputs {
		content, err := in.list("content")
		if err != nil {
			return err
		}
		for _, part := range content {
			if kind, err := part.text("type"); err != nil || kind != "text" {
				return unmeterable("embeddings of images are billed by the image")
			}
		}
	}
	a.extra += 8 * int64(len(inputs))
	return nil
}

// firstOf runs checks until one fails.
func firstOf(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}
