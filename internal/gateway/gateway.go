// Package gateway is an OpenAI-compatible endpoint with budgets: chat
// completions, responses, embeddings and the list of models, for frameworks and
// for code that wflo does not run. Point their base URL at it, give them a key of
// its own, and every call is reserved, bounded, forwarded to the vendor that has
// the model, and settled, by package meter.
//
// You call [New], and serve its result. It keeps the vendors' keys to itself:
// callers have keys of the gateway, which say who pays, and neither a caller's
// headers nor a vendor's words about the key are passed on. Without a key it is
// off. It translates nothing: vendors are called by their own OpenAI-compatible
// endpoints.
package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/meter"
)

// Standard says where the vendors' own OpenAI-compatible endpoints are, by the
// provider's name.
var Standard = map[string]string{
	"openai":    "https://api.openai.com/v1",
	"anthropic": "https://api.anthropic.com/v1",
	"google":    "https://generativelanguage.googleapis.com/v1beta/openai",
	"cohere":    "https://api.cohere.ai/compatibility/v1",
}

// Key is a caller of the gateway.
type Key struct {
	// Name is how runs, budgets and logs call it: letters, digits, dots, dashes
	// and underscores.
	Name string
	// Secret is what callers send as bearer token, at least 16 bytes.
	Secret string
	// Run says for whom the caller acts: User, Team, Org, Agent, Tags. Its Budget
	// is that of each of the key's runs; see HeaderRun.
	Run wflo.Run
}

// Upstream is a server that calls are forwarded to.
type Upstream struct {
	// Provider is its name in the price book and in "provider/model". Required.
	Provider string
	// BaseURL ends before /chat/completions. Empty means the provider's own.
	BaseURL string
	// APIKey is sent as bearer token. It may be empty for a server that takes
	// none.
	APIKey string
	// Base carries the requests; nil means Config.Base.
	Base http.RoundTripper
}

// Config makes a Gateway.
type Config struct {
	// Ledger and Prices are required.
	Ledger activities.Calls
	Prices activities.Prices
	// Observer counts; nil means nobody does.
	Observer meter.Observer
	// Logger gets what callers are not told; nil means none.
	Logger *slog.Logger
	// Keys are the callers. None turns the gateway off.
	Keys []Key
	// Upstreams are the vendors.
	Upstreams []Upstream
	// Base carries the requests; nil means http.DefaultTransport.
	Base http.RoundTripper
	// MaxTokens bounds an answer whose request does not, in tokens; zero means
	// activities.DefaultMaxTokens.
	MaxTokens int64
	// Estimator is as in meter.Config. Requests with an idempotency key do without,
	// because the same request has to reserve the same.
	Estimator *activities.Estimator
	// OutsideTokens is as in meter.Config; zero refuses images and files.
	OutsideTokens int64
	// Timeout ends calls; zero means meter.DefaultTimeout.
	Timeout time.Duration
	// Patience is how long a caller may take for one piece of an answer, which has up to
	// 32 KiB; zero means 30 seconds. Who takes longer is cut off, and has paid.
	Patience time.Duration
}

// Gateway is an http.Handler for /v1/chat/completions, /v1/responses,
// /v1/embeddings and /v1/models.
type Gateway struct {
	cfg       Config
	keys      []caller
	upstreams map[string]upstream
	log       *slog.Logger
}

type caller struct {
	Key
	digest [sha256.Size]byte
}

type upstream struct {
	Upstream
	base *url.URL
	// metered is Base with accounting; strict is for requests that must reserve the
	// same whenever they are sent.
	metered, strict http.RoundTripper
}

