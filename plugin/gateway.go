package plugin

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/gateway"
	"github.com/wflo-ai/wflo-go/internal/meter"
)

// Meter says how calls are accounted for that wflo does not write itself: those
// of SDKs over [Plugin.Transport], and OutsideTokens those of the OpenAI-compatible
// endpoint, too. The zero value refuses what cannot be bounded.
type Meter struct {
	// Hosts names the provider in the price book by the host of a server, as
	// "llm.internal:8000": "vllm", with the port where its URL has one. The
	// vendors' own hosts, those of Config.Providers and an Ollama on port 11434 of
	// this machine are known. Calls of any other host are priced like those of the
	// vendor whose wire format it speaks.
	Hosts map[string]string
	// Models names the model in the price book by the name that requests use, such
	// as a deployment of Azure.
	Models map[string]string
	// Allow are paths that pass without being metered because they cost nothing,
	// such as /v1/files, in the form of path.Match.
	Allow []string
	// OutsideTokens is reserved, in prompt tokens, for each image, file, earlier
	// response and cached content, whose size a request does not show. Zero refuses
	// requests that have any.
	OutsideTokens int64
}

func (m Meter) validate() error {
	if m.OutsideTokens < 0 {
		return wflo.Invalid("plugin.Config.Meter.OutsideTokens", "is negative", "use 0 to refuse images and files")
	}
	for host, provider := range m.Hosts {
		if host == "" || provider == "" || strings.Contains(host, "/") {
			return wflo.Invalid("plugin.Config.Meter.Hosts", fmt.Sprintf("has %q for %q", provider, host), "name a provider of the price book for HOST or HOST:PORT")
		}
	}
	for name, model := range m.Models {
		if name == "" || model == "" {
			return wflo.Invalid("plugin.Config.Meter.Models", fmt.Sprintf("has %q for %q", model, name), "name a model of the price book for each")
		}
	}
	for _, pattern := range m.Allow {
		if _, err := path.Match(pattern, ""); err != nil || !strings.HasPrefix(pattern, "/") {
			return wflo.Invalid("plugin.Config.Meter.Allow", fmt.Sprintf("has %q", pattern), "give paths that begin with a slash, such as /v1/files or /v1/files/*")
		}
	}
	return nil
}

// ollamaPort is where Ollama listens unless it is told otherwise.
const ollamaPort = "11434"

// hosts are the servers whose provider is known by their address.
func (c Config) hosts() map[string]string {
	hosts, shared := map[string]string{}, map[string]bool{}
	for _, p := range c.Providers {
		u, err := url.Parse(p.BaseURL)
		if err != nil || u.Host == "" {
			continue
		}
		name := cmp.Or(p.Name, p.Kind)
		if other := hosts[u.Host]; other != "" && other != name {
			shared[u.Host] = true
		}
		hosts[u.Host] = name
	}
	for host := range shared {
		delete(hosts, host) // the wire format tells its providers apart
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		host += ":" + ollamaPort
		// OPENAI_BASE_URL often leads to an Ollama, too.
		if hosts[host] == "" || hosts[host] == KindOpenAI {
			hosts[host] = ollama
		}
	}
	maps.Copy(hosts, c.Meter.Hosts)
	return hosts
}

// Transport governs the SDK of any vendor of models in your own activities: give
// its http.Client this transport, and use the activity's context for its calls.
// Each is priced, reserved on the run's budgets, cut to their head-room, and
// settled by what the response bills; a call that does not fit fails with
// wflo.ErrBudgetExceeded before a byte is sent. base carries the requests; nil
// means http.DefaultTransport. Config.Meter says what it knows of servers and what
// it lets pass.
func (p *Plugin) Transport(base http.RoundTripper) http.RoundTripper {
	m := p.cfg.Meter
	metered := meter.New(meter.Config{
		Ledger: p.parts.ledger, Prices: p.cfg.Prices, Observer: paidObserver{p.metrics}, Logger: p.cfg.Logger, Base: base, MaxTokens: p.cfg.MaxTokens,
		Estimator: p.estimator, Hosts: p.cfg.hosts(), Models: m.Models, Allow: m.Allow, OutsideTokens: m.OutsideTokens,
	})
	return &tracedTransport{next: metered, provider: p.TracerProvider()}
}

// HTTPClient is a client with that transport, for SDKs that take one.
func (p *Plugin) HTTPClient() *http.Client { return &http.Client{Transport: p.Transport(nil)} }

// Gateway is the OpenAI-compatible endpoint of Config.GatewayKeys, for frameworks
// and programs that wflo does not run: chat completions, responses, embeddings and
// the list of models. Serve it under /v1/, and stop serving before Close. It is nil
// where there are no keys. Every caller needs one, but its requests are not
// encrypted: put it behind a server that does that where others can listen.
func (p *Plugin) Gateway() http.Handler {
	if p.gateway == nil {
		return nil
	}
	return p.gateway
}

// openGateway makes the endpoint.
func (p *Plugin) openGateway() error {
	if len(p.cfg.GatewayKeys) == 0 {
		return nil
	}
	base := http.DefaultTransport
	if standard, ok := base.(*http.Transport); ok {
		own := standard.Clone()
		p.closers = append(p.closers, func() error { own.CloseIdleConnections(); return nil })
		base = own
	}
	cfg := gateway.Config{
		Ledger: p.parts.ledger, Prices: p.cfg.Prices, Observer: paidObserver{p.metrics}, Logger: p.cfg.Logger, Base: base,
		MaxTokens: p.cfg.MaxTokens, Estimator: p.estimator, OutsideTokens: p.cfg.Meter.OutsideTokens, Upstreams: upstreams(p.cfg.Providers),
	}
	for _, k := range p.cfg.GatewayKeys {
		cfg.Keys = append(cfg.Keys, gateway.Key{Name: k.Name, Secret: k.Secret, Run: k.Run})
	}
	g, err := gateway.New(cfg)
	if err != nil {
		return fmt.Errorf("open the endpoint: %w", err)
	}
	p.gateway = &counted{next: &tracedHandler{next: g, provider: p.TracerProvider()}}
	p.closers = append(p.closers, p.gateway.drain)
	return nil
}

// compatible is where the vendors' OpenAI-compatible endpoints are below the base
// URL of their own API.
var compatible = map[string]string{
	KindOpenAI: "", KindAnthropic: "/v1", KindGoogle: "/v1beta/openai", KindCohere: "/compatibility/v1",
}

// upstreams are the providers that the endpoint can forward to. A base URL that
// replaces a vendor's counts here, too: requests and key go there and nowhere else.
// Custom providers have no address.
func upstreams(providers []Provider) []gateway.Upstream {
	var out []gateway.Upstream
	for _, p := range providers {
		if p.Custom != nil {
			continue
		}
		u := gateway.Upstream{Provider: cmp.Or(p.Name, p.Kind), BaseURL: gateway.Standard[p.Kind], APIKey: p.APIKey}
		if p.BaseURL != "" {
			u.BaseURL = strings.TrimRight(p.BaseURL, "/") + compatible[p.Kind]
		}
		if p.HTTPClient != nil {
			u.Base = p.HTTPClient.Transport
		}
		out = append(out, u)
	}
	return out
}

// counted lets Close wait for the calls that are being answered, because the last
// thing that they do is to tell the ledger what they cost.
type counted struct {
	next   http.Handler
	inside sync.RWMutex
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.inside.RLock()
	defer c.inside.RUnlock()
	c.next.ServeHTTP(w, r)
}

func (c *counted) drain() error {
	c.inside.Lock()
	defer c.inside.Unlock()
	return nil
}
