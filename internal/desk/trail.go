package desk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// event is something that happened at a gate.
func event(g wflo.Gate, kind wflo.AuditType, id, actor string, at time.Time, data json.RawMessage) wflo.AuditEvent {
	return wflo.AuditEvent{
		ID: id, Chain: g.AuditChain(), At: at, Type: kind, Actor: actor, Namespace: g.Namespace,
		WorkflowID: g.WorkflowID, FirstRunID: g.FirstRunID, Step: g.Step, Gate: g.ID, Data: data,
	}
}

// sight is the data of AuditGateViewed.
type sight struct {
	Gate   string `json:"gate"` // the nonce
	Digest string `json:"digest"`
	Method string `json:"method,omitempty"`
}

// viewed records that somebody saw what the gate asks: once for each thing that it
// asked, so that an edit is another.
func (d *Desk) viewed(ctx context.Context, id wflo.Identity, g wflo.Gate) error {
	data, err := json.Marshal(sight{Gate: g.Nonce, Digest: g.Digest, Method: id.Method})
	if err != nil {
		return fmt.Errorf("encode view: %w", err)
	}
	return d.Records.Append(ctx, event(g, wflo.AuditGateViewed, "viewed/"+hash(g.Nonce, g.Digest, id.Subject), id.Subject, d.now(), data))
}

// attempt is one decision on its way through the desk.
type attempt struct {
	id       wflo.Identity
	gate     wflo.Gate
	decision wflo.Decision
	origin   Origin
	// update is the same for the same decision, however often it is sent.
	update string
}

// record writes down what became of the attempt. What did not count may be tried
// again, and is recorded each time.
func (d *Desk) record(ctx context.Context, a attempt, kind wflo.AuditType, why error) error {
	at := d.now()
	id := strings.TrimPrefix(string(kind), "approval.") + "/" + a.update
	if kind == wflo.AuditGateDecided {
		id = a.decision.RecordID(a.gate.Nonce) // the worker records it too
	}
	out := wflo.AuditDecision{Gate: a.gate.Nonce, Digest: a.gate.Digest, Decision: a.decision, Channel: plain(a.origin.Channel), Address: plain(a.origin.Address)}
	severity := wflo.SeverityInfo
	if why != nil {
		id += fmt.Sprintf("/%d", at.UnixNano())
		out.Error, severity = plain(why.Error()), wflo.SeverityWarning
		out.Decision = Recordable(out.Decision)
	}
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode decision: %w", err)
	}
	e := event(a.gate, kind, id, a.id.Subject, at, data)
	e.Severity = severity
	if a.gate.Org == "" && a.gate.Nonce == "" && a.id.Org != "" {
		e.Chain = a.id.Org // it met no gate: it is in the trail of whoever tried
	}
	return d.Records.Append(ctx, e)
}

// Recordable is a refused decision without what no trail can hold, because a refusal
// must not stay unrecorded for being malformed.
func Recordable(dec wflo.Decision) wflo.Decision {
	for _, text := range []*string{&dec.ID, &dec.Gate, &dec.Digest, &dec.Nonce, &dec.PayloadSHA256, &dec.By, &dec.Method, &dec.Reason, &dec.Text, &dec.Key, &dec.Signature, (*string)(&dec.Verdict)} {
		*text = plain(*text)
	}
	groups := make([]string, 0, len(dec.Groups))
	for _, g := range dec.Groups {
		groups = append(groups, plain(g))
	}
	dec.Groups = groups
	for _, raw := range []*json.RawMessage{&dec.Form, &dec.Edit} {
		if _, err := wflo.Canonical(*raw); err != nil || len(*raw) > mostRecorded {
			*raw = nil
		}
	}
	return dec
}

// mostRecorded bounds each text of a decision that did not count, in bytes.
const mostRecorded = 64 << 10

// plain makes text that a canonical record can hold.
func plain(s string) string {
	if len(s) > mostRecorded {
		s = s[:mostRecorded]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), string(utf8.RuneError), "?")
}

// hash names something by its parts, in hex.
func hash(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		// The length prefix keeps ("ab","c") apart from ("a","bc").
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}
