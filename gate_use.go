package wflo

import (
	"slices"
	"time"
)

// Authorizes says why the gate, as it was when it closed, does not allow the action
// to begin now, or nil when it does. Whoever acts calls it with its present terms: a
// key or a member that was removed since does not count any more. What will be done
// must be Approval.Payload; comparing that is left to the caller.
func (g Gate) Authorizes(terms Terms, now time.Time) error {
	switch {
	case !g.Granted():
		return Errorf(CodeApprovalRejected, "ask again", "gate %s is %s", g.ID, g.Status)
	case g.Version != gateVersion || g.Digest != g.ComputeDigest():
		return Errorf(CodeConflict, "ask again", "gate %s: what was approved is not what it shows", g.ID)
	case g.UseBy.IsZero() || g.UseBy.After(g.ClosedAt.Add(g.expiry())):
		return g.stretched()
	case now.After(g.UseBy):
		return Errorf(CodeApprovalExpired, "ask again, or give the gate more time (expiry)", "gate %s: the approval was good until %s", g.ID, g.UseBy.UTC().Format(time.RFC3339))
	case g.Decision == nil && g.Approval.OnTimeout == OnTimeoutApprove && g.Approval.Risk == RiskLow:
		return nil // nobody decided, and that was agreed to
	}
	for _, v := range g.Votes {
		if v.Gate != g.ID || v.Epoch != g.Epoch || !g.voteIsOnThis(v) {
			return Errorf(CodeConflict, "ask again", "gate %s: the vote of %s is on something else", g.ID, v.By)
		}
	}
	all := g.ballots(terms)
	if !g.approved(all) {
		return Errorf(CodeApprovalRejected, "ask again; keys or members of groups changed since", "gate %s: the approvals that still count are not enough", g.ID)
	}
	if until, ok := g.signedUntil(all); ok && g.UseBy.After(until) {
		return g.stretched()
	}
	return nil
}

// stretched is the error of a gate whose approval is said to be good for longer than
// people gave it. UseBy is not in the digest, because it is not known when they vote.
func (g Gate) stretched() error {
	return Errorf(CodeConflict, "ask again", "gate %s: its approval is said to be good until %s, which is longer than it was given for",
		g.ID, g.UseBy.UTC().Format(time.RFC3339))
}

// signedUntil is the latest end of an approval whose last vote was signed when the
// votes say: that one counts for a while after. ok is false where one has no signature,
// and so nothing that proves its time.
func (g Gate) signedUntil(all []ballot) (until time.Time, ok bool) {
	for _, b := range all {
		if b.at.IsZero() {
			return time.Time{}, false
		}
		if b.at.After(until) {
			until = b.at
		}
	}
	return until.Add(g.expiry() + decisionAge + decisionSkew), len(all) > 0
}

// voteIsOnThis says that a vote is on the present revision: it names its digest, or
// it is the edit that led to it, made on the same question.
func (g Gate) voteIsOnThis(v Decision) bool {
	if v.Verdict != VerdictEdit {
		return v.Digest == g.Digest && len(v.Edit) == 0
	}
	sum, err := CanonicalSHA256(v.Edit)
	if err != nil || sum != g.payloadHash() || g.Revision < 1 || v.Nonce != g.Nonce || v.PayloadSHA256 == "" {
		return false
	}
	if v.Digest == g.digestOf(g.Revision-1, v.PayloadSHA256, g.Requesters) {
		return true // its editor was behind the run already
	}
	last := len(g.Requesters) - 1
	return last >= 0 && g.Requesters[last] == v.By && v.Digest == g.digestOf(g.Revision-1, v.PayloadSHA256, g.Requesters[:last])
}

// Continues says that the gate may be a later state of one that was kept before: the
// same opening, with the same question, and with the same payload unless it was edited
// since.
func (g Gate) Continues(before Gate) bool {
	return g.Nonce == before.Nonce && g.Version == before.Version && g.ID == before.ID && g.Epoch == before.Epoch &&
		g.Namespace == before.Namespace && g.WorkflowID == before.WorkflowID && g.FirstRunID == before.FirstRunID && g.Org == before.Org &&
		(g.Revision > before.Revision || g.Revision == before.Revision && g.Digest == before.Digest) &&
		len(g.Requesters) >= len(before.Requesters) && slices.Equal(g.Requesters[:len(before.Requesters)], before.Requesters) &&
		g.questionHash() == before.questionHash()
}
