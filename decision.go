package wflo

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Verdict is what a person decided.
type Verdict string

// The verdicts.
const (
	VerdictApprove Verdict = "approve"
	// VerdictReject ends the gate. It counts for an approved gate too, as long as
	// the action has not begun.
	VerdictReject Verdict = "reject"
	// VerdictRespond answers a question with text, or with the data of a form. It
	// counts like an approval where a gate takes it.
	VerdictRespond Verdict = "respond"
	// VerdictEdit replaces what will be done. Votes for what was asked before are
	// void; where the gate asks for four eyes, somebody else decides on it.
	VerdictEdit Verdict = "edit"
	// VerdictEscalate asks the next level now. It is no vote.
	VerdictEscalate Verdict = "escalate"
	// VerdictAck says that somebody looks at it: no more reminders, and no
	// escalation until the time is up. It is no vote.
	VerdictAck Verdict = "ack"
)

// Validate refuses an unknown verdict.
func (v Verdict) Validate() error {
	switch v {
	case VerdictApprove, VerdictReject, VerdictRespond, VerdictEdit, VerdictEscalate, VerdictAck:
		return nil
	}
	return Invalid("verdict", fmt.Sprintf("is %q", string(v)), "use approve, reject, respond, edit, escalate or ack")
}

// affirms says that the verdict is a vote for the action.
func (v Verdict) affirms() bool {
	return v == VerdictApprove || v == VerdictRespond || v == VerdictEdit
}

// Decision is a person's answer to one gate. Approval tools send it as the
// argument of the signal or update [SignalDecide]; Gate, Epoch and Digest are
// copied from the gate that was shown.
type Decision struct {
	// ID makes sending it again harmless; empty where the sender has none.
	ID      string  `json:"id,omitempty"`
	Gate    string  `json:"gate"`
	Epoch   int     `json:"epoch"`
	Digest  string  `json:"digest"`
	Verdict Verdict `json:"verdict"`
	// Nonce and PayloadSHA256 repeat the gate's. The digest covers both; a signed
	// decision names them, so that its record says by itself what it was about.
	Nonce         string `json:"nonce,omitempty"`
	PayloadSHA256 string `json:"payload_sha256,omitempty"`
	// By is the user who decided.
	By string `json:"by"`
	// Groups are those of By when the decision was made, as whoever signs it knows
	// them. Method is how By was proved, such as oidc, ldap, apikey, slack or email.
	Groups []string `json:"groups,omitempty"`
	Method string   `json:"method,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// Text is the answer of VerdictRespond, or what goes with VerdictApprove where the
	// gate asks for an amount; Form is the answer to a gate's form.
	Text string          `json:"text,omitempty"`
	Form json.RawMessage `json:"form,omitempty"`
	// Edit is the payload that VerdictEdit wants instead.
	Edit json.RawMessage `json:"edit,omitempty"`
	// At is when the decision was signed. A gate takes it for ten minutes.
	At time.Time `json:"at,omitzero"`
	// Key and Signature prove By: the name of the signer's key, and the
	// Ed25519 signature, in base64, over what SignedBytes returns.
	Key       string `json:"key,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// Decide makes a decision on what the gate shows. It still lacks a signature.
func (g Gate) Decide(v Verdict, by string) Decision {
	return Decision{
		Gate: g.ID, Epoch: g.Epoch, Digest: g.Digest, Nonce: g.Nonce, PayloadSHA256: g.payloadHash(), Verdict: v, By: by,
	}
}

// SignedBytes is what a signature covers: every field but Signature.
func (d Decision) SignedBytes() []byte {
	h := sha256.New()
	for _, part := range []string{
		"wflo.decision.v2", d.ID, d.Gate, fmt.Sprint(d.Epoch), d.Digest, string(d.Verdict), d.Nonce, d.PayloadSHA256,
		d.By, strings.Join(d.Groups, "\x00"), d.Method, d.Reason, d.Text, compact(d.Form), compact(d.Edit),
		d.At.UTC().Format(time.RFC3339Nano), d.Key,
	} {
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return h.Sum(nil)
}

// compact puts raw JSON into the one form in which the trail of records keeps it,
// so that a signature made before verifies after.
func compact(data json.RawMessage) string {
	if c, err := Canonical(data); err == nil {
		return string(c)
	}
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return string(data)
	}
	return b.String()
}

// Sign returns the decision signed with key under the given key name.
func (d Decision) Sign(name string, key ed25519.PrivateKey) Decision {
	d.Key = name
	d.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, d.SignedBytes()))
	return d
}

