// Package openapi holds the OpenAPI 3.1 document of the HTTP API that a worker and a
// console serve, for clients in any language.
//
// [Document] is the text, [Serve] answers with it. The package in generate writes it,
// from the console's own table of routes and from its Go types; its tests fail when a
// route is missing here, or when the text is behind the code. It is never edited by hand.
package openapi

import (
	_ "embed" // the document
	"net/http"
)

//go:generate go run ./generate

//go:embed openapi.json
var document []byte

// Document gives the document, in JSON. It describes all that the API can have; an
// installation without a desk, stories, logs or recovery answers 404 to their paths.
func Document() []byte { return append([]byte{}, document...) }

// Serve answers with the document. Who may have it is for the route to say.
func Serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document) // a client that went away needs no answer
}
