package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// gateTrail is what the records say of one gate.
type gateTrail struct {
	opened  *wflo.Gate
	closed  []ending
	decided []wflo.Decision
	uses    []use
	revoked []wflo.AuditRecord
	// at is the first record about it.
	at wflo.AuditRecord
}

// ending is a gate as it closed; there are two where an approval was taken back.
type ending struct {
	gate wflo.Gate
	at   wflo.AuditRecord
	// fault is why its votes did not let it happen when it closed, if so.
	fault error
}

type use struct {
	wflo.AuditUse
	at wflo.AuditRecord
}

// note keeps what a record says about a gate. All is judged when all is read, for a
// gate's end and the use of its approval are recorded by two who do not wait for
// each other.
func (v *verifier) note(r wflo.AuditRecord) {
	switch r.Type {
	case wflo.AuditGateOpened, wflo.AuditGateClosed:
		var d wflo.AuditGate
		if !v.decode(r, &d) {
			return
		}
		t := v.trail(d.Gate.Nonce, r)
		if r.Type == wflo.AuditGateClosed {
			t.closed = append(t.closed, ending{gate: d.Gate, at: r})
		} else if t.opened == nil {
			t.opened = &d.Gate
		}
		v.checkDigest(r, d.Gate)
	case wflo.AuditGateDecided, wflo.AuditGateRefused:
		var d wflo.AuditDecision
		if !v.decode(r, &d) {
			return
		}
		if r.Type == wflo.AuditGateDecided {
			t := v.trail(d.Gate, r)
			t.decided = append(t.decided, d.Decision)
		} else if d.Error == "" {
			v.find(r, Unrecorded, "a decision was refused, and the record does not say why")
		}
	case wflo.AuditGrantUsed, wflo.AuditGrantRevoked, wflo.AuditGrantRefused:
		var d wflo.AuditUse
		if !v.decode(r, &d) {
			return
		}
		switch {
		case r.Type == wflo.AuditGrantUsed:
			t := v.trail(d.Gate, r)
			t.uses = append(t.uses, use{d, r})
		case r.Type == wflo.AuditGrantRevoked:
			t := v.trail(d.Gate, r)
			t.revoked = append(t.revoked, r)
		case d.Error == "":
			v.find(r, Unrecorded, "the use of an approval was refused, and the record does not say why")
		}
	}
}

func (v *verifier) decode(r wflo.AuditRecord, into any) bool {
	if err := json.Unmarshal(r.Data, into); err != nil {
		v.find(r, Malformed, "the data of %s cannot be read: %v", r.Type, err)
		return false
	}
	return true
}

func (v *verifier) trail(nonce string, r wflo.AuditRecord) *gateTrail {
	t := v.gates[nonce]
	if t == nil {
		t = &gateTrail{at: r}
		v.gates[nonce], v.nonce = t, append(v.nonce, nonce)
	}
	return t
}

func (v *verifier) findAt(nonce string, r wflo.AuditRecord, k Kind, format string, args ...any) {
	v.report.add(Finding{Chain: r.Chain, Seq: r.Seq, Kind: k, Gate: nonce, What: fmt.Sprintf(format, args...)})
}

// checkDigest recomputes what people were shown, and where it belonged.
func (v *verifier) checkDigest(r wflo.AuditRecord, g wflo.Gate) {
	switch {
	case g.Digest != g.ComputeDigest():
		v.findAt(g.Nonce, r, Digest, "gate %s does not have the digest that it says", g.ID)
	case r.Chain != g.AuditChain() || r.WorkflowID != "" && r.WorkflowID != g.WorkflowID:
		v.findAt(g.Nonce, r, Digest, "gate %s of workflow %q, chain %q, is on record for workflow %q", g.ID, g.WorkflowID, g.AuditChain(), r.WorkflowID)
	}
}