// RecordID is the ID of the audit event that says that the decision counted at the
// gate with this nonce, so that whoever writes it down writes it down once.
func (d Decision) RecordID(nonce string) string {
	sum := sha256.Sum256(d.SignedBytes())
	return nonce + ":decided:" + hex.EncodeToString(sum[:16])
}

// same says that two decisions are the same one, sent twice.
func (d Decision) same(e Decision) bool {
	return d.ID != "" && d.ID == e.ID && d.By == e.By && d.Verdict == e.Verdict && d.Digest == e.Digest
}

const (
	// maxReason bounds what people write, in bytes; maxForm their answer to a form.
	maxReason = 16 << 10
	maxForm   = 64 << 10
	// maxLabel bounds, in bytes, what programs write into a decision; maxGroups the
	// names of all groups together.
	maxLabel  = 256
	maxGroups = 64 << 10
)

// fit refuses a decision that says what its verdict has no place for, what no record
// would keep, and what is too long. What nobody looks at must not come in by a
// signature: an edit within an approval would replace what others approved.
func (d Decision) fit() error {
	with := "is given with the verdict " + string(d.Verdict)
	switch {
	case d.Verdict == VerdictEdit && (len(d.Edit) == 0 || len(d.Edit) > maxPayload):
		return Invalid("decision.edit", fmt.Sprintf("has %d bytes", len(d.Edit)), "give the whole payload as it shall be")
	case d.Verdict != VerdictEdit && len(d.Edit) > 0:
		return Invalid("decision.edit", with, "change the payload with the verdict edit")
	case d.Verdict != VerdictRespond && len(d.Form) > 0:
		return Invalid("decision.form", with, "answers go with the verdict respond")
	case d.Verdict == VerdictEdit && d.Text != "":
		return Invalid("decision.text", with, "answers go with the verdict respond; a reason goes into reason")
	case len(d.Reason) > maxReason || len(d.Text) > maxReason:
		return Invalid("decision.reason", "or text is too long", fmt.Sprintf("use at most %d bytes", maxReason))
	case garbled(d.Reason) || garbled(d.Text):
		return Invalid("decision.reason", "or text is not Unicode", "write plain text")
	case len(d.Form) > maxForm:
		return Invalid("decision.form", fmt.Sprintf("has %d bytes", len(d.Form)), fmt.Sprintf("use at most %d", maxForm))
	}
	if len(d.Form) > 0 {
		if _, err := Canonical(d.Form); err != nil {
			return Invalid("decision.form", "is not JSON that can be recorded", "answer with a JSON object of plain values")
		}
	}
	return d.labelled()
}

// labelled refuses what programs write into a decision where it is no plain text.
func (d Decision) labelled() error {
	for _, label := range []struct{ field, value string }{{"id", d.ID}, {"method", d.Method}, {"key", d.Key}, {"signature", d.Signature}} {
		if len(label.value) > maxLabel || !plain(label.value) {
			return Invalid("decision."+label.field, "is too long, or not plain text", fmt.Sprintf("use at most %d bytes", maxLabel))
		}
	}
	total := 0
	for _, group := range d.Groups {
		if total += len(group); total > maxGroups || !plain(group) {
			return Invalid("decision.groups", "are too long, or not plain text", fmt.Sprintf("use at most %d bytes", maxGroups))
		}
	}
	return nil
}

// written is how much the decision adds to its gate, in bytes. An edit counts as the
// payload, of which there is one.
func (d Decision) written() int {
	n := len(d.Reason) + len(d.Text) + len(d.Form)
	for _, group := range d.Groups {
		n += len(group)
	}
	return n
}

// garbled says that text went through a decoder that could not read it. Records
// would not keep it.
func garbled(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError)
}

// plain says that text is Unicode on one line.
func plain(text string) bool {
	return !garbled(text) && !strings.ContainsFunc(text, unicode.IsControl)
}
