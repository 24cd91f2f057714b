// Package anthropic calls Anthropic's language models over the Messages API.
//
// New makes a [Client] from a [Config]; Chat is the only thing it does. It reads
// no environment variables, records no traces of its own, never retries and
// follows no redirects.
package anthropic

import (
	"context"
	"errors"
	"net/http"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// EnvKey is the environment variable that usually holds the key.
const EnvKey = "ANTHROPIC_API_KEY"

const (
	name        = "anthropic"
	standardURL = "https://api.anthropic.com"
)

// Config makes a Client.
type Config struct {
	// APIKey is required.
	APIKey string
	// BaseURL ends before /v1/messages. Empty means https://api.anthropic.com.
	BaseURL string
	// HTTPClient carries the requests. Nil means a plain client. It is copied,
	// not changed.
	HTTPClient *http.Client
}

// Client implements activities.Provider.
type Client struct {
	vendor   llm.Vendor
	messages sdk.MessageService
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
	return &Client{
		vendor: llm.Vendor{Name: name, Key: cfg.APIKey, Env: EnvKey},
		// The service alone, because the SDK's client reads the environment.
		messages: sdk.NewMessageService(
			option.WithBaseURL(base.String()),
			option.WithAPIKey(cfg.APIKey),
			option.WithHTTPClient(llm.HTTPClient(cfg.HTTPClient)),
			option.WithMaxRetries(0),
			// The SDK's spans would carry prompts, if a variable says so.
			option.WithoutOpenTelemetry(),
		),
	}, nil
}

// Name is "anthropic".
func (c *Client) Name() string { return name }

// Chat makes one call; see activities.Provider. Long answers (above some 21,000
// tokens) are streamed even when delta is nil, because the API cuts idle
// connections after ten minutes.
func (c *Client) Chat(ctx context.Context, p wflo.Prompt, delta func(text string)) (wflo.Reply, error) {
	ctx, call := c.vendor.Begin(ctx, p.Model)
	if err := llm.Check(p); err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	params, err := translate(p)
	if err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	if _, err := sdk.CalculateNonStreamingTimeout(int(p.MaxTokens), params.Model, nil); err != nil && delta == nil {
		delta = func(string) {}
	}
	if delta != nil {
		return c.stream(ctx, call, params, delta)
	}
	answer, err := c.messages.New(ctx, params)
	if err != nil {
		return wflo.Reply{}, call.Failed(err)
	}
	return call.Accept(reply(answer))
}

func (c *Client) stream(ctx context.Context, call *llm.Call, params sdk.MessageNewParams, delta func(string)) (wflo.Reply, error) {
	stream := c.messages.NewStreaming(ctx, params)
	defer stream.Close()
	var sum gathering
	for stream.Next() {
		if text := sum.add(stream.Current()); text != "" {
			delta(text)
		}
	}
	if sum.stop == "" {
		return wflo.Reply{}, call.Cut(streamError(stream.Err()))
	}
	return call.Accept(sum.reply())
}

// streamError gives the vendor's words when an error came inside the stream.
func streamError(err error) error {
	var e *sdk.Error
	if errors.As(err, &e) {
		return errors.New(llm.Explain([]byte(e.RawJSON())))
	}
	return err
}
