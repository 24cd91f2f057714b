package activities

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Provider calls the language models of one vendor. Its methods may be called
// at the same time. It does not retry, price or meter: Temporal and the ledger do.
type Provider interface {
	// Name is the provider's name in the price book and in "provider/model".
	Name() string
	// Chat makes one call. p.Model is the vendor's own model id and
	// p.MaxTokens is set. delta, if not nil, is called with pieces of the text
	// as they arrive, and the call then streams.
	//
	// The reply's Usage is normalised to disjoint buckets and Cost is zero.
	// Errors are *CallError.
	Chat(ctx context.Context, p wflo.Prompt, delta func(text string)) (wflo.Reply, error)
}

// CallError says how a call of a provider failed, so that the ledger knows
// whether money may have been spent and Temporal whether a retry can help.
type CallError struct {
	// Status is the HTTP status, or 0 when there was no response.
	Status int
	// Retryable says that the same call may succeed later: 408, 409, 429, 5xx,
	// and connections that broke.
	Retryable bool
	// RetryAfter is what the provider asked to wait; zero when it did not say.
	RetryAfter time.Duration
	// Billable says that the provider may have generated, and charged for,
	// tokens: the connection broke after the request was sent, or a stream was
	// cut. A refusal with a status is not billable.
	Billable bool
	// Err is what went wrong, without secrets.
	Err error
}

func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *CallError) Unwrap() error { return e.Err }

// Blobs keeps large values by their content. Implementations verify what they
// read: a blob whose hash is wrong is an error, never returned.
type Blobs interface {
	// Put stores data and returns its key, the SHA-256 in hex. Storing the same
	// data again is cheap and no error.
	Put(ctx context.Context, data []byte) (key string, err error)
	// Get reads a blob. A key that is not there is an error that matches
	// fs.ErrNotExist.
	Get(ctx context.Context, key string) ([]byte, error)
}

// Prices finds rates. Package pricing implements it.
type Prices interface {
	// Find gives the rates of a model at a moment for a prompt of so many
	// tokens, or an *wflo.Error with CodeUnknownModel. provider may be empty.
	Find(provider, model string, at time.Time, promptTokens int64) (wflo.Price, error)
	// FindWorst gives the dearest rates that a prompt of at most promptBound
	// tokens can meet, over all tiers that it can reach.
	FindWorst(provider, model string, at time.Time, promptBound int64) (wflo.Price, error)
}
