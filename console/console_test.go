package console

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/wflo-ai/wflo-go"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frontend answers a Temporal client just enough that it connects, and has no runs.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
}

func (frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (frontend) ListWorkflowExecutions(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{}, nil
}

// site is where a console can be made: a directory with a key and a file, and Temporal.
type site struct {
	t      *testing.T
	dir    string
	cfg    Config
	logged *bytes.Buffer
}

func newSite(t *testing.T, file string) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	temporal, served := grpc.NewServer(), make(chan error, 1)
	workflowservice.RegisterWorkflowServiceServer(temporal, frontend{})
	go func() { served <- temporal.Serve(l) }()
	t.Cleanup(func() {
		temporal.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // it may end before it begins
			t.Error(err)
		}
	})
	s := &site{t: t, dir: t.TempDir(), logged: &bytes.Buffer{}}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write("console.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.write("wflo.yaml", "console:\n  key: "+filepath.Join(s.dir, "console.key")+"\n"+file)
	s.cfg = Config{
		File: filepath.Join(s.dir, "wflo.yaml"), Listen: "127.0.0.1:0", DataDir: s.dir, Temporal: client.Options{HostPort: l.Addr().String()},
		Logger: slog.New(slog.NewTextHandler(s.logged, nil)),
	}
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start makes the console and serves it.
func (s *site) start() *Console {
	s.t.Helper()
	c, err := New(s.t.Context(), s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// ask sends a request, and follows redirects.
func (s *site) ask(c *http.Client, method, url, body string, header ...string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// tickets is a way of one's own, on all three roads: whoever has a ticket of a person
// is that person.
type tickets map[string]func() (wflo.Identity, error)

func (k tickets) open(ticket string) (wflo.Identity, error) {
	if ticket == "" {
		return wflo.Identity{}, ErrNone
	}
	if who, ok := k[ticket]; ok {
		return who()
	}
	return wflo.Identity{Subject: "mallory", Roles: wflo.AccessRoles()}, ErrRefused
}

func (k tickets) Authenticate(r *http.Request) (wflo.Identity, error) {
	return k.open(r.Header.Get("X-Ticket"))
}

func (k tickets) Login(_ context.Context, _, password string) (wflo.Identity, error) {
	return k.open(password)
}

func (k tickets) Begin(w http.ResponseWriter, r *http.Request, back string) error {
	http.Redirect(w, r, "/login/via/office/callback?ticket="+r.URL.Query().Get("ticket")+"&back="+url.QueryEscape(back), http.StatusFound)
	return nil
}

func (k tickets) Finish(_ http.ResponseWriter, r *http.Request) (wflo.Identity, string, error) {
	id, err := k.open(r.URL.Query().Get("ticket"))
	return id, r.URL.Query().Get("back"), err
}

// none never finds a credential of its kind, and so passes on to the next.
type none struct{}

func (none) Authenticate(*http.Request) (wflo.Identity, error) { return wflo.Identity{}, ErrNone }

func person(id wflo.Identity) func() (wflo.Identity, error) {
	return func() (wflo.Identity, error) { return id, nil }
}

// canary is a credential that must not be told.
const canary = "canary-ticket-4711"

var people = tickets{
	"ann":    person(wflo.Identity{Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleAdmin}}),
	"vic":    person(wflo.Identity{Subject: "vic", Roles: []wflo.AccessRole{wflo.RoleViewer}}),
	"lee":    person(wflo.Identity{Subject: "lee", Roles: []wflo.AccessRole{wflo.RoleAdmin}, Org: "acme"}),
	"nobody": person(wflo.Identity{Roles: wflo.AccessRoles()}),
	"norole": person(wflo.Identity{Subject: "nora"}),
	"group":  person(wflo.Identity{Subject: "group:ops", Roles: wflo.AccessRoles()}),
	"king":   person(wflo.Identity{Subject: "kim", Roles: []wflo.AccessRole{"king"}}),
	"panic":  func() (wflo.Identity, error) { panic(canary) },
	"away": func() (wflo.Identity, error) {
		return wflo.Identity{Subject: "ann"}, fmt.Errorf("ask: %w", ErrUnavailable)
	},
	"error": func() (wflo.Identity, error) { return wflo.Identity{Subject: "ann"}, io.ErrUnexpectedEOF },
}

// A ticket in a header is as good as a key: roles and tenants hold, and whatever the
// authenticator does instead of an answer lets nobody in.
func TestOwnAuthenticator(t *testing.T) {
	s := newSite(t, "")
	s.cfg.Authenticators = []Authenticator{none{}, people}
	c := s.start()
	for _, tt := range []struct {
		ticket, path string
		status       int
		want         string
	}{
		{"ann", "/api/v1/whoami", http.StatusOK, `"method":"own"`},
		{"ann", "/metrics", http.StatusOK, ""},
		{"ann", "/api/v1/keys", http.StatusOK, ""},
		{"ann", "/inbox", http.StatusOK, "Inbox"},
		{"vic", "/api/v1/whoami", http.StatusOK, `"vic"`},
		{"vic", "/api/v1/keys", http.StatusForbidden, "admin"},
		{"lee", "/api/v1/whoami", http.StatusOK, `"acme"`},
		{"lee", "/metrics", http.StatusForbidden, "orgs"},
		{"", "/api/v1/whoami", http.StatusUnauthorized, ""},
		{"forged", "/api/v1/whoami", http.StatusUnauthorized, "not valid"},
		{"nobody", "/api/v1/whoami", http.StatusUnauthorized, ""},
		{"norole", "/api/v1/whoami", http.StatusForbidden, "role"},
		{"group", "/api/v1/whoami", http.StatusUnauthorized, ""},
		{"king", "/api/v1/whoami", http.StatusUnauthorized, ""},
		{"panic", "/api/v1/whoami", http.StatusServiceUnavailable, "try again"},
		{"away", "/api/v1/whoami", http.StatusServiceUnavailable, "try again"},
		{"error", "/api/v1/whoami", http.StatusUnauthorized, "log says why"},
	} {
		status, body := s.ask(http.DefaultClient, http.MethodGet, c.URL()+tt.path, "", "X-Ticket", tt.ticket)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s with ticket %q: %d %s", tt.path, tt.ticket, status, body)
		}
		if strings.Contains(body, canary) {
			t.Errorf("%s tells the value of a panic: %s", tt.path, body)
		}
	}
	c.Close()
	if said := s.logged.String(); strings.Contains(said, canary) || !strings.Contains(said, "unexpected EOF") || !strings.Contains(said, "a way to log in panicked") {
		t.Errorf("the log: %s", said)
	}
}

// By a password or elsewhere people get sessions, and again nobody by accident.
func TestOwnLogins(t *testing.T) {
	s := newSite(t, "  api_keys: false\n")
	s.cfg.Passwords, s.cfg.Redirects = people, map[string]Redirects{"office": people}
	c := s.start()
	if _, page := s.ask(http.DefaultClient, http.MethodGet, c.URL()+"/login", ""); !strings.Contains(page, "Log in with office") || !strings.Contains(page, "Password") || strings.Contains(page, "API key") {
		t.Errorf("the login page: %s", page)
	}
	for _, ticket := range []string{"ann", "lee", "forged", "nobody", "norole", "group", "king", "panic", "away", "error"} {
		for way, enter := range map[string]func(*http.Client) (int, string){
			"password": func(b *http.Client) (int, string) {
				form := url.Values{"name": {"somebody"}, "password": {ticket}, "back": {"/inbox"}}
				return s.ask(b, http.MethodPost, c.URL()+"/login/password", form.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", c.URL())
			},
			"redirect": func(b *http.Client) (int, string) {
				return s.ask(b, http.MethodGet, c.URL()+"/login/via/office?back=/inbox&ticket="+ticket, "")
			},
		} {
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			b := &http.Client{Jar: jar}
			_, page := enter(b)
			status, who := s.ask(b, http.MethodGet, c.URL()+"/api/v1/whoami", "")
			in := ticket == "ann" || ticket == "lee"
			switch {
			case in && (status != http.StatusOK || !strings.Contains(who, ticket) || !strings.Contains(page, "Log out")):
				t.Errorf("%s by %s: %d %s", ticket, way, status, who)
			case !in && (status != http.StatusUnauthorized || strings.Contains(page, "Log out") || strings.Contains(page, canary)):
				t.Errorf("%s by %s: %d %s\n%s", ticket, way, status, who, page)
			}
		}
	}
}

// What could not work is said before anything listens.
func TestRefuses(t *testing.T) {
	const ldap = "  ldap:\n    url: ldaps://ldap.example.com\n    base_dn: dc=example,dc=com\n    user_filter: (uid={name})\n    mapping: {default_roles: [viewer]}\n"
	const oidc = "  url: https://wflo.example.com\n  oidc:\n    - {name: office, issuer: https://id.example.com, client_id: wflo, mapping: {default_roles: [viewer]}}\n"
	for name, tt := range map[string]struct {
		file   string
		change func(*Config)
		want   string
	}{
		"no file":            {"", func(c *Config) { c.File = "" }, "Config.File"},
		"a file not there":   {"", func(c *Config) { c.File += ".gone" }, "gone"},
		"nobody":             {"  api_keys: false\n", func(*Config) {}, "lets nobody log in"},
		"a nil one":          {"", func(c *Config) { c.Authenticators = []Authenticator{people, nil} }, "Authenticators[1]"},
		"a nil redirect":     {"", func(c *Config) { c.Redirects = map[string]Redirects{"office": nil} }, `Redirects["office"]`},
		"a name with a path": {"", func(c *Config) { c.Redirects = map[string]Redirects{"../inbox": people} }, "does not fit into an address"},
		"two forms":          {ldap, func(c *Config) { c.Passwords = people }, "the file has ldap"},
		"two of a name":      {oidc, func(c *Config) { c.Redirects = map[string]Redirects{"office": people} }, "provider of the file"},
		"no Temporal":        {"", func(c *Config) { c.Temporal.HostPort = "127.0.0.1:1" }, "connect to Temporal at 127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, tt.file)
			tt.change(&s.cfg)
			c, err := New(t.Context(), s.cfg)
			if err == nil {
				c.Close()
				t.Fatal("it is made")
			}
			if text := err.Error(); !strings.Contains(text, tt.want) {
				t.Errorf("%v lacks %q", err, tt.want)
			}
		})
	}
}

// The pages work in a server of the program's own; Start is for once, and Close for ever.
func TestHandlerAndLife(t *testing.T) {
	s := newSite(t, "  url: https://wflo.example.com\n")
	s.cfg.Authenticators = []Authenticator{people}
	c, err := New(t.Context(), s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.URL() != "" || c.PublicURL() != "https://wflo.example.com" {
		t.Errorf("URL %q, %q", c.URL(), c.PublicURL())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own, done := &http.Server{Handler: c}, make(chan error, 1)
	go func() { done <- own.Serve(l) }()
	if status, body := s.ask(http.DefaultClient, http.MethodGet, "http://"+l.Addr().String()+"/api/v1/whoami", "", "X-Ticket", "ann"); status != http.StatusOK {
		t.Errorf("a server of one's own: %d %s", status, body)
	}
	_ = own.Close()
	<-done
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("a second start: %v", err)
	}
	at := c.URL()
	c.Close()
	c.Close()
	if resp, err := http.Get(at); err == nil {
		resp.Body.Close()
		t.Error("it listens after Close")
	}
}
