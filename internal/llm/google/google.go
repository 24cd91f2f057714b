// Package google calls Google's Gemini models over the generateContent method
// of the Gemini API.
//
// New makes a [Client] from a [Config]; Chat is the only thing it does. Its
// endpoint, backend and key come from the Config alone, never from environment
// variables. It never retries, follows no redirects and lets the SDK continue no
// answer by itself, because each continuation is billed.
package google

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/genai"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// EnvKey is the environment variable that usually holds the key.
const EnvKey = "GEMINI_API_KEY"

const (
	name        = "google"
	standardURL = "https://generativelanguage.googleapis.com"
)

// Config makes a Client.
type Config struct {
	// APIKey is required.
	APIKey string
	// BaseURL ends before /v1beta. Empty means
	// https://generativelanguage.googleapis.com.
	BaseURL string
	// HTTPClient carries the requests. Nil means a plain client. It is copied,
	// not changed.
	HTTPClient *http.Client
}

// Client implements activities.Provider.
type Client struct {
	vendor llm.Vendor
	models *genai.Models
}

// New checks the configuration; it sends nothing. Errors are *wflo.Error with
// CodeMissingKey or CodeInvalid.
func New(cfg Config) (*Client, error) {
	base, err := llm.BaseURL(cfg.BaseURL, standardURL)
	if err != nil {
		return nil, err
	}
	if cfg.APIKey == "" {
		return nil, llm.MissingKey(name, EnvKey)
	}
	// Naming backend, key and URL keeps the SDK from looking into the environment.
	client, err := genai.NewClient(context.Background(), &genai.ClientConfig{
		Backend:     genai.BackendGeminiAPI,
		APIKey:      cfg.APIKey,
		HTTPClient:  llm.HTTPClient(cfg.HTTPClient),
		HTTPOptions: genai.HTTPOptions{BaseURL: base.String() + "/"},
	})
	if err != nil {
		// The SDK's error prints its whole configuration, key included.
		return nil, wflo.Invalid("google", "has a configuration that the SDK refuses", "check key and base URL")
	}
	return &Client{vendor: llm.Vendor{Name: name, Key: cfg.APIKey, Env: EnvKey}, models: client.Models}, nil
}

// Name is "google".
func (c *Client) Name() string { return name }

// Chat makes one call; see activities.Provider.
func (c *Client) Chat(ctx context.Context, p wflo.Prompt, delta func(text string)) (wflo.Reply, error) {
	ctx, call := c.vendor.Begin(ctx, p.Model)
	if err := llm.Check(p); err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	settings, err := config(p)
	if err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	call.KeepRaw()
	if delta != nil {
		return c.stream(ctx, call, p.Model, settings, delta)
	}
	answer, err := c.models.GenerateContent(ctx, p.Model, placeholder(), settings)
	if err != nil {
		return wflo.Reply{}, call.Failed(err)
	}
	var sum gathering
	sum.add(answer)
	raw := call.Raw()
	r := sum.reply(rawArguments(raw))
	r.Tier = billedTier(raw)
	return call.Accept(r)
}

func (c *Client) stream(ctx context.Context, call *llm.Call, model string, settings *genai.GenerateContentConfig, delta func(string)) (wflo.Reply, error) {
	var sum gathering
	var broken error
	for chunk, err := range c.models.GenerateContentStream(ctx, model, placeholder(), settings) {
		if err != nil {
			broken = err
			break
		}
		if text := sum.add(chunk); text != "" {
			delta(text)
		}
	}
	if sum.finish == "" || (broken != nil && sum.usage == nil) {
		return wflo.Reply{}, call.Cut(streamError(broken))
	}
	raw := call.Raw()
	r := sum.reply(rawStreamArguments(raw))
	r.Tier = billedStreamTier(raw)
	return call.Accept(r)
}

// streamError gives the vendor's words when an error came inside the stream.
func streamError(err error) error {
	var e genai.APIError
	if errors.As(err, &e) && e.Message != "" {
		return errors.New(e.Message)
	}
	return err
}
