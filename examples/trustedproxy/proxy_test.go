package trustedproxy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/console"
)

const secret = "a-secret-of-the-proxy-and-of-ours"

func config() Config {
	return Config{
		Secret: secret, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}, Org: "acme",
		Roles: map[string][]wflo.AccessRole{"finance": {wflo.RoleApprover}, "staff": {wflo.RoleViewer}},
	}
}

// request comes from a peer with headers; a header that is there twice has two values.
func request(peer string, headers http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/inbox", nil)
	r.RemoteAddr, r.Header = peer, headers
	return r
}

// Only what the proxy itself sends counts.
func TestOnlyTheProxyIsBelieved(t *testing.T) {
	const proxy = "10.0.0.7:4711"
	good := func(change func(http.Header)) http.Header {
		h := http.Header{HeaderSecret: {secret}, HeaderUser: {"ann"}, HeaderGroups: {"finance, canteen"}}
		if change != nil {
			change(h)
		}
		return h
	}
	for name, tt := range map[string]struct {
		peer    string
		headers http.Header
		want    error
	}{
		"the proxy":              {proxy, good(nil), nil},
		"the proxy, over IPv6":   {"[::ffff:10.0.0.7]:4711", good(nil), nil},
		"nothing of a proxy":     {"10.0.0.9:1", http.Header{"Authorization": {"Bearer wflo_x"}}, console.ErrNone},
		"another address":        {"10.0.0.9:4711", good(nil), console.ErrRefused},
		"no address":             {"", good(nil), console.ErrRefused},
		"no secret":              {proxy, good(func(h http.Header) { h.Del(HeaderSecret) }), console.ErrRefused},
		"an empty secret":        {proxy, good(func(h http.Header) { h.Set(HeaderSecret, "") }), console.ErrRefused},
		"a wrong secret":         {proxy, good(func(h http.Header) { h.Set(HeaderSecret, secret+"x") }), console.ErrRefused},
		"two secrets":            {proxy, good(func(h http.Header) { h.Add(HeaderSecret, "x") }), console.ErrRefused},
		"two users":              {proxy, good(func(h http.Header) { h.Add(HeaderUser, "eve") }), console.ErrRefused},
		"two lists of groups":    {proxy, good(func(h http.Header) { h.Add(HeaderGroups, "finance") }), console.ErrRefused},
		"no user":                {proxy, good(func(h http.Header) { h.Del(HeaderUser) }), console.ErrRefused},
		"groups that mean less":  {proxy, good(func(h http.Header) { h.Set(HeaderGroups, "canteen") }), console.ErrNoRole},
		"no groups":              {proxy, good(func(h http.Header) { h.Del(HeaderGroups) }), console.ErrNoRole},
		"only a list of groups":  {proxy, http.Header{HeaderGroups: {"finance"}}, console.ErrRefused},
		"a user from the client": {"10.0.0.9:4711", http.Header{HeaderUser: {"ann"}}, console.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(config())
			if err != nil {
				t.Fatal(err)
			}
			id, err := p.Authenticate(request(tt.peer, tt.headers))
			want := wflo.Identity{}
			if tt.want == nil {
				want = wflo.Identity{Subject: "ann", Groups: []string{"finance"}, Roles: []wflo.AccessRole{wflo.RoleApprover}, Org: "acme", Method: "proxy"}
			}
			if diff := cmp.Diff(want, id); !errors.Is(err, tt.want) || diff != "" {
				t.Errorf("%v, want %v (-want +got):\n%s", err, tt.want, diff)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

// A configuration that would believe everybody is refused.
func TestRefusesConfigurations(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no secret":       func(c *Config) { c.Secret = "" },
		"a short secret":  func(c *Config) { c.Secret = "secret" },
		"no addresses":    func(c *Config) { c.From = nil },
		"no roles":        func(c *Config) { c.Roles = nil },
		"an unknown role": func(c *Config) { c.Roles["staff"] = []wflo.AccessRole{"king"} },
	} {
		cfg := config()
		change(&cfg)
		if _, err := New(cfg); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), cfg.Secret) && cfg.Secret == secret {
			t.Errorf("%s: the error tells the secret", name)
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// TestGuideShowsThisCode: a snippet that is not compiled and tested is worse than none.
func TestGuideShowsThisCode(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var flat strings.Builder
		for line := range strings.Lines(string(text)) {
			flat.WriteString(strings.TrimSpace(line) + "\n")
		}
		return flat.String()
	}
	code := read("proxy.go") + read(filepath.Join("console", "main.go"))
	shown := fenced.FindAllStringSubmatch(read(filepath.Join("..", "..", "docs", "authentication.md")), -1)
	if len(shown) < 2 {
		t.Fatalf("the guide shows %d blocks of code", len(shown))
	}
	for _, block := range shown {
		if !strings.Contains(code, block[1]) {
			t.Errorf("the guide shows what is not in the example:\n%s", block[1])
		}
	}
}
