package scripted

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Config says how a Server answers.
type Config struct {
	// Script answers every model that Scripts does not name. Without it other
	// models are unknown, which is the vendor's 404.
	Script Script
	// Scripts answers by model id and is tried first. GET /v1/models lists its
	// keys. At least one of Script and Scripts is required.
	Scripts map[string]Script
	// APIKey is the key that clients must send; empty accepts any, and none.
	APIKey string
	// Addr is where to listen; empty means a free port on loopback.
	Addr string
	// Logger gets one debug line per call; nil means silence.
	Logger *slog.Logger
}

// Server is a stand-in for the vendors. Its methods may be called at the same
// time.
type Server struct {
	cfg  Config
	log  *slog.Logger
	http *http.Server
	addr string
	quit chan struct{} // closed by Close
	done chan struct{} // closed when nothing listens any more

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup
	calls    []Call
}

// New starts a server. The caller closes it.
func New(cfg Config) (*Server, error) {
	if cfg.Script == nil && len(cfg.Scripts) == 0 {
		return nil, wflo.Invalid("scripted.Config", "has no script", "set Script, for example to scripted.Echo")
	}
	for model, script := range cfg.Scripts {
		if model == "" || script == nil {
			return nil, wflo.Invalid("scripted.Config.Scripts", fmt.Sprintf("has an empty entry %q", model), "name a model and give its script")
		}
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for scripted models: %w", err)
	}
	s := &Server{cfg: cfg, log: log, addr: ln.Addr().String(), quit: make(chan struct{}), done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("scripted server stopped", "error", err)
		}
	}()
	return s, nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for path, d := range map[string]dialect{
		"POST /v1/chat/completions":  openAI{},
		"POST /chat/completions":     openAI{},
		"POST /v1/messages":          anthropic{},
		"POST /v1beta/models/{call}": gemini{},
		"POST /v2/chat":              cohere{},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.guard(w, r, d, s.serve) })
	}
	for _, path := range []string{"GET /v1/models", "GET /models"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.guard(w, r, openAI{}, s.models) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.guard(w, r, openAI{}, func(x *exchange) {
			x.refuse(refusal{status: http.StatusNotFound, message: "no such endpoint: " + r.Method + " " + r.URL.Path})
		})
	})
	return mux
}

// guard lets Close wait for every handler, and none start after it.
func (s *Server) guard(w http.ResponseWriter, r *http.Request, d dialect, serve func(*exchange)) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.handlers.Add(1)
	s.mu.Unlock()
	defer s.handlers.Done()
	serve(&exchange{s: s, w: w, r: r, d: d})
}

// URL is the server's root, such as "http://127.0.0.1:43210", without a slash.
func (s *Server) URL() string { return "http://" + s.addr }

// BaseURL is what the provider's own client takes as its base URL: openai-go's
// WithBaseURL, anthropic-sdk-go's WithBaseURL, genai's HTTPOptions.BaseURL,
// cohere-go's WithBaseURL. It is "" for a provider that is not spoken here.
func (s *Server) BaseURL(provider string) string {
	switch provider {
	case OpenAI:
		return s.URL() + "/v1"
	case Anthropic, Google, Cohere:
		return s.URL()
	}
	return ""
}

// Close cuts every connection, ends hanging calls, and returns when no handler
// runs any more. It may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.quit)
	}
	err := s.http.Close()
	<-s.done
	s.handlers.Wait()
	if err != nil {
		return fmt.Errorf("close scripted server: %w", err)
	}
	return nil
}

// Calls copies the log of accepted calls, oldest first; entry i is Turn.Call
// i+1. Requests that were refused (bad key, bad shape, unknown model) are not
// calls. An entry is there before its script runs, and it is final before the
// client has the last byte of a response that completes.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Server) script(model string) Script {
	if script := s.cfg.Scripts[model]; script != nil {
		return script
	}
	return s.cfg.Script
}

// begin enters a call into the log and numbers it.
func (s *Server) begin(d dialect, t *Turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Call = len(s.calls) + 1
	s.calls = append(s.calls, Call{Provider: d.provider(), Model: t.Model, Turn: *t})
}

func (s *Server) update(call int, change func(*Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.calls[call-1])
}

// models lists the models that have a script of their own, as OpenAI does.
func (s *Server) models(x *exchange) {
	if bad := x.d.admit(x.r, s.cfg.APIKey); bad != nil {
		x.refuse(*bad)
		return
	}
	data := []obj{}
	for _, id := range slices.Sorted(maps.Keys(s.cfg.Scripts)) {
		data = append(data, obj{"id": id, "object": "model", "created": outcome{}.created(), "owned_by": "scripted"})
	}
	x.json(http.StatusOK, obj{"object": "list", "data": data})
}

// safeHeader copies a request's header without its credentials.
func safeHeader(h http.Header) http.Header {
	h = h.Clone()
	for name := range h {
		switch strings.ToLower(name) {
		case "authorization", "x-api-key", "x-goog-api-key", "cookie", "proxy-authorization":
			h[name] = []string{"(blanked)"}
		}
	}
	return h
}
