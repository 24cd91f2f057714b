// Package console is the HTTP side of a worker: health, metrics, an API for what
// operators and approval tools ask, and the pages on which people decide. [Start]
// serves it until Stop; [NewHandler] is the same without a listener. Every path, with
// the role that it takes, is in one table: [Routes].
//
// People log in with an API key, a password or a provider of [Config.Redirects] and
// have a session; programs send Authorization: Bearer; and a proxy may say who somebody
// is, by [Config.Ambient]. Without any of these the console listens on the loopback
// interface only. There [Config.Insecure], for development, takes everybody for who they
// say they are; else the API answers as a worker's own does, and nobody's decisions are
// signed.
//
// No GET or HEAD decides or changes anything. What changes something must come from
// our own pages, or from no page at all. A decision counts only on the terms of its
// gate, whoever forwards it. A caller who is bound to an org sees that org's gates,
// runs and costs, and is refused where the console cannot tell orgs apart.
//
// Where Config.Gateway is set, an OpenAI-compatible endpoint is served under /v1/; it
// has keys of its own.
package console

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// Config sets up the console.
type Config struct {
	// Addr is the address to listen on, such as 127.0.0.1:7244. Empty means not to
	// listen at all. Without Auth it must be a loopback address.
	Addr string
	// Client reaches Temporal. Required.
	Client client.Client
	// Metrics serves /metrics. Required. Where it has the method EventStreams, as that of
	// internal/telemetry has, it also shows how many clients follow runs here.
	Metrics http.Handler
	// Ledger answers for money. Required.
	Ledger activities.Ledger
	// Recovery keeps snapshots, restores and compensations; nil means the Ledger's own,
	// where it has them. Without any, or without a trail (of Desk, or the Ledger's own),
	// there is nothing about going back.
	Recovery activities.Recovery
	// Compare says what differs between two snapshots, within their parts; nil means
	// that only manifests are compared, which tell which parts differ.
	Compare func(ctx context.Context, from, to wflo.Snapshot) ([]wflo.PartDiff, error)
	// Gateway serves /v1/; nil means nobody does. It authenticates its callers.
	Gateway http.Handler
	// Desk shows gates and takes decisions, and its Records answer for keys, notices
	// and the trail. Nil means that there are no pages for gates, that open gates are
	// asked from their runs, and that decisions only pass through.
	Desk *desk.Desk

	// Auth proves who sends a request, by what it carries; nil means nobody can, and
	// auth.Nobody that they log in on pages only.
	Auth auth.Authenticator
	// Ambient proves it by what browsers or proxies add to every request by themselves,
	// such as a header or a certificate. It is asked before sessions and Auth; nil means
	// that there is no such way.
	Ambient auth.Authenticator
	// Logins keeps who is logged in to the pages; nil means that nobody can.
	Logins Logins
	// Passwords takes names and passwords on the login page; nil means none.
	Passwords auth.Passwords
	// Redirects are providers that log people in elsewhere, by the name on the login
	// page. A provider sends browsers back to /login/via/NAME/callback.
	Redirects map[string]auth.Redirects
	// Keys makes API keys; nil means that they are not made here.
	Keys *apikey.Keys
	// Insecure is for development, without Auth: everybody who reaches the loopback
	// address is who they say they are, and an administrator.
	Insecure bool
	// Slack takes clicks on the buttons of Slack's messages; nil means none.
	Slack *Slack
	// Links lead from a run's page to what others show of it; empty ones are left out.
	Links Links
	// Setup is what the settings page shows of the installation.
	Setup Setup
	// Rate is how many requests a second an address may send, where there is Auth;
	// zero means 100. Ten times as many may come at once.
	Rate int
	// Conns is how many connections may be open at the same time; zero means 4096. One
	// more takes the place of one that waits for its client, of whoever has most of
	// them; where all are being answered it is closed.
	Conns int
	// Patience bounds how long clients may take; the zero value has the defaults.
	Patience Patience
	// TLSCert and TLSKey are files in PEM; empty means plain HTTP, which is for the
	// loopback interface and for proxies that speak TLS.
	TLSCert, TLSKey string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets failures; nil means slog.Default.
	Logger *slog.Logger

	// Story tells what happened to runs; nil means that nobody does: there is neither an API
	// nor a page about it.
	Story *story.Teller

	tells teller // stands in for a Story in tests
}