// judge looks at each gate with all that is on record about it.
func (v *verifier) judge() {
	for _, nonce := range v.nonce {
		t := v.gates[nonce]
		for i := range t.closed {
			v.judgeShown(nonce, t, t.closed[i])
			v.judgeVotes(nonce, t, &t.closed[i])
		}
		for _, u := range t.uses {
			v.report.Uses++
			v.judgeUse(nonce, t, u)
		}
		if len(t.uses) == 0 && len(t.closed) > 0 {
			if g := t.closed[len(t.closed)-1].gate; g.Granted() && g.Approval.Activity != "" {
				v.report.Unused++
			}
		}
	}
}

// judgeShown compares what people were asked with what the gate closed with.
func (v *verifier) judgeShown(nonce string, t *gateTrail, end ending) {
	g := end.gate
	switch {
	case t.opened == nil && !v.options.Part:
		v.findAt(nonce, end.at, Unrecorded, "gate %s closed, and is not on record as asked", g.ID)
	case t.opened == nil:
	case g.Revision == 0 && t.opened.Digest != g.Digest:
		v.findAt(nonce, end.at, Digest, "gate %s closed with another question than it was opened with", g.ID)
	case !g.Continues(*t.opened):
		v.findAt(nonce, end.at, Digest, "gate %s was edited, and closed with another question than it was opened with", g.ID)
	case g.Revision > 0 && !samePayload(t.opened.Approval.Payload, g.Original):
		v.findAt(nonce, end.at, Digest, "gate %s was edited, and what it says of the payload before is not what was asked", g.ID)
	}
}

func samePayload(a, b []byte) bool {
	x, err := wflo.CanonicalSHA256(a)
	y, err2 := wflo.CanonicalSHA256(b)
	return err == nil && err2 == nil && x == y
}

// judgeVotes checks that votes prove who made them, and that all are on record.
func (v *verifier) judgeVotes(nonce string, t *gateTrail, end *ending) {
	g := end.gate
	if len(g.Votes) > 0 && v.withoutKeys() {
		return
	}
	var by []string
	for _, vote := range g.Votes {
		if _, err := v.options.Terms.Verify(vote, g.Approval.SignedOnly); err != nil {
			v.findAt(nonce, end.at, ForgedVote, "the vote of %q on gate %s: %v", vote.By, g.ID, err)
		}
		if slices.Contains(by, vote.By) {
			v.findAt(nonce, end.at, Quorum, "gate %s has two votes of %q", g.ID, vote.By)
		}
		by = append(by, vote.By)
		if affirms(vote) && g.Approval.FourEyes && slices.Contains(g.Requesters, vote.By) {
			v.findAt(nonce, end.at, FourEyes, "%q approved gate %s, and asked for it or changed it", vote.By, g.ID)
		}
		if !slices.ContainsFunc(t.decided, func(d wflo.Decision) bool { return alike(d, vote) }) && !v.options.Part {
			v.findAt(nonce, end.at, Unrecorded, "the vote of %q on gate %s is not on record by itself", vote.By, g.ID)
		}
	}
	if !g.Granted() {
		return
	}
	// What the activity would have been told, asked once: signatures are what
	// verification spends its time on.
	if end.fault = g.Authorizes(v.options.Terms, g.ClosedAt); end.fault == nil {
		return
	}
	if have, need := g.Need(v.options.Terms); have < need {
		v.findAt(nonce, end.at, Quorum, "gate %s was approved with %d of %d votes that count", g.ID, have, need)
		return
	}
	v.findAt(nonce, end.at, Unapproved, "%v", end.fault)
}

func affirms(d wflo.Decision) bool {
	return d.Verdict == wflo.VerdictApprove || d.Verdict == wflo.VerdictRespond || d.Verdict == wflo.VerdictEdit
}

// alike says that two decisions are the same one.
func alike(a, b wflo.Decision) bool {
	return a.Signature == b.Signature && string(a.SignedBytes()) == string(b.SignedBytes())
}

// withoutKeys says that votes cannot be verified, and finds it once.
func (v *verifier) withoutKeys() bool {
	t := v.options.Terms
	if len(t.Keys)+len(t.Signers)+len(t.UnsignedGates) > 0 || t.AllowUnsigned {
		return false
	}
	if !v.noKeys {
		v.noKeys = true
		v.report.add(Finding{Kind: NoKeys, What: "there are no public keys to verify votes with"})
	}
	return true
}

