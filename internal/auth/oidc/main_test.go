package oidc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// One provider and one console serve all tests of this package.
var (
	realIssuer string
	site       *console
	transport  = &http.Transport{}
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	site = newConsole()
	defer transport.CloseIdleConnections()
	defer site.server.Close()
	dir, err := os.MkdirTemp("", "wflo-oidc-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	stop, err := startProvider(filepath.Join(dir, "oidc"))
	if err != nil {
		return 1, err
	}
	code := m.Run()
	return code, stop()
}

// startProvider builds and starts the program of tools/oidc, which has its own
// module and ends with its standard input.
func startProvider(program string) (stop func() error, err error) {
	build := exec.Command("go", "build", "-C", "../../../tools/oidc", "-o", program, ".")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build tools/oidc: %w: %s", err, out)
	}
	cmd := exec.Command(program, site.url("/callback"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tools/oidc: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		return nil, fmt.Errorf("tools/oidc says no issuer: %w: %s", err, stderr.String())
	}
	realIssuer = strings.TrimSpace(line)
	return func() error { _ = in.Close(); return cmd.Wait() }, nil
}

// console is the part of the console that logs in: /login begins, /callback
// finishes and answers with what came of it.
type console struct {
	server *httptest.Server
	mu     sync.Mutex
	login  *Login
}

// outcome is what /callback answers.
type outcome struct {
	Identity wflo.Identity
	Back     string
	Error    string
	Refused  bool
	Away     bool
}

func newConsole() *console {
	c := &console{}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if err := c.current().Begin(w, r, r.URL.Query().Get("back")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		id, back, err := c.current().Finish(w, r)
		o := outcome{Identity: id, Back: back}
		if err != nil {
			o.Error, o.Refused, o.Away = err.Error(), isRefused(err), isAway(err)
		}
		_ = json.NewEncoder(w).Encode(o)
	})
	c.server = httptest.NewServer(mux)
	return c
}

func (c *console) url(path string) string { return c.server.URL + path }

func (c *console) current() *Login {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.login
}

// use makes a Login for the client wflo of the real provider, unless change says
// otherwise, and puts it into the console.
func use(t *testing.T, change func(*Config)) (*Login, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	cfg := Config{
		Issuer: realIssuer, ClientID: "wflo", ClientSecret: "wflo-client-secret", RedirectURL: site.url("/callback"),
		UserInfo: true, Key: bytes.Repeat([]byte{7}, keyBytes), Client: &http.Client{Transport: transport},
		Mapping: auth.Mapping{DefaultRoles: []wflo.AccessRole{wflo.RoleViewer}},
		Logger:  slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	site.put(l)
	return l, log
}

func (c *console) put(l *Login) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.login = l
}

// browser keeps cookies, and stops before the console's callback.
type browser struct {
	http.Client
	t testing.TB
}

func newBrowser(t testing.TB) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, Client: http.Client{Jar: jar, Transport: transport, Timeout: time.Minute, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), site.url("/callback")) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// logIn does what a person does, and gives the address at which the provider sends
// the browser back.
func (b *browser) logIn(name, back string) *url.URL {
	b.t.Helper()
	resp, err := b.Get(site.url("/login?back=" + url.QueryEscape(back)))
	if err != nil {
		b.t.Fatal(err)
	}
	page := drain(resp)
	id := resp.Request.URL.Query().Get("authRequestID")
	if id == "" {
		b.t.Fatalf("no form at %s: %s", resp.Request.URL, page)
	}
	resp, err = b.PostForm(realIssuer+"login/username", url.Values{"id": {id}, "username": {name}, "password": {name + "-password"}})
	if err != nil {
		b.t.Fatal(err)
	}
	page = drain(resp)
	to, err := resp.Location()
	if err != nil {
		b.t.Fatalf("the provider sends nobody back: %s: %s", resp.Status, page)
	}
	return to
}

// finish opens the address at the console.
func (b *browser) finish(address *url.URL) outcome {
	b.t.Helper()
	resp, err := b.Get(address.String())
	if err != nil {
		b.t.Fatal(err)
	}
	var o outcome
	if page := drain(resp); json.Unmarshal([]byte(page), &o) != nil {
		b.t.Fatalf("%s: %s", resp.Status, page)
	}
	return o
}

// cookies are those of the console.
func (b *browser) cookies() []*http.Cookie {
	at, err := url.Parse(site.url("/"))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.Jar.Cookies(at)
}

func (b *browser) setCookies(c []*http.Cookie) {
	at, err := url.Parse(site.url("/"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.Jar.SetCookies(at, c)
}

func drain(resp *http.Response) string {
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	return string(all)
}
