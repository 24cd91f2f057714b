package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/gateway"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// A caller that takes nothing of its answer does not hold a connection, a handler and a
// call of the vendor for ever. What it asked for is paid.
func TestAttackCallerThatReadsNothing(t *testing.T) {
	words := `data: {"id":"1","model":"gpt-5.4-mini","choices":[{"delta":{"content":"` + strings.Repeat("word ", 6000) + `"}}]}` + "\n\n"
	answers := map[string]http.HandlerFunc{
		"a stream": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for {
				if _, err := io.WriteString(w, words); err != nil {
					return // the gateway has hung up
				}
			}
		},
		"a whole answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"1","model":"gpt-5.4-mini","choices":[{"message":{"content":%q}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`, strings.Repeat("word ", 5<<20))
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			vendor := httptest.NewServer(answer)
			defer vendor.Close()
			c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) {
				cfg.Upstreams = []gateway.Upstream{{Provider: "openai", BaseURL: vendor.URL + "/v1"}}
				cfg.Patience = 50 * time.Millisecond
			})
			done := make(chan struct{})
			served := c.front.Config.Handler
			c.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				served.ServeHTTP(w, r)
			})
			conn, err := net.Dial("tcp", c.front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			body := strings.Replace(hello, "{", fmt.Sprintf(`{"stream":%v,`, name == "a stream"), 1)
			fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", secret, len(body), body)
			<-done // or the test never ends
			if e := c.books.Entries(); len(e) != 1 || e[0].Amount <= 0 {
				t.Errorf("entries %+v", e)
			}
		})
	}
}

// Two keys with the same names of runs and of requests are two callers: neither gets the
// other's answer, or pays for it.
func TestAttackCallersOfOneName(t *testing.T) {
	const other = "gw-of-somebody-else"
	c := open(t, wflo.USD, func(turn scripted.Turn) scripted.Answer {
		return scripted.Answer{Text: fmt.Sprintf("answer %d", turn.Call)}
	}, func(cfg *gateway.Config) {
		cfg.Keys = append(cfg.Keys, gateway.Key{Name: "rival", Secret: other, Run: wflo.Run{Org: "rival", User: "ann", Budget: wflo.Budget{Limit: wflo.USD}}})
	})
	same := []string{"Idempotency-Key", "k1", "X-Wflo-Run", "talk"}
	_, first := c.post(t, "/v1/chat/completions", hello, same...)
	resp, second := c.post(t, "/v1/chat/completions", hello, append(same, "Authorization", "Bearer "+other)...)
	if a, b := marshal(t, first), marshal(t, second); string(a) == string(b) || resp.Header.Get("X-Wflo-Replayed") != "" || len(c.model.Calls()) != 2 {
		t.Errorf("%s, then for another caller %s after %d calls", a, b, len(c.model.Calls()))
	}
	if mine, theirs := c.books.Spend("run:gateway/search/talk"), c.books.Spend("run:gateway/rival/talk"); mine.Spent == 0 || theirs.Spent == 0 {
		t.Errorf("spent %v and %v", mine.Spent, theirs.Spent)
	}
}

// What callers must not send: packed bodies, which grow, headers that stand there twice,
// bodies that are nested beyond reason, and names with a line end.
func TestAttackRequests(t *testing.T) {
	c := open(t, wflo.USD, scripted.Echo, nil)
	for name, tt := range map[string]struct {
		body   string
		header []string
		status int
	}{
		"a packed body":      {hello, []string{"Content-Encoding", "gzip"}, 400},
		"deep nesting":       {`{"model":"gpt-5.4-mini","messages":` + strings.Repeat("[", 1<<20), nil, 400},
		"a run with a slash": {hello, []string{"X-Wflo-Run", "../other"}, 400},
		"the tag of the key": {hello, []string{"X-Wflo-Tags", "env=dev"}, 400},
		"another provider":   {strings.Replace(hello, "gpt-5.4-mini", "nobody/gpt-5.4-mini", 1), nil, 404},
		"a form":             {"model=x", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400},
	} {
		resp, out := c.post(t, "/v1/chat/completions", tt.body, tt.header...)
		if resp.StatusCode != tt.status || fault(out)["message"] == "" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, out)
		}
	}
	if n := len(c.model.Calls()); n != 0 {
		t.Errorf("%d calls of the vendor", n)
	}
}

// A vendor that sends the gateway elsewhere is not followed: the key would go along, and
// elsewhere may be inside.
func TestAttackVendorThatRedirects(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer inside.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, status) }))
		defer vendor.Close()
		c := open(t, wflo.USD, scripted.Echo, func(cfg *gateway.Config) {
			cfg.Upstreams = []gateway.Upstream{{Provider: "openai", BaseURL: vendor.URL + "/v1", APIKey: vendorKey}}
		})
		resp, out := c.post(t, "/v1/chat/completions", hello)
		if resp.StatusCode < 400 || resp.Header.Get("Location") != "" || strings.Contains(fmt.Sprint(out), inside.URL) {
			t.Errorf("%d: %d %v", status, resp.StatusCode, out)
		}
	}
}
