// Package console is the HTTP side of a worker: health, metrics, and an API for
// what operators and approval tools ask. [Start] serves it until Stop.
//
//	GET  /healthz                     ok when Temporal answers
//	GET  /metrics                     Prometheus
//	GET  /api/v1/runs                 the newest runs
//	GET  /api/v1/runs/{id}            one run: status, gates, steps, spend
//	GET  /api/v1/runs/{id}/ledger     what it paid, entry by entry
//	GET  /api/v1/approvals            the open gates of all runs
//	POST /api/v1/runs/{id}/decisions  a wflo.Decision, usually signed
//
// and of money, where changes need the header X-Wflo-User, which says who makes
// them, and a slash within an id is written %2F:
//
//	GET    /api/v1/budgets                every rule and its windows
//	GET    /api/v1/budgets/{id}           one budget in its current window
//	PUT    /api/v1/budgets/{id}           set it to a wflo.Budget
//	DELETE /api/v1/budgets/{id}           remove its rule
//	POST   /api/v1/budgets/{id}/topups    raise its limit in this window
//	GET    /api/v1/spends?budget=         several budgets, those of runs too
//	GET    /api/v1/alerts?budget=&n=      the latest alerts
//	GET    /api/v1/costs?by=&from=&to=&scope=&zone=&limit=   what was spent
//	GET    /api/v1/holds?state=open|unknown                  what is not settled
//	POST   /api/v1/holds/{key}/{attempt}/settlement          reconcile one
//
// and, where Config.Gateway is set, under /v1/ an OpenAI-compatible endpoint, which
// has keys of its own.
//
// The rest has no authentication yet, so it refuses to listen anywhere but on the
// loopback interface, and refuses requests that a browser sends for another
// site. A decision counts only on the terms of its gate, whoever forwards it.
package console

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Config sets up the API.
type Config struct {
	// Addr is the loopback address to listen on, such as 127.0.0.1:7244. Empty
	// means not to listen at all.
	Addr string
	// Client reaches Temporal. Required.
	Client client.Client
	// Metrics serves /metrics. Required.
	Metrics http.Handler
	// Ledger answers for money. Required.
	Ledger activities.Ledger
	// Gateway serves /v1/; nil means nobody does. It authenticates its callers.
	Gateway http.Handler
	// Logger gets failures; nil means slog.Default.
	Logger *slog.Logger
}

// Server is a running API.
type Server struct {
	http *http.Server
	url  string
	done chan struct{}
}

// Start listens and serves. An address that is taken or not loopback is an
// *wflo.Error with CodeInvalid.
func Start(cfg Config) (*Server, error) {
	s := &Server{done: make(chan struct{})}
	if cfg.Addr == "" {
		close(s.done)
		return s, nil
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := loopback(cfg.Addr); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "stop what listens there, or choose another address", "listen on %s: %w", cfg.Addr, err)
	}
	s.url = "http://" + l.Addr().String()
	s.http = &http.Server{Handler: NewHandler(cfg), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("serve API", "error", err.Error())
		}
	}()
	return s, nil
}

// URL is the base address, or "" when it does not listen.
func (s *Server) URL() string { return s.url }

// Stop ends the API and waits until requests in flight are answered, for at
// most five seconds.
func (s *Server) Stop() {
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
	}
	<-s.done
}

func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return wflo.Errorf(wflo.CodeInvalid, "use HOST:PORT, such as 127.0.0.1:7244", "listen address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return wflo.Invalid("listen address", "is not on the loopback interface: "+addr,
		"the API has no authentication yet; put an authenticating proxy in front and listen on 127.0.0.1")
}
