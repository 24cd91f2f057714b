package payments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	maxBody  = 64 << 10 // bytes of a request
	maxKey   = 255      // bytes of an idempotency key
	patience = 5 * time.Second
)

// Config says how the provider behaves. The zero value listens on a free port,
// refunds everything and never fails.
type Config struct {
	// Addr is where to listen, on loopback; empty means a free port.
	Addr string
	// Disputed lists charges that cannot be refunded.
	Disputed []string
	// Outages is how many requests for refunds are answered with 503 before the
	// provider works.
	Outages int
	// LostReplies is how many refunds are made but answered with 502, as when a
	// connection breaks at the wrong moment.
	LostReplies int
	// Logger gets one line per request; nil means silence.
	Logger *slog.Logger
}

// Server is a running provider. Its methods may be called at the same time.
type Server struct {
	book *book
	http *http.Server
	addr string
	log  *slog.Logger
	done chan struct{} // closed when nothing listens any more
}

// Start listens and returns. The caller closes the server.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	ln, err := listen(cfg.Addr)
	if err != nil {
		return nil, err
	}
	cfg.Disputed = slices.Clone(cfg.Disputed)
	s := &Server{
		book: &book{cfg: cfg, byKey: map[string]*Refund{}}, addr: ln.Addr().String(),
		log: cfg.Logger, done: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.http = &http.Server{Handler: s.routes(), ReadHeaderTimeout: patience, ReadTimeout: 2 * patience, IdleTimeout: time.Minute}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("payment provider stopped", "error", err.Error())
		}
	}()
	return s, nil
}

func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for refunds: %w", err)
	}
	if tcp, ok := ln.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		_ = ln.Close() // what is refused was never served
		return nil, fmt.Errorf("listen for refunds: %s is not a loopback address, and the provider has no authentication", addr)
	}
	return ln, nil
}

// URL is the provider's base URL, without a slash at its end.
func (s *Server) URL() string { return "http://" + s.addr }

// Refunds are all refunds, oldest first.
func (s *Server) Refunds() []Refund { return s.book.list("") }

// Log is every request for a refund or a cancellation that was decided, oldest first.
func (s *Server) Log() []Entry { return s.book.entries() }

// Close stops listening and waits for requests that are being answered, for a
// few seconds at most.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /refunds", s.serveRefund)
	mux.HandleFunc("POST /refunds/{id}/cancel", s.serveCancel)
	mux.HandleFunc("GET /refunds", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, http.StatusOK, List{Refunds: s.book.list(r.URL.Query().Get("charge_id"))})
	})
	return mux
}

func (s *Server) serveRefund(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || len(key) > maxKey {
		s.refuse(w, refuse(http.StatusBadRequest, CodeInvalid, "the header Idempotency-Key has %d bytes, want 1 to %d", len(key), maxKey))
		return
	}
	var q Request
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil || dec.More() {
		s.refuse(w, refuse(http.StatusBadRequest, CodeInvalid, "the body is not one refund in JSON"))
		return
	}
	made, repeated, bad := s.book.refund(key, q)
	switch {
	case bad != nil:
		s.refuse(w, bad)
	case repeated:
		w.Header().Set("Idempotent-Replayed", "true")
		s.answer(w, http.StatusOK, made)
	default:
		s.answer(w, http.StatusCreated, made)
	}
}

func (s *Server) serveCancel(w http.ResponseWriter, r *http.Request) {
	cancelled, bad := s.book.cancel(r.PathValue("id"))
	if bad != nil {
		s.refuse(w, bad)
		return
	}
	s.answer(w, http.StatusOK, cancelled)
}

func (s *Server) refuse(w http.ResponseWriter, bad *refused) {
	s.log.Info("refused", "status", bad.status, "code", bad.Code)
	s.answer(w, bad.status, Failure{Error: bad.Refusal})
}

func (s *Server) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Warn("answer not sent", "error", err.Error())
	}
}
