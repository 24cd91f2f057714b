package codecserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ui     = "http://127.0.0.1:8233"
	secret = "what-ann-earns"
)

func codec(t *testing.T) *envelope.Codec {
	t.Helper()
	line, err := envelope.NewKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := envelope.New(envelope.Config{Keys: line})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// journal is a log that the server may still write while it is read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func start(t *testing.T, cfg Config) (*Server, *journal) {
	t.Helper()
	var log journal
	cfg.Listen, cfg.Logger = "127.0.0.1:0", slog.New(slog.NewTextHandler(&log, nil))
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s, &log
}

type call struct {
	method, path, body, origin, token, namespace, host, kind string
}

func (c call) do(t *testing.T, web *http.Client, s *Server) (int, string, http.Header) {
	t.Helper()
	if c.method == "" {
		c.method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, s.URL()+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, v := range map[string]string{"Origin": c.origin, "X-Namespace": c.namespace, "Content-Type": c.kind} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	r.Host = c.host
	resp, err := web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func plainWeb(t *testing.T) *http.Client {
	t.Helper()
	web := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(web.CloseIdleConnections)
	return web
}

// sealed is a request with one payload, as the protocol has it.
func sealed(t *testing.T, c converter.PayloadCodec) string {
	t.Helper()
	p, err := converter.GetDefaultDataConverter().ToPayload(secret)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Encode([]*commonpb.Payload{p})
	if err != nil {
		t.Fatal(err)
	}
	data, err := protojson.Marshal(&commonpb.Payloads{Payloads: out})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func opened(t *testing.T, body string) string {
	t.Helper()
	var all commonpb.Payloads
	if err := protojson.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err, body)
	}
	var text string
	if err := converter.GetDefaultDataConverter().FromPayloads(&all, &text); err != nil {
		return err.Error()
	}
	return text
}

func TestDecode(t *testing.T) {
	c := codec(t)
	s, log := start(t, Config{Codec: c, Origins: []string{ui}, Namespaces: []string{"default"}})
	web, body := plainWeb(t), sealed(t, c)
	code, out, head := call{path: "/decode", body: body, origin: ui, namespace: "default"}.do(t, web, s)
	if code != http.StatusOK || opened(t, out) != secret || head.Get("Access-Control-Allow-Origin") != ui || head.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", code, out, head)
	}
	for _, want := range []string{"what=decode", "payloads=1", "namespace=default", "by=", "address=127.0.0.1"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	remote := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{
		Endpoint: s.URL(), Client: *web, ModifyRequest: func(r *http.Request) error { r.Header.Set("X-Namespace", "default"); return nil },
	})
	var in commonpb.Payloads
	if err := protojson.Unmarshal([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Decode(in.Payloads)
	if err != nil || !strings.Contains(string(back[0].Data), secret) {
		t.Errorf("the SDK's own client: %v %v", back, err)
	}
	if strings.Contains(log.String(), secret) {
		t.Error("content is in the log")
	}
}

func TestRefused(t *testing.T) {
	c := codec(t)
	s, log := start(t, Config{Codec: c, Origins: []string{ui}, Namespaces: []string{"default"}})
	web, body := plainWeb(t), sealed(t, c)
	foreign := sealed(t, codec(t))
	many := `{"payloads":[` + strings.Repeat(`{},`, MaxPayloads) + `{}]}`
	for name, tt := range map[string]struct {
		call call
		code int
	}{
		"a page of a stranger":      {call{path: "/decode", body: body, namespace: "default", origin: "https://evil.example"}, http.StatusForbidden},
		"null as an origin":         {call{path: "/decode", body: body, namespace: "default", origin: "null"}, http.StatusForbidden},
		"its preflight":             {call{path: "/decode", method: http.MethodOptions, origin: "https://evil.example"}, http.StatusForbidden},
		"another namespace":         {call{path: "/decode", body: body, namespace: "payroll"}, http.StatusForbidden},
		"no namespace":              {call{path: "/decode", body: body}, http.StatusForbidden},
		"a name led here by DNS":    {call{path: "/decode", body: body, namespace: "default", host: "evil.example"}, http.StatusUnauthorized},
		"a form":                    {call{path: "/decode", body: body, namespace: "default", kind: "text/plain"}, http.StatusUnsupportedMediaType},
		"no JSON":                   {call{path: "/decode", body: "{", namespace: "default"}, http.StatusBadRequest},
		"nothing":                   {call{path: "/decode", body: "", namespace: "default"}, http.StatusBadRequest},
		"another key":               {call{path: "/decode", body: foreign, namespace: "default"}, http.StatusBadRequest},
		"too many":                  {call{path: "/decode", body: many, namespace: "default"}, http.StatusRequestEntityTooLarge},
		"too large":                 {call{path: "/decode", body: `"` + strings.Repeat("x", MaxBody), namespace: "default"}, http.StatusRequestEntityTooLarge},
		"encoding, which is off":    {call{path: "/encode", body: body, namespace: "default"}, http.StatusNotFound},
		"another path":              {call{path: "/keys", body: body, namespace: "default"}, http.StatusNotFound},
		"reading instead of asking": {call{path: "/decode", method: http.MethodGet}, http.StatusMethodNotAllowed},
	} {
		code, out, head := tt.call.do(t, web, s)
		if code != tt.code || strings.Contains(out, secret) {
			t.Errorf("%s: %d %.200s", name, code, out)
		}
		if tt.call.origin != "" && head.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: CORS lets it read", name)
		}
	}
	if strings.Contains(log.String(), secret) {
		t.Error("content is in the log")
	}
	code, _, head := call{path: "/decode", method: http.MethodOptions, origin: ui}.do(t, web, s)
	if code != http.StatusNoContent || !strings.Contains(head.Get("Access-Control-Allow-Headers"), "X-Namespace") {
		t.Errorf("preflight of the Web UI: %d %v", code, head)
	}
	s.Allow("http://localhost:1")
	if code, _, _ := (call{path: "/decode", method: http.MethodOptions, origin: "http://localhost:1"}).do(t, web, s); code != http.StatusNoContent {
		t.Errorf("an origin that came later: %d", code)
	}
}

// people knows tokens by heart.
type people map[string]wflo.Identity

func (p people) Authenticate(r *http.Request) (wflo.Identity, error) {
	token, err := auth.BearerToken(r.Header)
	if err != nil {
		return wflo.Identity{}, err
	}
	id, ok := p[token]
	if !ok {
		return id, auth.ErrRefused
	}
	return id, nil
}

func TestWhoMayAsk(t *testing.T) {
	c := codec(t)
	who := people{
		"ann": {Subject: "ann", Roles: []wflo.AccessRole{wflo.RoleViewer}}, "bob": {Subject: "bob"},
		"cy": {Subject: "cy", Roles: []wflo.AccessRole{wflo.RoleAdmin}, Org: "acme"},
	}
	s, log := start(t, Config{Codec: c, Auth: who, Encode: true})
	web, body := plainWeb(t), sealed(t, c)
	for token, want := range map[string]int{"ann": http.StatusOK, "bob": http.StatusForbidden, "cy": http.StatusForbidden, "": http.StatusUnauthorized, "guess": http.StatusUnauthorized} {
		if code, out, _ := (call{path: "/decode", body: body, token: token}).do(t, web, s); code != want {
			t.Errorf("%q: %d %s", token, code, out)
		}
	}
	if code, out, _ := (call{path: "/encode", body: `{"payloads":[{"metadata":{},"data":"eA=="}]}`, token: "ann"}).do(t, web, s); code != http.StatusOK || !strings.Contains(out, envelope.MetadataKeyID) {
		t.Errorf("encode: %d %s", code, out)
	}
	limited := false
	for range 60 {
		code, _, _ := call{path: "/decode", body: body, token: "guess"}.do(t, web, s)
		limited = limited || code == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("guesses are free")
	}
	if code, _, _ := (call{path: "/decode", body: body, token: "ann"}).do(t, web, s); code != http.StatusOK {
		t.Errorf("who has a token is held up by who has not: %d", code)
	}
	if !strings.Contains(log.String(), "by=ann") || strings.Contains(log.String(), secret) || strings.Contains(log.String(), "guess") {
		t.Error(log)
	}
}

func TestRate(t *testing.T) {
	now := time.Unix(1000, 0)
	l := rates{most: 2}
	for i, want := range []bool{true, true, false} {
		if l.pass("a", now) != want {
			t.Error("request", i)
		}
	}
	if !l.pass("b", now) || !l.pass("a", now.Add(time.Second)) {
		t.Error("another address, or another second, is held up")
	}
}

func TestWhereItListens(t *testing.T) {
	c := codec(t)
	for name, cfg := range map[string]Config{
		"everywhere, plain":       {Codec: c, Listen: "0.0.0.0:0", Auth: people{}},
		"everywhere, for all":     {Codec: c, Listen: ":0", TLSCert: "c", TLSKey: "k"},
		"elsewhere":               {Codec: c, Listen: "192.0.2.1:1"},
		"half a certificate":      {Codec: c, Listen: "127.0.0.1:0", TLSCert: "c"},
		"no address":              {Codec: c, Listen: "here"},
		"no keys":                 {Listen: "127.0.0.1:0"},
		"a star":                  {Codec: c, Listen: "127.0.0.1:0", Origins: []string{"*"}},
		"an origin with a path":   {Codec: c, Listen: "127.0.0.1:0", Origins: []string{"http://a/b"}},
		"a certificate of nobody": {Codec: c, Listen: "127.0.0.1:0", TLSCert: "/none", TLSKey: "/none"},
	} {
		if s, err := Start(cfg); err == nil {
			s.Stop()
			t.Errorf("%s: it started", name)
		} else if wflo.HintOf(err) == "" {
			t.Errorf("%s: %v has no hint", name, err)
		}
	}
}

// certificate writes a self-signed one for 127.0.0.1.
func certificate(t *testing.T, dir, name string, when time.Time) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pool
}

