package wflo

import (
	"fmt"
	"slices"
	"time"
)

// Admit says why the decision does not count at this gate under these terms at
// this moment, or nil when it does. It is pure, so workflow code may call it.
func (g Gate) Admit(d Decision, terms Terms, now time.Time) error {
	if err := g.admitPlace(d); err != nil {
		return err
	}
	if g.known(d) {
		return nil // it counted already, and counts once
	}
	if err := g.admitTime(d, now); err != nil {
		return err
	}
	groups, err := terms.Verify(d, g.Approval.SignedOnly)
	if err != nil {
		return err
	}
	if err := d.fresh(now); g.Version > 0 && err != nil {
		return err
	}
	if err := g.admitPerson(d, groups); err != nil {
		return err
	}
	if err := g.admitContent(d); err != nil {
		return err
	}
	return g.admitRoom(d)
}

// admitPlace refuses what is meant for another question.
func (g Gate) admitPlace(d Decision) error {
	switch {
	case d.Gate != g.ID:
		return Invalid("decision.gate", fmt.Sprintf("is %q, the gate is %q", d.Gate, g.ID), "copy gate, epoch and digest from the gate that was shown")
	case d.Epoch != g.Epoch:
		return Invalid("decision.epoch", fmt.Sprintf("is %d, the gate's is %d", d.Epoch, g.Epoch), "the run was restored since; decide again on what it asks now")
	case d.Nonce != "" && d.Nonce != g.Nonce:
		return Invalid("decision.nonce", "is not the gate's", "it was asked again since; look at it again")
	case g.known(d):
		return nil
	case d.Digest != g.Digest:
		return Invalid("decision.digest", "is not the gate's", "the action changed since it was shown; look at it again")
	case d.PayloadSHA256 != "" && d.PayloadSHA256 != g.payloadHash():
		return Invalid("decision.payload_sha256", "is not that of the gate's payload", "look at the action again")
	case (d.Signature != "" || d.Verdict == VerdictEdit) && g.Version > 0 && (d.Nonce == "" || d.PayloadSHA256 == ""):
		return Invalid("decision.nonce", "or payload_sha256 is missing", "copy both from the gate that was shown")
	}
	return nil
}

// known says that the gate counted the decision before.
func (g Gate) known(d Decision) bool {
	return g.Decision != nil && g.Decision.same(d) || slices.ContainsFunc(g.Votes, d.same) ||
		d.Verdict == VerdictEscalate && slices.Contains(g.Raised, d.RecordID(g.Nonce))
}

// admitTime refuses what comes late: all but a rejection of what has not begun. A gate
// whose time is up may still be open, because no worker was there to close it.
func (g Gate) admitTime(d Decision, now time.Time) error {
	if g.Status == GateOpen && g.Version > 0 && now.After(g.ExpiresAt) && d.Verdict != VerdictReject {
		return Invalid("decision", fmt.Sprintf("comes late: the time of gate %s was up at %s", g.ID, g.ExpiresAt.UTC().Format(time.RFC3339)), "nothing was changed")
	}
	if g.Status == GateOpen || g.Granted() && !g.Used && g.Version > 0 && d.Verdict == VerdictReject {
		return nil
	}
	if g.Granted() && d.Verdict == VerdictReject {
		return Invalid("decision", fmt.Sprintf("comes late: gate %s is %s, and the action has begun", g.ID, g.Status), "halt the run to stop what follows")
	}
	return Invalid("decision", fmt.Sprintf("comes late: gate %s is %s", g.ID, g.Status), "nothing was changed")
}

// admitPerson refuses who may not decide.
func (g Gate) admitPerson(d Decision, groups []string) error {
	switch {
	case d.By == "":
		return Invalid("decision.by", "is empty", "name the person who decides")
	case nameProblem(d.By) != "":
		return Invalid("decision.by", nameProblem(d.By), "use a short plain name")
	case garbled(d.By):
		return Invalid("decision.by", "is not Unicode", "use a short plain name")
	case !g.Eligible(d.By, groups):
		return Invalid("decision.by", fmt.Sprintf("is %q, who is not an approver of this gate", d.By), fmt.Sprintf("ask one of %v", g.askedNow()))
	case d.Verdict.affirms() && g.excluded(d.By):
		return Invalid("decision.by", fmt.Sprintf("is %q, who asked for this or changed it", d.By), "four eyes are needed: somebody else must approve")
	}
	for _, v := range g.Votes {
		if v.By == d.By && d.Signature != "" && d.At.Before(v.At) {
			return Invalid("decision", fmt.Sprintf("is older than another: %s has said %s since", d.By, v.Verdict), "decide again; the latest word counts")
		}
		if v.By == d.By && v.Verdict == d.Verdict && v.Verdict != VerdictRespond && d.Verdict != VerdictEdit {
			return Invalid("decision", fmt.Sprintf("comes twice: %s has said %s already", d.By, d.Verdict), "nothing was changed; others must decide too")
		}
	}
	return nil
}

