package scripted

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// maxBody bounds a request, in bytes; it is Anthropic's limit.
const maxBody = 32 << 20

// exchange is one request and its response.
type exchange struct {
	s *Server
	w http.ResponseWriter
	r *http.Request
	d dialect
}

// serve handles one request for an answer.
func (s *Server) serve(x *exchange) {
	q, bad := x.read()
	if bad != nil {
		x.refuse(*bad)
		return
	}
	script := s.script(q.turn.Model)
	if script == nil {
		x.refuse(refusal{status: http.StatusNotFound, param: "model", code: "model_not_found",
			message: fmt.Sprintf("model: %s does not exist", q.turn.Model)})
		return
	}
	q.turn.Provider = x.d.provider()
	q.turn.Header = safeHeader(x.r.Header)
	s.begin(x.d, &q.turn)
	answer := run(script, q.turn)
	x.answer(q, answer)
	s.log.Debug("scripted call", "call", q.turn.Call, "provider", q.turn.Provider, "model", q.turn.Model, "stream", q.turn.Stream)
}

// read admits and parses the request.
func (x *exchange) read() (request, *refusal) {
	if bad := x.d.admit(x.r, x.s.cfg.APIKey); bad != nil {
		return request{}, bad
	}
	if kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return request{}, &refusal{status: http.StatusBadRequest, message: "Content-Type: must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return request{}, &refusal{status: http.StatusRequestEntityTooLarge, message: "request exceeds the maximum size"}
	case err != nil:
		return request{}, &refusal{status: http.StatusBadRequest, message: "request body: could not be read"}
	case !json.Valid(body):
		return request{}, &refusal{status: http.StatusBadRequest, message: "request body: could not be parsed as JSON"}
	}
	return x.d.parse(x.r, body)
}

// run calls the script and makes its panic an answer, so that a mistake in a
// script shows up in the test's error rather than as a broken connection.
func run(script Script, t Turn) (a Answer) {
	defer func() {
		if p := recover(); p != nil {
			a = Answer{Fault: Fault{Status: http.StatusInternalServerError, Body: fmt.Sprintf("script panicked: %v", p)}}
		}
	}()
	return script(t)
}

// answer sends what the script said, with its fault, and keeps the books.
func (x *exchange) answer(q request, a Answer) {
	o := generate(q, a, x.d.id(q.turn.Call))
	f := a.Fault
	status := http.StatusOK
	var frames [][]byte
	var err error
	switch {
	case f.Status != 0 && f.Status != http.StatusOK:
		status, frames, err = x.failure(f, o.id)
	case f.Body != "":
		frames = [][]byte{[]byte(f.Body)}
	case q.turn.Stream:
		frames, err = x.d.framing().render(x.d.stream(q, o), f.MalformedJSON)
	default:
		var body []byte
		if body, err = json.Marshal(x.d.whole(q, o)); err == nil && f.MalformedJSON {
			body = body[:len(body)-1]
		}
		frames = [][]byte{body}
	}
	if err != nil {
		x.refuse(refusal{status: http.StatusInternalServerError, message: "scripted: " + err.Error()})
		return
	}
	x.s.update(q.turn.Call, func(c *Call) {
		c.Answer, c.Status, c.ResponseID = a, status, o.id
		switch {
		case status != http.StatusOK:
		case f.Hang:
			c.Usage = x.d.billed(outcome{prompt: o.prompt, cached: o.cached})
		default:
			c.Usage = x.d.billed(o)
		}
	})
	x.header(q, f, status)
	x.send(q.turn.Call, f, status, frames)
}

// failure is the response to Fault.Status.
func (x *exchange) failure(f Fault, id string) (int, [][]byte, error) {
	status, message := f.Status, "scripted fault: "+http.StatusText(f.Status)
	if status < 400 || status > 599 {
		status, message = http.StatusInternalServerError, fmt.Sprintf("scripted fault with status %d: use 400 to 599", f.Status)
	}
	if f.Body != "" {
		return status, [][]byte{[]byte(f.Body)}, nil
	}
	body, err := json.Marshal(x.d.complaint(refusal{status: status, message: message}, id, f.RetryAfter))
	if err == nil && f.MalformedJSON {
		body = body[:len(body)-1]
	}
	return status, [][]byte{body}, err
}

func (x *exchange) header(q request, f Fault, status int) {
	h := x.w.Header()
	switch {
	case f.Body != "" && !json.Valid([]byte(f.Body)):
		h.Set("Content-Type", "text/plain; charset=utf-8")
	case status == http.StatusOK && q.turn.Stream:
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
	default:
		h.Set("Content-Type", "application/json")
	}
	if status != http.StatusOK && f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(f.RetryAfter.Seconds())), 10))
		if x.d.provider() == OpenAI {
			h.Set("Retry-After-Ms", strconv.FormatInt(f.RetryAfter.Milliseconds(), 10))
		}
	}
	h.Set("Request-Id", fmt.Sprintf("req_%06d", q.turn.Call))
}

// send writes the frames, each flushed, and cuts or hangs where the fault says.
func (x *exchange) send(call int, f Fault, status int, frames [][]byte) {
	if f.DropAfter < 0 {
		panic(http.ErrAbortHandler)
	}
	if f.Hang && f.DropAfter == 0 {
		x.hang()
	}
	flush := http.NewResponseController(x.w)
	// Without a length the body is chunked, so a cut is seen for what it is
	// even when nothing of the body is missing.
	x.w.WriteHeader(status)
	left := math.MaxInt
	if f.DropAfter > 0 {
		left = f.DropAfter
	}
	for i, frame := range frames {
		if x.r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		if left != math.MaxInt {
			frame = frame[:min(left, len(frame))]
			left -= len(frame)
		} else if i == len(frames)-1 {
			// Before the client can have the last byte: it may look at the log
			// as soon as it does.
			x.s.update(call, func(c *Call) { c.Completed = true })
		}
		_, err := x.w.Write(frame)
		if err == nil {
			err = flush.Flush()
		}
		if err != nil {
			x.s.update(call, func(c *Call) { c.Completed = false })
			panic(http.ErrAbortHandler)
		}
		if left == 0 {
			break
		}
	}
	if left == math.MaxInt {
		return
	}
	if f.Hang {
		x.hang()
	}
	panic(http.ErrAbortHandler)
}

// hang waits for the client to go away, or for Close.
func (x *exchange) hang() {
	select {
	case <-x.r.Context().Done():
	case <-x.s.quit:
	}
	panic(http.ErrAbortHandler)
}

// refuse answers a request that is not a call.
func (x *exchange) refuse(bad refusal) {
	x.s.log.Debug("scripted refusal", "path", x.r.URL.Path, "status", bad.status, "message", bad.message)
	x.json(bad.status, x.d.complaint(bad, "refused", time.Duration(0)))
}

func (x *exchange) json(status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	// A client that is gone needs no answer.
	_, _ = x.w.Write(body)
}
