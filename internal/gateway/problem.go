package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/llm"
)

// The types of errors.
const (
	kindRequest  = "invalid_request_error"
	kindBudget   = "budget_exceeded"
	kindUpstream = "upstream_error"
	kindServer   = "server_error"
)

// problem is an error in OpenAI's shape.
type problem struct {
	status  int
	kind    string
	code    string
	message string
	refusal *wflo.Refusal
}

// refusalJSON is what a program needs to know of a budget that said no.
type refusalJSON struct {
	Budget    string     `json:"budget"`
	Limit     wflo.Money `json:"limit"`
	Spent     wflo.Money `json:"spent"`
	Reserved  wflo.Money `json:"reserved"`
	WindowEnd *time.Time `json:"window_end"`
}

func (p problem) body() any {
	e := map[string]any{"message": p.message, "type": p.kind, "param": nil, "code": nil}
	if p.code != "" {
		e["code"] = p.code
	}
	if r := p.refusal; r != nil {
		out := refusalJSON{Budget: r.Budget, Limit: r.Limit, Spent: r.Spent, Reserved: r.Reserved}
		if !r.WindowEnd.IsZero() {
			out.WindowEnd = &r.WindowEnd
		}
		e["wflo"] = out
	}
	return map[string]any{"error": e}
}

// complain answers with an error.
func complain(w http.ResponseWriter, p problem) {
	body, err := json.Marshal(p.body())
	if err != nil {
		body = []byte(`{"error":{"message":"the error cannot be shown","type":"server_error","param":null,"code":null}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	// A caller that is gone needs no answer.
	_, _ = w.Write(body)
}

// statuses are the HTTP statuses of our own refusals.
var statuses = map[wflo.Code]int{
	wflo.CodeInvalid: http.StatusBadRequest, wflo.CodeUnknownModel: http.StatusNotFound, wflo.CodeMissingKey: http.StatusNotFound,
	wflo.CodeBudgetExceeded: http.StatusPaymentRequired, wflo.CodeConflict: http.StatusConflict,
	wflo.CodePayloadTooLarge: http.StatusRequestEntityTooLarge, wflo.CodePolicyDenied: http.StatusForbidden,
}

// problemOf turns an error into what a caller is told. What is not ours is not
// shown: it may name hosts and keys.
func problemOf(err error) problem {
	var e *wflo.Error
	if errors.As(err, &e) && statuses[e.Code] != 0 {
		p := problem{status: statuses[e.Code], kind: kindRequest, code: string(e.Code), message: e.Error()}
		if e.Code == wflo.CodeBudgetExceeded {
			p.kind = kindBudget
			errors.As(err, &p.refusal)
		}
		return p
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return problem{status: http.StatusGatewayTimeout, kind: kindUpstream, message: "the model did not answer in time"}
	}
	return problem{status: http.StatusBadGateway, kind: kindUpstream, message: "the call failed; the worker's log says why"}
}

// refused turns an upstream's error into ours. A vendor that does not take our
// key is our fault, and what it says about it is not for the caller.
func refused(u upstream, status int, words []byte) problem {
	provider := u.Provider
	p := problem{status: status, kind: kindUpstream}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired || status == 498:
		p.status, p.message = http.StatusBadGateway, provider+" refused the gateway's key"
		return p
	case status < 400:
		p.status, p.message = http.StatusBadGateway, provider+" redirects, which is not followed"
		return p
	case status < 500:
		p.kind = kindRequest
	}
	if status == http.StatusTooManyRequests {
		p.kind, p.code = "requests", "rate_limit_exceeded"
	}
	// Gemini's endpoint wraps its error into a list.
	var list []json.RawMessage
	if json.Unmarshal(words, &list) == nil && len(list) > 0 {
		words = list[0]
	}
	said := strings.ToValidUTF8(llm.Explain(words), "?")
	if u.APIKey != "" {
		said = strings.ReplaceAll(said, u.APIKey, "[key]")
	}
	p.message = provider + ": " + strings.ToValidUTF8(said[:min(len(said), 1000)], "")
	return p
}
