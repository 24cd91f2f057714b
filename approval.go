package wflo

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// DefaultApprovalTimeout is how long a gate waits when Approval.Timeout is zero.
const DefaultApprovalTimeout = time.Hour

// Approval asks people to decide on one action before it happens.
type Approval struct {
	// Gate names the question within the run, such as "refunds". Required.
	Gate string `json:"gate"`
	// Action says what will happen, in one line. Required.
	Action string `json:"action"`
	// Details is Markdown for the reviewer. It is shown, never parsed.
	Details string `json:"details,omitempty"`
	// Payload is exactly what will be done; the decision is bound to its hash.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Approvers are the users who may decide. None means that anybody may whom
	// the worker's key list or its allowance of unsigned decisions admits.
	Approvers []string `json:"approvers,omitempty"`
	// Timeout rejects the action when nobody decided; zero means an hour.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Answers are the verdicts that make sense here; none means approve and
	// reject.
	Answers []Verdict `json:"answers,omitempty"`
}

// Validate says what is wrong with the approval, if anything.
func (a Approval) Validate() error {
	switch {
	case a.Gate == "":
		return Invalid("approval.gate", "is empty", "name the gate, such as \"refunds\"")
	case a.Action == "":
		return Invalid("approval.action", "is empty", "say in one line what will be done")
	case a.Timeout < 0:
		return Invalid("approval.timeout", "is "+a.Timeout.String(), "use 0 for one hour, or a positive duration")
	case len(a.Payload) > 0 && !json.Valid(a.Payload):
		return Invalid("approval.payload", "is not JSON", "marshal the value that will be acted on")
	}
	for _, v := range a.Answers {
		if err := v.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Verdict is what a person decided.
type Verdict string

// The verdicts.
const (
	VerdictApprove Verdict = "approve"
	VerdictReject  Verdict = "reject"
	// VerdictRespond answers a question with text and neither approves nor
	// rejects an action.
	VerdictRespond Verdict = "respond"
)

// Validate refuses an unknown verdict.
func (v Verdict) Validate() error {
	switch v {
	case VerdictApprove, VerdictReject, VerdictRespond:
		return nil
	}
	return Invalid("verdict", fmt.Sprintf("is %q", string(v)), "use approve, reject or respond")
}

// GateStatus says where a gate stands.
type GateStatus string

// The states of a gate.
const (
	GateOpen      GateStatus = "open"
	GateApproved  GateStatus = "approved"
	GateRejected  GateStatus = "rejected"
	GateAnswered  GateStatus = "answered"
	GateTimedOut  GateStatus = "timeout"
	GateCancelled GateStatus = "cancelled"
)

// Gate is an approval as it was shown to people: the question, and what a
// decision must name to count. The nonce is drawn when the gate opens, so a
// decision for an earlier opening of the same gate with the same payload (after
// a reset, say) has another digest and is refused.
type Gate struct {
	ID         string     `json:"id"`
	Epoch      int        `json:"epoch"`
	WorkflowID string     `json:"workflow_id"`
	FirstRunID string     `json:"first_run_id"`
	Nonce      string     `json:"nonce"`
	Digest     string     `json:"digest"`
	Approval   Approval   `json:"approval"`
	User       string     `json:"user,omitempty"` // for whom the run acts
	OpenedAt   time.Time  `json:"opened_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	Status     GateStatus `json:"status"`
	// Decision is the one that counted; nil while the gate is open or when it
	// timed out.
	Decision *Decision `json:"decision,omitempty"`
	// Refused counts decisions that did not count, with the last one's reason.
	Refused     int    `json:"refused,omitempty"`
	LastRefusal string `json:"last_refusal,omitempty"`
}

// ComputeDigest is the SHA-256, in hex, of what the gate shows and where it
// belongs: workflow, first run, gate, epoch, nonce, action, details and payload.
func (g Gate) ComputeDigest() string {
	h := sha256.New()
	for _, part := range []string{
		g.WorkflowID, g.FirstRunID, g.ID, fmt.Sprint(g.Epoch), g.Nonce,
		g.Approval.Action, g.Approval.Details, string(g.Approval.Payload),
	} {
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Terms are the worker's conditions for decisions. They are recorded in history
// when the gate opens, so that a replay judges as the first run did.
type Terms struct {
	// Keys maps a key's name to its Ed25519 public key in base64. A decision
	// signed by one of them is authentic.
	Keys map[string]string `json:"keys,omitempty"`
	// AllowUnsigned lets decisions without a signature count: for development,
	// and for approval tools that send raw signals.
	AllowUnsigned bool `json:"allow_unsigned,omitempty"`
}

// Decision is a person's answer to one gate. Approval tools send it as the
// argument of the signal or update [SignalDecide]; Gate, Epoch and Digest are
// copied from the gate that was shown.
type Decision struct {
	Gate    string  `json:"gate"`
	Epoch   int     `json:"epoch"`
	Digest  string  `json:"digest"`
	Verdict Verdict `json:"verdict"`
	// By is the user who decided.
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	// Text is the answer of VerdictRespond.
	Text string `json:"text,omitempty"`
	// Key and Signature prove By: the name of the signer's key, and the
	// Ed25519 signature, in base64, over what SignedBytes returns.
	Key       string `json:"key,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// SignedBytes is what a signature covers: every field but Signature.
func (d Decision) SignedBytes() []byte {
	h := sha256.New()
	for _, part := range []string{
		"wflo.decision.v1", d.Gate, fmt.Sprint(d.Epoch), d.Digest, string(d.Verdict), d.By, d.Reason, d.Text, d.Key,
	} {
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return h.Sum(nil)
}

// Sign returns the decision signed with key under the given key name.
func (d Decision) Sign(name string, key ed25519.PrivateKey) Decision {
	d.Key = name
	d.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, d.SignedBytes()))
	return d
}

// Admit says why the decision does not count at this gate under these terms, or
// nil when it does. It is pure, so workflow code may call it.
func (g Gate) Admit(d Decision, terms Terms) error {
	answers := g.Approval.Answers
	if len(answers) == 0 {
		answers = []Verdict{VerdictApprove, VerdictReject}
	}
	switch {
	case d.Gate != g.ID:
		return Invalid("decision.gate", fmt.Sprintf("is %q, the gate is %q", d.Gate, g.ID), "copy gate, epoch and digest from the gate that was shown")
	case g.Status != GateOpen:
		return Invalid("decision", fmt.Sprintf("comes late: gate %s is %s", g.ID, g.Status), "nothing was changed")
	case d.Epoch != g.Epoch:
		return Invalid("decision.epoch", fmt.Sprintf("is %d, the gate's is %d", d.Epoch, g.Epoch), "the run was restored since; decide again on what it asks now")
	case d.Digest != g.Digest:
		return Invalid("decision.digest", "is not the gate's", "the action changed since it was shown; look at it again")
	case !slices.Contains(answers, d.Verdict):
		return Invalid("decision.verdict", fmt.Sprintf("is %q", string(d.Verdict)), fmt.Sprintf("this gate takes %v", answers))
	case d.By == "":
		return Invalid("decision.by", "is empty", "name the person who decides")
	case len(g.Approval.Approvers) > 0 && !slices.Contains(g.Approval.Approvers, d.By):
		return Invalid("decision.by", fmt.Sprintf("is %q, who is not an approver of this gate", d.By), fmt.Sprintf("ask one of %v", g.Approval.Approvers))
	}
	return d.verify(terms)
}

func (d Decision) verify(terms Terms) error {
	if d.Signature == "" {
		if terms.AllowUnsigned {
			return nil
		}
		return Invalid("decision.signature", "is missing", "decide with wflo approve or the console, or let the worker allow unsigned decisions")
	}
	pub, err := base64.StdEncoding.DecodeString(terms.Keys[d.Key])
	if err != nil || len(pub) != ed25519.PublicKeySize {
		return Invalid("decision.key", fmt.Sprintf("%q is not one that the worker trusts", d.Key), "add its public key to the worker's approver keys")
	}
	sig, err := base64.StdEncoding.DecodeString(d.Signature)
	if err != nil || !ed25519.Verify(pub, d.SignedBytes(), sig) {
		return Invalid("decision.signature", "does not verify", "sign the decision again; it was changed or the key is another")
	}
	return nil
}
