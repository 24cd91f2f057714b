package mcpserver

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

// FuzzPaths: whatever a model calls a run, a row or a gate, what is asked of the API stays
// one segment of its own path.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"agent-1", "..", ".", "a/../../keys", "%2e%2e", "a?limit=9", "a#b", "a\\b", "\x00", "é", "//host/x", "a;b", " "} {
		f.Add(s, "0")
	}
	f.Fuzz(func(t *testing.T, id, row string) {
		for _, ask := range []struct {
			want string
			make func() (request, error)
		}{
			{"/runs/*/rows", func() (request, error) { return storyPath(storyInput{Run: id}) }},
			{"/runs/*/rows/*", func() (request, error) { return storyPath(storyInput{Run: id, Row: "r" + row}) }},
			{"/runs/*/logs", func() (request, error) { return logsPath(logsInput{Run: id}) }},
			{"/approvals/*", func() (request, error) { return approvalPath(approvalInput{Nonce: id}) }},
		} {
			req, err := ask.make()
			if err != nil {
				continue
			}
			u, err := url.Parse("http://api/v1" + req.path)
			if err != nil || u.Host != "api" || u.RawQuery != "" || u.Fragment != "" || path.Clean(u.EscapedPath()) != u.EscapedPath() {
				t.Errorf("%q, %q: asks for %q: %v", id, row, req.path, err)
				continue
			}
			if ok, err := path.Match("/v1"+ask.want, u.EscapedPath()); err != nil || !ok || strings.Count(u.EscapedPath(), "/") != strings.Count(ask.want, "/")+1 {
				t.Errorf("%q, %q: asks for %q, want %s", id, row, req.path, ask.want)
			}
		}
		if again, ok := runOf(scheme+url.PathEscape(id)+"/story", "/story"); id != "" && (!ok || again != id) {
			t.Errorf("the run %q has an address of %q, %v", id, again, ok)
		}
	})
}
