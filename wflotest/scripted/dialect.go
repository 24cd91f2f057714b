package scripted

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// obj is a JSON object on its way out.
type obj = map[string]any

// dialect is one vendor's wire format. Implementations keep no state.
type dialect interface {
	provider() string
	// admit checks credentials and required headers. key is "" when any will do.
	admit(r *http.Request, key string) *refusal
	// parse reads a request; the Turn lacks Call and Header.
	parse(r *http.Request, body []byte) (request, *refusal)
	// id names the answer to a call.
	id(call int) string
	// whole is the answer as one JSON object.
	whole(q request, o outcome) any
	// stream is the answer as events, and framing how those are written.
	stream(q request, o outcome) []event
	framing() framing
	// billed puts the outcome's tokens in the buckets that the vendor tells its
	// clients.
	billed(o outcome) wflo.Usage
	// complaint is the vendor's error object.
	complaint(bad refusal, id string, retry time.Duration) any
}

// request is a parsed request.
type request struct {
	turn Turn
	// usage says that a stream shall end with the usage (OpenAI).
	usage bool
	// thoughts says that thinking text shall be shown (Gemini).
	thoughts bool
}

// stop says why generation ended.
type stop int

const (
	stopEnd stop = iota
	stopTools
	stopLength
)

// outcome is an answer after the token limit, with its counts.
type outcome struct {
	id        string
	call      int
	reasoning string
	text      string
	tools     []wflo.ToolCall
	stop      stop
	// prompt counts everything sent, of which a cache served cached.
	prompt, cached int64
	// output counts text and tool calls; reasoned counts reasoning.
	output, reasoned int64
	omitUsage        bool
	tier             string
}

// service is the tier in a vendor's words, of which standard is one.
func (o outcome) service(standard string) string {
	if o.tier == "" {
		return standard
	}
	return o.tier
}

// created is the time that answers claim: fixed, so that responses do not
// depend on the clock, and one second later for every call.
func (o outcome) created() int64 {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix() + int64(o.call)
}

// generate applies the limit to what the script said.
func generate(q request, a Answer, id string) outcome {
	o := outcome{
		id: id, call: q.turn.Call, prompt: countPrompt(q.turn), omitUsage: a.Fault.OmitUsage, tier: a.Tier,
	}
	o.cached = max(0, min(a.CachedInput, o.prompt))
	left := q.turn.MaxTokens
	if left <= 0 {
		left = 1 << 40
	}
	var lost bool
	// JSON can carry valid UTF-8 only; counting must see what is sent.
	o.reasoning, o.reasoned, lost = cut(strings.ToValidUTF8(a.Reasoning, "\uFFFD"), left)
	if !lost {
		o.text, o.output, lost = cut(strings.ToValidUTF8(a.Text, "\uFFFD"), left-o.reasoned)
	}
	for i, c := range a.ToolCalls {
		if lost {
			break
		}
		c.Name = strings.ToValidUTF8(c.Name, "\uFFFD")
		name := CountTokens(c.Name)
		room := left - o.reasoned - o.output - name
		if room < 0 {
			lost = true
			break
		}
		var n int64
		c.Arguments, n, lost = cut(strings.ToValidUTF8(c.Arguments, "\uFFFD"), room)
		if c.ID == "" {
			c.ID = fmt.Sprintf("call_%06d_%d", q.turn.Call, i+1)
		}
		o.output += name + n
		o.tools = append(o.tools, c)
	}
	switch {
	case lost:
		o.stop = stopLength
	case len(o.tools) > 0:
		o.stop = stopTools
	}
	return o
}

// event is one server-sent event.
type event struct {
	name string
	data any
}

// framing says how a vendor writes server-sent events.
type framing struct {
	named bool   // an "event:" line comes before the data
	eol   string // the line end
	done  bool   // "data: [DONE]" comes last
	// lateBlank sends the blank line that ends an event together with the next
	// event. The bytes are the same. Cohere's Go client needs it: it takes a
	// blank line that arrives on its own for an event.
	lateBlank bool
}

// render writes events into the pieces that are flushed one by one. broken cuts
// the last byte of every event's JSON after the first.
func (f framing) render(events []event, broken bool) ([][]byte, error) {
	var frames [][]byte
	for i, e := range events {
		data, err := json.Marshal(e.data)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", e.name, err)
		}
		if broken && i > 0 {
			data = data[:len(data)-1]
		}
		var b bytes.Buffer
		if f.named {
			b.WriteString("event: " + e.name + f.eol)
		}
		b.WriteString("data: ")
		b.Write(data)
		b.WriteString(f.eol)
		frames = append(frames, b.Bytes())
	}
	if f.done {
		frames = append(frames, []byte("data: [DONE]"+f.eol))
	}
	for i := range frames {
		switch {
		case !f.lateBlank || i == len(frames)-1:
			frames[i] = append(frames[i], f.eol...)
			if f.lateBlank && i > 0 {
				frames[i] = append([]byte(f.eol), frames[i]...)
			}
		case i > 0:
			frames[i] = append([]byte(f.eol), frames[i]...)
		}
	}
	return frames, nil
}

// argumentObject is a tool call's arguments for a format that has objects there.
func argumentObject(text string) json.RawMessage {
	if text == "" {
		return json.RawMessage("{}")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err == nil && fields != nil {
		return json.RawMessage(text)
	}
	// Marshalling strings cannot fail.
	wrapped, _ := json.Marshal(map[string]string{MalformedField: text})
	return wrapped
}

// argumentText is the way back: the text of an argument object, or the raw text
// that argumentObject had wrapped.
func argumentText(raw json.RawMessage) string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err == nil && len(fields) == 1 {
		var text string
		if wrapped := fields[MalformedField]; wrapped != nil && json.Unmarshal(wrapped, &text) == nil {
			return text
		}
	}
	return string(compactJSON(raw))
}

func compactJSON(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// bearer is the token of an Authorization header, or "".
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func sameKey(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// disjoint is the bucketing of the vendors that tell reasoning and cached
// tokens apart.
func disjoint(o outcome) wflo.Usage {
	return wflo.Usage{Input: o.prompt - o.cached, CacheRead: o.cached, Output: o.output, Reasoning: o.reasoned}
}
