// Package auth holds what proves who somebody is, for the console and the API. The
// packages below it are one way each: apikey, oidc, ldap. Package session keeps who
// is logged in, and [Mapping] says what groups of a provider mean here.
package auth

import (
	"context"
	"errors"
	"net/http"

	"github.com/wflo-ai/wflo-go"
)

// ErrNone says that a request carries no credential of this kind: another way may
// be tried. Any other error means that there is one, and that it is not good.
var ErrNone = errors.New("no credential")

// Authenticator proves who sends a request by what it carries in its headers. Its
// methods may be called at the same time.
type Authenticator interface {
	Authenticate(r *http.Request) (wflo.Identity, error)
}

// Passwords proves who somebody is by a name and a password, such as LDAP. A wrong
// password and an unknown name give the same error, in about the same time.
type Passwords interface {
	Login(ctx context.Context, name, password string) (wflo.Identity, error)
}

// Redirects proves who somebody is by sending the browser elsewhere, such as OIDC.
type Redirects interface {
	// Begin sends the browser away. back is the path of the console to return to.
	Begin(w http.ResponseWriter, r *http.Request, back string) error
	// Finish reads what the browser brings back.
	Finish(w http.ResponseWriter, r *http.Request) (id wflo.Identity, back string, err error)
}

// Reserved says that no tenant may have this name: the trail of the installation itself
// goes by it, which whoever is bound to a tenant must not read.
func Reserved(org string) bool { return org != "" && org == wflo.Run{}.AuditChain() }
