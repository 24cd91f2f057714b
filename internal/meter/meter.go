// Package meter governs the SDK of any vendor of language models: it is an
// http.RoundTripper that stands under the SDK and does for its calls what the
// model activity does for its own. It prices the worst case of a request,
// reserves it on the budgets of the run that the request's context carries, cuts
// the answer to what was granted, sends the request, reads the usage from the
// response while that passes by, and settles.
//
// You call two things: [New], and http.Client with its result as Transport. It
// knows OpenAI's chat completions, responses and embeddings on every compatible
// server, Anthropic's messages, Gemini's generateContent and embedContent, and
// Cohere's chat and embed, whole and streamed.
//
// It refuses what it cannot account for: requests without a run, models without a
// price, endpoints that it does not know, tools that the vendor runs and bills on
// its own, and parts of a prompt whose size the request does not show. It never
// retries.
package meter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// DefaultTimeout is how long a call may take that no workflow owns.
const DefaultTimeout = 10 * time.Minute

// Observer hears what was paid. Its methods may be called at the same time and
// must not block. activities.Observer is one.
type Observer interface {
	// LLMCall says that a model answered and what it cost. The run is in ctx.
	LLMCall(ctx context.Context, provider, model string, u wflo.Usage, cost wflo.Money)
	// BudgetExceeded says that a call of the workflow type did not fit.
	BudgetExceeded(workflow string)
}

// Config makes a Transport.
type Config struct {
	// Ledger keeps the budgets. Without it every call is refused.
	Ledger activities.Calls
	// Prices finds rates. Without it every call is refused.
	Prices activities.Prices
	// Observer counts; nil means nobody does. One that has LLMEstimate and
	// LLMOverdraft, as activities.Observer does, hears of those as well.
	Observer Observer
	// Logger gets a warning per call whose cost is unknown; nil means none.
	Logger *slog.Logger
	// Base carries the requests; nil means http.DefaultTransport. It should not
	// retry: a repeated request is billed twice and reserved once.
	Base http.RoundTripper
	// MaxTokens bounds an answer whose request does not, in tokens; zero means
	// activities.DefaultMaxTokens.
	MaxTokens int64
	// Estimator says how large a prompt is likely to be, and learns from what is
	// billed; share the one of activities.LLM. A call may then cost more than was
	// reserved for it, as it may there. Nil means strict: a prompt is reserved for
	// with the most tokens that its bytes can be counted as.
	Estimator *activities.Estimator
	// Hosts names the provider in the price book that a host's calls are billed
	// by, as "localhost:11434": "ollama"; with the port where the URL has one.
	// The vendors' own hosts are known. Another host is priced like the vendor
	// whose wire format it speaks.
	Hosts map[string]string
	// Models names the model in the price book for a name that requests use, such
	// as a deployment of Azure.
	Models map[string]string
	// Allow are paths that pass without being metered, such as /v1/files, in the
	// form of path.Match. GET and HEAD always pass.
	Allow []string
	// OutsideTokens is reserved, in prompt tokens, for each part of a request
	// whose size its bytes do not bound: an image, a file, an earlier response, a
	// cached content. Zero refuses such requests.
	OutsideTokens int64
	// Run says whom a request acts for whose context carries no run; nil, or
	// false, refuses it.
	Run func(*http.Request) (wflo.Run, bool)
	// Timeout ends calls that no workflow owns (Run.Namespace is empty) and those
	// of models that bill by time; zero means DefaultTimeout.
	Timeout time.Duration
}

// Transport is an http.RoundTripper that meters. It may be used at the same time
// by any number of activities.
type Transport struct {
	cfg  Config
	uses occurrences
}

// New fills in the defaults. What is missing in cfg is refused by RoundTrip.
func New(cfg Config) *Transport {
	if cfg.Base == nil {
		cfg.Base = http.DefaultTransport
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxTokens <= 0 {
		cfg.MaxTokens = activities.DefaultMaxTokens
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Transport{cfg: cfg}
}

// RoundTrip sends one request within the budgets of its run. Its own errors are
// *wflo.Error: CodeBudgetExceeded with a *wflo.Refusal when a budget has no room,
// CodeUnknownModel for what has no price, CodeInvalid for what cannot be metered.
// They reach the caller through http.Client and the SDKs: use errors.As.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.passes(req) {
		return t.cfg.Base.RoundTrip(req)
	}
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	if t.cfg.Ledger == nil || t.cfg.Prices == nil {
		return nil, wflo.Invalid("meter.Config", "lacks Ledger or Prices", "set both; nothing is called without accounting")
	}
	who, err := t.identify(req)
	if err != nil {
		return nil, err
	}
	a, err := t.read(req, body, who.run)
	if err != nil {
		return nil, err
	}
	c := &call{t: t, req: req, ask: a, who: who, at: time.Now()}
	return c.do()
}

// passes says whether a request is none that a model answers.
func (t *Transport) passes(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, "", http.MethodHead:
		// What begins as GET and goes on as a conversation is billed.
		return req.Header.Get("Upgrade") == ""
	}
	clean := path.Clean("/" + req.URL.Path)
	for _, pattern := range slices.Concat(free, t.cfg.Allow) {
		if ok, err := path.Match(pattern, clean); ok && err == nil {
			return true
		}
	}
	return false
}

// free are endpoints that vendors do not charge for.
var free = []string{"/v1/messages/count_tokens", "/v1beta/models/*:countTokens", "/v1/tokenize"}

// Call lets the caller of a Transport name one call and hear what it cost; see
// [WithCall].
type Call struct {
	// Key makes the call the same effect as every other one of its run with this
	// key, path and body, whoever sends it: one that was paid is answered from the
	// ledger, and one that is running is CodeConflict. Empty means that the call
	// is made for itself, or inside an activity, that it is counted there.
	Key string
	// Settled says that the call was paid or replayed, Cost what was charged for
	// it now, and Room what the tightest budget still had after it was reserved.
	// They are set before the response's body ends.
	Settled  bool
	Replayed bool
	Cost     wflo.Money
	Granted  wflo.Money
	Room     wflo.Money
}

type callKey struct{}

// WithCall returns a context for one request.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// isRefusal says that the ledger said no, which a metric counts.
func isRefusal(err error) bool { return errors.Is(err, wflo.ErrBudgetExceeded) }

func unmeterable(format string, args ...any) error {
	return wflo.Errorf(wflo.CodeInvalid, "call it without this, or list its path in the transport's Allow if it costs nothing",
		"request cannot be metered: %s", fmt.Sprintf(format, args...))
}
