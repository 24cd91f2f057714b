package meter

import (
	"cmp"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/llm"
	"github.com/wflo-ai/wflo-go/pricing"
)

// ask is what a request asks for, in the words that money needs.
type ask struct {
	api             *api
	provider, model string // as they are priced, with the tier
	price           wflo.Price
	body            []byte // as the caller wrote it
	fields          fields
	tiers           []string // the request's words for a service
	stream          bool
	size            activities.Size // of the body
	input           int64           // prompt tokens to reserve for
	output          int64           // bound of the tokens of one answer; 0 where there are none
	least           int64           // of output
	answers         int64           // how many are asked for, at least 1
	outside         int64           // parts whose size the body does not bound
	extra           int64           // tokens that the vendor's template adds
	tools           bool
	// limits are the fields that bound one answer, each as a path of keys.
	limits [][]string
	set    bool // the request has a limit itself
}

// read finds out what a request asks for and what that can cost.
func (t *Transport) read(req *http.Request, body []byte, run wflo.Run) (*ask, error) {
	if enc := req.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, unmeterable("its body is compressed")
	}
	w, model, err := recognise(req)
	if err != nil {
		return nil, err
	}
	f, err := parse(body)
	if err != nil {
		return nil, err
	}
	a := &ask{api: w, body: body, fields: f, model: model, answers: 1}
	if err := f.only("model", "stream"); err != nil {
		return nil, err
	}
	if a.model == "" {
		if a.model, err = f.text("model"); err != nil {
			return nil, err
		}
	}
	if a.model == "" {
		return nil, unmeterable("it names no model")
	}
	a.model = cmp.Or(t.cfg.Models[a.model], a.model)
	a.provider = t.provider(req.URL, w)
	if err := w.read(a, req.URL); err != nil {
		return nil, err
	}
	if err := t.bound(a, run); err != nil {
		return nil, err
	}
	return a, t.rates(a)
}

// bound gives the tokens to reserve for.
func (t *Transport) bound(a *ask, run wflo.Run) error {
	if a.outside > 0 && t.cfg.OutsideTokens <= 0 {
		return wflo.Errorf(wflo.CodeInvalid, "send text, or set OutsideTokens to what such a part may take at most",
			"request cannot be metered: a part of it (an image, a file, an earlier response) may be larger than it shows")
	}
	a.size.Bound = inputBound(a.body, a.tools)
	a.input = a.size.Bound
	if t.cfg.Estimator != nil {
		a.size.Dense = activities.DenseBytes(a.body)
		a.input = t.cfg.Estimator.Estimate(run, a.provider, a.model, a.size)
	}
	a.input += a.extra + saturate(a.outside, t.cfg.OutsideTokens)
	if w := a.api; !w.answers {
		a.output, a.least = 0, 0
		return nil
	}
	if a.output == 0 {
		a.output = t.cfg.MaxTokens
	} else {
		a.set = true
	}
	a.least = min(a.output, max(a.least, minTokens))
	return nil
}

// rates finds the dearest rates that the request can meet.
func (t *Transport) rates(a *ask) error {
	words := a.tiers[:0:0]
	for _, w := range a.tiers {
		if w = strings.ToLower(w); w != "auto" && w != "standard_only" {
			words = append(words, w)
		}
	}
	model := pricing.WithTier(a.model, llm.Tier(words...))
	var err error
	a.price, err = t.cfg.Prices.FindWorst(a.provider, model, time.Now(), a.input)
	return err
}

// What vendors' templates add, in tokens; see package pricing.
const (
	overheadCall    = 64
	overheadTooling = 1024
	overheadPart    = 32
)

// inputBound is the most tokens that a body can be counted as: its bytes, because
// the tokenisers in use cover a byte by at most one token. Where there are tools
// the vendor may write texts into its template as JSON with escapes, so there
// every character counts as its longest.
func inputBound(body []byte, tools bool) int64 {
	n := int64(overheadCall + len(body))
	if !utf8.Valid(body) {
		return n + 2*int64(len(body)) // what is not UTF-8 is replaced by three bytes
	}
	if !tools {
		return n
	}
	for _, r := range string(body) {
		switch {
		case r > 0xFFFF:
			n += 8
		case r >= 0x80:
			n += 4
		}
	}
	return n + overheadTooling
}

// bounded is the body to send: the caller's, with each answer bounded to most
// tokens, and with usage asked for where it has to be.
func (a *ask) bounded(most int64) ([]byte, error) {
	f, changed := a.fields, false
	var err error
	if a.api.answers && (!a.set || most < a.output) {
		for _, field := range a.limits {
			if f, err = f.with(most, field...); err != nil {
				return nil, err
			}
		}
		changed = true
	}
	if a.stream && a.api.askUsage {
		options, err := f.object("stream_options")
		if err != nil {
			return nil, err
		}
		if on, err := options.flag("include_usage"); err != nil {
			return nil, err
		} else if !on {
			if f, err = f.with(true, "stream_options", "include_usage"); err != nil {
				return nil, err
			}
			changed = true
		}
	}
	if !changed {
		return a.body, nil
	}
	return encode(f)
}

// hosts are the vendors' own, by the provider's name in the price book.
var hosts = map[string]string{
	"api.openai.com": "openai", "api.anthropic.com": "anthropic", "generativelanguage.googleapis.com": "google",
	"api.cohere.com": "cohere", "api.cohere.ai": "cohere", "api.mistral.ai": "mistral", "api.deepseek.com": "deepseek", "api.x.ai": "xai",
}

func (t *Transport) provider(u *url.URL, w *api) string {
	if p := t.cfg.Hosts[u.Host]; p != "" {
		return p
	}
	return cmp.Or(hosts[strings.ToLower(u.Hostname())], w.vendor)
}

// knowsNewLimit says whether a host's chat completions take
// max_completion_tokens, which OpenAI's reasoning models insist on.
func knowsNewLimit(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return host == "api.openai.com" || strings.HasSuffix(host, ".openai.azure.com") || strings.HasSuffix(host, ".cognitiveservices.azure.com")
}

// recognise tells the API from the path. model is set where the path names it.
func recognise(req *http.Request) (w *api, model string, err error) {
	clean := path.Clean("/" + req.URL.Path)
	if req.Method != http.MethodPost || clean != strings.TrimSuffix("/"+strings.TrimPrefix(req.URL.Path, "/"), "/") {
		return nil, "", unmeterable("%s %s is not known", req.Method, clip(clean))
	}
	last := path.Base(clean)
	if name, method, ok := strings.Cut(last, ":"); ok && path.Base(path.Dir(clean)) == "models" {
		if w := geminiMethods[method]; w != nil {
			return w, name, nil
		}
	}
	for suffix, w := range endpoints {
		if clean == suffix || strings.HasSuffix(clean, suffix) {
			return w, deployment(clean), nil
		}
	}
	return nil, "", unmeterable("the endpoint %s is not known", clip(clean))
}

// deployment is the model that a path of Azure names, which counts there
// whatever the body says.
func deployment(clean string) string {
	_, rest, ok := strings.Cut(clean, "/openai/deployments/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