// Logins keeps who is logged in, as session.Sessions does. Its methods may be called
// at the same time.
type Logins interface {
	// Authenticate knows a session by the request's cookie. None, and one that is not
	// good, is auth.ErrNone.
	auth.Authenticator
	// Begin makes a new session for somebody whose identity was proved just now, and
	// gives the browser its cookie. A session that the browser had ends.
	Begin(w http.ResponseWriter, r *http.Request, id wflo.Identity) error
	// Form gives what forms of the session repeat.
	Form(r *http.Request) (string, error)
	// End ends the request's session and takes the cookie back.
	End(w http.ResponseWriter, r *http.Request) error
}

// Server is a running console.
type Server struct {
	http    *http.Server
	handler *Handler
	conns   *connections
	url     string
	done    chan struct{}
}

// Start listens and serves. An address that is taken, or not loopback where nobody
// can prove who they are, is an *wflo.Error with CodeInvalid.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		s := &Server{done: make(chan struct{})} // a worker without an API needs no handler
		close(s.done)
		return s, nil
	}
	return NewHandler(cfg).Start()
}

// Start listens and serves, as the function of that name does, for a handler that may
// be asked in other ways, too.
func (h *Handler) Start() (*Server, error) {
	cfg := h.cfg
	s := &Server{done: make(chan struct{}), handler: h}
	if cfg.Addr == "" {
		close(s.done)
		return s, nil
	}
	open, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	patience := cfg.Patience.orDefault()
	s.http = &http.Server{
		Handler: counted(s.handler), ConnContext: withConnection, MaxHeaderBytes: 64 << 10,
		ReadHeaderTimeout: patience.Header, ReadTimeout: patience.Request, IdleTimeout: patience.Idle,
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug), // scanners on an open port are not our failures
	}
	s.http.RegisterOnShutdown(h.streams.stop)
	scheme := "http://"
	if cfg.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
		if err != nil {
			return nil, wflo.Errorf(wflo.CodeInvalid, "give a certificate and its key in PEM", "read the console's certificate: %w", err)
		}
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
		scheme = "https://"
	} else if open {
		cfg.Logger.Warn("the console listens beyond this machine without TLS; put a proxy in front that speaks it", "address", cfg.Addr)
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "stop what listens there, or choose another address", "listen on %s: %w", cfg.Addr, err)
	}
	s.url = scheme + l.Addr().String()
	s.conns = newConnections(l, cfg.Conns, cfg.Logger)
	go func() {
		defer close(s.done)
		serve := func() error { return s.http.Serve(s.conns) }
		if s.http.TLSConfig != nil {
			serve = func() error { return s.http.ServeTLS(s.conns, "", "") }
		}
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("serve console", "error", err.Error())
		}
	}()
	return s, nil
}

// validate refuses what would let in people whom nobody knows. open says that
// others than this machine can reach the address.
func (c Config) validate() (open bool, err error) {
	err = loopback(c.Addr)
	switch {
	case err != nil && wflo.CodeOf(err) == wflo.CodeInvalid && wellFormed(c.Addr) && c.Auth != nil:
		open = true
	case err != nil:
		return false, err
	}
	switch {
	case c.Conns < 0 || min(c.Patience.Header, c.Patience.Request, c.Patience.Idle) < 0:
		return false, wflo.Invalid("console", "has a bound below zero for its connections", "use zero for the default")
	case c.Insecure && c.Auth != nil:
		return false, wflo.Invalid("console", "is to be insecure and has an authenticator", "choose one")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return false, wflo.Invalid("console", "has a certificate without a key, or a key without a certificate", "give both files")
	case c.Logins == nil && (c.Passwords != nil || len(c.Redirects) > 0):
		return false, wflo.Invalid("console", "has a way to log in and keeps no sessions", "set Config.Logins")
	}
	return open, nil
}

// URL is the base address, or "" when it does not listen.
func (s *Server) URL() string { return s.url }

// Stop ends the console and waits until requests in flight are answered, for at most
// five seconds, and until decisions that came from Slack are through.
func (s *Server) Stop() {
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
		s.handler.Wait()
	}
	<-s.done
}

func wellFormed(addr string) bool {
	_, _, err := net.SplitHostPort(addr)
	return err == nil
}

func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return wflo.Errorf(wflo.CodeInvalid, "use HOST:PORT, such as 127.0.0.1:7244", "listen address %q: %w", addr, err)
	}
	if local(host) {
		return nil
	}
	return wflo.Invalid("listen address", "is not on the loopback interface: "+addr,
		"configure how people log in, or put an authenticating proxy in front and listen on 127.0.0.1")
}

// local says that a host is this machine.
func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
