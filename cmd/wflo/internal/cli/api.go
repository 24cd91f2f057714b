package cli

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
	"os"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// DefaultAPI is where the worker in `wflo dev` serves its API.
const DefaultAPI = "http://127.0.0.1:7244"

const (
	apiTimeout  = 20 * time.Second // more than the API gives itself
	glanceLimit = 2 * time.Second  // for what is shown beside something else
	maxAnswer   = 64 << 20         // bytes
)

// errNoAPI says that no worker answers at the API's address.
var errNoAPI = errors.New("no API")

// api talks to the HTTP API of a worker or a console, which knows the ledger, the
// gates and who people are.
type api struct {
	base string
	// token proves who asks; empty where nobody has logged in. It goes to base and
	// nowhere else, and never into an error.
	token string
	// user is who asks where nobody logs in; empty means userName.
	user string
	http *http.Client
}

// api gives the API at --api, WFLO_API or the address of `wflo dev`, with the key
// that is there for it.
func (a *app) api() (*api, error) {
	c, err := a.openAPI()
	if err != nil {
		return nil, err
	}
	token, err := findToken(c.base)
	if err != nil {
		return nil, err
	}
	return c, c.bear(token)
}

// openAPI gives the API without a key.
func (a *app) openAPI() (*api, error) {
	base := cmp.Or(a.conn.api, os.Getenv("WFLO_API"), DefaultAPI)
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The address is not repeated: it may hold a password.
		return nil, Usage("such as "+DefaultAPI, "--api (or WFLO_API) is no address of the form http://HOST:PORT")
	}
	return &api{base: strings.TrimSuffix(u.String(), "/"), http: &http.Client{
		Timeout: apiTimeout,
		// A worker's API never redirects; what does is something else, and a key must
		// not follow it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
	}}, nil
}

// bear takes the key for the requests that follow. It refuses to send one in the
// clear over a network.
func (c *api) bear(token string) error {
	if token != "" && strings.HasPrefix(c.base, "http://") && !onThisMachine(c.base) {
		return Usage("use the API's https:// address", "a key is not sent in the clear to %s", c.base)
	}
	c.token = token
	return nil
}

// onThisMachine says that an address is on the loopback interface.
func onThisMachine(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// segment is an id as one part of a path.
func segment(id string) string { return "/" + url.PathEscape(id) }

// get reads the answer to a question into what out points to.
func (c *api) get(ctx context.Context, path string, q url.Values, out any) error {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// do sends a request and reads the answer. What the API refuses is the
// *wflo.Error that it says.
func (c *api) do(ctx context.Context, method, path string, in, out any) error {
	var data []byte
	if in != nil {
		var err error
		if data, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("ask the API: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreached(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreached(ctx, err)
	case len(answer) > maxAnswer:
		return wflo.Errorf("", "ask for less, with --limit or a shorter time", "the answer has more than %d bytes", maxAnswer)
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted:
		return c.refused(resp, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return wflo.Errorf("", "use the version of wflo that the worker has", "read the answer of %s: %w", c.base, err)
	}
	return nil
}

// sign says who asks.
func (c *api) sign(req *http.Request) {
	req.Header.Set(console.HeaderUser, cmp.Or(c.user, userName()))
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// unreached says why there is no answer.
func (c *api) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &exitError{ExitTimeout, wflo.Errorf("", "is its database up? the worker's log says more", "the API at %s does not answer in time", c.base)}
	}
	return &exitError{ExitError, &wflo.Error{
		Message: "no worker's API answers at " + c.base, Err: errNoAPI,
		Hint: "start `wflo dev`, or a worker with WFLO_LISTEN=127.0.0.1:7244; name another with --api or WFLO_API",
	}}
}

// refused turns what the API says into wflo's error, with the exit code of its kind.
func (c *api) refused(resp *http.Response, answer []byte) error {
	var p console.Problem
	if json.Unmarshal(answer, &p) != nil || p.Message == "" {
		e := wflo.Errorf("", "check --api and WFLO_API; an older worker has no such path", "%s answered %s, and not as a worker's API", c.base, resp.Status)
		if resp.StatusCode == http.StatusNotFound {
			e.Err = errNoPath
		}
		return e
	}
	e := &wflo.Error{Message: c.hide(p.Message), Hint: c.hide(p.Hint)}
	if code := wflo.Code(p.Code); code.Sentinel() != nil {
		e.Code = code
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		e.Hint = "log in with: wflo login --api " + shellWord(c.base)
		if c.token == "" {
			e.Message = "the API at " + c.base + " wants to know who you are"
			e.Hint += ", or set WFLO_TOKEN"
		}
		e.Err = errStranger
		return &exitError{ExitAuth, e}
	case http.StatusForbidden:
		return &exitError{ExitDenied, e}
	case http.StatusNotFound:
		e.Err = errNotThere
	case http.StatusGatewayTimeout:
		return &exitError{ExitTimeout, e}
	}
	return e
}

// hide keeps a key out of what is shown, should whoever answers repeat it.
func (c *api) hide(text string) string {
	if c.token == "" {
		return text
	}
	return strings.ReplaceAll(text, c.token, "[key]")
}

// errStranger says that the API does not know who asks.
var errStranger = errors.New("not logged in")

// errNotThere says that the API does not know what it was asked for.
var errNotThere = errors.New("not there")

// errNoPath says that the API has no such path, as an older one has not.
var errNoPath = errors.New("no such path")

// write carries out a change that somebody confirmed.
func (c *api) write(ctx context.Context, method, path string, in, out any) error {
	if c.token == "" && cmp.Or(c.user, userName()) == "" {
		return Usage("set WFLO_USER", "the ledger keeps who makes a change, and nobody is known")
	}
	return c.do(ctx, method, path, in, out)
}
