package plugin

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/llm/anthropic"
	"github.com/wflo-ai/wflo-go/internal/llm/cohere"
	"github.com/wflo-ai/wflo-go/internal/llm/google"
	"github.com/wflo-ai/wflo-go/internal/llm/openai"
)

// Kinds of providers: the wire formats that wflo speaks.
const (
	KindOpenAI    = "openai" // and every server that is compatible with it
	KindAnthropic = "anthropic"
	KindGoogle    = "google"
	KindCohere    = "cohere"
)

// ollama is the name of models on one's own machine in the price book.
const ollama = "ollama"

// Provider configures one vendor of models.
type Provider struct {
	// Kind is the wire format. Required, unless Custom is set.
	Kind string
	// Name is the provider's name in the price book; empty means Kind.
	Name string
	// APIKey is the credential. Only a compatible server may go without.
	APIKey string
	// BaseURL replaces the vendor's address.
	BaseURL string
	// TokenField is the request field that bounds the answer, for compatible
	// servers; empty means max_completion_tokens for api.openai.com and
	// max_tokens for others. A server that ignores the field answers without
	// bound.
	TokenField string
	// HTTPClient carries the requests; nil means a plain one.
	HTTPClient *http.Client
	// Custom is a provider of your own; Name is then required.
	Custom activities.Provider
}

// ProvidersFromEnv reads the variables that the vendors' own tools use:
// OPENAI_API_KEY and OPENAI_BASE_URL, ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL,
// GEMINI_API_KEY (or GOOGLE_API_KEY), CO_API_KEY (or COHERE_API_KEY), and
// OLLAMA_HOST.
func ProvidersFromEnv() []Provider {
	var out []Provider
	add := func(p Provider) {
		if p.APIKey != "" || (p.Kind == KindOpenAI && p.BaseURL != "") {
			out = append(out, p)
		}
	}
	add(Provider{Kind: KindOpenAI, APIKey: os.Getenv("OPENAI_API_KEY"), BaseURL: os.Getenv("OPENAI_BASE_URL")})
	add(Provider{Kind: KindAnthropic, APIKey: os.Getenv("ANTHROPIC_API_KEY"), BaseURL: os.Getenv("ANTHROPIC_BASE_URL")})
	add(Provider{Kind: KindGoogle, APIKey: cmp.Or(os.Getenv("GEMINI_API_KEY"), os.Getenv("GOOGLE_API_KEY")), BaseURL: os.Getenv("GEMINI_BASE_URL")})
	add(Provider{Kind: KindCohere, APIKey: cmp.Or(os.Getenv("CO_API_KEY"), os.Getenv("COHERE_API_KEY")), BaseURL: os.Getenv("CO_API_URL")})
	if host := os.Getenv("OLLAMA_HOST"); host != "" {
		if !strings.Contains(host, "://") {
			if _, _, err := net.SplitHostPort(host); err != nil {
				host = net.JoinHostPort(strings.Trim(host, "[]"), ollamaPort) // as Ollama's own tools read it
			}
			host = "http://" + host
		}
		add(Provider{Kind: KindOpenAI, Name: ollama, BaseURL: strings.TrimSuffix(host, "/") + "/v1"})
	}
	return out
}

func buildProviders(list []Provider) (map[string]activities.Provider, error) {
	out := make(map[string]activities.Provider, len(list))
	for i, p := range list {
		if p.Name == "" {
			p.Name = p.Kind
		}
		built, err := p.build()
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", p.Name, err)
		}
		if p.Name == "" || out[p.Name] != nil {
			return nil, wflo.Invalid(fmt.Sprintf("plugin.Config.Providers[%d].Name", i), fmt.Sprintf("is %q, which is empty or taken", p.Name), "give each provider a name of its own")
		}
		out[p.Name] = built
	}
	return out, nil
}

func (p Provider) build() (activities.Provider, error) {
	if p.Custom != nil {
		return p.Custom, nil
	}
	switch p.Kind {
	case KindOpenAI:
		return openai.New(openai.Config{APIKey: p.APIKey, BaseURL: p.BaseURL, Name: p.Name, TokenField: p.TokenField, HTTPClient: p.HTTPClient})
	case KindAnthropic:
		return anthropic.New(anthropic.Config{APIKey: p.APIKey, BaseURL: p.BaseURL, HTTPClient: p.HTTPClient})
	case KindGoogle:
		return google.New(google.Config{APIKey: p.APIKey, BaseURL: p.BaseURL, HTTPClient: p.HTTPClient})
	case KindCohere:
		return cohere.New(cohere.Config{APIKey: p.APIKey, BaseURL: p.BaseURL, HTTPClient: p.HTTPClient})
	}
	return nil, wflo.Invalid("kind", fmt.Sprintf("is %q", p.Kind), "use openai, anthropic, google or cohere")
}
