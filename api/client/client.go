package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// DefaultURL is where the worker of `wflo dev` serves its API.
const DefaultURL = "http://127.0.0.1:7244"

const (
	// defaultTimeout is more than the API gives itself for an answer.
	defaultTimeout = 30 * time.Second
	// mostAnswer is how much of an answer is read, in bytes.
	mostAnswer = 64 << 20
)

// Config sets up a client.
type Config struct {
	// URL is the address of the worker or the console, without /api/v1; empty means
	// DefaultURL.
	URL string
	// Key proves who asks: an API key, or a token of the OIDC provider. Empty is for a
	// worker on this machine that asks for none. It is sent over TLS or within this
	// machine only.
	Key string
	// User says who makes a change where nobody can prove it; ignored where a key does.
	User string
	// HTTP sends the requests; nil means a client of its own that gives an answer half a
	// minute. Redirects are not followed, whatever it says.
	HTTP *http.Client
}

// Client asks one API. Its methods may be called at the same time.
type Client struct {
	base, key, user string
	http            *http.Client
	// stream is http without a limit of time for the whole answer.
	stream *http.Client
}

// New makes a client. It does not connect. An address that is none, and a key that would
// be sent in the clear over a network, are *wflo.Error with wflo.CodeInvalid.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cmp.Or(cfg.URL, DefaultURL))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The address is not repeated: it may hold a password.
		return nil, wflo.Invalid("client.Config.URL", "is no address of the form https://HOST:PORT", "such as "+DefaultURL)
	}
	if cfg.Key != "" && u.Scheme == "http" && !onThisMachine(u.Hostname()) {
		return nil, wflo.Invalid("client.Config.URL", "is http://, and a key is not sent in the clear to "+u.Host, "use the API's https:// address")
	}
	plain := http.Client{Timeout: defaultTimeout}
	if cfg.HTTP != nil {
		plain = *cfg.HTTP
	}
	// The API never redirects; what does is something else, and a key must not follow it.
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	lasting := plain
	lasting.Timeout = 0
	return &Client{base: strings.TrimSuffix(u.String(), "/"), key: cfg.Key, user: cfg.User, http: &plain, stream: &lasting}, nil
}

func onThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Error is a failure that the API tells.
type Error struct {
	// Status is that of HTTP: 404 for what is not there, 409 for what came too late, 422
	// for what is wrong with the request, 403 for what the caller may not do.
	Status int
	// Code, Message and Hint are the API's own: see [wflo.Error].
	Code, Message, Hint string
}

// Error is the message, with the hint in parentheses.
func (e *Error) Error() string { return e.own().Error() }

// Unwrap gives the failure as wflo's own error, so that errors.Is finds its sentinel.
func (e *Error) Unwrap() error { return e.own() }

func (e *Error) own() *wflo.Error {
	return &wflo.Error{Code: wflo.Code(e.Code), Message: e.Message, Hint: e.Hint}
}

// StatusOf is the HTTP status of a failure that the API tells; 0 for another.
func StatusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// path fills in the parts of a pattern, in their order. Each stays one part.
func path(pattern string, parts ...string) string {
	for _, part := range parts {
		before, rest, _ := strings.Cut(pattern, "{")
		_, after, _ := strings.Cut(rest, "}")
		pattern = before + strings.ReplaceAll(url.PathEscape(dotless(part)), "{", "%7B") + after
	}
	return pattern
}

// dotless keeps an id that is only dots from leading to another path.
func dotless(part string) string {
	if part == "." || part == ".." {
		return strings.ReplaceAll(part, ".", "%2E")
	}
	return part
}

// addQuery adds a parameter, unless it is the zero value, which means none.
func addQuery(q url.Values, name string, value any) {
	v := reflect.ValueOf(value)
	switch {
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			addQuery(q, name, v.Index(i).Interface())
		}
	case v.IsZero():
	default:
		if t, ok := value.(time.Time); ok {
			value = t.Format(time.RFC3339Nano)
		}
		q.Add(name, fmt.Sprint(value))
	}
}

// call sends a request and reads its answer into what out points to.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, in, out any) error {
	resp, err := c.send(ctx, c.http, method, path, q, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return read(resp, out)
}

func read(resp *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case len(data) > mostAnswer:
		return wflo.Errorf("", "ask for less", "the answer has more than %d bytes", mostAnswer)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return wflo.Errorf("", "use the version of the client that fits the API: see GetVersion", "read the answer: %w", err)
	}
	return nil
}

// send gives the answer to a request that was granted; the caller closes its body. header
// is in pairs of a name and a value.
func (c *Client) send(ctx context.Context, by *http.Client, method, path string, q url.Values, in any, header ...string) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the API: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.user != "" {
		req.Header.Set("X-Wflo-User", c.user)
	}
	resp, err := by.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the API: %w", err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, c.refused(resp)
}

// mostProblem bounds what is read of a refusal.
const mostProblem = 1 << 20

func (c *Client) refused(resp *http.Response) error {
	var p Problem
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostProblem))
	if err != nil || json.Unmarshal(data, &p) != nil || p.Message == "" {
		return &Error{Status: resp.StatusCode, Message: "it answered " + resp.Status + ", and not as wflo's API", Hint: "check the address; an older worker may have no such path"}
	}
	return &Error{Status: resp.StatusCode, Code: p.Code, Message: c.hide(p.Message), Hint: c.hide(p.Hint)}
}

// hide keeps the key out of errors, should whoever answers repeat it.
func (c *Client) hide(text string) string {
	if c.key == "" {
		return text
	}
	return strings.ReplaceAll(text, c.key, "[key]")
}
