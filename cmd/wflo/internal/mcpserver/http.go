package mcpserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wflo-ai/wflo-go"
)

// Path is where [Handler] serves the protocol.
const Path = "/mcp"

// mostRequest bounds a request over HTTP, in bytes: questions are short.
const mostRequest = 1 << 20

// HTTPConfig sets up a handler.
type HTTPConfig struct {
	// As gives the functions of a server that asks with a key; empty is the caller who has
	// sent none. Required; it may be called at the same time.
	As func(key string) (Config, error)
	// Knows asks the API whether it knows the caller with a key. Required.
	Knows func(ctx context.Context, key string) error
	// Stranger says that an error of Knows means that the API does not know the caller, or
	// that they may not ask. Required.
	Stranger func(error) bool
	// Logger hears of failures. Required.
	Logger *slog.Logger
}

// Handler serves the protocol at [Path] as streamable HTTP. Every request is its caller's
// own: it carries Authorization: Bearer, is asked for by nobody else, and belongs to no
// session that another could take over. Pages of other sites are turned away, as is who
// reaches this machine by another name than its own.
func Handler(cfg HTTPConfig) http.Handler {
	speak := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		one, err := cfg.As(keyOf(r))
		if err != nil {
			return nil // admit has made one already
		}
		return New(one)
	}, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true, Logger: slog.New(slog.DiscardHandler), MaxRequestBodyBytes: mostRequest})
	mux := http.NewServeMux()
	mux.Handle(Path, cfg.admit(speak))
	return http.NewCrossOriginProtection().Handler(mux)
}

// keyOf is the key that a request carries; empty for none.
func keyOf(r *http.Request) string {
	kind, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

// admit lets those speak whom the API knows.
func (cfg HTTPConfig) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		key := keyOf(r)
		_, err := cfg.As(key)
		if err == nil {
			err = cfg.Knows(r.Context(), key)
		}
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case cfg.Stranger(err):
			w.Header().Set("WWW-Authenticate", `Bearer realm="wflo"`)
			http.Error(w, "send an API key of wflo as Authorization: Bearer", http.StatusUnauthorized)
		case errors.Is(err, context.Canceled):
		default:
			message, _ := wflo.Explain(err)
			cfg.Logger.WarnContext(r.Context(), "ask the API who somebody is", "error", message)
			http.Error(w, "wflo's API does not answer", http.StatusBadGateway)
		}
	})
}
