// Package cohere calls Cohere's language models over version 2 of the Chat API.
//
// New makes a [Client] from a [Config]; Chat is the only thing it does. It reads
// no environment variables, never retries and follows no redirects.
//
// Streams are read by this package: the SDK's reader takes every piece that the
// network delivers for a whole event and fails when one arrives in two.
package cohere

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	sdk "github.com/cohere-ai/cohere-go/v2"
	"github.com/cohere-ai/cohere-go/v2/option"
	chat "github.com/cohere-ai/cohere-go/v2/v2"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// EnvKey is the environment variable that usually holds the key.
const EnvKey = "COHERE_API_KEY"

const (
	name        = "cohere"
	standardURL = "https://api.cohere.com"
)

// Config makes a Client.
type Config struct {
	// APIKey is required.
	APIKey string
	// BaseURL ends before /v2/chat. Empty means https://api.cohere.com.
	BaseURL string
	// HTTPClient carries the requests. Nil means a plain client. It is copied,
	// not changed.
	HTTPClient *http.Client
}

// Client implements activities.Provider.
type Client struct {
	vendor llm.Vendor
	http   *http.Client
	chat   *chat.Client
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
	client := llm.HTTPClient(cfg.HTTPClient)
	return &Client{
		vendor: llm.Vendor{Name: name, Key: cfg.APIKey, Env: EnvKey},
		http:   client,
		chat: chat.NewClient(
			option.WithToken(cfg.APIKey),
			option.WithBaseURL(base.String()),
			option.WithHTTPClient(client),
			option.WithMaxAttempts(1),
		),
	}, nil
}

// Name is "cohere".
func (c *Client) Name() string { return name }

// Chat makes one call; see activities.Provider.
func (c *Client) Chat(ctx context.Context, p wflo.Prompt, delta func(text string)) (wflo.Reply, error) {
	ctx, call := c.vendor.Begin(ctx, p.Model)
	if err := llm.Check(p); err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	r, err := translate(p)
	if err != nil {
		return wflo.Reply{}, call.Refused(err)
	}
	if delta != nil {
		return c.stream(ctx, call, r, delta)
	}
	answer, err := c.chat.Chat(ctx, r.whole())
	if err != nil {
		return wflo.Reply{}, call.Failed(err)
	}
	return call.Accept(reply(answer))
}

func (c *Client) stream(ctx context.Context, call *llm.Call, r request, delta func(string)) (wflo.Reply, error) {
	tap := &tap{client: c.http}
	stream, err := c.chat.ChatStream(ctx, r.stream(), option.WithHTTPClient(tap))
	if err != nil {
		return wflo.Reply{}, call.Failed(err)
	}
	defer stream.Close()
	var sum gathering
	for data, err := range llm.Events(tap.body) {
		if err != nil {
			if sum.finish == "" {
				return wflo.Reply{}, call.Cut(err)
			}
			break
		}
		text, err := sum.addEvent(data)
		if err != nil {
			return wflo.Reply{}, call.Cut(err)
		}
		if text != "" {
			delta(text)
		}
	}
	if sum.finish == "" {
		return wflo.Reply{}, call.Cut(nil)
	}
	return call.Accept(sum.reply())
}

// tap is the SDK's way to the network that keeps the body of the answer for us.
// The SDK opens a stream without reading from it.
type tap struct {
	client *http.Client
	body   io.Reader
}

// Do sends the request.
func (t *tap) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, err
	}
	t.body = resp.Body
	return resp, nil
}

// addEvent is add for the text of an event.
func (g *gathering) addEvent(data []byte) (string, error) {
	if string(data) == "[DONE]" {
		return "", nil
	}
	var event sdk.V2ChatStreamResponse
	if err := json.Unmarshal(data, &event); err != nil {
		return "", errors.New(llm.Explain(data))
	}
	return g.add(event)
}
