package wflo

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Role says who speaks in a Message.
type Role string

// The roles of a conversation.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn of a conversation. The system text is not a message; it
// is Prompt.System, because providers place it differently.
type Message struct {
	Role Role `json:"role"`
	// Text is the content; for RoleTool it is the tool's result.
	Text string `json:"text,omitempty"`
	// ToolCalls are the calls that an assistant asks for.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// ToolCallID and ToolName say which call a RoleTool message answers.
	ToolCallID string `json:"tool_call_id,omitempty"`
	ToolName   string `json:"tool_name,omitempty"`
	// ToolFailed marks the result of a call that failed, so that the model
	// sees an error and not an answer.
	ToolFailed bool `json:"tool_failed,omitempty"`
}

// Equal says that two messages say the same.
func (m Message) Equal(o Message) bool {
	return m.Role == o.Role && m.Text == o.Text && m.ToolCallID == o.ToolCallID && m.ToolName == o.ToolName &&
		m.ToolFailed == o.ToolFailed && slices.Equal(m.ToolCalls, o.ToolCalls)
}

// ToolCall is a model's wish to have a tool called. Arguments is the text that
// the model wrote: it should be a JSON object, and nothing has checked it.
type ToolCall struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
	// Opaque carries provider state that must be sent back unchanged with the
	// call (for example Gemini's thought signatures). It is base64 text.
	Opaque string `json:"opaque,omitempty"`
}

// Tool describes a function that the model may ask for.
type Tool struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Parameters is the JSON Schema of the arguments, an object schema.
	Parameters json.RawMessage `json:"parameters"`
}

// Prompt is one call of a language model.
type Prompt struct {
	// Model names the model, optionally with its provider: "gpt-5.4-mini",
	// "anthropic/claude-haiku-4-5". Required.
	Model string `json:"model"`
	// System is the instruction that stands before the conversation.
	System string `json:"system,omitempty"`
	// Messages is the conversation so far, oldest first. Required.
	Messages []Message `json:"messages"`
	// Earlier stands for messages before Messages, which the worker keeps. The runtime
	// sets it where a run goes on with a conversation; callers leave it nil.
	Earlier *Earlier `json:"earlier,omitempty"`
	// Tools may be called by the model; none means that it can only answer.
	Tools []Tool `json:"tools,omitempty"`
	// MaxTokens bounds the answer, in tokens. 0 means the worker's default.
	// It is cut further to what the budget's head-room can pay.
	MaxTokens int64 `json:"max_tokens,omitempty"`
	// Temperature is passed on when set.
	Temperature *float64 `json:"temperature,omitempty"`
	// Fallback are models to ask, in this order, when the provider of Model
	// fails. Each is budgeted for itself.
	Fallback []string `json:"fallback,omitempty"`
	// NoCache keeps the answer out of the worker's response cache, and earlier
	// answers away.
	NoCache bool `json:"no_cache,omitempty"`
}

