package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whatever somebody who may only look sends, wherever, they get an answer that was meant,
// see nothing of another org, and change nothing.
func FuzzRequests(f *testing.F) {
	for pattern, line := range tries {
		method, path, _ := strings.Cut(pattern, " ")
		query, body := "", line.with
		if method == http.MethodGet {
			query, body = strings.TrimPrefix(line.with, "?"), ""
		}
		f.Add(method, strings.NewReplacer("{id}", "refund-17", "{nonce}", "n1", "{key}", "k", "{attempt}", "1", "{name}", "sso", "{row}", "s1", "{$}", "").Replace(path), query, body)
	}
	for _, query := range []string{"after=x&limit=1", "from=2026-11-01&to=2026-11-02T10:00:00Z", "limit=99999999999999999999", "state=open&state=closed", "a=%zz", "level=debug&since=2026-11-22T10:02:30Z&latest=1", "by=day&zone=Europe%2FBerlin&scope=team%3Ax", "run=%00", "id=%27%20OR%201%3D1"} {
		for _, path := range []string{"/api/v1/runs", "/api/v1/costs", "/api/v1/snapshots", "/spend", "/runs", "/api/v1/approvals", "/runs/refund-17", "/compensations"} {
			f.Add("GET", path, query, "")
		}
	}
	s := newTarget(f)
	key, _ := s.made("rival", time.Time{}, viewer)
	before := s.state()
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		s.t = t
		if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/events") || path == "/logout" {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://console.example/", strings.NewReader(body))
		if err != nil {
			return
		}
		r.URL.Path, r.URL.RawQuery, r.RequestURI, r.RemoteAddr = path, query, path+"?"+query, "192.0.2.1:1"
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 200 {
			t.Errorf("%s %q ? %q with %q: %d %.300s", method, path, query, body, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "first-17") || strings.Contains(w.Body.String(), "refund order 17") {
			t.Errorf("%s %q ? %q shows what is another's: %.300s", method, path, query, w.Body)
		}
		if method != http.MethodGet && s.state() != before {
			t.Errorf("%s %q ? %q with %q changed something", method, path, query, body)
		}
	})
}
