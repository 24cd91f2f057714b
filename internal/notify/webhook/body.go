package webhook

import (
	"encoding/json"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

// Version is that of [Body]. Fields may be added to it; another version takes one
// away or changes what it means.
const Version = 1

// Body is what receivers get.
type Body struct {
	// Type is the notice's kind, such as approval.requested.
	Type      wflo.NoticeKind `json:"type"`
	Version   int             `json:"version"`
	Timestamp time.Time       `json:"timestamp"` // when the notice was written down
	Data      Data            `json:"data"`
}

// Data is the notice.
type Data struct {
	// ID is the notice's, the same in every attempt.
	ID string `json:"id"`
	// Thread is the same for all notices about one thing.
	Thread   string        `json:"thread"`
	Seq      int           `json:"seq"`
	Severity wflo.Severity `json:"severity"`
	Title    string        `json:"title"`
	Text     string        `json:"text,omitempty"`
	Link     string        `json:"link,omitempty"`
	Gate     *Gate         `json:"gate,omitempty"`
}

// Gate is the gate, with what a decision must name. Texts are escaped for display;
// payload is the value itself.
type Gate struct {
	ID         string          `json:"id"`
	Namespace  string          `json:"namespace,omitempty"`
	WorkflowID string          `json:"workflow_id"`
	FirstRunID string          `json:"first_run_id"`
	Epoch      int             `json:"epoch"`
	Nonce      string          `json:"nonce"`
	Digest     string          `json:"digest"`
	Revision   int             `json:"revision"`
	Status     wflo.GateStatus `json:"status"`
	Risk       wflo.Risk       `json:"risk,omitempty"`
	Action     string          `json:"action"`
	// Details were written by the agent and checked by nobody.
	Details string `json:"details_unchecked,omitempty"`
	// Payload is what will be done, whole; Shown is the text that other channels
	// show of it, and PayloadSHA256 the hash of its canonical form.
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadSHA256 string          `json:"payload_sha256,omitempty"`
	Shown         string          `json:"shown,omitempty"`
	ShownMore     int             `json:"shown_more,omitempty"` // bytes that Shown lacks
	Requesters    []string        `json:"requesters,omitempty"`
	Approvers     []string        `json:"approvers,omitempty"`
	Answers       []wflo.Verdict  `json:"answers"`
	Level         int             `json:"level"`
	OpenedAt      time.Time       `json:"opened_at"`
	ExpiresAt     time.Time       `json:"expires_at"`
	ClosedAt      time.Time       `json:"closed_at,omitzero"`
	// Decision is the one that counted.
	Decision *Decision `json:"decision,omitempty"`
}

// Decision is what a person decided, without its signature.
type Decision struct {
	By      string       `json:"by"`
	Verdict wflo.Verdict `json:"verdict"`
	Reason  string       `json:"reason,omitempty"`
	At      time.Time    `json:"at,omitzero"`
}

// NewBody makes the body of a notice.
func NewBody(n wflo.Notice, console string) Body {
	m := render.New(n, console)
	b := Body{Type: n.Kind, Version: Version, Timestamp: n.At.UTC(), Data: Data{
		ID: n.ID, Thread: n.Thread, Seq: n.Seq, Severity: m.Severity, Title: m.Title, Text: m.Text, Link: m.Link,
	}}
	if n.Gate == nil {
		return b
	}
	g := n.Gate
	b.Data.Gate = &Gate{
		ID: g.ID, Namespace: g.Namespace, WorkflowID: g.WorkflowID, FirstRunID: g.FirstRunID, Epoch: g.Epoch, Nonce: g.Nonce,
		Digest: g.Digest, Revision: g.Revision, Status: g.Status, Risk: g.Approval.Risk, Action: m.Action,
		Details: render.Text(g.Approval.Details), Payload: g.Approval.Payload, PayloadSHA256: m.Payload.SHA256,
		Shown: m.Payload.Text, ShownMore: m.Payload.More, Requesters: g.Requesters, Approvers: g.Approval.Approvers,
		Answers: g.Answers(), Level: g.Level, OpenedAt: g.OpenedAt.UTC(), ExpiresAt: g.ExpiresAt.UTC(), ClosedAt: g.ClosedAt.UTC(),
	}
	if g.ClosedAt.IsZero() {
		b.Data.Gate.ClosedAt = time.Time{}
	}
	if d := g.Decision; d != nil {
		b.Data.Gate.Decision = &Decision{By: d.By, Verdict: d.Verdict, Reason: render.Text(d.Reason), At: d.At}
	}
	return b
}
