package auth

import (
	"errors"
	"net/http"

	"github.com/wflo-ai/wflo-go"
)

// chain asks several ways in their order.
type chain []Authenticator

// Chain asks each way in turn. The first that finds a credential of its kind
// decides: a bad key is refused, even where a good cookie comes with it. None at
// all is ErrNone.
func Chain(ways ...Authenticator) Authenticator { return chain(ways) }

// Authenticate implements Authenticator.
func (c chain) Authenticate(r *http.Request) (wflo.Identity, error) {
	for _, way := range c {
		id, err := way.Authenticate(r)
		if errors.Is(err, ErrNone) {
			continue
		}
		if err != nil {
			return wflo.Identity{}, err
		}
		return id, nil
	}
	return wflo.Identity{}, ErrNone
}