// minSecret is the shortest key, in bytes: it must not be guessed.
const minSecret = 16

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// New checks the configuration. Errors are *wflo.Error with CodeInvalid.
func New(cfg Config) (*Gateway, error) {
	if cfg.Ledger == nil || cfg.Prices == nil {
		return nil, wflo.Invalid("gateway.Config", "lacks Ledger or Prices", "set both; nothing is called without accounting")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Base == nil {
		cfg.Base = http.DefaultTransport
	}
	if cfg.Patience <= 0 {
		cfg.Patience = defaultPatience
	}
	g := &Gateway{cfg: cfg, upstreams: map[string]upstream{}, log: cfg.Logger}
	if err := g.addKeys(cfg.Keys); err != nil {
		return nil, err
	}
	for _, u := range cfg.Upstreams {
		if err := g.addUpstream(u); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *Gateway) addKeys(keys []Key) error {
	names := map[string]bool{}
	for _, k := range keys {
		switch {
		case !plainName.MatchString(k.Name) || names[k.Name]:
			return wflo.Invalid("gateway.keys.name", "is empty, taken or not plain", "use letters, digits, dots, dashes and underscores")
		case len(k.Secret) < minSecret:
			return wflo.Invalid("gateway.keys."+k.Name, "has a secret that is too short", "use at least 16 random characters, such as from openssl rand -hex 24")
		}
		if err := k.Run.Validate(); err != nil {
			return err
		}
		c := caller{Key: k, digest: sha256.Sum256([]byte(k.Secret))}
		for _, other := range g.keys {
			if other.digest == c.digest {
				return wflo.Invalid("gateway.keys."+k.Name, "has the secret of "+other.Name, "give every key a secret of its own")
			}
		}
		names[k.Name] = true
		g.keys = append(g.keys, c)
	}
	return nil
}

// addUpstream checks a server. Each has a transport of its own, so that calls are
// priced by who was asked, also where several providers are behind one host.
func (g *Gateway) addUpstream(u Upstream) error {
	field := "gateway.upstreams." + u.Provider
	if u.Provider == "" || strings.Contains(u.Provider, "/") || g.upstreams[u.Provider].base != nil {
		return wflo.Invalid(field, "has a name that is empty, taken or holds a slash", "name a provider of the price book, each once")
	}
	if u.BaseURL == "" {
		u.BaseURL = Standard[u.Provider]
	}
	base, err := url.Parse(u.BaseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" {
		return wflo.Invalid(field, "has no usable base URL", "give one such as https://api.openai.com/v1, without key or query")
	}
	base.Path = strings.TrimSuffix(path.Clean("/"+base.Path), "/")
	if u.Base == nil {
		u.Base = g.cfg.Base
	}
	m := meter.Config{
		Ledger: g.cfg.Ledger, Prices: g.cfg.Prices, Observer: g.cfg.Observer, Logger: g.log, Base: u.Base,
		MaxTokens: g.cfg.MaxTokens, OutsideTokens: g.cfg.OutsideTokens, Timeout: g.cfg.Timeout,
		Hosts: map[string]string{base.Host: u.Provider},
	}
	strict := meter.New(m)
	m.Estimator = g.cfg.Estimator
	g.upstreams[u.Provider] = upstream{Upstream: u, base: base, metered: meter.New(m), strict: strict}
	return nil
}

// authenticate finds the caller, at the same pace whoever it is.
func (g *Gateway) authenticate(r *http.Request) (caller, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	var found caller
	ok := false
	for _, k := range g.keys {
		if subtle.ConstantTimeCompare(digest[:], k.digest[:]) == 1 {
			found, ok = k, true
		}
	}
	return found, ok && strings.EqualFold(scheme, "Bearer")
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(g.keys) == 0 {
		complain(w, problem{status: http.StatusNotFound, kind: kindRequest, message: "the endpoint is off: it has no keys"})
		return
	}
	c, ok := g.authenticate(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		complain(w, problem{status: http.StatusUnauthorized, kind: kindRequest, code: "invalid_api_key", message: "the key is not known here"})
		return
	}
	handle := map[string]func(http.ResponseWriter, *http.Request, caller){
		"POST /v1/chat/completions": g.forward, "POST /v1/responses": g.forward, "POST /v1/embeddings": g.forward, "GET /v1/models": g.models,
	}[r.Method+" "+r.URL.Path]
	if handle == nil {
		complain(w, problem{status: http.StatusNotFound, kind: kindRequest, message: "no such endpoint"})
		return
	}
	handle(w, r, c)
}

// target builds the request to an upstream. Nothing of the caller's headers goes
// along.
func (u upstream) target(ctx context.Context, method, endpoint string) *http.Request {
	to := *u.base
	to.Path += endpoint
	req := (&http.Request{Method: method, URL: &to, Header: http.Header{}, Host: to.Host}).WithContext(ctx)
	if u.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+u.APIKey)
	}
	return req
}