// Earlier names the beginning of a conversation, so that each turn of an agent costs
// history what is new in it, and not all that was said before.
type Earlier struct {
	// Key is that of activities.Conversations.
	Key string `json:"key"`
	// Messages and Bytes are how many there are, and of how much text.
	Messages int   `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// Count is how many messages the conversation has.
func (p Prompt) Count() int {
	if p.Earlier != nil {
		return p.Earlier.Messages + len(p.Messages)
	}
	return len(p.Messages)
}

// Validate says what is wrong with the prompt, if anything.
func (p Prompt) Validate() error {
	switch {
	case p.Model == "":
		return Invalid("prompt.model", "is empty", "name a model, such as gpt-5.4-mini")
	case len(p.Messages) == 0:
		return Invalid("prompt.messages", "is empty", "add at least one user message")
	case p.MaxTokens < 0:
		return Invalid("prompt.max_tokens", fmt.Sprintf("is %d", p.MaxTokens), "use 0 for the default, or a positive number")
	case !utf8.ValidString(p.System):
		return Invalid("prompt.system", "is not valid UTF-8", "convert the text before you send it")
	}
	for i, m := range p.Messages {
		if !utf8.ValidString(m.Text) {
			return Invalid(fmt.Sprintf("prompt.messages[%d].text", i), "is not valid UTF-8", "convert the text before you send it")
		}
	}
	return nil
}

// StopReason says why a model stopped.
type StopReason string

// The reasons that providers' own words are mapped to.
const (
	StopEnd       StopReason = "end"        // it had nothing more to say
	StopTools     StopReason = "tools"      // it wants tools called
	StopMaxTokens StopReason = "max_tokens" // it hit Prompt.MaxTokens
	StopFiltered  StopReason = "filtered"   // the provider withheld the answer
	StopOther     StopReason = "other"
)

// Reply is what a model answered and what that cost.
type Reply struct {
	Text      string     `json:"text,omitempty"`
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	Stop      StopReason `json:"stop"`
	// Provider and Model are those that billed, as the provider names them.
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// Tier is the service that billed where it was not the standard one, such as
	// flex, priority, fast or geo:us; several are joined by "+". Its rates are
	// those of the model MODEL#TIER.
	Tier string `json:"tier,omitempty"`
	// ResponseID is the provider's id of the answer.
	ResponseID string `json:"response_id,omitempty"`
	// Usage is what was billed for this reply: nothing for an earlier answer. The
	// ledger's entry of that has what the first one took.
	Usage Usage `json:"usage"`
	// Cost is what the ledger was charged, in nano-USD.
	Cost Money `json:"cost"`
	// Cached says that it is an earlier answer; Saved is what that saved.
	Cached bool  `json:"cached,omitempty"`
	Saved  Money `json:"saved,omitempty"`
	// Conversation is the prompt's messages with this reply after them, as the worker
	// keeps them; nil where that is not worth it.
	Conversation *Earlier `json:"conversation,omitempty"`
}

// Message is the reply as the next turn of the conversation.
func (r Reply) Message() Message {
	return Message{Role: RoleAssistant, Text: r.Text, ToolCalls: r.ToolCalls}
}

// Usage counts tokens in disjoint buckets: their sum is everything that was
// billed by the token, and no token is in two of them. Providers count
// differently (OpenAI's prompt tokens include cached ones, Anthropic's do not;
// Gemini's candidates exclude thoughts); the drivers normalise.
type Usage struct {
	Input        int64 `json:"input"`                    // prompt tokens that no cache served
	CacheRead    int64 `json:"cache_read,omitempty"`     // prompt tokens served from a cache
	CacheWrite5m int64 `json:"cache_write_5m,omitempty"` // prompt tokens written to the short-lived cache
	CacheWrite1h int64 `json:"cache_write_1h,omitempty"` // prompt tokens written to the long-lived cache
	Output       int64 `json:"output"`                   // answer tokens that are not reasoning
	Reasoning    int64 `json:"reasoning,omitempty"`      // thinking tokens
	// Millis is what is billed by time, such as audio or a server's use, in
	// milliseconds. It is not part of Total.
	Millis int64 `json:"millis,omitempty"`
}

// Prompt is the number of tokens on the way in; price tiers depend on it.
func (u Usage) Prompt() int64 { return u.Input + u.CacheRead + u.CacheWrite5m + u.CacheWrite1h }

// Total is the number of all tokens.
func (u Usage) Total() int64 { return u.Prompt() + u.Output + u.Reasoning }

// Validate refuses negative counts, which providers have sent.
func (u Usage) Validate() error {
	for _, b := range []struct {
		name string
		n    int64
	}{
		{"input", u.Input}, {"cache_read", u.CacheRead}, {"cache_write_5m", u.CacheWrite5m},
		{"cache_write_1h", u.CacheWrite1h}, {"output", u.Output}, {"reasoning", u.Reasoning}, {"millis", u.Millis},
	} {
		if b.n < 0 {
			return Invalid("usage."+b.name, fmt.Sprintf("is %d", b.n), "report the provider's response; counts cannot be negative")
		}
	}
	return nil
}
