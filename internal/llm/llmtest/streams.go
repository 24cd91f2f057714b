package llmtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

func streams(t *testing.T, s Suite) {
	f := load(t, s.Stream)
	if !f.streamed {
		t.Fatalf("fixture %s does not stream", s.Stream)
	}
	t.Run("pieces", func(t *testing.T) { pieces(t, s, f) })
	t.Run("cuts", func(t *testing.T) { cuts(t, s, f) })
}

// pieces sends a stream as the network may cut it; it must not matter.
func pieces(t *testing.T, s Suite, f fixture) {
	for _, size := range []int{1, 7, 100} {
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", f.contentType())
			for rest := f.response; rest != ""; {
				n := min(size, len(rest))
				_, _ = fmt.Fprint(w, rest[:n])
				w.(http.Flusher).Flush()
				rest = rest[n:]
			}
		})
		reply, _, err := f.call(context.Background(), s.driver(t, srv.URL))
		if err != nil {
			t.Errorf("in pieces of %d bytes: %v", size, err)
			continue
		}
		if diff := cmp.Diff(f.reply, reply); diff != "" {
			t.Errorf("in pieces of %d bytes (-want +got):\n%s", size, diff)
		}
	}
}

// cuts ends the stream cleanly after each event: what comes out is the whole
// reply or a billable error, and never a shorter reply.
func cuts(t *testing.T, s Suite, f fixture) {
	events := strings.SplitAfter(f.response, "\n\n")
	var failed int
	for n := range events {
		cut := f
		cut.response = strings.Join(events[:n], "")
		srv := serve(t, cut.answer)
		reply, _, err := cut.call(context.Background(), s.driver(t, srv.URL))
		if err == nil {
			if diff := cmp.Diff(f.reply, reply); diff != "" {
				t.Errorf("cut after %d of %d events (-want +got):\n%s", n, len(events), diff)
			}
			continue
		}
		failed++
		got := judge(t, err)
		if s.CutUsage {
			got.Retryable = true
		}
		if diff := cmp.Diff(verdict{Status: 200, Retryable: true, Billable: true}, got); diff != "" {
			t.Errorf("cut after %d of %d events (-want +got):\n%s", n, len(events), diff)
		}
	}
	if failed == 0 {
		t.Error("no cut was noticed")
	}
}

// InStream puts an error of the vendor's after the first events of the stream
// and wants its words in a billable, retryable error.
func InStream(t *testing.T, s Suite, event, words string) {
	t.Helper()
	f := load(t, s.Stream)
	events := strings.SplitAfter(f.response, "\n\n")
	f.response = strings.Join(events[:2], "") + event
	srv := serve(t, f.answer)
	_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
	if diff := cmp.Diff(verdict{Status: 200, Retryable: true, Billable: true}, judge(t, err)); diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("the error %q lacks %q", err, words)
	}
}

func limits(t *testing.T, s Suite) {
	both(t, s, func(t *testing.T, f fixture) { endless(t, s, f) })
	t.Run("endless refusal", func(t *testing.T) { endlessRefusal(t, s) })
	t.Run("at once", func(t *testing.T) { atOnce(t, s) })
}

// flood writes until the client goes away, and returns how much that was.
func flood(w http.ResponseWriter, start string) int {
	text, sum := start, 0
	for sum <= 4*llm.MaxBody {
		n, err := fmt.Fprint(w, text)
		sum += n
		if err != nil {
			break
		}
		text = strings.Repeat("a", 1<<20)
	}
	return sum
}

func endless(t *testing.T, s Suite, f fixture) {
	sent := make(chan int, 1)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", f.contentType())
		start := `{"x":"`
		if f.streamed {
			start = `data: {"x":"`
		}
		sent <- flood(w, start)
	})
	_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
	if diff := cmp.Diff(verdict{Status: 200, Billable: true}, judge(t, err)); diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if n := <-sent; n > 2*llm.MaxBody {
		t.Errorf("%d bytes were read, want about %d", n, llm.MaxBody)
	}
}

func endlessRefusal(t *testing.T, s Suite) {
	f := load(t, s.Whole)
	sent := make(chan int, 1)
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		sent <- flood(w, "")
	})
	_, _, err := f.call(context.Background(), s.driver(t, srv.URL))
	if got := judge(t, err); got != (verdict{Status: 502, Retryable: true}) {
		t.Errorf("verdict is %+v", got)
	}
	if n := <-sent; n > llm.MaxBody {
		t.Errorf("%d bytes of a refusal were read", n)
	}
}

// atOnce makes calls at the same time; the race detector judges.
func atOnce(t *testing.T, s Suite) {
	f := load(t, s.Stream)
	srv := serve(t, f.answer)
	p := s.driver(t, srv.URL)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { sameReply(t, p, f) })
	}
	wg.Wait()
}

func sameReply(t *testing.T, p activities.Provider, f fixture) {
	var pieces int
	reply, err := p.Chat(context.Background(), f.prompt, func(string) { pieces++ })
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(f.reply, reply); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if reply.Stop != wflo.StopTools && pieces == 0 {
		t.Error("no pieces came")
	}
}
