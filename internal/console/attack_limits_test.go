package console

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// Whoever has a key changes no more than a person could, wherever they send it from.
func TestAttackManyChanges(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Rate = 20 }) // 2 a second, 20 at once
	o.gate("n1", "", nil)
	key, other := o.key("mal", "", approver), o.key("ann", "", approver)
	decide := func(key, address string) int {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/approvals/n1/decisions", strings.NewReader(`{}`))
		r.Header.Set("Authorization", "Bearer "+key)
		r.RemoteAddr = address
		w := httptest.NewRecorder()
		o.handler.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
		return w.Code
	}
	limited := 0
	for i := range 100 {
		if decide(key, fmt.Sprintf("192.0.2.%d:1", i)) == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 {
		t.Error("a hundred changes of one person were all heard")
	}
	if got := decide(other, "198.51.100.1:1"); got == http.StatusTooManyRequests {
		t.Error("somebody else is limited by it")
	}
	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateRefused})
	if err != nil || len(records) > 100-limited+1 {
		t.Errorf("%d records of %d attempts that were heard, %v", len(records), 100-limited+1, err)
	}
}

// Requests that are large, deep, packed or odd end with an answer of ours, and early.
func TestAttackShapes(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", nil)
	key := o.key("ann", "", approver)
	decisions := "/api/v1/approvals/n1/decisions"
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(bytes.Repeat([]byte(" "), 4<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		got  answered
		want []int
	}{
		"deep JSON":          {o.api(key, "POST", decisions, `{"form":`+strings.Repeat("[", 20_000)), []int{422}},
		"deep objects":       {o.api(key, "POST", decisions, `{"edit":`+strings.Repeat(`{"a":`, 20_000)), []int{422}},
		"a packed body":      {o.api(key, "POST", decisions, packed.String(), "Content-Encoding", "gzip"), []int{422}},
		"a number beyond":    {o.api(key, "POST", decisions, `{"edit":1e999999999,"verdict":"edit"}`), []int{422}},
		"a long address":     {o.api(key, "GET", "/api/v1/runs?id="+strings.Repeat("a", 30_000), ""), []int{414, 422, 431}},
		"a huge header":      {o.api(key, "GET", "/api/v1/whoami", "", "X-Large", strings.Repeat("a", 2<<20)), []int{431}},
		"a path upwards":     {o.api(key, "GET", "/assets/..%2f..%2fgo.mod", ""), []int{404}},
		"a path upwards too": {o.api(key, "GET", "/assets/%2e%2e/%2e%2e/go.mod", ""), []int{404, 301, 307}},
		"an output upwards":  {o.api(key, "GET", "/api/v1/runs/run-n1/rows/..%2f..%2fx/output", ""), []int{404}},
		"a null byte":        {o.api(key, "GET", "/api/v1/approvals/n1%00", ""), []int{404, 422}},
		"two lengths":        {raw(t, o, "POST "+decisions+" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), []int{400}},
		"length and chunks":  {raw(t, o, "POST "+decisions+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), []int{400, 501}},
		"two hosts":          {raw(t, o, "GET /login HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), []int{400}},
		"no host":            {raw(t, o, "GET /login HTTP/1.1\r\n\r\n"), []int{400}},
	} {
		fits := false
		for _, w := range tt.want {
			fits = fits || tt.got.status == w
		}
		if !fits {
			t.Errorf("%s: %d, want one of %v: %.200s", name, tt.got.status, tt.want, tt.got.body)
		}
		for _, leak := range []string{"goroutine", ".go:", "/root", "sqlite", "sql:"} {
			if strings.Contains(tt.got.body, leak) {
				t.Errorf("%s: the answer has %q: %.300s", name, leak, tt.got.body)
			}
		}
	}
	o.untouched("odd requests", "n1")
}

// raw sends bytes as they are, and reads the answer.
func raw(t *testing.T, o *office, text string) answered {
	t.Helper()
	conn, err := net.Dial("tcp", o.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return answered{status: resp.StatusCode, header: resp.Header, body: drain(resp.Body)}
}

// No answer, whatever it is about, may be framed, kept, sniffed or sent along; and none of
// them believes the name that the request gives the console.
func TestAttackHeadersOfAnswers(t *testing.T) {
	s := newTarget(t)
	key, _ := s.made("", time.Time{}, admin, approver)
	answers := map[string]answered{
		"a path that is not there": s.api(key, "GET", "/none", "", "Host", "evil.example"), "a method that is not there": s.api(key, "PATCH", "/inbox", ""),
		"another site's": s.api(key, "POST", "/gates/n1", "", "Origin", "https://evil.example"),
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "//evil.example/..//x", nil))
	answers["a path to clean"] = answered{w.Code, w.Result().Header, w.Body.String()}
	for pattern, line := range tries {
		if strings.HasPrefix(pattern, "GET ") && line.in != lasts {
			answers[pattern] = s.sent(s.plain(), pattern, line, bearer(key)...)
		}
		if strings.HasPrefix(pattern, "GET ") && line.in != lasts && line.role != "" {
			answers[pattern+" by nobody"] = s.sent(s.plain(), pattern, line, "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https")
		}
	}
	for name, got := range answers {
		head := got.header
		keeps := strings.HasPrefix(name, "GET /assets/") && head.Get("Cache-Control") != ""
		for field, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"} {
			if head.Get(field) != want {
				t.Errorf("%s: %s is %q", name, field, head.Get(field))
			}
		}
		if head.Get("Cache-Control") != "no-store" && !keeps {
			t.Errorf("%s may be kept: %q", name, head.Get("Cache-Control"))
		}
		if !strings.Contains(head.Get("Content-Security-Policy"), "frame-ancestors 'none'") || strings.Contains(head.Get("Access-Control-Allow-Origin"), "*") {
			t.Errorf("%s: %v", name, head)
		}
		if to := head.Get("Location"); strings.Contains(got.body+to, "evil.example") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, "http") && !strings.HasPrefix(to, "https://sso.example/") {
			t.Errorf("%s leads to %q", name, to)
		}
	}
}

// Where a login leads is a page of ours, however it is written.
func TestAttackOpenRedirect(t *testing.T) {
	o := newOffice(t, everything)
	key := o.key("ann", "", viewer)
	for _, back := range []string{
		"https://evil.example", "//evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "data:text/html,x", "/%2f/evil.example/..//", "/..//evil.example",
		"https:evil.example", "/x\r\nSet-Cookie: a=b", "////evil.example", "/.//evil.example", "/;//evil.example", "?//evil.example", "evil.example", "/\u2028/evil.example", "/login/via/sso?back=//evil.example",
	} {
		got := o.post(o.browser(), "/login/key", url.Values{"key": {key}, "back": {back}})
		base, err := url.Parse(o.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		to, err := base.Parse(got.header.Get("Location"))
		if got.status != seeOther || err != nil || to.Host != base.Host || len(got.header.Values("Set-Cookie")) != 1 {
			t.Errorf("%q: %d to %q, %v", back, got.status, got.header.Get("Location"), err)
		}
	}
}

// A stream of events outlives the time that one event may take, over HTTP/2 too, where
// that time is the stream's.
func TestAttackPatienceIsForEvents(t *testing.T) {
	o, f, key := following(t)
	o.handler.streams.patience = time.Second
	s := httptest.NewUnstartedServer(o.handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v1/runs/run-n1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	client := s.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("HTTP/%d", resp.ProtoMajor)
	}
	lines := bufio.NewScanner(resp.Body)
	until := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("the stream ended before %s: %v", what, lines.Err())
	}
	until(`"steps":4`)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range 15 {
		<-tick.C
		f.becomes(func() { f.rows[3].State, f.head.Steps = story.StateFailed, 100+i })
		until(fmt.Sprintf(`"steps":%d`, 100+i))
	}
}
