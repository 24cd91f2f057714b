// Package openapi holds no code: its test reads docs/openapi.json with a validator of
// OpenAPI 3.1, which the document's own tests cannot do without its libraries.
package openapi
