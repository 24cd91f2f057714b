package meter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

const (
	// maxRequest bounds a request, in bytes; it is Anthropic's limit.
	maxRequest = 32 << 20
	// maxOutcome bounds what is kept of a response for a later attempt, in bytes.
	maxOutcome = 1 << 20
	// eventStream is the media type of streams.
	eventStream = "text/event-stream"
)

// readBody reads and closes a request's body.
func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxRequest+1))
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	if len(body) > maxRequest {
		return nil, wflo.Errorf(wflo.CodePayloadTooLarge, "send less at once", "request is larger than %d MiB", maxRequest>>20)
	}
	return body, nil
}

// reading hands a response through and reads its bill on the way. What the
// caller gets is never held back: the ledger is written when the body ends, and
// the caller's last Read, or Close, waits for that.
type reading struct {
	io.ReadCloser
	call *call
	// header goes into the record.
	mediaType string
	status    int

	mu      sync.Mutex
	counter counter
	stream  *events // nil for a body that is read whole
	kept    []byte  // the whole body, or the record of a stream
	most    int     // bound of kept
	lost    bool    // kept is not all
	encoded bool    // the body cannot be read
	ended   bool
}

// counter reads a bill from the data of events, or from a whole body.
type counter interface {
	Add(data []byte)
	Bill() llm.Bill
}

func newReading(c *call, resp *http.Response) *reading {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	b := &reading{
		ReadCloser: resp.Body, call: c, mediaType: resp.Header.Get("Content-Type"), status: resp.StatusCode,
		counter: c.ask.api.counter(), most: llm.MaxBody,
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		b.encoded = true
	}
	if media == eventStream || c.ask.stream && !strings.Contains(media, "json") {
		b.stream, b.most = &events{emit: b.counter.Add}, maxOutcome
		if !c.who.stable() {
			b.most = 0
		}
	}
	return b
}

// Read hands on what came. The error that ends the body waits for the ledger,
// and is replaced by the ledger's own when that cannot be written.
func (b *reading) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 && !b.ended {
		b.take(p[:n])
	}
	if err != nil {
		if failed := b.finish(err); failed != nil {
			return n, failed
		}
	}
	return n, err
}

// Close ends the call where the caller has not read to the end: an answer that
// was there is settled, another one is unknown.
func (b *reading) Close() error {
	err := b.ReadCloser.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(err, b.finish(nil))
}

func (b *reading) take(p []byte) {
	if b.stream != nil {
		b.stream.write(p)
	}
	switch {
	case b.lost:
	case len(b.kept)+len(p) > b.most:
		b.lost, b.kept = true, nil
	default:
		b.kept = append(b.kept, p...)
	}
}

// finish closes the hold, once. end is what ended the reading, or nil.
func (b *reading) finish(end error) error {
	if b.ended {
		return nil
	}
	b.ended = true
	defer b.call.stop()
	if b.stream != nil {
		b.stream.close()
	} else if !b.lost {
		addWhole(b.counter, b.kept)
	}
	bill := b.counter.Bill()
	switch {
	case b.encoded:
		return b.call.unknown("the response is compressed")
	case bill.OK() && bill.Ended:
		return b.call.settle(bill, b.outcome())
	case end == nil:
		return b.call.unknown("the response was closed before its end")
	case !errors.Is(end, io.EOF):
		return b.call.unknown("the response broke off: " + reason(end))
	case !bill.Counted:
		return b.call.unknown("the response has no usage")
	case !bill.OK():
		return b.call.unknown("the response's usage cannot be")
	}
	return b.call.unknown("the stream stopped before its end")
}

// addWhole takes a body that is no stream of events: one JSON value, an array of
// chunks (Gemini without alt=sse), or one value per line.
func addWhole(c counter, body []byte) {
	body = bytes.TrimSpace(body)
	if !json.Valid(body) {
		for line := range bytes.Lines(body) {
			c.Add(bytes.TrimSpace(line))
		}
		return
	}
	var chunks []json.RawMessage
	if len(body) > 0 && body[0] == '[' && json.Unmarshal(body, &chunks) == nil {
		for _, chunk := range chunks {
			c.Add(chunk)
		}
		return
	}
	c.Add(body)
}

// record is what a later attempt gets instead of a call.
type record struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Body   []byte `json:"body"`
}

// outcome is the record of the response, or nil when nobody will ask for it or
// it is too large.
func (b *reading) outcome() []byte {
	if b.lost || len(b.kept) > maxOutcome || !b.call.who.stable() {
		return nil
	}
	out, err := json.Marshal(record{Status: b.status, Type: b.mediaType, Body: b.kept})
	if err != nil {
		return nil
	}
	return out
}

// HeaderReplayed marks a response that comes from the ledger.
const HeaderReplayed = "X-Wflo-Replayed"

// replay makes the response of a call that was paid before.
func replay(req *http.Request, outcome []byte) (*http.Response, error) {
	var r record
	if err := json.Unmarshal(outcome, &r); err != nil || r.Status == 0 {
		return nil, wflo.Errorf(wflo.CodeConflict, "a step that calls a model through wflo and through an SDK needs a name for each",
			"the recorded answer is not a response")
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)), StatusCode: r.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {r.Type}, HeaderReplayed: {"true"}},
		Body:   io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)), Request: req,
	}, nil
}

// events cuts a stream into the data of its events as it passes, by the WHATWG
// standard: the lines of one event are joined, comments and other fields skipped.
type events struct {
	emit func(data []byte)
	line []byte // the part of a line that came so far
	data []byte // of the event so far
	open bool   // the event has data
}

// write takes the next bytes. A line or event beyond llm.MaxBody is dropped, and
// with it the usage that it may have held.
func (e *events) write(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if len(e.line)+len(p) <= llm.MaxBody {
				e.line = append(e.line, p...)
			}
			return
		}
		if len(e.line) == 0 {
			e.take(p[:i])
		} else {
			e.take(append(e.line, p[:i]...))
			e.line = e.line[:0]
		}
		p = p[i+1:]
	}
}

// take reads a line.
func (e *events) take(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		e.flush()
		return
	}
	value, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok || len(e.data)+len(value) > llm.MaxBody {
		return
	}
	if e.open {
		e.data = append(e.data, '\n')
	}
	e.data, e.open = append(e.data, bytes.TrimPrefix(value, []byte(" "))...), true
}

func (e *events) flush() {
	if e.open {
		e.emit(e.data)
	}
	e.data, e.open = e.data[:0], false
}

// close gives the last event, which may lack its empty line.
func (e *events) close() {
	if len(e.line) > 0 {
		e.take(e.line)
		e.line = nil
	}
	e.flush()
}
