package audit

import (
	"cmp"
	"fmt"
	"slices"
)

// Kind names what is wrong.
type Kind string

// The kinds of findings.
const (
	// Tampered: the record does not have the hash that it says, or does not follow
	// the record before.
	Tampered Kind = "tampered"
	// Gap: records are missing between two; Order: one comes again, or too early.
	Gap   Kind = "gap"
	Order Kind = "order"
	// Truncated: a checkpoint is for a record that is not there any more.
	Truncated Kind = "truncated"
	// Rewritten: a record has its hash, and the checkpoint for it another.
	Rewritten Kind = "rewritten"
	// ForgedCheckpoint: a checkpoint that its key did not sign.
	ForgedCheckpoint Kind = "forged_checkpoint"
	// NotInHistory: a decision is on record that Temporal's history does not have.
	NotInHistory Kind = "not_in_history"

	// Partial: the chain does not begin at its first record.
	Partial Kind = "partial"
	// Unanchored: no checkpoint covers any of the chain.
	Unanchored Kind = "unanchored"
	// NoKeys: there are no keys to verify votes or checkpoints with.
	NoKeys Kind = "no_keys"
	// Malformed: the data is not what its type says.
	Malformed Kind = "malformed"
	// Unrecorded: something happened that is not on record: a request, a vote, the
	// end of a gate, a reason.
	Unrecorded Kind = "unrecorded"

	// Unapproved: an action began without an approval of it.
	Unapproved Kind = "unapproved"
	// Digest: what is on record does not have the digest that people were shown.
	Digest Kind = "digest"
	// Payload: what ran is not what was approved.
	Payload Kind = "payload"
	// ForgedVote: a vote does not prove who made it.
	ForgedVote Kind = "forged_vote"
	// Quorum: the votes are not enough, or one person's count twice.
	Quorum Kind = "quorum"
	// FourEyes: somebody approved what they asked for or changed.
	FourEyes Kind = "four_eyes"
	// Late: the action began after the approval had expired.
	Late Kind = "late"
	// Revoked: an approval was used that had been taken back.
	Revoked Kind = "revoked"
	// UsedTwice: two actions began on one approval.
	UsedTwice Kind = "used_twice"
)

// Class sorts findings, and whole reports by the worst of them.
type Class int

// The classes, from the best to the worst.
const (
	OK Class = iota
	// Incomplete: what is there is right, and not everything is there.
	Incomplete
	// Breach: the records are genuine, and they show that a rule was broken.
	Breach
	// Altered: the records are not those that were written.
	Altered
)

// Class gives the class of a kind.
func (k Kind) Class() Class {
	switch k {
	case Tampered, Gap, Order, Truncated, Rewritten, ForgedCheckpoint, NotInHistory:
		return Altered
	case Partial, Unanchored, NoKeys, Malformed, Unrecorded:
		return Incomplete
	case Unapproved, Digest, Payload, ForgedVote, Quorum, FourEyes, Late, Revoked, UsedTwice:
		return Breach
	}
	return Altered // what nobody knows is not right
}

// ExitCode is what a program ends with: 0 for OK, 20 altered, 21 incomplete, 22
// breach. The numbers below have other meanings for the command line.
func (c Class) ExitCode() int {
	switch c {
	case OK:
		return 0
	case Incomplete:
		return 21
	case Breach:
		return 22
	case Altered:
	}
	return 20
}

func (c Class) String() string {
	names := []string{"ok", "incomplete", "policy breach", "tampered"}
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("Class(%d)", int(c))
	}
	return names[c]
}

// Finding is one thing that is wrong.
type Finding struct {
	Chain string `json:"chain,omitempty"`
	// Seq is the record, or the first one that is missing; zero where it is about a
	// whole chain.
	Seq  int64  `json:"seq,omitempty"`
	Kind Kind   `json:"kind"`
	Gate string `json:"gate,omitempty"` // the nonce
	// What says it in one line.
	What string `json:"what"`
}

// maxFindings bounds a report; a chain that is cut to pieces has one per record.
const maxFindings = 10_000

// Report is what was found.
type Report struct {
	Findings []Finding `json:"findings,omitempty"`
	// More counts findings that the report has no room for.
	More int `json:"more,omitempty"`
	// Records and Chains count what was read; Checkpoints those that were verified
	// and fit; Uses the actions that began on approvals.
	Records     int64       `json:"records"`
	Chains      []ChainHead `json:"chains,omitempty"`
	Checkpoints int         `json:"checkpoints"`
	Uses        int         `json:"uses"`
	// Unused counts approvals of activities that never acted on them: harmless, and
	// worth a look where they are many.
	Unused int `json:"unused"`
	// Unchecked counts runs that Temporal has no history of any more.
	Unchecked int `json:"unchecked"`

	worst Class
}

// ChainHead says how far a chain goes, and how much of it a checkpoint covers.
type ChainHead struct {
	Chain    string `json:"chain"`
	First    int64  `json:"first"`
	Seq      int64  `json:"seq"`
	Hash     string `json:"hash"`
	Anchored int64  `json:"anchored"`
}

// Class is that of the worst finding.
func (r *Report) Class() Class { return r.worst }

func (r *Report) add(f Finding) {
	r.worst = max(r.worst, f.Kind.Class())
	if len(r.Findings) >= maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Chain, b.Chain), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Gate, b.Gate))
	})
}