func (g Gate) askedNow() []string {
	var names []string
	for _, f := range g.sets(g.Level) {
		names = append(names, f.Approvers...)
	}
	return names
}

const (
	// maxCounted bounds the decisions that count at one gate: each is an activity and a
	// notice, and Temporal bounds what happens in a run.
	maxCounted = 200
	// maxVotes bounds, in bytes, what all voters together write, because the gate with
	// its votes goes into history.
	maxVotes = 512 << 10
)

// admitRoom refuses what could go on without end. A rejection always counts: it brings
// the end nearer.
func (g Gate) admitRoom(d Decision) error {
	if g.Version == 0 || d.Verdict == VerdictReject {
		return nil
	}
	if d.Verdict == VerdictAck && g.AckedBy != "" && g.AckedBy != d.By {
		return Invalid("decision.verdict", fmt.Sprintf("is ack, and %s looks at it already", g.AckedBy), "approve, reject or escalate")
	}
	if g.Counted >= maxCounted {
		return Invalid("decision", fmt.Sprintf("is one too many: gate %s has counted %d", g.ID, g.Counted), "reject, and let the run ask again")
	}
	written := d.written()
	for _, v := range g.votesOfOthers(d.By) {
		written += v.written()
	}
	if written > maxVotes {
		return Invalid("decision", fmt.Sprintf("is too long: with it people would have written %d bytes at gate %s", written, g.ID), "write less")
	}
	return nil
}

// admitContent refuses what the decision says.
func (g Gate) admitContent(d Decision) error {
	answers := g.Answers()
	switch {
	case !slices.Contains(answers, d.Verdict) && d.Verdict != VerdictEscalate && d.Verdict != VerdictAck:
		return Invalid("decision.verdict", fmt.Sprintf("is %q", string(d.Verdict)), fmt.Sprintf("this gate takes %v", answers))
	case d.Verdict == VerdictReject && g.Approval.ReasonRequired && d.Reason == "":
		return Invalid("decision.reason", "is empty", "say why, with --reason")
	case d.Verdict == VerdictEscalate && g.Level >= len(g.Approval.Escalation):
		return Invalid("decision.verdict", "is escalate, and there is nobody left to ask", "approve or reject")
	}
	if err := d.fit(); err != nil || d.Verdict != VerdictEdit {
		return err
	}
	sum, err := CanonicalSHA256(d.Edit)
	switch {
	case err != nil:
		return Invalid("decision.edit", err.Error(), "give the whole payload as it shall be, as JSON")
	case sum == g.payloadHash():
		return Invalid("decision.edit", "changes nothing", "approve instead")
	}
	return nil
}

// Answers are the verdicts that the gate asks for.
func (g Gate) Answers() []Verdict {
	if len(g.Approval.Answers) == 0 {
		return []Verdict{VerdictApprove, VerdictReject}
	}
	return g.Approval.Answers
}

// Apply gives the gate after a decision, or why the decision does not count. One
// that was counted before changes nothing and is no error.
func (g Gate) Apply(d Decision, terms Terms, now time.Time) (Gate, error) {
	if err := g.Admit(d, terms, now); err != nil || g.known(d) {
		return g, err
	}
	if d.Verdict == VerdictAck && g.AckedBy == d.By {
		return g, nil
	}
	g.Changes++
	g.Counted++
	switch d.Verdict {
	case VerdictEscalate:
		if d.ID != "" || d.Signature != "" {
			g.Raised = append(slices.Clone(g.Raised), d.RecordID(g.Nonce))
		}
		return g.escalate(now), nil
	case VerdictAck:
		g.AckedBy = d.By
		return g, nil
	case VerdictEdit:
		g = g.edited(d)
	default:
		g.Votes = append(g.votesOfOthers(d.By), d)
	}
	return g.resolve(d, terms, now), nil
}

