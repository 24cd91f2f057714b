package auth

import (
	"errors"
	"net/http"

	"github.com/wflo-ai/wflo-go"
)

// chain asks several ways in their order.
type chain []Authenticator

// Nobody is the authenticator that finds no credential in anything.
var Nobody Authenticator = nobody{}

type nobody struct{}

func (nobody) Authenticate(*http.Request) (wflo.Identity, error) {
	return wflo.Identity{}, ErrNone
}

// Chain asks each way in turn. The first that finds a credential of its kind
// decides: a bad key is refused, even where a good cookie comes with it. None at
// all is ErrNone. A chain of no ways is Nobody.
func Chain(ways ...Authenticator) Authenticator {
	if len(ways) == 0 {
		return Nobody
	}
	return chain(ways)
}

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
