package codecserver

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// maxNamespace bounds the header, in bytes; Temporal's own limit is 1000.
const maxNamespace = 1000

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /decode", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, "decode", s.cfg.Codec.Decode) })
	if s.cfg.Encode {
		mux.HandleFunc("POST /encode", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, "encode", s.cfg.Codec.Encode) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Add("Vary", "Origin")
		if o := r.Header.Get("Origin"); o != "" {
			if !s.allowed(o) {
				refuse(w, http.StatusForbidden, "this origin is not allowed; start the codec server with --origin "+strconv.Quote(clip(o)))
				return
			}
			h.Set("Access-Control-Allow-Origin", o)
			h.Set("Access-Control-Allow-Credentials", "true")
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", "POST")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Namespace, Caller-Type")
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, code int, text string) { http.Error(w, text, code) }

func clip(text string) string { return text[:min(len(text), 100)] }

// serve answers one request, and logs it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, what string, do func([]*commonpb.Payload) ([]*commonpb.Payload, error)) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	entry := []slog.Attr{slog.String("what", what), slog.String("address", host)}
	answer := func(level slog.Level, code int, text string, more ...slog.Attr) {
		s.log.LogAttrs(r.Context(), level, "codec server", append(append(entry, slog.Int("status", code)), more...)...)
		if code != http.StatusOK {
			refuse(w, code, text)
		}
	}
	if !s.rates.pass(host, time.Now()) {
		w.Header().Set("Retry-After", "1")
		answer(slog.LevelWarn, http.StatusTooManyRequests, "too many requests")
		return
	}
	id, err := s.identify(r)
	if err != nil {
		code := codeOf(err)
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="wflo"`)
		}
		answer(slog.LevelWarn, code, "who asks may not read payloads: send an API key or a token of the console's provider", slog.String("error", err.Error()))
		return
	}
	namespace := r.Header.Get("X-Namespace")
	entry = append(entry, slog.String("by", id.Subject), slog.String("namespace", clip(namespace)))
	if len(namespace) > maxNamespace || len(s.cfg.Namespaces) > 0 && !slices.Contains(s.cfg.Namespaces, namespace) {
		answer(slog.LevelWarn, http.StatusForbidden, "this namespace is not served here")
		return
	}
	in, code, problem := read(w, r)
	if problem != "" {
		answer(slog.LevelWarn, code, problem)
		return
	}
	entry = append(entry, slog.Int("payloads", len(in)))
	out, err := do(in)
	if err != nil {
		message, hint := wflo.Explain(err)
		answer(slog.LevelWarn, http.StatusBadRequest, strings.TrimSpace(message+"\n"+hint), slog.String("error", message))
		return
	}
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: out})
	if err != nil {
		answer(slog.LevelError, http.StatusInternalServerError, "the answer cannot be written")
		return
	}
	answer(slog.LevelInfo, http.StatusOK, "")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who has gone needs no answer
}

// read gives the payloads, or what is wrong with the request.
func read(w http.ResponseWriter, r *http.Request) (in []*commonpb.Payload, code int, problem string) {
	// Browsers send another type to strangers without asking first.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, http.StatusUnsupportedMediaType, "send application/json"
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, http.StatusRequestEntityTooLarge, "the request is larger than " + strconv.Itoa(MaxBody) + " bytes"
		}
		return nil, http.StatusBadRequest, "the request was not read to its end"
	}
	var all commonpb.Payloads
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &all); err != nil {
		return nil, http.StatusBadRequest, "the request is not Payloads in JSON"
	}
	if len(all.GetPayloads()) > MaxPayloads {
		return nil, http.StatusRequestEntityTooLarge, "the request has more than " + strconv.Itoa(MaxPayloads) + " payloads"
	}
	if slices.Contains(all.GetPayloads(), nil) {
		return nil, http.StatusBadRequest, "a payload is null"
	}
	return all.GetPayloads(), 0, ""
}

var errTenant = errors.New("is bound to a tenant")

// identify proves who asks. Without an authenticator everybody on this machine may, but
// not a browser that was led here by a name of a stranger's.
func (s *Server) identify(r *http.Request) (wflo.Identity, error) {
	if s.cfg.Auth == nil {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return wflo.Identity{}, auth.ErrRefused
		}
		return wflo.Identity{Subject: "anybody on this machine"}, nil
	}
	id, err := s.cfg.Auth.Authenticate(r)
	switch {
	case err != nil:
		// Guesses cost time; what is good is never held up.
		_, limited := s.failed.Do(r.RemoteAddr, r.RemoteAddr, func() (wflo.Identity, error) { return wflo.Identity{}, err })
		return id, limited
	case !id.May(wflo.RoleViewer):
		return id, auth.ErrNoRole
	case id.Org != "":
		return id, errTenant
	}
	return id, nil
}

func codeOf(err error) int {
	var limited *auth.LimitedError
	switch {
	case errors.As(err, &limited):
		return http.StatusTooManyRequests
	case errors.Is(err, auth.ErrUnavailable):
		return http.StatusServiceUnavailable
	case errors.Is(err, auth.ErrNoRole), errors.Is(err, errTenant):
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

// rates counts requests per address and second. It forgets all of them each second, so
// that it does not grow.
type rates struct {
	most int

	mu     sync.Mutex
	second int64
	seen   map[string]int
}

func (l *rates) pass(address string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Unix() != l.second || l.seen == nil {
		l.second, l.seen = now.Unix(), map[string]int{}
	}
	l.seen[address]++
	return l.seen[address] <= l.most
}
