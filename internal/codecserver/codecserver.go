// Package codecserver opens sealed payloads for Temporal's Web UI and command line, by
// the protocol that they have for it: POST /decode and /encode with payloads as JSON, and
// the namespace in the header X-Namespace. Call [Start] with a [Config], tell the Web UI
// of [Server.URL], and [Server.Stop] in the end.
//
// Whoever may ask reads what runs work with. So the server listens on loopback unless it
// has TLS and an authenticator; browsers are answered for the origins that are listed;
// it opens and does not seal unless it is told to; and each request is logged with who
// asked for how many payloads of which namespace, and never with what is in them.
package codecserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

const (
	// DefaultListen is where the server listens when nothing else is said.
	DefaultListen = "127.0.0.1:7245"
	// DefaultRate is how many requests a second one address may make.
	DefaultRate = 100
	// MaxBody is the largest request, in bytes: Temporal's largest answer, in base64.
	MaxBody = 8 << 20
	// MaxPayloads is how many payloads a request may have.
	MaxPayloads = 2000

	readTime = 30 * time.Second
	stopTime = 5 * time.Second
)

// Config says what the server does and for whom.
type Config struct {
	// Listen is HOST:PORT; empty means DefaultListen, and port 0 a free one.
	Listen string
	// TLSCert and TLSKey are files in PEM, which may be replaced while the server runs.
	// Without them it is plain HTTP, on loopback only.
	TLSCert, TLSKey string
	// Codec opens and seals. Required.
	Codec converter.PayloadCodec
	// Auth proves who asks; nil means that everybody may, on loopback only. Who is asking
	// needs the role viewer for all tenants: nothing in a payload says whose it is.
	Auth auth.Authenticator
	// Namespaces are those that are served; none means all.
	Namespaces []string
	// Origins are the Web UIs that browsers may ask from, such as https://temporal.example.com.
	Origins []string
	// Encode serves /encode, too.
	Encode bool
	// Rate is how many requests a second one address may make; zero means DefaultRate.
	Rate int
	// Logger gets a line per request; nil means slog.Default.
	Logger *slog.Logger
}

func (c Config) validate() error {
	switch {
	case c.Codec == nil:
		return wflo.Invalid("the codec server", "has no keys", "set WFLO_PAYLOAD_KEYS; a fresh key is printed by: wflo codec keys new")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return wflo.Invalid("the codec server", "needs both a certificate and its key", "name both files")
	case c.Rate < 0:
		return wflo.Invalid("the rate", "is negative", fmt.Sprintf("use 0 for %d", DefaultRate))
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return wflo.Invalid("the address to listen on", fmt.Sprintf("is %.60q", c.Listen), "write HOST:PORT, such as "+DefaultListen)
	}
	if ip := net.ParseIP(host); (ip == nil || !ip.IsLoopback()) && host != "localhost" && (c.TLSCert == "" || c.Auth == nil) {
		return wflo.Invalid("the codec server", "would listen beyond this machine without TLS or without authentication",
			"give it a certificate and the console's configuration, or listen on 127.0.0.1")
	}
	for _, o := range c.Origins {
		if _, err := origin(o); err != nil {
			return err
		}
	}
	return nil
}

// origin is how browsers write it: without a path, in lower case.
func origin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", wflo.Invalid("an origin", fmt.Sprintf("is %.80q", text), "write it as browsers do: https://HOST, or http://HOST:PORT; there is no * here")
	}
	return strings.ToLower(u.Scheme + "://" + u.Host), nil
}

// Server is a codec server that runs.
type Server struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	http     *http.Server
	done     chan struct{}
	rates    rates
	failed   *auth.Limiter

	mu      sync.Mutex
	origins []string
}

// Start listens and serves until Stop. An address that is taken is an *wflo.Error.
func Start(cfg Config) (*Server, error) {
	cfg.Listen, cfg.Rate = cmp.Or(cfg.Listen, DefaultListen), cmp.Or(cfg.Rate, DefaultRate)
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cmp.Or(cfg.Logger, slog.Default()), done: make(chan struct{}), failed: auth.NewLimiter(auth.LimiterConfig{})}
	s.rates.most = cfg.Rate
	for _, o := range cfg.Origins {
		s.Allow(o)
	}
	var err error
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "stop what listens there, or choose another address with --listen", "codec server: %w", err)
	}
	if cfg.TLSCert != "" {
		pair := &pair{cert: cfg.TLSCert, key: cfg.TLSKey}
		if _, err := pair.get(nil); err != nil {
			return nil, errors.Join(err, s.listener.Close())
		}
		s.listener = tls.NewListener(s.listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"http/1.1"}})
	}
	s.http = &http.Server{
		Handler: s.handler(), ReadTimeout: readTime, ReadHeaderTimeout: readTime / 3, WriteTimeout: readTime, IdleTimeout: 2 * readTime,
		MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("codec server ended", "error", err.Error())
		}
	}()
	return s, nil
}

// URL is where the server listens.
func (s *Server) URL() string {
	scheme := "http://"
	if s.cfg.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + s.listener.Addr().String()
}

// Allow adds an origin, such as that of a Web UI which has just begun to listen.
func (s *Server) Allow(text string) {
	o, err := origin(text)
	if err != nil {
		return // nothing is allowed by mistake
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.origins = append(s.origins, o)
}

func (s *Server) allowed(o string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.origins, strings.ToLower(o))
}

// Stop ends the server and waits for requests in flight, for a short time.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.done
}
