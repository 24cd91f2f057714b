// Package llm holds what the drivers for language models share; each vendor's
// wire format is in a package below it.
//
// A vendor's SDK builds the request and reads the answer. This package stands
// between the SDK and the network and decides the questions on which money
// depends, once for all vendors: was the request sent, what did the vendor
// refuse with, did the body end early, is the usage believable. A driver calls
// [HTTPClient] once and [Vendor.Begin] for every call, and ends each call with
// [Call.Accept] or one of the methods of [Call] that make an error.
//
// It never retries, never follows a redirect (the key would travel along) and
// lets through one request per call, whatever an SDK intends.
package llm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Vendor says whose calls are watched.
type Vendor struct {
	// Name is the provider's name in replies and errors.
	Name string
	// Key is the credential; it is cut out of every error text.
	Key string
	// Env is the environment variable that usually holds the key, for hints.
	// It may be empty.
	Env string
}

// Call watches one call from the first byte to the verdict. The transport
// writes to it, possibly from other goroutines than the driver's.
type Call struct {
	vendor Vendor
	model  string
	keep   bool

	mu         sync.Mutex
	requests   int           // requests that reached the transport
	observed   bool          // the transport reports its progress
	connected  bool          // a connection was handed out, so bytes may have left
	status     int           // of the response; 0 before it came
	retryAfter time.Duration // asked for with an error status
	refusal    string        // the vendor's words with an error status
	mediaType  string        // of a 2xx response
	broken     error         // what ended the reading of a 2xx body, if not its end
	raw        []byte        // the 2xx body read so far, if keep
}

type callKey struct{}

// Begin starts to watch one call of the model; the SDK gets the context.
func (v Vendor) Begin(ctx context.Context, model string) (context.Context, *Call) {
	c := &Call{vendor: v, model: model}
	return context.WithValue(ctx, callKey{}, c), c
}

// KeepRaw makes Raw work. It must be called before the request.
func (c *Call) KeepRaw() { c.keep = true }

// Raw is a copy of the successful response's body as far as it was read.
func (c *Call) Raw() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.raw...)
}

// Accept ends a call that succeeded: it fills in the provider, and the model
// when the vendor named none. A reply without usage, or with negative or
// absurd counts, is refused as billable: what it cost is not known, so the
// caller must charge what it reserved.
func (c *Call) Accept(r wflo.Reply) (wflo.Reply, error) {
	if err := Believable(r.Usage); err != nil {
		return wflo.Reply{}, c.Unusable(err.Error(), "use a server that reports the tokens it used")
	}
	r.Provider = c.vendor.Name
	if r.Model == "" {
		r.Model = c.model
	}
	// Some servers say "stop" although they ask for tools.
	if r.Stop == wflo.StopEnd && len(r.ToolCalls) > 0 {
		r.Stop = wflo.StopTools
	}
	return r, nil
}

// Refused is the error for a prompt that was never sent.
func (c *Call) Refused(err error) error {
	var known *wflo.Error
	if !errors.As(err, &known) {
		err = &wflo.Error{Code: wflo.CodeInvalid, Message: c.text(err.Error(), "")}
	}
	return &activities.CallError{Err: err}
}

// Failed is the error for a call that an SDK gave up with err. What the
// transport saw decides, not the SDK's error type.
func (c *Call) Failed(err error) error {
	c.mu.Lock()
	status, requests, sent := c.status, c.requests, c.connected || !c.observed
	broken := c.broken
	c.mu.Unlock()
	switch {
	case status >= 300:
		return c.refused()
	case requests == 0 && cancelled(err) == nil:
		return c.Refused(err)
	case status == 0:
		return c.fail(&activities.CallError{Retryable: true, Billable: requests > 0 && sent}, reason(err), "", cancelled(err))
	case broken != nil || cancelled(err) != nil:
		return c.Cut(err)
	}
	return c.Unusable("the answer could not be read: "+reason(err), "check that the base URL belongs to this kind of API")
}

// Cut is the error for an answer that began and did not end as it should. The
// vendor may have billed for it. err may be nil when the stream just stopped.
func (c *Call) Cut(err error) error {
	c.mu.Lock()
	status, broken, mediaType := c.status, c.broken, c.mediaType
	c.mu.Unlock()
	if status == 0 || status >= 300 {
		if err == nil {
			err = errors.New("no answer")
		}
		return c.Failed(err)
	}
	if errors.Is(broken, errTooLarge) || errors.Is(err, bufio.ErrTooLong) {
		return c.Unusable(errTooLarge.Error(), "lower max_tokens")
	}
	if broken == nil && mediaType != eventStream && cancelled(err) == nil {
		return c.Unusable(fmt.Sprintf("the answer is %q and not a stream", mediaType), "check that the base URL belongs to this kind of API")
	}
	if broken != nil {
		err = broken
	}
	problem := "the answer was cut off"
	if err != nil {
		problem += ": " + reason(err)
	}
	return c.fail(&activities.CallError{Status: status, Retryable: true, Billable: true}, problem, "", cancelled(err))
}

// Unusable is the error for an answer that came but cannot be used, and that
// the same call would bring again.
func (c *Call) Unusable(problem, hint string) error {
	c.mu.Lock()
	status := c.status
	c.mu.Unlock()
	return c.fail(&activities.CallError{Status: status, Billable: true}, problem, hint, nil)
}

// refused is the error for a response with an error status.
func (c *Call) refused() error {
	c.mu.Lock()
	status, pause, words := c.status, c.retryAfter, c.refusal
	c.mu.Unlock()
	problem := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if words != "" {
		problem += ": " + words
	}
	return c.fail(&activities.CallError{Status: status, Retryable: retryable(status), RetryAfter: pause}, problem, c.hint(status), nil)
}

// fail completes the verdict with its text. Of the cause only a context's error
// is kept: SDK errors hold the request, and with it the key.
func (c *Call) fail(e *activities.CallError, problem, hint string, cause error) error {
	c.mu.Lock()
	repeated := c.requests > 1
	c.mu.Unlock()
	if repeated {
		problem = "the SDK tried to repeat the request; " + problem
	}
	e.Err = &wflo.Error{Code: wflo.CodeProvider, Message: c.text(problem, hint), Hint: hint, Err: cause}
	return e
}

func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

func (c *Call) hint(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, 498: // 498 is Cohere's "invalid token"
		if c.vendor.Env != "" {
			return "check the key in " + c.vendor.Env
		}
		return "check the key of " + c.vendor.Name
	case http.StatusNotFound:
		return "check the model's name and the base URL"
	case http.StatusTooManyRequests:
		return "run fewer calls at once, or raise the limit with the provider"
	}
	if status >= 300 && status < 400 {
		return "set the base URL to where it redirects; redirects are not followed"
	}
	return ""
}

// cancelled finds a context's error in err.
func cancelled(err error) error {
	for _, target := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, target) {
			return target
		}
	}
	return nil
}
