package oidc

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// forger is a provider that says whatever a test wants it to, because a good one
// never would.
type forger struct {
	*httptest.Server
	key, other *rsa.PrivateKey
	// Each changes what a good provider says.
	document func(map[string]any)
	header   map[string]any
	claims   func(map[string]any)
	sign     func(signed string) []byte
	answer   func(map[string]any)
	info     map[string]any
	token    atomic.Pointer[http.HandlerFunc]
	nonce    string
	asked    atomic.Int64
}

func newForger(t *testing.T) *forger {
	t.Helper()
	f := &forger{header: map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"}}
	var err error
	if f.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if f.other, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	f.sign = f.rs256(f.key)
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		f.asked.Add(1)
		d := map[string]any{
			"issuer": f.URL, "authorization_endpoint": f.URL + "/auth", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
			"userinfo_endpoint": f.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		}
		if f.document != nil {
			f.document(d)
		}
		_ = json.NewEncoder(w).Encode(d)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "use": "sig", "kid": "k1", "n": encode(f.key.N.Bytes()), "e": encode(big.NewInt(int64(f.key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if token := f.token.Load(); token != nil {
			(*token)(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer := map[string]any{"access_token": "access-canary", "token_type": "Bearer", "expires_in": 60, "id_token": f.jwt(f.good())}
		if f.answer != nil {
			f.answer(answer)
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(f.info)
	})
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (f *forger) good() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": f.URL, "aud": "wflo", "sub": "ann", "nonce": f.nonce, "iat": now, "exp": now + 300, "name": "Ann"}
}

func (f *forger) jwt(claims map[string]any) string {
	if f.claims != nil {
		f.claims(claims)
	}
	header, _ := json.Marshal(f.header)
	body, _ := json.Marshal(claims)
	signed := encode(header) + "." + encode(body)
	return signed + "." + encode(f.sign(signed))
}

func (f *forger) rs256(key *rsa.PrivateKey) func(string) []byte {
	return func(signed string) []byte {
		sum := sha256.Sum256([]byte(signed))
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return sig
	}
}

// hs256 signs with what everybody knows or may know: the classic confusion of keys.
func hs256(key []byte) func(string) []byte {
	return func(signed string) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		return mac.Sum(nil)
	}
}

func (f *forger) publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// logIn goes through a whole login at the forger.
func (f *forger) logIn(t *testing.T, change func(*Config)) (id wflo.Identity, log string, err error) {
	t.Helper()
	l, written := use(t, func(c *Config) {
		c.Issuer, c.UserInfo = f.URL, false
		if change != nil {
			change(c)
		}
	})
	w := httptest.NewRecorder()
	if err := l.Begin(w, httptest.NewRequest("GET", "/login", nil), "/"); err != nil {
		return wflo.Identity{}, written.String(), err
	}
	to, err := w.Result().Location()
	if err != nil {
		t.Fatal(err)
	}
	f.nonce = to.Query().Get("nonce")
	r := httptest.NewRequest("GET", "/callback?"+url.Values{"state": {to.Query().Get("state")}, "code": {"code-canary"}}.Encode(), nil)
	r.AddCookie(w.Result().Cookies()[0])
	id, _, err = l.Finish(httptest.NewRecorder(), r)
	for _, secret := range []string{"code-canary", "access-canary", "wflo-client-secret", f.nonce, "eyJ"} {
		if strings.Contains(written.String(), secret) || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in %v or in the log: %s", secret, err, written)
		}
	}
	return id, written.String(), err
}

func TestGoodTokenOfTheForger(t *testing.T) {
	f := newForger(t)
	for name, claims := range map[string]func(map[string]any){
		"as it is":                 func(map[string]any) {},
		"audience as a list":       func(c map[string]any) { c["aud"] = []string{"wflo"} },
		"two audiences, and azp":   func(c map[string]any) { c["aud"], c["azp"] = []string{"x", "wflo"}, "wflo" },
		"clock 50 s ahead":         func(c map[string]any) { c["iat"] = time.Now().Unix() + 50 },
		"expired 50 s ago":         func(c map[string]any) { c["exp"] = time.Now().Unix() - 50 },
		"hash of the access token": func(c map[string]any) { sum := sha256.Sum256([]byte("access-canary")); c["at_hash"] = encode(sum[:16]) },
	} {
		f.claims = claims
		if id, log, err := f.logIn(t, nil); err != nil || id.Subject != "ann" {
			t.Errorf("%s: %v; %s", name, err, log)
		}
	}
}

func TestForgedTokens(t *testing.T) {
	f := newForger(t)
	set := func(name string, value any) func() {
		return func() { f.claims = func(c map[string]any) { c[name] = value } }
	}
	drop := func(name string) func() {
		return func() { f.claims = func(c map[string]any) { delete(c, name) } }
	}
	alg := func(name string, sign func(string) []byte) func() {
		return func() { f.header["alg"], f.sign = name, sign }
	}
	now := time.Now().Unix()
	for name, forge := range map[string]func(){
		"alg none":                     alg("none", func(string) []byte { return nil }),
		"alg None":                     alg("None", func(string) []byte { return nil }),
		"no alg":                       func() { delete(f.header, "alg") },
		"HS256 by the public key":      alg("HS256", hs256(f.publicPEM())),
		"HS256 by the modulus":         alg("HS256", hs256(f.key.N.Bytes())),
		"HS256 by the client's secret": alg("HS256", hs256([]byte("wflo-client-secret"))),
		"RS256 in name, and none":      alg("RS256", func(string) []byte { return nil }),
		"another key":                  func() { f.sign = f.rs256(f.other) },
		"another key that it brings": func() {
			f.sign = f.rs256(f.other)
			f.header["jwk"] = map[string]any{"kty": "RSA", "n": encode(f.other.N.Bytes()), "e": "AQAB"}
		},
		"another key that it points to": func() { f.sign = f.rs256(f.other); f.header["jku"] = f.URL + "/keys"; f.header["kid"] = "k2" },
		"another issuer":                set("iss", "https://evil.example"),
		"another audience":              set("aud", "other"),
		"no audience":                   drop("aud"),
		"two audiences without azp":     set("aud", []string{"wflo", "other"}),
		"azp of another":                set("azp", "other"),
		"azp that is no text":           set("azp", 1),
		"expired":                       set("exp", now-3600),
		"never expires":                 drop("exp"),
		"not yet valid":                 set("nbf", now+3600),
		"from the future":               set("iat", now+3600),
		"no time":                       drop("iat"),
		"another nonce":                 set("nonce", random()),
		"no nonce":                      drop("nonce"),
		"empty nonce":                   set("nonce", ""),
		"nobody":                        drop("sub"),
		"empty subject":                 set("sub", ""),
		"access token of somebody else": set("at_hash", encode(make([]byte, 16))),
		"no ID token":                   func() { f.answer = func(a map[string]any) { delete(a, "id_token") } },
		"ID token that is no text":      func() { f.answer = func(a map[string]any) { a["id_token"] = []string{"x"} } },
		"two signatures":                func() { f.answer = func(a map[string]any) { a["id_token"] = a["id_token"].(string) + ".AAAA" } },
		"signature of another payload": func() {
			f.answer = func(a map[string]any) {
				parts := strings.Split(a["id_token"].(string), ".")
				body, _ := json.Marshal(f.good())
				a["id_token"] = parts[0] + "." + encode([]byte(strings.Replace(string(body), "ann", "bob", 1))) + "." + parts[2]
			}
		},
	} {
		f.header, f.sign, f.claims, f.answer = map[string]any{"alg": "RS256", "kid": "k1"}, f.rs256(f.key), nil, nil
		if id, log, err := f.logIn(t, nil); err != nil || id.Subject != "ann" {
			t.Fatalf("before %s: %v; %s", name, err, log)
		}
		forge()
		id, log, err := f.logIn(t, nil)
		if !errors.Is(err, auth.ErrRefused) || id.Subject != "" || err.Error() != auth.Refused(hint).Error() {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
		if !strings.Contains(log, "refused") {
			t.Errorf("%s: the log is silent", name)
		}
	}
}

// The list of the configuration counts, whatever the provider says that it uses.
func TestOnlyConfiguredAlgorithmsSign(t *testing.T) {
	f := newForger(t)
	if id, _, err := f.logIn(t, func(c *Config) { c.Algorithms = []string{"RS256"} }); err != nil || id.Subject != "ann" {
		t.Fatal(err)
	}
	if id, log, err := f.logIn(t, func(c *Config) { c.Algorithms = []string{"ES256"} }); !errors.Is(err, auth.ErrRefused) || id.Subject != "" {
		t.Errorf("%+v, %v; %s", id, err, log)
	}
}

func TestUserInfoOfSomebodyElse(t *testing.T) {
	f := newForger(t)
	userInfo := func(c *Config) { c.UserInfo = true; c.Claims.Subject = "email" }
	f.info = map[string]any{"sub": "ann", "email": "ann@example.com", "email_verified": true}
	if id, log, err := f.logIn(t, userInfo); err != nil || id.Subject != "ann@example.com" {
		t.Fatalf("%v; %s", err, log)
	}
	f.info = map[string]any{"sub": "bob", "email": "ann@example.com", "email_verified": true}
	if id, _, err := f.logIn(t, userInfo); !errors.Is(err, auth.ErrRefused) || id.Subject != "" {
		t.Errorf("%+v, %v", id, err)
	}
	// Verified there is another address than the one in the token.
	f.info = map[string]any{"sub": "ann", "email": "bob@example.com", "email_verified": true}
	f.claims = func(c map[string]any) { c["email"] = "ann@example.com" }
	if id, _, err := f.logIn(t, userInfo); !errors.Is(err, auth.ErrRefused) || id.Subject != "" {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestAnswersMustNameTheirIssuer(t *testing.T) {
	f := newForger(t)
	f.document = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = true }
	if _, log, err := f.logIn(t, nil); !errors.Is(err, auth.ErrRefused) || !strings.Contains(log, "another issuer") {
		t.Errorf("%v; %s", err, log)
	}
}

func TestProvidersThatCannotBeAsked(t *testing.T) {
	f := newForger(t)
	for name, document := range map[string]func(map[string]any){
		"another issuer":              func(d map[string]any) { d["issuer"] = "https://evil.example" },
		"tokens without TLS":          func(d map[string]any) { d["token_endpoint"] = "http://idp.example/token" },
		"keys without TLS":            func(d map[string]any) { d["jwks_uri"] = "http://idp.example/keys" },
		"no place to log in":          func(d map[string]any) { delete(d, "authorization_endpoint") },
		"more than anybody would say": func(d map[string]any) { d["x"] = strings.Repeat("a", maxAnswer) },
	} {
		f.document = document
		if _, _, err := f.logIn(t, nil); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.document = nil
	for name, token := range map[string]http.HandlerFunc{
		"it fails":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"it ends":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"more than bearable": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2*maxAnswer)) },
	} {
		f.token.Store(&token)
		if id, _, err := f.logIn(t, nil); err == nil || id.Subject != "" {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	// A code and a secret must not follow a redirect.
	var followed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	defer elsewhere.Close()
	redirect := http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP
	token := http.HandlerFunc(redirect)
	f.token.Store(&token)
	if id, _, err := f.logIn(t, nil); err == nil || id.Subject != "" || followed.Load() {
		t.Errorf("%+v, %v; followed: %v", id, err, followed.Load())
	}
}

// The provider may be away when the console starts, and is asked again.
func TestProviderThatComesBack(t *testing.T) {
	f := newForger(t)
	l, _ := use(t, func(c *Config) { c.Issuer, c.UserInfo = f.URL, false })
	f.document = func(d map[string]any) { clear(d) }
	begin := func() error { return l.Begin(httptest.NewRecorder(), httptest.NewRequest("GET", "/login", nil), "/") }
	if err := begin(); !errors.Is(err, auth.ErrUnavailable) {
		t.Fatal(err)
	}
	f.document = nil
	before := f.asked.Load()
	for range 3 {
		if err := begin(); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.asked.Load() - before; n != 1 {
		t.Errorf("it was asked %d times, want once", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other, _ := use(t, func(c *Config) { c.Issuer, c.UserInfo = f.URL, false })
	if err := other.Begin(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/login", nil), "/"); !errors.Is(err, auth.ErrUnavailable) {
		t.Error(err)
	}
}

func TestBearerTokens(t *testing.T) {
	f := newForger(t)
	l, _ := use(t, func(c *Config) { c.Issuer, c.UserInfo = f.URL, false })
	for _, wrong := range [][]string{nil, {""}, {"cli", "wflo"}} {
		if _, err := l.Bearer(wrong...); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	api, err := l.Bearer("cli")
	if err != nil {
		t.Fatal(err)
	}
	send := func(header string) (wflo.Identity, error) {
		r := httptest.NewRequest("GET", "/api/v1/runs", nil)
		r.Header.Set("Authorization", header)
		return api.Authenticate(r)
	}
	for header, want := range map[string]error{
		"": auth.ErrNone, "Basic abc": auth.ErrNone, "Bearer wflo_abc": auth.ErrNone, "Bearer a.b.c": auth.ErrRefused, "Bearer a b.c.d": auth.ErrRefused,
		"Bearer " + f.jwt(f.good()): auth.ErrRefused, // it is for the console's browsers
	} {
		if id, err := send(header); !errors.Is(err, want) || id.Subject != "" {
			t.Errorf("%.30q: %v, want %v", header, err, want)
		}
	}
	f.claims = func(c map[string]any) { c["aud"], c["azp"] = "cli", "cli" }
	good := f.jwt(f.good())
	if id, err := send("Bearer " + good); err != nil || id.Subject != "ann" || id.Method != Method {
		t.Errorf("%+v, %v", id, err)
	}
	f.header["alg"], f.sign = "none", func(string) []byte { return nil }
	if id, err := send("Bearer " + f.jwt(f.good())); !errors.Is(err, auth.ErrRefused) || id.Subject != "" {
		t.Errorf("alg none: %+v, %v", id, err)
	}
}