// noArguments is the wflo.CanonicalSHA256 of [].
const noArguments = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"

// judgeUse checks one action that began on an approval.
func (v *verifier) judgeUse(nonce string, t *gateTrail, u use) {
	for _, r := range t.revoked {
		v.findAt(nonce, u.at, Revoked, "%s acted on an approval that record %d takes back", u.Activity, r.Seq)
	}
	if first := t.uses[0]; first.Effect != u.Effect {
		v.findAt(nonce, u.at, UsedTwice, "effect %q acted on the approval that effect %q had used", u.Effect, first.Effect)
	}
	i := slices.IndexFunc(t.closed, func(e ending) bool { return e.gate.Granted() && e.gate.Digest == u.Digest })
	if i < 0 {
		kind := Unapproved
		if v.options.Part {
			kind = Partial // its end may be in another part
		}
		v.findAt(nonce, u.at, kind, "%s acted, and no approval of it is on record", u.Activity)
		return
	}
	g := t.closed[i].gate
	sum, err := wflo.CanonicalSHA256(g.Approval.Payload)
	ran := u.RanSHA256
	switch {
	case ran == noArguments && len(g.Approval.Payload) == 0, g.Approval.Activity == "" && ran == "":
		ran = sum // an activity that takes nothing, or a workflow that acts by itself
	case ran != "" && ran == u.ReadSHA256:
		ran = sum // its types read more or less of it than people saw
	}
	if err != nil || u.PayloadSHA256 != sum || ran != sum {
		v.findAt(nonce, u.at, Payload, "%s ran %.64q, and gate %s approved %.64q", u.Activity, u.RanSHA256, g.ID, sum)
	}
	if g.Approval.Activity != u.Activity {
		v.findAt(nonce, u.at, Payload, "%q acted on an approval for %q", u.Activity, g.Approval.Activity)
	}
	if u.at.At.After(g.UseBy) {
		v.findAt(nonce, u.at, Late, "%s began at %s, and the approval was good until %s", u.Activity, u.at.At.Format(time.RFC3339), g.UseBy.UTC().Format(time.RFC3339))
		return
	}
	if fault := t.closed[i].fault; fault != nil {
		v.findAt(nonce, u.at, Unapproved, "%v", fault)
	}
}

// compare holds the decisions on record against Temporal's history.
func (v *verifier) compare(ctx context.Context) error {
	if v.options.History == nil {
		return nil
	}
	type place struct{ workflowID, firstRunID string }
	recorded, where, order := map[place][]wflo.Decision{}, map[place]wflo.AuditRecord{}, []place(nil)
	for _, nonce := range v.nonce {
		t := v.gates[nonce]
		p := place{t.at.WorkflowID, t.at.FirstRunID}
		if _, ok := where[p]; !ok {
			where[p], order = t.at, append(order, p)
		}
		recorded[p] = append(recorded[p], t.decided...)
	}
	for _, p := range order {
		accepted, err := v.options.History.Decisions(ctx, p.workflowID, p.firstRunID)
		if errors.Is(err, fs.ErrNotExist) {
			v.report.Unchecked++
			continue
		}
		if err != nil {
			return fmt.Errorf("read the history of %s: %w", p.workflowID, err)
		}
		for _, d := range without(recorded[p], accepted) {
			v.findAt(d.Nonce, where[p], NotInHistory, "the decision of %q on gate %s is on record, and the history of %s does not have it", d.By, d.Gate, p.workflowID)
		}
		for _, d := range without(accepted, recorded[p]) {
			v.findAt(d.Nonce, where[p], Unrecorded, "the history of %s accepted a decision of %q on gate %s, which is not on record", p.workflowID, d.By, d.Gate)
		}
	}
	return nil
}

// without gives what is in a and not in b.
func without(a, b []wflo.Decision) (left []wflo.Decision) {
	for _, d := range a {
		if !slices.ContainsFunc(b, func(e wflo.Decision) bool { return alike(d, e) }) {
			left = append(left, d)
		}
	}
	return left
}
