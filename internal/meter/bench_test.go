package meter_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/meter"
	"github.com/wflo-ai/wflo-go/internal/meter/metertest"
	"github.com/wflo-ai/wflo-go/pricing"
)

// chunks is a response that comes in pieces of the size that vendors send,
// without a network, so that the transport's own share can be seen.
type chunks struct {
	pieces []string
	next   int
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.next == len(c.pieces) {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[c.next])
	c.next++
	return n, nil
}

func (c *chunks) Close() error { return nil }

type vendor struct{ pieces []string }

func (v vendor) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: &chunks{pieces: v.pieces}, Request: req,
	}, nil
}

// ServeHTTP gives the same answer over loopback, each piece flushed.
func (v vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for _, p := range v.pieces {
		_, _ = io.WriteString(w, p)
		_ = flush.Flush()
	}
}

// BenchmarkStreamedChunk reads streams of 1,000 chunks with and without the
// transport, by turns, and reports the time of a chunk with it, without it, and
// their ratio: from memory, where nothing but the transport takes time, and over
// loopback, which is faster than any vendor.
func BenchmarkStreamedChunk(b *testing.B) {
	const n = 1000
	formats := map[string]struct {
		path, body string
		chunk      func(i int) string
		end        string
	}{
		"openai": {
			"/v1/chat/completions", `{"model":"gpt-5.4-mini","stream":true,"max_tokens":2000,"messages":[{"role":"user","content":"hi"}]}`,
			func(i int) string {
				return fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5.4-mini","choices":[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}],"usage":null}`+"\n\n", i)
			},
			`data: {"id":"chatcmpl-1","model":"gpt-5.4-mini","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1000,"total_tokens":1005}}` + "\n\ndata: [DONE]\n\n",
		},
		"anthropic": {
			"/v1/messages", `{"model":"claude-haiku-4-5","stream":true,"max_tokens":2000,"messages":[{"role":"user","content":"hi"}]}`,
			func(i int) string {
				if i == 0 {
					return "event: message_start\ndata: " + `{"type":"message_start","message":{"id":"msg_1","model":"claude-haiku-4-5","usage":{"input_tokens":5,"output_tokens":1}}}` + "\n\n"
				}
				return fmt.Sprintf("event: content_block_delta\ndata: "+`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word%d"}}`+"\n\n", i)
			},
			"event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1000}}` + "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		},
	}
	for name, f := range formats {
		for _, loopback := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/loopback=%t", name, loopback), func(b *testing.B) {
				var v vendor
				for i := range n {
					v.pieces = append(v.pieces, f.chunk(i))
				}
				v.pieces = append(v.pieces, f.end)
				var base http.RoundTripper = v
				address := "http://model.test"
				if loopback {
					srv := httptest.NewServer(v)
					defer srv.Close()
					wire := http.DefaultTransport.(*http.Transport).Clone()
					defer wire.CloseIdleConnections()
					base, address = wire, srv.URL
				}
				books := &metertest.Books{}
				with := meter.New(meter.Config{Ledger: books, Prices: pricing.Default(), Base: base})
				ctx := wflo.WithRun(b.Context(), wflo.Run{WorkflowID: "w", FirstRunID: "r"})
				read := func(t http.RoundTripper) time.Duration {
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+f.path, strings.NewReader(f.body))
					if err != nil {
						b.Fatal(err)
					}
					resp, err := t.RoundTrip(req)
					if err != nil {
						b.Fatal(err)
					}
					defer resp.Body.Close()
					buf := make([]byte, 4096)
					start := time.Now()
					for {
						if _, err := resp.Body.Read(buf); err == io.EOF {
							return time.Since(start)
						} else if err != nil {
							b.Fatal(err)
						}
					}
				}
				var metered, plain time.Duration
				for b.Loop() {
					metered += read(with)
					plain += read(base)
				}
				perChunk := float64(b.N) * float64(len(v.pieces))
				b.ReportMetric(float64(metered.Nanoseconds())/perChunk, "ns/chunk-metered")
				b.ReportMetric(float64(plain.Nanoseconds())/perChunk, "ns/chunk-plain")
				b.ReportMetric(float64(metered)/float64(plain), "ratio")
				b.ReportMetric(0, "ns/op")
				if e := books.Entries(); e[len(e)-1].Usage.Total() != 1005 {
					b.Fatalf("entry %+v", e[len(e)-1])
				}
			})
		}
	}
}
