package wflo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// gateVersion is that of gates that are made today. Gates of version 0 are those
// of histories that were recorded before gates had levels, votes and revisions; the
// digest of version 2 did not cover who is behind the run.
const gateVersion = 3

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
	// GateRevoked is approved, and rejected before the action began.
	GateRevoked GateStatus = "revoked"
	// GateExpired is approved, and too late for the action.
	GateExpired GateStatus = "expired"
)

// Gate is an approval as it was shown to people: the question, what a decision
// must name to count, and the votes so far. The nonce is drawn when the gate opens,
// so a decision for an earlier opening of the same gate with the same payload (after
// a reset, say) has another digest and is refused.
//
// A gate changes by [Gate.Decide]d decisions through [Gate.Apply] and by time
// through [Gate.Pass]. Both are pure: workflow code, the activity that acts on an
// approval and whoever verifies the records come to the same result.
type Gate struct {
	ID         string   `json:"id"`
	Version    int      `json:"version,omitempty"`
	Epoch      int      `json:"epoch"`
	Namespace  string   `json:"namespace,omitempty"`
	WorkflowID string   `json:"workflow_id"`
	FirstRunID string   `json:"first_run_id"`
	Workflow   string   `json:"workflow,omitempty"` // the workflow type
	Step       string   `json:"step,omitempty"`
	Nonce      string   `json:"nonce"`
	Digest     string   `json:"digest"`
	Approval   Approval `json:"approval"`
	User       string   `json:"user,omitempty"` // for whom the run acts
	Org        string   `json:"org,omitempty"`
	// Requesters are those who cannot approve where the gate asks for four eyes:
	// the people behind the run, and who edited the payload.
	Requesters []string `json:"requesters,omitempty"`
	// Revision counts edits; Original is the payload before the first.
	Revision int             `json:"revision,omitempty"`
	Original json.RawMessage `json:"original,omitempty"`
	// Changes counts what happened to the gate, so that an index of gates never
	// takes an older state for a newer one.
	Changes int `json:"changes,omitempty"`
	// Counted is how many decisions have counted, which is bounded.
	Counted int `json:"counted,omitempty"`

	OpenedAt  time.Time  `json:"opened_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	ClosedAt  time.Time  `json:"closed_at,omitzero"`
	Status    GateStatus `json:"status"`
	// UseBy is until when the action may begin; zero unless approved.
	UseBy time.Time `json:"use_by,omitzero"`
	// Used says that the action has begun, so that nothing can stop it here.
	Used bool `json:"used,omitempty"`
	// Level is how many levels of the escalation have been asked, and LevelAt when
	// the latest was.
	Level   int       `json:"level,omitempty"`
	LevelAt time.Time `json:"level_at,omitzero"`
	// Raised are the decisions that escalated the gate, by [Decision.RecordID], so that
	// one that is sent again does not do it again.
	Raised []string `json:"raised,omitempty"`
	// Reminded is how many reminders the present level got.
	Reminded int    `json:"reminded,omitempty"`
	AckedBy  string `json:"acked_by,omitempty"`
	// Votes are the latest decision of each person, on the present revision.
	Votes []Decision `json:"votes,omitempty"`
	// Decision is the one that counted; nil while the gate is open or when it
	// timed out.
	Decision *Decision `json:"decision,omitempty"`
	// Refused counts decisions that did not count, with the last one's reason.
	Refused     int    `json:"refused,omitempty"`
	LastRefusal string `json:"last_refusal,omitempty"`
}

// ComputeDigest is the SHA-256, in hex, of what the gate shows and where it
// belongs: workflow, first run, gate, epoch, nonce, revision, question, payload, and
// those who cannot approve where four eyes are asked for.
func (g Gate) ComputeDigest() string {
	if g.Version == 0 {
		return hashParts(g.WorkflowID, g.FirstRunID, g.ID, fmt.Sprint(g.Epoch), g.Nonce,
			g.Approval.Action, g.Approval.Details, string(g.Approval.Payload))
	}
	return g.digestOf(g.Revision, g.payloadHash(), g.Requesters)
}

// digestOf is the digest of a revision of the gate with its own question.
func (g Gate) digestOf(revision int, payloadHash string, requesters []string) string {
	parts := []string{
		"wflo.gate.v2", g.Namespace, g.WorkflowID, g.FirstRunID, g.ID, fmt.Sprint(g.Epoch), g.Nonce,
		fmt.Sprint(revision), g.questionHash(), payloadHash,
	}
	if g.Version > 2 {
		parts[0] = "wflo.gate.v3"
		parts = append(parts, requesters...)
	}
	return hashParts(parts...)
}

// questionHash is over all of the approval but its payload: who may decide is as
// much a part of what people agree to as what will be done.
func (g Gate) questionHash() string {
	a := g.Approval
	a.Payload = nil
	if form, err := Canonical(a.Form); err == nil {
		a.Form = form // as records keep it, so that they recompute the digest
	}
	data, err := json.Marshal(a)
	if err != nil {
		return "" // no field can fail; a digest of nothing matches nothing
	}
	return hashParts(string(data))
}

// payloadHash is "" where the payload cannot be put into canonical form, which
// Approval.Validate refuses.
func (g Gate) payloadHash() string {
	sum, err := CanonicalSHA256(g.Approval.Payload)
	if err != nil {
		return ""
	}
	return sum
}

func hashParts(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		// The length prefix keeps ("ab","c") apart from ("a","bc").
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Ask makes the gate of an approval that opens at a moment: everything but the
// nonce and the digest, which whoever opens it adds with [Gate.Seal].
func (r Run) Ask(id string, a Approval, at time.Time) Gate {
	if a.Timeout == 0 {
		a.Timeout = DefaultApprovalTimeout
	}
	a.Action, a.Details = legible(a.Action), legible(a.Details)
	g := Gate{
		ID: id, Version: gateVersion, Epoch: r.Epoch, Namespace: r.Namespace, WorkflowID: r.WorkflowID, FirstRunID: r.FirstRunID,
		Workflow: r.Workflow, Step: r.Step, Approval: a, User: r.User, Org: r.Org,
		OpenedAt: at, ExpiresAt: at.Add(a.Timeout), LevelAt: at, Status: GateOpen,
	}
	for _, name := range append([]string{r.User}, r.Principals...) {
		if name != "" && !slices.Contains(g.Requesters, name) {
			g.Requesters = append(g.Requesters, name)
		}
	}
	return g
}

// legible puts a question mark for what is not Unicode: models and programs write
// it at times, and records would not keep it.
func legible(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\uFFFD", "?")
}

// Seal gives the gate its nonce and digest. After it nothing that people are shown
// may change.
func (g Gate) Seal(nonce string) Gate {
	g.Nonce = nonce
	g.Digest = g.ComputeDigest()
	return g
}

// Satisfiable says why nobody could ever approve the gate, or nil. Groups whose
// members the terms do not list are taken to have enough.
func (g Gate) Satisfiable(terms Terms) error {
	if g.Approval.FourEyes && len(g.Requesters) == 0 {
		return Invalid("approval.four_eyes", "is set, and nobody is known for whom the run acts", "start the run with a user")
	}
	for _, f := range g.sets(len(g.Approval.Escalation)) {
		names, known := map[string]bool{}, len(f.Approvers) > 0
		for _, approver := range f.Approvers {
			members := []string{approver}
			if group, ok := GroupOf(approver); ok {
				if members = terms.Groups[group]; members == nil {
					known = false
				}
			}
			for _, m := range members {
				names[m] = names[m] || !g.Approval.FourEyes || !slices.Contains(g.Requesters, m)
			}
		}
		able := 0
		for _, may := range names { //workflowcheck:ignore counts, in no order
			if may {
				able++
			}
		}
		if known && able < f.quorum() {
			return Invalid("approval.quorum", fmt.Sprintf("needs %d of %v, of whom %d may approve", f.quorum(), f.Approvers, able),
				"name more approvers; those behind the run do not count where four eyes are asked for")
		}
	}
	return nil
}

func (f Factor) quorum() int { return max(f.Quorum, 1) }

// sets are the sets of approvers that each must approve, with the first levels of
// the escalation.
func (g Gate) sets(levels int) []Factor {
	first := Factor{Approvers: slices.Clone(g.Approval.Approvers), Quorum: g.Approval.Quorum}
	if len(first.Approvers) > 0 { // else anybody may already
		for _, l := range g.Approval.Escalation[:min(levels, len(g.Approval.Escalation))] {
			first.Approvers = append(first.Approvers, l.Approvers...)
		}
	}
	if len(first.Approvers) == 0 && len(g.Approval.Factors) > 0 && g.Approval.Quorum == 0 {
		return g.Approval.Factors
	}
	return append([]Factor{first}, g.Approval.Factors...)
}

// admits says whether a person belongs to the set.
func (f Factor) admits(by string, groups []string) bool {
	if len(f.Approvers) == 0 {
		return true
	}
	return slices.ContainsFunc(f.Approvers, func(approver string) bool {
		if group, ok := GroupOf(approver); ok {
			return slices.Contains(groups, group)
		}
		return approver == by
	})
}

// Eligible says whether a person with these groups may decide at the gate as it is
// now.
func (g Gate) Eligible(by string, groups []string) bool {
	return slices.ContainsFunc(g.sets(g.Level), func(f Factor) bool { return f.admits(by, groups) })
}

// MayDecide names the users and groups of all sets and levels, sorted; nil means
// that anybody may decide. An index of gates finds them by these.
func (g Gate) MayDecide() []string {
	var names []string
	for _, f := range g.sets(len(g.Approval.Escalation)) {
		if len(f.Approvers) == 0 {
			return nil
		}
		names = append(names, f.Approvers...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Need says how many approvals the gate has, and how many it takes, over all its
// sets of approvers.
func (g Gate) Need(terms Terms) (have, need int) {
	all := g.ballots(terms)
	for _, f := range g.sets(g.Level) {
		need += f.quorum()
		have += min(f.count(all), f.quorum())
	}
	return have, need
}

// ballot is a vote for the action that proves who cast it.
type ballot struct {
	by     string
	groups []string
	// at is when it was signed; zero without a signature.
	at time.Time
}

// ballots are the votes that count under the terms. Signatures are what judging a gate
// spends its time on, so that each is looked at once.
func (g Gate) ballots(terms Terms) []ballot {
	var all []ballot
	for _, v := range g.Votes {
		if !v.Verdict.affirms() || g.excluded(v.By) {
			continue
		}
		groups, err := terms.Verify(v, g.Approval.SignedOnly)
		if err != nil {
			continue
		}
		b := ballot{by: v.By, groups: groups}
		if v.Signature != "" {
			b.at = v.At
		}
		all = append(all, b)
	}
	return all
}

// count is how many people of the set voted for the action. Each person counts once,
// however often a record names them.
func (f Factor) count(all []ballot) int {
	var by []string
	for _, b := range all {
		if f.admits(b.by, b.groups) && !slices.Contains(by, b.by) {
			by = append(by, b.by)
		}
	}
	return len(by)
}

// excluded says that a person may not approve here.
func (g Gate) excluded(by string) bool {
	return g.Approval.FourEyes && slices.Contains(g.Requesters, by)
}

// Excluded says that a person may reject here and not approve, because four eyes
// are needed.
func (g Gate) Excluded(by string) bool { return g.excluded(by) }

// Asked are the sets of approvers that each must approve, as the gate is now. One
// that names nobody means anybody.
func (g Gate) Asked() []Factor { return g.sets(g.Level) }

// Has says how many approvals of one of its sets the gate has.
func (g Gate) Has(f Factor, terms Terms) int { return f.count(g.ballots(terms)) }

// approved says that every set has its quorum.
func (g Gate) approved(all []ballot) bool {
	return !slices.ContainsFunc(g.sets(g.Level), func(f Factor) bool { return f.count(all) < f.quorum() })
}

// Closed says that the gate takes no more votes.
func (g Gate) Closed() bool { return g.Status != GateOpen }

// Granted says that the gate lets its action happen.
func (g Gate) Granted() bool { return g.Status == GateApproved || g.Status == GateAnswered }
