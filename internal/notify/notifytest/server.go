// Package notifytest stands in for the vendors that channels talk to: [NewSlack],
// [NewPagerDuty] and [NewTwilio] are servers that check what they get as the vendors
// document it, keep it, and fail on demand. [Outbox] is a store in memory.
package notifytest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go/internal/notify/outbound"
)

// Answer is what a server says next, in place of judging the request.
type Answer struct {
	Status int
	Header map[string]string
	Body   string
	// Hang keeps the request until the client gives up.
	Hang bool
}

// Request is one that a server got.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         string
}

// Server is a vendor's stand-in.
type Server struct {
	URL      string
	mu       sync.Mutex
	script   []Answer
	requests []Request
	problems []string
}

// begin starts the server. Its judge gets requests that no scripted answer met.
func begin(t testing.TB, judge func(w http.ResponseWriter, r Request)) *Server {
	t.Helper()
	s := &Server{}
	ended := make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
		if err != nil {
			s.fail("read the request: %v", err)
			return
		}
		r := Request{Method: req.Method, Path: req.URL.Path, Header: req.Header, Body: string(body)}
		a, scripted := s.next(r)
		switch {
		case scripted && a.Hang:
			select {
			case <-req.Context().Done():
			case <-ended:
			}
		case scripted:
			for k, v := range a.Header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(a.Status)
			io.WriteString(w, a.Body)
		default:
			judge(w, r)
		}
	}))
	t.Cleanup(func() {
		close(ended)
		h.Close()
	})
	s.URL = h.URL
	return s
}

func (s *Server) next(r Request) (Answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if len(s.script) == 0 {
		return Answer{}, false
	}
	a := s.script[0]
	s.script = s.script[1:]
	return a, true
}

// Script makes the server give these answers to the next requests.
func (s *Server) Script(answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, answers...)
}

// Requests are those that the server got.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Problems say how requests were not as the vendor documents them.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.problems...)
}

func (s *Server) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// Local lets a channel reach servers of this package, over http.
func Local() outbound.Config {
	return outbound.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AllowHTTP: true}
}
