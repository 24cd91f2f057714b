package console

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/auth/session"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// office is a console with a desk, real records, real keys and real sessions, over
// runs that wait.
type office struct {
	t       testing.TB
	cfg     Config
	server  *httptest.Server
	runs    *desktest.Runs
	records activities.Records
	keys    *apikey.Keys
	handler *Handler
}

// newOffice starts a console; change may set up more of it.
func newOffice(t testing.TB, change func(*Config)) *office {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	o := &office{t: t, records: ledger.Records()}
	logger := slog.New(slog.DiscardHandler)
	if o.runs, err = desktest.New(o.records, time.Now); err != nil {
		t.Fatal(err)
	}
	if o.keys, err = apikey.New(apikey.Config{Store: o.records, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	logins, err := session.New(session.Config{Store: o.records, Plain: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	o.cfg = Config{
		Client: o.runs, Ledger: ledger, Logger: logger, Auth: o.keys, Keys: o.keys, Logins: logins,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "wflo_up 1\n") }),
		Desk:    &desk.Desk{Client: o.runs, Records: o.records, Sign: o.runs.Sign, Logger: logger},
	}
	if change != nil {
		change(&o.cfg)
	}
	o.handler = NewHandler(o.cfg)
	mux := http.NewServeMux()
	mux.Handle("/", o.handler)
	if s, ok := o.cfg.tells.(*tale); ok {
		mux.HandleFunc("GET /api/v1/runs/{id}/events", s.events)
	}
	o.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		o.server.Close()
		o.handler.Wait()
	})
	return o
}

// gate opens a gate of an org, for eve.
func (o *office) gate(nonce, org string, change func(*wflo.Approval)) wflo.Gate {
	o.t.Helper()
	a := wflo.Approval{Gate: "refunds", Action: "refund order 17", Payload: json.RawMessage(`{"order":17,"amount":"25.00"}`), Approvers: []string{"ann", "group:ops"}}
	if change != nil {
		change(&a)
	}
	g, err := o.runs.Ask(o.t.Context(), wflo.Run{WorkflowID: "run-" + nonce, FirstRunID: "first", User: "eve", Org: org}, nonce, a)
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

// key makes an API key.
func (o *office) key(subject, org string, roles ...wflo.AccessRole) string {
	o.t.Helper()
	plain, _, err := o.keys.Make(o.t.Context(), apikey.Spec{Name: "test", Subject: subject, Roles: roles, Org: org, MadeBy: "root"})
	if err != nil {
		o.t.Fatal(err)
	}
	return plain
}

// answered is an answer, read.
type answered struct {
	status int
	header http.Header
	body   string
}

// send sends a request with headers in pairs; redirects are not followed.
func (o *office) send(c *http.Client, method, path, body string, header ...string) answered {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), method, o.server.URL+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, string(data)}
}

// api sends a request with a key.
func (o *office) api(key, method, path, body string, header ...string) answered {
	o.t.Helper()
	if key != "" {
		header = append(header, "Authorization", "Bearer "+key)
	}
	return o.send(o.plain(), method, path, body, header...)
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (o *office) plain() *http.Client {
	return &http.Client{CheckRedirect: stay, Transport: o.server.Client().Transport}
}

// browser keeps cookies.
func (o *office) browser() *http.Client {
	o.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: stay, Transport: o.server.Client().Transport}
}

func (o *office) cookies(c *http.Client) []*http.Cookie {
	o.t.Helper()
	u, err := url.Parse(o.server.URL)
	if err != nil {
		o.t.Fatal(err)
	}
	return c.Jar.Cookies(u)
}

const formType = "application/x-www-form-urlencoded"

// post sends a form as a page of ours does.
func (o *office) post(c *http.Client, path string, form url.Values, header ...string) answered {
	o.t.Helper()
	return o.send(c, http.MethodPost, path, form.Encode(), append([]string{"Content-Type", formType, "Origin", o.server.URL}, header...)...)
}

// logIn gives a browser with a session of the key's holder.
func (o *office) logIn(key string) *http.Client {
	o.t.Helper()
	c := o.browser()
	if got := o.post(c, "/login/key", url.Values{"key": {key}, "back": {"/inbox"}}); got.status != http.StatusSeeOther || got.header.Get("Location") != "/inbox" {
		o.t.Fatalf("log in: %d %s %s", got.status, got.header.Get("Location"), got.body)
	}
	return c
}

var hiddenInput = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// form reads the hidden inputs of the form of a page that has a verdict.
func (o *office) form(page, verdict string) url.Values {
	o.t.Helper()
	for _, part := range strings.Split(page, "<form ")[1:] {
		found := url.Values{}
		for _, m := range hiddenInput.FindAllStringSubmatch(part, -1) {
			found.Set(m[1], m[2])
		}
		if found.Get("verdict") == verdict {
			return found
		}
	}
	o.t.Fatalf("no form to %s in %s", verdict, page)
	return nil
}

// untouched fails the test when anybody decided anything.
func (o *office) untouched(what, nonce string) {
	o.t.Helper()
	if g := o.runs.Gate(nonce); len(o.runs.Updates()) != 0 || g.Status != wflo.GateOpen || g.Changes != 0 {
		o.t.Errorf("%s: %d updates, gate %s after %d changes", what, len(o.runs.Updates()), g.Status, g.Changes)
	}
}

func jsonOf(v any) (string, error) {
	data, err := json.Marshal(v)
	return string(data), err
}

// freshly is a decision that was made just now.
func freshly(d wflo.Decision) wflo.Decision {
	d.At = time.Now()
	return d
}
