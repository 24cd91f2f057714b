// Package oidc proves who somebody is by an OpenID provider. [New] makes a [Login],
// an auth.Redirects: Begin sends the browser to the provider, Finish reads what it
// brings back, by the authorization code flow with PKCE, state and nonce. With
// [Login.Bearer] programs present ID tokens of the same provider as bearer tokens.
//
// It refuses every answer that it did not ask this browser for, tokens whose
// signature is not asymmetric, providers that are reached without TLS (the loopback
// interface apart), and addresses as names that the provider did not verify. Its
// callers learn that a login was refused; why is in the log.
package oidc

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// Method is what identities say of how they were proved.
const Method = "oidc"

const (
	// loginTime is how long somebody has at the provider.
	loginTime   = 10 * time.Minute
	defaultSkew = time.Minute
	hint        = "start the login again; if it fails again, the console's log has the reason"
)

// Config says which provider, and what its words mean. Issuer, ClientID,
// RedirectURL and Mapping are required.
type Config struct {
	// Issuer is the provider's address, exactly as its tokens have it.
	Issuer   string
	ClientID string
	// ClientSecret is empty for a public client, which PKCE protects alone.
	ClientSecret string
	// RedirectURL is the address of the console at which Finish is called.
	RedirectURL string
	// Scopes are asked for besides openid; nil means profile and email.
	Scopes []string
	// Claims say where the provider puts what.
	Claims Claims
	// UserInfo asks the userinfo endpoint too, for providers that keep claims out
	// of ID tokens.
	UserInfo bool
	// Algorithms may sign tokens; nil means the asymmetric ones of RFC 7518 and
	// EdDSA. None and those with a shared key are refused here.
	Algorithms []string
	// Skew is how far clocks may differ; zero means a minute.
	Skew time.Duration
	// Key seals what a browser holds during a login: 32 bytes, the same for all
	// consoles behind one address. Nil means one that only this process has.
	Key []byte
	// Mapping gives groups, roles and the tenant.
	Mapping auth.Mapping
	// Client reaches the provider; nil means one with bounds on time and size.
	// Redirects are not followed in any case.
	Client *http.Client
	// Logger gets why a login was refused; nil means slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// asymmetric are the algorithms that a provider can sign with and we cannot.
var asymmetric = []string{
	gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.PS256, gooidc.PS384, gooidc.PS512,
	gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.EdDSA,
}

func (c Config) withDefaults() Config {
	if c.Scopes == nil {
		c.Scopes = []string{"profile", "email"}
	}
	c.Scopes = append([]string{gooidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return s == gooidc.ScopeOpenID })...)
	c.Claims = c.Claims.withDefaults()
	if c.Algorithms == nil {
		c.Algorithms = asymmetric
	}
	if c.Skew == 0 {
		c.Skew = defaultSkew
	}
	if c.Key == nil {
		c.Key = make([]byte, keyBytes)
		_, _ = rand.Read(c.Key) // it never fails: the program ends before
	}
	if c.Client == nil {
		c.Client = &http.Client{Transport: http.DefaultTransport}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.ClientID == "":
		return wflo.Invalid("oidc: client_id", "is empty", "register the console at the provider")
	case len(c.Key) != keyBytes:
		return wflo.Invalid("oidc: key", "is not 32 bytes long", "give 32 random bytes, or none")
	case c.Skew < 0 || c.Skew > 5*time.Minute:
		return wflo.Invalid("oidc: skew", "is "+c.Skew.String(), "use at most 5m; set the clocks")
	case len(c.Algorithms) == 0:
		return wflo.Invalid("oidc: algorithms", "are empty", "leave them out for all that are safe")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(asymmetric, a) {
			return wflo.Invalid("oidc: algorithms", "have "+a, "use RS256, PS256, ES256, EdDSA and their kin")
		}
	}
	if err := safeURL("issuer", c.Issuer, false); err != nil {
		return err
	}
	if err := safeURL("redirect_url", c.RedirectURL, false); err != nil {
		return err
	}
	return c.Mapping.Validate()
}

// safeURL refuses what a network could read or change. An issuer on the loopback
// interface may name endpoints there.
func safeURL(field, address string, query bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || !query && u.RawQuery != "":
		return wflo.Invalid("oidc: "+field, "is no plain address", "use https://HOST/PATH")
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return wflo.Invalid("oidc: "+field, "is reached without TLS", "use https; http is for the loopback interface only")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Login proves who somebody is. Its methods may be called at the same time.
type Login struct {
	cfg    Config
	client *http.Client
	seal   *sealer
	used   *used
	found  discovery
}

var _ auth.Redirects = (*Login)(nil)

// New makes a Login. The provider is asked for its endpoints at the first login,
// so that a console starts while it is away.
func New(cfg Config) (*Login, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	seal, err := newSealer(cfg.Key, cfg.Issuer+" "+cfg.ClientID)
	if err != nil {
		return nil, err
	}
	return &Login{cfg: cfg, client: bounded(cfg.Client), seal: seal, used: newUsed()}, nil
}

// refuse says why to the log. What providers and browsers say is bounded there.
func (l *Login) refuse(ctx context.Context, reason string, err error) error {
	l.cfg.Logger.WarnContext(ctx, "OIDC login refused", "issuer", l.cfg.Issuer, "reason", reason, "error", short(err))
	return auth.Refused(hint)
}

func (l *Login) unavailable(ctx context.Context, doing string, err error) error {
	l.cfg.Logger.ErrorContext(ctx, "OIDC provider cannot be asked", "issuer", l.cfg.Issuer, "doing", doing, "error", short(err))
	return auth.Unavailable("identity provider")
}

func short(err error) string {
	if err == nil {
		return ""
	}
	return clip(err.Error())
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300]
	}
	return s
}
