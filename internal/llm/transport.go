package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxBody bounds an answer, in bytes after decompression. A stream of
	// 100,000 tokens takes about 25 MB on the wire of the most verbose vendor.
	MaxBody = 32 << 20
	// maxErrorBody bounds what is read of a refusal, in bytes.
	maxErrorBody = 64 << 10
	// maxRetryAfter bounds what a vendor may ask to wait.
	maxRetryAfter = 24 * time.Hour
	// eventStream is the media type of streams.
	eventStream = "text/event-stream"
)

var (
	errTooLarge = fmt.Errorf("the answer is larger than %d MiB", MaxBody>>20)
	errSecond   = errors.New("a second request within one call is refused")
	errStatus   = errors.New("refused by the provider")
)

// HTTPClient is a copy of base, or of a plain client when base is nil, whose
// transport reports to the [Call] in the request's context and bounds bodies.
// Responses that are not 2xx become errors, so that no SDK retries, follows or
// interprets them.
func HTTPClient(base *http.Client) *http.Client {
	client := &http.Client{}
	if base != nil {
		*client = *base
	}
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	client.Transport = &transport{next: next}
	return client
}

type transport struct{ next http.RoundTripper }

// RoundTrip sends the one request of a call.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, _ := req.Context().Value(callKey{}).(*Call)
	if c == nil {
		c = &Call{}
	}
	// net/http would notice only inside, where it looks as if something was sent.
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if !c.first() {
		return nil, errSecond
	}
	trace := &httptrace.ClientTrace{GetConn: c.dialing, GotConn: c.gotConn}
	resp, err := t.next.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		c.refuse(resp)
		return nil, errStatus
	}
	c.mu.Lock()
	c.status = resp.StatusCode
	// A header that cannot be parsed leaves the type empty.
	c.mediaType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	c.mu.Unlock()
	resp.Body = &body{ReadCloser: resp.Body, call: c, left: MaxBody}
	return resp, nil
}

func (c *Call) first() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	return c.requests == 1
}

func (c *Call) dialing(string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed = true
}

// gotConn counts the request as sent: the writing happens elsewhere, and a
// cancellation may be noticed here before it is known how far that came.
func (c *Call) gotConn(httptrace.GotConnInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = true
}

// refuse keeps what a response with an error status says, and closes it. An
// error while reading leaves the words incomplete, which is good enough.
func (c *Call) refuse(resp *http.Response) {
	defer resp.Body.Close()
	words, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	pause := retryAfter(resp.Header, time.Now())
	if pause == 0 {
		pause = retryInfo(words)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status, c.retryAfter, c.refusal = resp.StatusCode, pause, Explain(words)
}

// body bounds a response and remembers how it ended, because SDKs swallow that.
type body struct {
	io.ReadCloser
	call *Call
	left int
}

// Read fails with errTooLarge once the vendor sends more than MaxBody.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		// The limit is reached; only the end of the body may follow.
		var one [1]byte
		n, err := b.ReadCloser.Read(one[:])
		if n > 0 {
			err = errTooLarge
		}
		b.note(nil, err)
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	b.note(p[:n], err)
	return n, err
}

func (b *body) note(data []byte, err error) {
	b.call.mu.Lock()
	defer b.call.mu.Unlock()
	if b.call.keep {
		b.call.raw = append(b.call.raw, data...)
	}
	if err != nil && !errors.Is(err, io.EOF) && b.call.broken == nil {
		b.call.broken = err
	}
}

// retryAfter reads what a vendor asks to wait: milliseconds in retry-after-ms,
// seconds or a date in Retry-After (RFC 9110, section 10.2.3). Anything that
// makes no sense is zero.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return wait(ms / 1000)
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return wait(seconds)
	}
	if date, err := http.ParseTime(text); err == nil {
		return wait(date.Sub(now).Seconds())
	}
	return 0
}

// retryInfo reads the wait that Google puts into the body of an error
// (google.rpc.RetryInfo).
func retryInfo(words []byte) time.Duration {
	var e struct {
		Error struct {
			Details []struct {
				RetryDelay string `json:"retryDelay"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(words, &e) != nil {
		return 0
	}
	for _, d := range e.Error.Details {
		if delay, err := time.ParseDuration(d.RetryDelay); err == nil {
			return wait(delay.Seconds())
		}
	}
	return 0
}

func wait(seconds float64) time.Duration {
	if math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	if seconds >= maxRetryAfter.Seconds() {
		return maxRetryAfter
	}
	return time.Duration(seconds * float64(time.Second))
}