func (g Gate) votesOfOthers(by string) []Decision {
	return slices.DeleteFunc(slices.Clone(g.Votes), func(v Decision) bool { return v.By == by })
}

// edited is the gate with another payload. The votes were for the old one; the
// editor's counts for the new one, unless the gate asks for four eyes.
func (g Gate) edited(d Decision) Gate {
	if g.Revision == 0 {
		g.Original = g.Approval.Payload
	}
	g.Revision++
	g.Approval.Payload = slices.Clone(d.Edit)
	g.Votes = []Decision{d}
	if g.Approval.FourEyes {
		g.Votes = nil
	}
	if !slices.Contains(g.Requesters, d.By) {
		g.Requesters = append(slices.Clone(g.Requesters), d.By)
	}
	g.Digest = g.ComputeDigest()
	return g
}

// resolve closes the gate when the votes say so.
func (g Gate) resolve(d Decision, terms Terms, now time.Time) Gate {
	denials := 0
	for _, v := range g.Votes {
		if v.Verdict == VerdictReject {
			denials++
		}
	}
	switch {
	case g.Granted(): // a rejection after the fact
		g.Status = GateRevoked
	case denials >= max(g.Approval.Denials, 1):
		g.Status = GateRejected
	case g.approved(g.ballots(terms)):
		g.Status = GateApproved
		if d.Verdict == VerdictRespond {
			g.Status = GateAnswered
		}
		g.UseBy = now.Add(g.expiry())
	default:
		return g
	}
	g.Decision, g.ClosedAt = &d, now
	return g
}

func (g Gate) expiry() time.Duration {
	if g.Approval.Expiry == 0 {
		return DefaultApprovalExpiry
	}
	return g.Approval.Expiry
}

// GateEvent is what time brings to a gate.
type GateEvent string

// The events.
const (
	EventReminder GateEvent = "reminder"
	EventEscalate GateEvent = "escalate"
	EventTimeout  GateEvent = "timeout"
)

// Next is what time brings to an open gate next, and when.
func (g Gate) Next() (at time.Time, what GateEvent) {
	at, what = g.ExpiresAt, EventTimeout
	if g.AckedBy != "" {
		return at, what
	}
	if g.Level < len(g.Approval.Escalation) {
		if after := g.Approval.Escalation[g.Level].After; after > 0 && g.OpenedAt.Add(after).Before(at) {
			at, what = g.OpenedAt.Add(after), EventEscalate
		}
	}
	if left := g.reminders(); g.Reminded < len(left) {
		due := g.LevelAt.Add(g.ExpiresAt.Sub(g.LevelAt) / 100 * time.Duration(left[g.Reminded]))
		if due.Before(at) {
			at, what = due, EventReminder
		}
	}
	return at, what
}

// reminders are in percent of the time from the present level to the end.
func (g Gate) reminders() []int {
	if g.Version == 0 || len(g.Approval.Notify) == 0 {
		return nil
	}
	if g.Approval.Reminders == nil {
		return []int{50, 90}
	}
	return g.Approval.Reminders
}

// Pass gives the gate after the event that Next named, at its moment or later.
func (g Gate) Pass(what GateEvent, now time.Time) Gate {
	if g.Status != GateOpen {
		return g
	}
	g.Changes++
	switch what {
	case EventReminder:
		g.Reminded++
	case EventEscalate:
		return g.reach(now)
	case EventTimeout:
		switch {
		case g.Approval.OnTimeout == OnTimeoutEscalate && g.Level < len(g.Approval.Escalation):
			return g.escalate(now)
		case g.Approval.OnTimeout == OnTimeoutApprove && g.Approval.Risk == RiskLow:
			g.Status, g.ClosedAt, g.UseBy = GateApproved, now, now.Add(g.expiry())
		default:
			g.Status, g.ClosedAt = GateTimedOut, now
		}
	}
	return g
}

// escalate asks the next level and gives it the gate's whole time.
func (g Gate) escalate(now time.Time) Gate {
	g.ExpiresAt = now.Add(g.Approval.Timeout)
	return g.reach(now)
}

// reach asks the next level.
func (g Gate) reach(now time.Time) Gate {
	g.Level++
	g.LevelAt, g.Reminded, g.AckedBy = now, 0, ""
	return g
}

// Refuse counts a decision that did not count.
func (g Gate) Refuse(reason error) Gate {
	g.Changes++
	g.Refused++
	g.LastRefusal = reason.Error()
	return g
}
