// Package trustedproxy lets people into wflo's console whom a proxy in front of it has
// logged in already, such as oauth2-proxy or the gateway of a company. It is an example
// of a way of one's own: [New] makes a console.Authenticator, and the program in console
// serves wflo's pages and API with it.
//
// A header is what its sender writes, so it counts only when nobody but the proxy can
// have sent the request: it comes from the proxy's address and has a secret that the
// proxy adds. A request that has one of the headers and not the other proof is refused,
// and never treated as if it were from nobody.
package trustedproxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/console"
)

// What the proxy adds to every request, and removes when others send it.
const (
	HeaderSecret = "X-Proxy-Secret"
	HeaderUser   = "X-Forwarded-User"
	HeaderGroups = "X-Forwarded-Groups" // with commas between them
)

// minSecret is a secret that nobody guesses, in bytes.
const minSecret = 32

// Config says which proxy is believed, and what its groups may do.
type Config struct {
	// Secret is what only the proxy and the console know, at least 32 bytes.
	Secret string
	// From are the addresses that the proxy sends from, such as 127.0.0.1/32. At least
	// one.
	From []netip.Prefix
	// Roles are by the proxy's groups. Somebody who is in none of them gets no further.
	Roles map[string][]wflo.AccessRole
	// Org bounds everybody to a tenant; empty means that they see all.
	Org string
}

// Proxy is a console.Authenticator.
type Proxy struct {
	cfg    Config
	secret [sha256.Size]byte
}

// New checks the configuration. Its errors are *wflo.Error.
func New(cfg Config) (*Proxy, error) {
	switch {
	case len(cfg.Secret) < minSecret:
		return nil, wflo.Invalid("the proxy's secret", fmt.Sprintf("has %d bytes", len(cfg.Secret)), fmt.Sprintf("use at least %d random ones", minSecret))
	case len(cfg.From) == 0:
		return nil, wflo.Invalid("the proxy's addresses", "are missing", "name where it sends from, such as 127.0.0.1/32")
	case len(cfg.Roles) == 0:
		return nil, wflo.Invalid("the roles", "are missing", "give a group one, such as finance: approver")
	}
	for group, roles := range cfg.Roles {
		for _, role := range roles {
			if err := role.Validate(); err != nil {
				return nil, fmt.Errorf("roles of %s: %w", group, err)
			}
		}
	}
	return &Proxy{cfg, sha256.Sum256([]byte(cfg.Secret))}, nil
}

// Authenticate implements console.Authenticator.
func (p *Proxy) Authenticate(r *http.Request) (wflo.Identity, error) {
	user, groups, secret := r.Header.Values(HeaderUser), r.Header.Values(HeaderGroups), r.Header.Values(HeaderSecret)
	if len(user)+len(groups)+len(secret) == 0 {
		return wflo.Identity{}, console.ErrNone // somebody with an API key, perhaps
	}
	// Two values are what the client wrote and what the proxy added.
	if len(user) != 1 || len(groups) > 1 || len(secret) != 1 {
		return wflo.Identity{}, fmt.Errorf("headers of the proxy are missing or there twice: %w", console.ErrRefused)
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !slices.ContainsFunc(p.cfg.From, func(from netip.Prefix) bool { return from.Contains(peer.Addr().Unmap()) }) {
		return wflo.Identity{}, fmt.Errorf("%s is not the proxy: %w", r.RemoteAddr, console.ErrRefused)
	}
	// Of hashes, so that the time tells neither the secret nor its length.
	given := sha256.Sum256([]byte(secret[0]))
	if subtle.ConstantTimeCompare(given[:], p.secret[:]) != 1 {
		return wflo.Identity{}, fmt.Errorf("the proxy's secret is wrong: %w", console.ErrRefused)
	}
	id := wflo.Identity{Subject: user[0], Org: p.cfg.Org, Method: "proxy"}
	for _, group := range strings.Split(strings.Join(groups, ""), ",") {
		if group = strings.TrimSpace(group); p.cfg.Roles[group] != nil {
			id.Groups, id.Roles = append(id.Groups, group), append(id.Roles, p.cfg.Roles[group]...)
		}
	}
	if len(id.Roles) == 0 {
		return wflo.Identity{}, console.ErrNoRole
	}
	return id, nil
}
