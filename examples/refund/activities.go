package refund

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
)

// Types of the activities' errors on Temporal's wire.
const (
	// ErrTypeUnavailable is a fault that a later attempt may not meet.
	ErrTypeUnavailable = prefix + "Unavailable"
	// ErrTypeRefused is the provider's final no; the first detail is its code.
	ErrTypeRefused = prefix + "Refused"
)

const (
	// callTimeout bounds one request. It is below the attempt's timeout, so that
	// no request outlives its attempt.
	callTimeout = 15 * time.Second
	maxAnswer   = 1 << 20 // bytes
)

// Activities make refunds and take them back at a payment provider. They may run
// at the same time.
type Activities struct {
	// URL is the provider's base URL. Required.
	URL string
	// Client carries the requests; nil means http.DefaultClient.
	Client *http.Client
}

// Issue makes the refund p. The idempotency key is the step's effect key, so
// however often an attempt is repeated, by whichever worker, there is one
// refund. Faults of the network and the provider's 5xx are retried; any other
// refusal is final.
func (a *Activities) Issue(ctx context.Context, p Proposal) (payments.Refund, error) {
	run, err := runOf(ctx)
	if err != nil {
		return payments.Refund{}, err
	}
	body, err := json.Marshal(payments.Request{
		ChargeID: p.ChargeID, Amount: int64(p.Amount), Currency: p.Currency, Reason: "duplicate of " + p.DuplicateOf, Reference: run.ID(),
	})
	if err != nil {
		return payments.Refund{}, fmt.Errorf("encode refund: %w", err)
	}
	var made payments.Refund
	if err := a.call(ctx, http.MethodPost, "/refunds", string(run.EffectKey()), body, &made); err != nil {
		return payments.Refund{}, err
	}
	if made.Status != payments.Succeeded {
		// A run that was reset to before its refunds were taken back.
		return made, temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("refund %s is %s; start a new run to make it again", made.ID, made.Status), ErrTypeRefused, nil, made.Status)
	}
	return made, nil
}

// Cancel takes back what Issue made for p in the same run. A refund that never
// came to be is no error: the compensation is registered before the refund.
func (a *Activities) Cancel(ctx context.Context, p Proposal) error {
	run, err := runOf(ctx)
	if err != nil {
		return err
	}
	var found payments.List
	if err := a.call(ctx, http.MethodGet, "/refunds?charge_id="+url.QueryEscape(p.ChargeID), "", nil, &found); err != nil {
		return err
	}
	for _, r := range found.Refunds {
		// Another run's refund of the same charge is not ours to undo.
		if r.Reference != run.ID() || r.Status != payments.Succeeded {
			continue
		}
		if err := a.call(ctx, http.MethodPost, "/refunds/"+url.PathEscape(r.ID)+"/cancel", "", nil, &r); err != nil {
			return err
		}
	}
	return nil
}

// runOf gives the run that makes keys; without one a refund could be made twice.
func runOf(ctx context.Context) (wflo.Run, error) {
	run, ok := wflo.RunFrom(ctx)
	if !ok || run.Step == "" {
		return run, wflo.Errorf(wflo.CodeInvalid, "pass wflo's plugin to client.Options.Plugins", "the worker does not have wflo's plugin")
	}
	return run, nil
}

// call makes one request. Its errors are what Temporal needs to know: whether a
// retry can help.
func (a *Activities) call(ctx context.Context, method, path, key string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return temporal.NewNonRetryableApplicationError("the payment provider's address cannot be used", ErrTypeRefused, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	client := a.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return unavailable("ask the payment provider", err)
	}
	defer func() { _ = resp.Body.Close() }() // the answer has been read
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return unavailable("read the payment provider's answer", err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return refusal(resp.StatusCode, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return unavailable("read the payment provider's answer", err)
	}
	return nil
}

func unavailable(doing string, cause error) error {
	return temporal.NewApplicationErrorWithCause(doing+": "+cause.Error(), ErrTypeUnavailable, cause)
}

// refusal turns a status into an error: 408, 429 and 5xx may pass, others not.
func refusal(status int, text []byte) error {
	var f payments.Failure
	if err := json.Unmarshal(text, &f); err != nil || f.Error.Code == "" {
		f.Error = payments.Refusal{Code: fmt.Sprint(status), Message: http.StatusText(status)}
	}
	message := fmt.Sprintf("the payment provider answered %d %s: %s", status, f.Error.Code, f.Error.Message)
	if status >= http.StatusInternalServerError || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests {
		return temporal.NewApplicationError(message, ErrTypeUnavailable, f.Error.Code)
	}
	return temporal.NewNonRetryableApplicationError(message, ErrTypeRefused, nil, f.Error.Code)
}
