package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/auth/session"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// What a way to log in answers besides an identity. Wrap them to say more: that goes to
// the log, as any other error does, which refuses like ErrRefused. Errors never hold the
// credential.
var (
	// ErrNone says that a request carries no credential of this kind: another way may
	// be tried.
	ErrNone = auth.ErrNone
	// ErrRefused says that there is a credential, and that it is not good.
	ErrRefused = auth.ErrRefused
	// ErrNoRole says that somebody is who they say, and may do nothing here.
	ErrNoRole = auth.ErrNoRole
	// ErrUnavailable says that nobody could be asked, so that nobody gets in.
	ErrUnavailable = auth.ErrUnavailable
)

// Authenticator proves who sends a request by its headers, its address or its
// certificate; the body is not there. It is asked at every request, by many at the same
// time, and must answer in a few seconds: the request's context ends after 15. ErrNone
// means that there is no credential of its kind; any other error refuses the request.
//
// The identity has a subject, and at least one role. Its Org bounds what is seen to one
// tenant; empty means all of them. Method is a name of yours for the records, "own" when
// empty; those of the console's own ways (apikey, oidc, ldap, slack, email, none) are
// refused, and so is a Key.
//
// What a browser or a proxy adds to every request by itself also comes with requests
// that pages of others have it send. The console therefore has its forms repeat a token,
// and refuses what the browser marks as another site's.
type Authenticator interface {
	Authenticate(r *http.Request) (wflo.Identity, error)
}

// Passwords proves who somebody is by a name and a password, neither of them empty. The
// console opens a session for the identity, which is as that of an [Authenticator], and
// slows down who guesses. A wrong password and an unknown name must give the same error,
// in about the same time.
type Passwords interface {
	Login(ctx context.Context, name, password string) (wflo.Identity, error)
}

// Redirects proves who somebody is by sending the browser elsewhere. The console opens
// a session for the identity, which is as that of an [Authenticator].
type Redirects interface {
	// Begin sends the browser away, to come back to /login/via/NAME/callback. back is
	// the path of the console to return to, checked; keep it, and what binds the answer
	// to this browser, in a cookie of your own.
	Begin(w http.ResponseWriter, r *http.Request, back string) error
	// Finish reads what the browser brings back. An answer that this browser did not
	// ask for, or that came before, is an error.
	Finish(w http.ResponseWriter, r *http.Request) (id wflo.Identity, back string, err error)
}

// slug is what the name of a provider may be: it is part of an address.
var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,38}$`)

// validate refuses what could not work.
func (cfg Config) validate() error {
	for i, way := range cfg.Authenticators {
		if way == nil {
			return wflo.Invalid(fmt.Sprintf("console.Config.Authenticators[%d]", i), "is nil", "leave it out, or set it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Redirects)) {
		switch field := fmt.Sprintf("console.Config.Redirects[%q]", name); {
		case !slug.MatchString(name):
			return wflo.Invalid(field, "has a name that does not fit into an address", "use small letters, digits and dashes, such as company")
		case cfg.Redirects[name] == nil:
			return wflo.Invalid(field, "is nil", "leave it out, or set it")
		}
	}
	return nil
}

// access is how people and programs prove who they are: by what the file says, and by
// what the program brings.
func (c *Console) access(cfg Config) (console.Config, error) {
	set := c.file.Console
	out := console.Config{
		TLSCert: set.TLSCert, TLSKey: set.TLSKey, Rate: set.Rate, Logger: c.logger, Redirects: map[string]auth.Redirects{},
	}
	ways, err := c.configured(&out)
	if err != nil {
		return out, err
	}
	if err := c.own(cfg, &out); err != nil {
		return out, err
	}
	if len(ways) == 0 && len(out.Redirects) == 0 && out.Passwords == nil && out.Ambient == nil {
		return out, wflo.Invalid("console", "lets nobody log in", "set oidc or ldap, or leave api_keys on")
	}
	out.Auth = auth.Chain(ways...)
	out.Logins, err = session.New(session.Config{
		// A proxy that speaks TLS is in front where the address says so.
		Store: c.records, Plain: set.TLSCert == "" && !strings.HasPrefix(set.URL, "https://"), Lifetime: set.Lifetime, Idle: set.Idle, Logger: c.logger,
	})
	if err != nil {
		return out, err
	}
	out.Slack, err = c.slack()
	return out, err
}

// configured adds what the file says, and gives the ways that programs have.
func (c *Console) configured(out *console.Config) (ways []auth.Authenticator, err error) {
	set := c.file.Console
	if !set.NoAPIKeys {
		if out.Keys, err = apikey.New(apikey.Config{Store: c.records, Logger: c.logger}); err != nil {
			return nil, err
		}
		ways = append(ways, out.Keys)
	}
	for _, o := range set.OIDC {
		login, err := o.Open(c.logger)
		if err != nil {
			return nil, fmt.Errorf("console.oidc %s: %w", o.Name, err)
		}
		out.Redirects[o.Name] = login
		if len(o.Audiences) == 0 {
			continue
		}
		bearer, err := login.Bearer(o.Audiences...)
		if err != nil {
			return nil, fmt.Errorf("console.oidc %s: %w", o.Name, err)
		}
		ways = append(ways, bearer)
	}
	if set.LDAP != nil {
		directory, err := set.LDAP.Open(c.logger)
		if err != nil {
			return nil, fmt.Errorf("console.ldap: %w", err)
		}
		out.Passwords = directory
	}
	return ways, nil
}

// own adds what the program brings, which is guarded: it may do anything.
func (c *Console) own(cfg Config, out *console.Config) error {
	guard := auth.Own{Logger: c.logger}
	var ambient []auth.Authenticator
	for _, way := range cfg.Authenticators {
		ambient = append(ambient, guard.Authenticator(way))
	}
	if len(ambient) > 0 {
		out.Ambient = auth.Chain(ambient...)
	}
	if cfg.Passwords != nil {
		if out.Passwords != nil {
			return wflo.Invalid("console.Config.Passwords", "is set, and the file has ldap", "choose one: the login page has one form for passwords")
		}
		out.Passwords = guard.Passwords(cfg.Passwords)
	}
	for name, way := range cfg.Redirects {
		if _, taken := out.Redirects[name]; taken {
			return wflo.Invalid(fmt.Sprintf("console.Config.Redirects[%q]", name), "has the name of a provider of the file", "choose another")
		}
		out.Redirects[name] = guard.Redirects(way)
	}
	return nil
}
