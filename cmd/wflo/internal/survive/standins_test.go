//go:build integration

package survive

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/survive/invariant"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

const (
	// modelName has a price; the stand-in for its vendor plays it.
	modelName    = "gpt-5.4-mini"
	receiverName = "webhook://receiver"
)

// rates are what the vendor takes, in nano-dollars a token.
var rates = map[string]invariant.Rate{modelName: {Input: 750, CacheRead: 75, Output: 4500}}

// vendor is the stand-in for a vendor of models. One call in eight is refused at first.
func vendor(t *testing.T, key string) *scripted.Server {
	t.Helper()
	s, err := scripted.New(scripted.Config{APIKey: key, Script: func(turn scripted.Turn) scripted.Answer {
		if turn.Call%8 == 3 {
			return scripted.Answer{Fault: scripted.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Second}}
		}
		return scripted.Answer{Text: "an answer to " + turn.Messages[len(turn.Messages)-1].Text}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// invoices are the vendor's books.
func invoices(s *scripted.Server) []invariant.Invoice {
	var all []invariant.Invoice
	for _, c := range s.Calls() {
		if c.Status == http.StatusOK {
			all = append(all, invariant.Invoice{
				Response: c.ResponseID, Model: c.Model, Input: c.Usage.Input, CacheRead: c.Usage.CacheRead, Output: c.Usage.Output,
				Reasoning: c.Usage.Reasoning, Completed: c.Completed,
			})
		}
	}
	return all
}

// shop is the other side: a provider that does each thing once under a key, and notes
// what it was asked for.
type shop struct {
	*httptest.Server
	mu     sync.Mutex
	log    []invariant.Effect
	visits map[string]map[string]bool // by run: the keys that it came with
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{visits: map[string]map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		e := invariant.Effect{Key: q.Get("key"), What: q.Get("what"), Undo: q.Get("undo"), At: time.Now()}
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.What == "visit" { // it changes nothing here
			if s.visits[q.Get("run")] == nil {
				s.visits[q.Get("run")] = map[string]bool{}
			}
			s.visits[q.Get("run")][e.Key] = true
			fmt.Fprint(w, len(s.visits[q.Get("run")]))
			return
		}
		s.log = append(s.log, e)
		fmt.Fprint(w, "receipt for "+e.Key)
		if e.What == "book" {
			fmt.Fprint(w, strings.Repeat(" and so on", plugin.DefaultInline/10))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) effects() []invariant.Effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]invariant.Effect{}, s.log...)
}

// receiver takes notices. It refuses every other message the first time.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	log  []invariant.Delivery
	seen map[string]int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{seen: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // whoever sent it is dead
		}
		id := req.Header.Get("Webhook-Id")
		r.mu.Lock()
		defer r.mu.Unlock()
		taken := r.seen[id] > 0 || len(r.seen)%2 == 1
		r.seen[id]++
		r.log = append(r.log, invariant.Delivery{ID: id, Body: string(body), Taken: taken})
		if !taken {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) deliveries() []invariant.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]invariant.Delivery{}, r.log...)
}

// listen gives a free port of this machine.
func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// free is an address that nobody listens on.
func free(t *testing.T) (address, port string) {
	t.Helper()
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return l.Addr().String(), port
}
