// Package scripted stands in for the vendors of language models: a real HTTP
// server on loopback that speaks the wire formats of OpenAI, Anthropic, Gemini
// and Cohere on one port, and answers what a Go function tells it to.
//
// You call two things. New starts a server with a Script; BaseURL gives what a
// vendor's own client takes as its base URL, so that the client, its retries,
// its stream parser and its errors are the real ones. Afterwards Calls is the
// vendor's side of the books: every call with what was billed for it.
//
//	srv, err := scripted.New(scripted.Config{Script: scripted.Echo})
//	defer srv.Close()
//	client := openai.NewClient(option.WithBaseURL(srv.BaseURL(scripted.OpenAI)), option.WithAPIKey("any"))
//
// It is strict where the vendors are: a field that the vendor does not know, a
// tool call without a result, a missing max_tokens (Anthropic) or
// thought signature (Gemini 3) is refused with the vendor's own error. It is
// text and tools only: images, audio, server tools, and more than one choice
// are refused. Money is real in one sense: tokens are counted over the text
// that was sent and answered (see CountTokens), so usage moves with content.
package scripted

import (
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// The providers, as BaseURL takes them and Turn.Provider names them.
const (
	OpenAI    = "openai"
	Anthropic = "anthropic"
	Google    = "google"
	Cohere    = "cohere"
)

// MalformedField is where the arguments of a tool call go that are not a JSON
// object, in the formats whose arguments are objects (Anthropic's input,
// Gemini's args): {"_malformed": "<the raw text>"}, in a whole answer
// and in a stream alike. OpenAI and Cohere carry the raw text as it is. A client that sends such
// an object back is understood: the next Turn has the raw text again.
const MalformedField = "_malformed"

// Script answers one turn of a conversation. It sees everything that the client
// sent and must not change it. It may be called at the same time for several
// requests. A panic becomes the vendor's 500.
type Script func(t Turn) Answer

// Turn is one request, in the words of package wflo whatever the wire format.
type Turn struct {
	// Provider is one of the provider constants; Model is the model id that was
	// asked for.
	Provider string
	Model    string
	// System joins all system texts with a blank line.
	System   string
	Messages []wflo.Message
	Tools    []wflo.Tool
	// MaxTokens is the limit on the answer in tokens; 0 when the client set none.
	MaxTokens int64
	// Stream says that the client wants the answer in pieces.
	Stream bool
	// Call numbers the accepted calls of this server from 1.
	Call int
	// Header is the request's, with credentials blanked.
	Header http.Header
}

// Answer is what the model says. Reasoning is generated first, then Text, then
// ToolCalls; a limit of N tokens keeps the first N of that, and the reply then
// carries the vendor's reason for a length stop.
type Answer struct {
	Text string
	// ToolCalls with an empty ID get one that is made from the call number.
	ToolCalls []wflo.ToolCall
	// Reasoning is thinking text. It is billed always; Anthropic and Cohere show
	// it as a thinking block, Gemini shows it when the client asked for
	// thoughts, OpenAI never does.
	Reasoning string
	// CachedInput is how many prompt tokens a cache served; it is capped at the
	// prompt. Cohere has no such thing and ignores it.
	CachedInput int64
	// Tier is the service that the vendor says has answered, in the words of
	// wflo.Reply.Tier; empty is the standard one. Whether it was asked for does not
	// matter, as with an account's setting. Cohere has no such thing and ignores it.
	Tier  string
	Fault Fault
}

// Fault makes a call go wrong. The zero value is no fault.
type Fault struct {
	// Status answers with this HTTP status (400 to 599) and the vendor's error;
	// nothing is billed.
	Status int
	// RetryAfter goes with Status, in the Retry-After header (whole seconds,
	// rounded up), and also as Retry-After-Ms for OpenAI and as RetryInfo in
	// the error's details for Gemini.
	RetryAfter time.Duration
	// Body replaces the response's body. Without Status it is a 200.
	Body string
	// DropAfter cuts the connection after so many bytes of the body, even when
	// the body is not longer. 0 is no cut; a negative number cuts before the
	// status line. The vendor bills what it generated: all of it.
	DropAfter int
	// Hang sends nothing more (after DropAfter bytes, if that is positive) until
	// the client goes away or the server closes. Only the prompt is billed.
	Hang bool
	// OmitUsage leaves the usage out of the reply. It is billed nevertheless.
	OmitUsage bool
	// MalformedJSON cuts the last byte of the body, or of every event after the
	// first in a stream, so that it does not parse. It is billed nevertheless.
	MalformedJSON bool
}

// Call is one entry of the vendor's books.
type Call struct {
	Provider string
	Model    string
	// Turn is what the script saw; Answer is what it said, before the limit cut it.
	Turn   Turn
	Answer Answer
	// ResponseID is the id that the vendor gave the answer, made from Turn.Call.
	ResponseID string
	// Status is the HTTP status of the response; 0 while the script runs.
	Status int
	// Usage is what was billed, in disjoint buckets as the vendor lets a client
	// know them: Cohere counts reasoning as output. Zero when nothing was billed.
	Usage wflo.Usage
	// Completed says that the whole response was handed to the network.
	Completed bool
}
