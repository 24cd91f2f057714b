package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
	"github.com/wflo-ai/wflo-go/internal/meter"
)

const (
	// maxRequest bounds a request, in bytes.
	maxRequest = 32 << 20
	// maxRefusal bounds what is read of an upstream's error, in bytes.
	maxRefusal = 64 << 10
)

// forward sends a call to the vendor of its model and hands back the answer.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, c caller) {
	call := &meter.Call{}
	resp, u, err := g.call(w, r, c, call)
	if err != nil {
		p := problemOf(err)
		if p.status >= 500 {
			g.log.WarnContext(r.Context(), "gateway call failed", "key", c.Name, "provider", u.Provider, "error", err.Error())
		}
		complain(w, p)
		return
	}
	defer func() {
		if err := resp.Body.Close(); err != nil {
			g.log.WarnContext(r.Context(), "gateway call was not closed", "key", c.Name, "provider", u.Provider, "error", err.Error())
		}
	}()
	for _, name := range []string{"Retry-After", "Retry-After-Ms", meter.HeaderReplayed} {
		if v := resp.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		words, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		if err != nil {
			words = nil
		}
		complain(w, refused(u, resp.StatusCode, words))
		return
	}
	g.answer(w, r, resp, call)
}

// call reads the request and sends it on.
func (g *Gateway) call(w http.ResponseWriter, r *http.Request, c caller, call *meter.Call) (*http.Response, upstream, error) {
	run, err := c.run(r.Header)
	if err != nil {
		return nil, upstream{}, err
	}
	if call.Key, err = single(r.Header, HeaderIdempotency); err != nil {
		return nil, upstream{}, err
	}
	if len(call.Key) > maxIdempotency {
		return nil, upstream{}, wflo.Invalid(HeaderIdempotency, "is too long", "use up to 255 bytes")
	}
	body, err := read(w, r)
	if err != nil {
		return nil, upstream{}, err
	}
	u, body, err := g.route(body)
	if err != nil {
		return nil, upstream{}, err
	}
	transport := u.metered
	if call.Key != "" {
		// Another provider is another call, though path and body may be the same.
		call.Key, transport = u.Provider+"/"+call.Key, u.strict
	}
	ctx := meter.WithCall(wflo.WithRun(r.Context(), run), call)
	req := u.target(ctx, http.MethodPost, strings.TrimPrefix(r.URL.Path, "/v1"))
	req.Header.Set("Content-Type", "application/json")
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp, err := transport.RoundTrip(req)
	return resp, u, err
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, wflo.Invalid("Content-Type", "is not application/json", "send JSON")
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, wflo.Invalid("Content-Encoding", "is set", "send JSON that is not compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, wflo.Errorf(wflo.CodePayloadTooLarge, "send less at once", "the request is larger than %d MiB", maxRequest>>20)
	case err != nil:
		return nil, wflo.Invalid("request", "cannot be read", "send it again")
	}
	return body, nil
}

// route finds the upstream that has the model, and writes the model's name as
// the upstream knows it.
func (g *Gateway) route(body []byte) (upstream, []byte, error) {
	var fields map[string]json.RawMessage
	var model string
	if json.Unmarshal(body, &fields) != nil || json.Unmarshal(fields["model"], &model) != nil || model == "" {
		return upstream{}, nil, wflo.Invalid("request", "is not a JSON object with a model", "name a model, such as gpt-5.4-mini or anthropic/claude-haiku-4-5")
	}
	provider, short, ok := strings.Cut(model, "/")
	if ok && short == "" {
		return upstream{}, nil, wflo.Invalid("request", fmt.Sprintf("has the model %q, which names a vendor alone", model), "name a model of it, such as anthropic/claude-haiku-4-5")
	}
	if !ok || g.upstreams[provider].base == nil {
		// The price book knows who sells it; what it does not know is refused.
		price, err := g.cfg.Prices.FindWorst("", model, time.Now(), 0)
		if err != nil {
			return upstream{}, nil, err
		}
		provider, _, _ = strings.Cut(strings.TrimPrefix(price.ID, "override:"), "/")
		short = strings.TrimPrefix(model, provider+"/")
	}
	u := g.upstreams[provider]
	if u.base == nil {
		return upstream{}, nil, wflo.Errorf(wflo.CodeMissingKey, "ask who runs the worker to configure it", "model %q: the gateway has no access to %s", model, provider)
	}
	if short == model {
		return u, body, nil
	}
	// The pieces stay as they are, because the order of keys in a schema means
	// something to models.
	name, err := json.Marshal(short)
	if err != nil {
		return upstream{}, nil, fmt.Errorf("encode model: %w", err)
	}
	fields["model"] = name
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return upstream{}, nil, fmt.Errorf("encode request: %w", err)
	}
	return u, out.Bytes(), nil
}

// answer hands a response through. A whole one is read first, so that its cost
// can stand in the header; a stream is passed on piece by piece.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, resp *http.Response, call *meter.Call) {
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err == nil && media == "text/event-stream" {
		g.stream(w, r, resp, call)
		return
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, llm.MaxBody+1))
	if err == nil && len(body) > llm.MaxBody {
		err = errors.New("the answer is too large")
	}
	if err != nil {
		g.log.WarnContext(r.Context(), "gateway answer broke off", "error", err.Error())
		w.Header().Del("X-Content-Type-Options")
		complain(w, problemOf(err))
		return
	}
	w.Header().Set(HeaderCost, call.Cost.Decimal())
	if left := call.Room + call.Granted - call.Cost; !call.Replayed && call.Room != math.MaxInt64 {
		w.Header().Set(HeaderLeft, left.Decimal())
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(resp.StatusCode)
	_ = g.taker(w).write(body) // a caller that is gone has paid all the same
}

func (g *Gateway) stream(w http.ResponseWriter, r *http.Request, resp *http.Response, call *meter.Call) {
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Trailer", HeaderCost)
	w.WriteHeader(resp.StatusCode)
	to := g.taker(w)
	buf := make([]byte, pieceSize)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 && to.write(buf[:n]) != nil {
			return // the caller is gone, or takes nothing; closing the body charges the call
		}
		if errors.Is(err, io.EOF) {
			w.Header().Set(HeaderCost, call.Cost.Decimal())
			return
		}
		if err != nil {
			g.log.WarnContext(r.Context(), "gateway stream broke off", "error", err.Error())
			// An orderly end would look like a whole answer.
			panic(http.ErrAbortHandler)
		}
	}
}