// A certificate that is replaced on disk counts from the next connection on.
func TestTLS(t *testing.T) {
	c, dir := codec(t), t.TempDir()
	cert, key, first := certificate(t, dir, "c", time.Unix(1_700_000_000, 0))
	s, _ := start(t, Config{Codec: c, TLSCert: cert, TLSKey: key})
	ask := func(pool *x509.CertPool) error {
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		defer web.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/decode", strings.NewReader(sealed(t, c)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := web.Do(r)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := ask(first); err != nil {
		t.Fatal(err)
	}
	_, _, second := certificate(t, dir, "c", time.Unix(1_700_000_100, 0))
	if err := ask(second); err != nil {
		t.Error("the new certificate does not count:", err)
	}
	if err := ask(first); err == nil {
		t.Error("the old certificate counts")
	}
}

func FuzzRequest(f *testing.F) {
	line, err := envelope.NewKey("k1")
	if err != nil {
		f.Fatal(err)
	}
	c, err := envelope.New(envelope.Config{Keys: line})
	if err != nil {
		f.Fatal(err)
	}
	s := &Server{cfg: Config{Codec: c}, log: slog.New(slog.DiscardHandler), failed: auth.NewLimiter(auth.LimiterConfig{}), rates: rates{most: 1 << 30}}
	h := s.handler()
	f.Add(`{"payloads":[{"metadata":{"encoding":"YmluYXJ5L3dmbG8tc2VhbGVk"},"data":"AA=="}]}`, "application/json")
	f.Add(`{"payloads":[null]}`, "application/json; charset=utf-8")
	f.Add(`{}`, "text/plain")
	f.Fuzz(func(t *testing.T, body, kind string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/decode", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", kind)
		w := &answer{head: http.Header{}}
		h.ServeHTTP(w, r)
		if w.code >= http.StatusInternalServerError {
			t.Errorf("%d for %q", w.code, body)
		}
	})
}

type answer struct {
	head http.Header
	code int
}

func (a *answer) Header() http.Header         { return a.head }
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }
func (a *answer) WriteHeader(code int)        { a.code = code }
