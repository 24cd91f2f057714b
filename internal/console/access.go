package console

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	osuser "os/user"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// HeaderCSRF repeats the token of the session, which /api/v1/whoami shows, in
// requests that a page's script sends to change something.
const HeaderCSRF = "X-Wflo-Csrf"

// MethodNone is what the identity of somebody says who proved nothing.
const MethodNone = "none"

// errNobody says that a request does not say who sends it.
var errNobody = errors.New("nobody is logged in")

// caller is who sends a request.
type caller struct {
	id wflo.Identity
	// proved is false where the console has no authenticator.
	proved bool
	// session says that a cookie proved it, and ambient that something else did that
	// other sites can make a browser send. csrf is what they cannot: the token of the
	// session, or of the person.
	session, ambient bool
	csrf             string
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf is who sends the request; the zero value on routes that are open to all.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// identify says who sends a request. What is ambient decides before all else: whom a
// proxy names is not somebody else by an old cookie. A header decides before a cookie:
// a bad key is refused even where a good cookie comes with it.
func (h *Handler) identify(r *http.Request) (caller, error) {
	if h.cfg.Auth == nil {
		return h.anybody(r)
	}
	if h.cfg.Ambient != nil {
		c, err := h.ambient(r)
		if !errors.Is(err, auth.ErrNone) {
			return c, err
		}
	}
	if h.cfg.Logins != nil && r.Header.Get("Authorization") == "" {
		c, err := h.session(r)
		if !errors.Is(err, auth.ErrNone) {
			return c, err
		}
	}
	id, err := h.cfg.Auth.Authenticate(r)
	switch {
	case errors.Is(err, auth.ErrNone):
		return caller{}, errNobody
	case err != nil:
		return caller{}, err
	case id.Subject == "":
		return caller{}, errNobody
	}
	return caller{id: id, proved: true}, nil
}

// ambient is the caller whom something proves that comes with every request.
func (h *Handler) ambient(r *http.Request) (caller, error) {
	id, err := h.cfg.Ambient.Authenticate(r)
	switch {
	case err != nil:
		return caller{}, err
	case id.Subject == "":
		return caller{}, errNobody
	}
	return caller{id: id, proved: true, ambient: true, csrf: h.personToken(id.Subject)}, nil
}

// personToken is what forms repeat of somebody who has no session. It is good while
// this console runs.
func (h *Handler) personToken(subject string) string {
	mac := hmac.New(sha256.New, []byte(h.formToken))
	mac.Write([]byte(subject))
	return hex.EncodeToString(mac.Sum(nil))
}

// session is the caller whom a cookie proves.
func (h *Handler) session(r *http.Request) (caller, error) {
	id, err := h.cfg.Logins.Authenticate(r)
	if err != nil {
		return caller{}, fmt.Errorf("read session: %w", err)
	}
	if id.Key != "" && h.cfg.Keys != nil {
		// A session is worth no more than the key that opened it.
		if err := h.cfg.Keys.Holds(r.Context(), id.Key); errors.Is(err, auth.ErrRefused) {
			return caller{}, fmt.Errorf("key of the session: %w", auth.ErrNone)
		} else if err != nil {
			return caller{}, err
		}
	}
	csrf, err := h.cfg.Logins.Form(r)
	if err != nil {
		return caller{}, fmt.Errorf("read session: %w", err)
	}
	return caller{id: id, proved: true, session: true, csrf: csrf}, nil
}

// anybody is the caller where nobody can prove anything: whoever reaches the
// loopback interface, by a name of it. The host is checked because a page can make a
// name of its own resolve to this machine.
func (h *Handler) anybody(r *http.Request) (caller, error) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if !local(strings.Trim(host, "[]")) {
		return caller{}, &wflo.Error{Code: wflo.CodePolicyDenied, Message: "this console answers on this machine only", Hint: "ask for it at http://127.0.0.1, or configure how people log in", Err: errDenied}
	}
	name := strings.TrimSpace(r.Header.Get(HeaderUser))
	if err := text("header "+HeaderUser, name); err != nil {
		return caller{}, err
	}
	id := wflo.Identity{Subject: cmp.Or(name, h.login), Method: MethodNone, Roles: []wflo.AccessRole{wflo.RoleOperator, wflo.RoleApprover}}
	if h.cfg.Insecure {
		id.Roles = []wflo.AccessRole{wflo.RoleAdmin, wflo.RoleApprover}
	}
	return caller{id: id}, nil
}

// osLogin is who runs this program, for development.
func osLogin() string {
	if u, err := osuser.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "operator"
}

// errDenied is the cause of errors that are answered with status 403.
var errDenied = errors.New("denied")

func denied(message, hint string) error {
	return &wflo.Error{Code: wflo.CodePolicyDenied, Message: message, Hint: hint, Err: errDenied}
}

// admit refuses a caller who may not use the route.
func admit(c caller, rt Route) error {
	switch {
	case !c.id.May(rt.Role):
		return denied(c.id.Subject+" may not do this: the role "+string(rt.Role)+" is missing", "ask an administrator")
	case auth.Reserved(c.id.Org):
		return denied(c.id.Subject+" belongs to an org that is called "+c.id.Org+", as the installation's own trail is", "give the org another name")
	case c.id.Org != "" && !rt.Tenants:
		return denied("this is about all orgs, and "+c.id.Subject+" belongs to one", "ask an administrator of the installation")
	}
	return nil
}

// authentic refuses a request that changes something and may have been made by a
// page that is not ours. The browser's own word is checked before, for all routes: it
// is what protects the API where a proxy says who people are, because programs behind
// the proxy have no token.
func (h *Handler) authentic(r *http.Request, c caller, page bool) error {
	want := h.formToken
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return nil
	case c.session, c.ambient && page:
		want = c.csrf
	case c.proved || !page:
		return nil // what proves it does not come along by itself
	}
	given := r.Header.Get(HeaderCSRF)
	if page {
		if err := r.ParseForm(); err != nil {
			return wflo.Errorf(wflo.CodeInvalid, "load the page again, and send less", "read the form: %w", err)
		}
		given = r.PostFormValue(formCSRF)
	}
	if want == "" || subtle.ConstantTimeCompare([]byte(given), []byte(want)) != 1 {
		return denied("the request does not come from a page of this session", "load the page again; programs send the header "+HeaderCSRF+" or a key")
	}
	return nil
}

// token makes a form's token, or another name that nobody can guess.
func token() string { return rand.Text() }

// address is the peer's, for records. What proxies say is not believed.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
