// Package payments is a small payment provider that can only refund: a real HTTP
// server on loopback, in memory, for the refund demo. [Start] runs it, and
// [Server.Log] is its side of the story: every request that it decided, in order.
//
//	POST /refunds               makes a refund; the header Idempotency-Key is required
//	POST /refunds/{id}/cancel   takes a refund back; repeating it changes nothing
//	GET  /refunds               lists refunds, oldest first; ?charge_id= filters
//
// It behaves as real ones do where it matters for money: a repeated key with the
// same body gives the same refund, with another body 422; a charge has at most
// one refund that is not cancelled; a disputed charge cannot be refunded. It has
// no authentication, so it refuses to listen on anything but loopback.
package payments

// Statuses of a refund.
const (
	Succeeded = "succeeded"
	Cancelled = "cancelled"
)

// Codes of refusals, in the body {"error": {"code": …, "message": …}}.
const (
	CodeInvalid         = "invalid"          // 400: the request is wrong
	CodeNotFound        = "not_found"        // 404: no such refund
	CodeDisputed        = "charge_disputed"  // 409: the bank decides about this charge
	CodeAlreadyRefunded = "already_refunded" // 409: under another key
	CodeKeyReused       = "key_reused"       // 422: the same key with another body
	CodeUnavailable     = "unavailable"      // 502 and 503: try again
)

// Request asks for a refund: the body of POST /refunds.
type Request struct {
	ChargeID string `json:"charge_id"`
	// Amount is in cents of the currency, at least 1.
	Amount int64 `json:"amount"`
	// Currency is a code of three capital letters.
	Currency string `json:"currency"`
	Reason   string `json:"reason,omitempty"`
	// Reference is the caller's own name for what the refund belongs to.
	Reference string `json:"reference,omitempty"`
}

// Refund is a refund that was made.
type Refund struct {
	ID string `json:"id"`
	Request
	Status string `json:"status"`
}

// List is the answer of GET /refunds.
type List struct {
	Refunds []Refund `json:"refunds"`
}

// Failure is the body of every refusal.
type Failure struct {
	Error Refusal `json:"error"`
}

// Refusal says why a request was refused: one of the codes, and words.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Entry is one line of the log: a request and what became of it.
type Entry struct {
	// Op is "refund" or "cancel".
	Op string
	// Outcome is "done", "repeated" when nothing had to change, or the code of
	// the refusal.
	Outcome  string
	ChargeID string
	RefundID string
	Key      string // the idempotency key of a refund
}
