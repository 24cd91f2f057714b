// Package openai calls language models over OpenAI's Chat Completions API: those
// of OpenAI, and those of every server that speaks the same protocol (Ollama,
// vLLM, llama.cpp, Mistral, DeepSeek, OpenRouter and others).
//
// New makes a [Client] from a [Config]; Chat is the only thing it does. It reads
// no environment variables, never retries and follows no redirects.
package openai

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// EnvKey is the environment variable that usually holds the key.
const EnvKey = "OPENAI_API_KEY"

const (
	standardName = "openai"
	standardHost = "api.openai.com"
	standardURL  = "https://" + standardHost + "/v1"
)

// The names under which servers know Prompt.MaxTokens.
const (
	// FieldMaxCompletionTokens bounds the answer including its reasoning.
	// OpenAI's reasoning models take no other field.
	FieldMaxCompletionTokens = "max_completion_tokens"
	// FieldMaxTokens is the older name, which compatible servers know.
	FieldMaxTokens = "max_tokens"
)

// Config makes a Client.
type Config struct {
	// APIKey is required for api.openai.com. Other servers may go without.
	APIKey string
	// BaseURL ends before /chat/completions. Empty means
	// https://api.openai.com/v1.
	BaseURL string
	// Name is the provider's name in the price book. Empty means "openai", also
	// for another BaseURL: a gateway bills at OpenAI's prices.
	Name string
	// TokenField is FieldMaxCompletionTokens or FieldMaxTokens. Empty means the
	// former for api.openai.com and the latter for other servers. A server that
	// does not know the field ignores it and answers without bound.
	TokenField string
	// ServiceTier is what the requests ask for as service_tier. Empty means default
	// at api.openai.com, so that a project's setting cannot choose a dearer one
	// than was reserved, and nothing for other servers.
	ServiceTier string
	// HTTPClient carries the requests. Nil means a plain client. It is copied,
	// not changed.
	HTTPClient *http.Client
}

// Client implements activities.Provider.
type Client struct {
	vendor      llm.Vendor
	tokenField  string
	serviceTier string
	chat        sdk.ChatCompletionService
}

// New checks the configuration; it sends nothing. Errors are *wflo.Error with
// CodeMissingKey or CodeInvalid.
func New(cfg Config) (*Client, error) {
	base, err := llm.BaseURL(cfg.BaseURL, standardURL)
	if err != nil {
		return nil, err
	}
	vendor, err := cfg.vendor(base)
	if err != nil {
		return nil, err
	}
	field, err := cfg.tokenField(base)
	if err != nil {
		return nil, err
	}
	opts := []option.RequestOption{
		option.WithBaseURL(base.String()),
		option.WithHTTPClient(llm.HTTPClient(cfg.HTTPClient)),
		option.WithMaxRetries(0),
	}
	if cfg.APIKey != "" {
		opts = append(opts, option.WithAPIKey(cfg.APIKey))
	}
	// The service alone, because the SDK's client reads the environment.
	return &Client{vendor: vendor, tokenField: field, serviceTier: cfg.serviceTier(base), chat: sdk.NewChatCompletionService(opts...)}, nil
}

func (cfg Config) vendor(base *url.URL) (llm.Vendor, error) {
	v := llm.Vendor{Name: cfg.Name, Key: cfg.APIKey}
	if v.Name == "" {
		v.Name = standardName
	}
	if v.Name == standardName {
		v.Env = EnvKey
	}
	if cfg.APIKey == "" && base.Hostname() == standardHost {
		return v, llm.MissingKey(v.Name, EnvKey)
	}
	return v, nil
}

func (cfg Config) tokenField(base *url.URL) (string, error) {
	switch cfg.TokenField {
	case FieldMaxTokens, FieldMaxCompletionTokens:
		return cfg.TokenField, nil
	case "":
		if base.Hostname() == standardHost {
			return FieldMaxCompletionTokens, nil
		}
		return FieldMaxTokens, nil
	}
	return "", wflo.Invalid("token_field", fmt.Sprintf("is %q", cfg.TokenField),
		"use "+FieldMaxTokens+" or "+FieldMaxCompletionTokens)
}

func (cfg Config) serviceTier(base *url.URL) string {
	if cfg.ServiceTier == "" && base.Hostname() == standardHost {
		return string(sdk.ChatCompletionNewParamsServiceTierDefault)
	}
	return cfg.ServiceTier
}

// Name is the provider's name.
func (c *Client) Name() string { return c.vendor.Name }

// Chat makes one call; see activities.Provider.
func (c *Client) Chat(ctx context.Context, p wflo.Prompt, delta func(text string)) (wflo.Reply, error) {
	ctx, call := c.vendor.Begin(ctx, p.Model)
	if err := llm.Check(p); err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	params, err := c.params(p)
	if err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	if delta != nil {
		return c.stream(ctx, call, params, delta)
	}
	answer, err := c.chat.New(ctx, params)
	if err != nil {
		return wflo.Reply{}, call.Failed(err)
	}
	return call.Accept(reply(answer))
}

func (c *Client) stream(ctx context.Context, call *llm.Call, params sdk.ChatCompletionNewParams, delta func(string)) (wflo.Reply, error) {
	params.StreamOptions.IncludeUsage = sdk.Bool(true)
	stream := c.chat.NewStreaming(ctx, params)
	defer stream.Close()
	var sum gathering
	for stream.Next() {
		if text := sum.add(stream.Current()); text != "" {
			delta(text)
		}
	}
	if err := stream.Err(); err != nil && !sum.complete() {
		return wflo.Reply{}, call.Cut(streamError(err))
	}
	if sum.finish == "" {
		return wflo.Reply{}, call.Cut(nil)
	}
	return call.Accept(sum.reply())
}
