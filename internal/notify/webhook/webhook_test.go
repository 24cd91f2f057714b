package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/notify/notifytest"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func secret(s string) string {
	return prefix + base64.StdEncoding.EncodeToString([]byte("canary-"+s+strings.Repeat("x", 24)))
}

// receiver is what a user writes: it verifies with the standard's own library.
type receiver struct {
	*httptest.Server
	ids    []string
	bodies []Body
	status int
	header http.Header
}

func receive(t *testing.T, secret string) *receiver {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{status: http.StatusNoContent, header: http.Header{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if err := wh.Verify(body, req.Header); err != nil || req.Method != http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, req.Header.Get("webhook-signature"))
			return
		}
		var b Body
		dec := json.NewDecoder(strings.NewReader(string(body)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&b); err != nil {
			t.Errorf("body %s: %v", body, err)
		}
		r.ids, r.bodies = append(r.ids, req.Header.Get("webhook-id")), append(r.bodies, b)
		for k, v := range r.header {
			w.Header()[k] = v
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func channel(t *testing.T, url string, secrets ...string) *Channel {
	t.Helper()
	c, err := New(Config{URL: url, Secrets: secrets, Console: "https://wflo.example", Outbound: notifytest.Local()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

func TestReceiversVerify(t *testing.T) {
	for _, known := range []string{secret("old"), secret("new")} {
		r := receive(t, known)
		c := channel(t, r.URL+"/hook", secret("new"), secret("old"))
		g := notifytest.Gate()
		n := notifytest.Notice("hook", wflo.NoticeAsked, 3, g)
		for range 2 { // a crash in between: the same again
			if _, err := c.Deliver(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		if len(r.ids) != 2 || r.ids[0] != r.ids[1] || strings.Contains(r.ids[0], ".") {
			t.Errorf("ids %v", r.ids)
		}
		b := r.bodies[0]
		if b.Type != wflo.NoticeAsked || b.Version != 1 || b.Data.Link != "https://wflo.example/gates/nonce-1" || b.Data.Seq != 3 || b.Data.ID != n.ID {
			t.Errorf("body %+v", b)
		}
		got := b.Data.Gate
		if got.Nonce != g.Nonce || got.Digest != g.Digest || string(got.Payload) != string(g.Approval.Payload) || got.Shown != render.JSON(g.Approval.Payload) || got.Decision != nil {
			t.Errorf("gate %+v", got)
		}
	}
	r := receive(t, secret("another"))
	if _, err := channel(t, r.URL, secret("new")).Deliver(t.Context(), notifytest.Notice("hook", wflo.NoticeAsked, 0, notifytest.Gate())); err == nil || len(r.ids) != 0 {
		t.Errorf("a receiver with another secret took it: %v", err)
	}
}

func TestErrors(t *testing.T) {
	r := receive(t, secret("a"))
	c := channel(t, r.URL+"/canary-token", secret("a"))
	n := notifytest.Notice("hook", wflo.NoticeClosed, 0, notifytest.Gate())
	for status, want := range map[int]struct {
		ok, refused bool
	}{200: {ok: true}, 299: {ok: true}, 304: {}, 400: {}, 401: {}, 404: {}, 410: {refused: true}, 500: {}, 503: {}} {
		r.status = status
		r.header = http.Header{"Retry-After": {"9"}}
		_, err := c.Deliver(t.Context(), n)
		if (err == nil) != want.ok || errors.Is(err, notify.ErrRefused) != want.refused || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("status %d: %v", status, err)
		}
		var later *notify.Later
		if !want.ok && !want.refused && (!errors.As(err, &later) || later.After != 9*time.Second) {
			t.Errorf("status %d: %v says not when", status, err)
		}
	}
	r.Close()
	if _, err := c.Deliver(t.Context(), n); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestValidate(t *testing.T) {
	ok := "https://example.com/canary"
	for name, c := range map[string]Config{
		"plain":           {URL: "http://example.com/canary", Secrets: []string{secret("a")}},
		"no secret":       {URL: ok},
		"no base64":       {URL: ok, Secrets: []string{"whsec_canary!"}},
		"no prefix":       {URL: ok, Secrets: []string{secret("a")[len(prefix):]}},
		"short":           {URL: ok, Secrets: []string{prefix + "Y2FuYXJ5"}},
		"too many":        {URL: ok, Secrets: make([]string, 6)},
		"password in URL": {URL: "https://u:canary@example.com", Secrets: []string{secret("a")}},
	} {
		if err := c.Validate(); !errors.Is(err, wflo.ErrInvalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
