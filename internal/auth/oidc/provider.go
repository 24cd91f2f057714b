package oidc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	requestTime = 10 * time.Second
	maxAnswer   = 1 << 20 // bytes of any answer of a provider
)

// bounded is a client that follows no redirect, waits for no answer longer than
// requestTime, and reads no more of one than maxAnswer.
func bounded(c *http.Client) *http.Client {
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = requestTime
	}
	return &http.Client{
		Transport:     limited{transport},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = limitedBody{http.MaxBytesReader(nil, resp.Body, maxAnswer)}
	return resp, nil
}

type limitedBody struct{ io.ReadCloser }

// discovery is what the provider says of itself, once it was asked.
type discovery struct {
	mu       sync.Mutex
	provider *provider
}

// provider is a provider that answered.
type provider struct {
	*gooidc.Provider
	verifier *gooidc.IDTokenVerifier
	oauth    oauth2.Config
	userInfo string
	// names is true where answers to browsers must name the issuer (RFC 9207).
	names bool
}

// metadata is the part of OpenID Connect Discovery 1.0, section 3, that we use.
type metadata struct {
	Auth     string   `json:"authorization_endpoint"`
	Token    string   `json:"token_endpoint"`
	Keys     string   `json:"jwks_uri"`
	UserInfo string   `json:"userinfo_endpoint"`
	Methods  []string `json:"token_endpoint_auth_methods_supported"`
	Names    bool     `json:"authorization_response_iss_parameter_supported"`
}

// provider asks the provider for its endpoints, until it has answered once.
func (l *Login) provider(ctx context.Context) (*provider, error) {
	l.found.mu.Lock()
	defer l.found.mu.Unlock()
	if l.found.provider != nil {
		return l.found.provider, nil
	}
	p, err := gooidc.NewProvider(gooidc.ClientContext(ctx, l.client), l.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	var m metadata
	if err := p.Claims(&m); err != nil {
		return nil, err
	}
	for field, address := range map[string]string{"authorization_endpoint": m.Auth, "token_endpoint": m.Token, "jwks_uri": m.Keys} {
		if err := safeURL(field, address, true); err != nil {
			return nil, err
		}
	}
	if l.cfg.UserInfo {
		if err := safeURL("userinfo_endpoint", m.UserInfo, true); err != nil {
			return nil, err
		}
	}
	endpoint := p.Endpoint()
	endpoint.AuthStyle = l.authStyle(m.Methods)
	l.found.provider = &provider{
		Provider: p, userInfo: m.UserInfo, names: m.Names,
		verifier: p.VerifierContext(gooidc.ClientContext(context.WithoutCancel(ctx), l.client), &gooidc.Config{
			// Audiences are checked here: bearer tokens have others.
			SkipClientIDCheck:    true,
			SupportedSigningAlgs: l.cfg.Algorithms,
			Now:                  func() time.Time { return l.cfg.Now().Add(-l.cfg.Skew) },
		}),
		oauth: oauth2.Config{ClientID: l.cfg.ClientID, ClientSecret: l.cfg.ClientSecret, Endpoint: endpoint, RedirectURL: l.cfg.RedirectURL, Scopes: l.cfg.Scopes},
	}
	return l.found.provider, nil
}

// authStyle is chosen and not tried out: a code that is sent twice is void.
func (l *Login) authStyle(methods []string) oauth2.AuthStyle {
	switch {
	case l.cfg.ClientSecret == "":
		return oauth2.AuthStyleInParams
	case len(methods) == 0 || slices.Contains(methods, "client_secret_basic"):
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// faulty is true when the provider answered that the login is no good, and false
// when it could not be asked.
func faulty(err error) bool {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return false
	}
	return answer.Response == nil || answer.Response.StatusCode < http.StatusInternalServerError
}
