package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// MethodOwn is the method of an identity whose own way in does not name itself.
const MethodOwn = "own"

// methods are those of our own ways in. Another's identity that had one would have
// records say what did not happen.
var methods = []string{"apikey", "oidc", "ldap", "slack", "email", "none"}

// Own stands between the console and ways in that somebody else wrote. Whatever
// these do, nobody is logged in by accident: a panic is ErrUnavailable, an identity
// that no list of approvers could hold, that has no role, or that has one that is not
// known, is none, and an error of any kind refuses.
type Own struct {
	// Logger gets what callers are not told; nil means slog.Default. Errors are written
	// as they are, and so must not hold credentials. Of a panic only its place is,
	// because its value may hold anything.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticator guards one. It sees the headers of the request and not its body, and
// what it does to them is not seen by others.
func (o Own) Authenticator(way Authenticator) Authenticator { return guardedHeaders{o, way} }

// Passwords guards one.
func (o Own) Passwords(way Passwords) Passwords { return guardedPasswords{o, way} }

// Redirects guards one.
func (o Own) Redirects(way Redirects) Redirects { return guardedRedirects{o, way} }

type guardedHeaders struct {
	own Own
	way Authenticator
}

func (g guardedHeaders) Authenticate(r *http.Request) (wflo.Identity, error) {
	seen := r.Clone(r.Context())
	seen.Body = http.NoBody
	id, err := guard(r.Context(), g.own, func() (wflo.Identity, error) { return g.way.Authenticate(seen) })
	if errors.Is(err, ErrNone) {
		return wflo.Identity{}, ErrNone
	}
	return g.own.admit(r.Context(), id, err)
}

type guardedPasswords struct {
	own Own
	way Passwords
}

func (g guardedPasswords) Login(ctx context.Context, name, password string) (wflo.Identity, error) {
	// Directories take an empty password for nobody in particular, and say yes.
	if name == "" || password == "" {
		return wflo.Identity{}, Refused("give a name and a password")
	}
	id, err := guard(ctx, g.own, func() (wflo.Identity, error) { return g.way.Login(ctx, name, password) })
	return g.own.admit(ctx, id, err)
}

type guardedRedirects struct {
	own Own
	way Redirects
}

func (g guardedRedirects) Begin(w http.ResponseWriter, r *http.Request, back string) error {
	_, err := guard(r.Context(), g.own, func() (struct{}, error) { return struct{}{}, g.way.Begin(w, r, back) })
	if err != nil {
		return g.own.refusal(r.Context(), err)
	}
	return nil
}

func (g guardedRedirects) Finish(w http.ResponseWriter, r *http.Request) (wflo.Identity, string, error) {
	var back string
	id, err := guard(r.Context(), g.own, func() (id wflo.Identity, err error) {
		id, back, err = g.way.Finish(w, r)
		return id, err
	})
	id, err = g.own.admit(r.Context(), id, err)
	if err != nil {
		return wflo.Identity{}, "", err
	}
	return id, back, nil
}

// guard calls fn. A panic of it is an error, and its result is dropped.
func guard[T any](ctx context.Context, o Own, fn func() (T, error)) (out T, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		what := fmt.Sprintf("a %T", p)
		if fault, ok := p.(runtime.Error); ok {
			what = fault.Error() // Go's own words hold nothing of the credential
		}
		o.logger().ErrorContext(ctx, "a way to log in panicked", "panic", what, "stack", string(debug.Stack()))
		var none T
		out, err = none, Unavailable("way to log in")
	}()
	return fn()
}

// admit gives the identity, or the error that callers get.
func (o Own) admit(ctx context.Context, id wflo.Identity, err error) (wflo.Identity, error) {
	if err != nil {
		return wflo.Identity{}, o.refusal(ctx, err)
	}
	if problem := identityProblem(id); problem != "" {
		o.logger().ErrorContext(ctx, "a way to log in gave an identity that cannot be taken", "problem", problem)
		return wflo.Identity{}, Refused("ask an administrator; the console's log says why")
	}
	if len(id.Roles) == 0 {
		return wflo.Identity{}, noRole("the account "+id.Subject+" has no role", "ask an administrator for one")
	}
	id.Name, id.Email, id.Method = display(id.Name), display(id.Email), cmp.Or(id.Method, MethodOwn)
	if id.At.IsZero() {
		id.At = o.now()
	}
	return id, nil
}

// identityProblem says why an identity cannot be taken, without the name itself,
// which may be a credential that was put there by mistake.
func identityProblem(id wflo.Identity) string {
	if problem := nameProblem(id.Subject); problem != "" {
		return "the subject " + problem
	}
	for _, group := range id.Groups {
		if problem := nameProblem(group); problem != "" {
			return "the name of a group " + problem
		}
	}
	for _, role := range id.Roles {
		if role.Validate() != nil {
			return "a role is not viewer, operator, approver or admin"
		}
	}
	for what, name := range map[string]string{"the org ": id.Org, "the method ": id.Method} {
		if problem := nameProblem(name); name != "" && problem != "" {
			return what + problem
		}
	}
	switch {
	case len(id.Groups) > maxGroups:
		return fmt.Sprintf("there are %d groups, more than %d", len(id.Groups), maxGroups)
	case slices.Contains(methods, id.Method):
		return "the method is " + id.Method + ", which is one of the console's own"
	case id.Key != "":
		return "a key is named, and keys are the console's own"
	}
	return ""
}

// refusal is what callers get for an error. What only the author of the way in
// understands is in the log.
func (o Own) refusal(ctx context.Context, err error) error {
	var worded *wflo.Error
	var limited *LimitedError
	known := errors.Is(err, ErrRefused) || errors.Is(err, ErrNoRole) || errors.Is(err, ErrUnavailable)
	switch {
	case errors.As(err, &limited):
		return limited
	case known && errors.As(err, &worded):
		return err
	}
	o.logger().WarnContext(ctx, "a way to log in refused", "error", err.Error())
	switch {
	case errors.Is(err, ErrNoRole):
		return noRole(ErrNoRole.Error(), "ask an administrator for a role")
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable("way to log in")
	}
	return Refused("log in again, or ask an administrator; the console's log says why")
}

func (o Own) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.Default()
	}
	return o.Logger
}

func (o Own) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}
