package wflo

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// AuditType says what was recorded.
type AuditType string

// What is recorded.
const (
	AuditGateOpened    AuditType = "approval.requested"
	AuditGateReminded  AuditType = "approval.reminded"
	AuditGateEscalated AuditType = "approval.escalated"
	AuditGateViewed    AuditType = "approval.viewed"
	AuditGateSent      AuditType = "approval.sent"    // signed, and handed to its run, which has not answered
	AuditGateDecided   AuditType = "approval.decided" // a decision that counted
	AuditGateRefused   AuditType = "approval.refused" // one that did not
	AuditGateClosed    AuditType = "approval.closed"
	AuditGrantUsed     AuditType = "approval.used" // the action began
	AuditGrantRevoked  AuditType = "approval.revoked"
	AuditGrantRefused  AuditType = "approval.use_refused"
	AuditPolicyRuled   AuditType = "policy.ruled"
	AuditPolicyLoaded  AuditType = "policy.loaded"
	AuditNoticeDead    AuditType = "notice.dead"
	// AuditRunHalted says that a run was halted, by a person or a policy, and
	// AuditRunCancelAsked that a person asked one to end. Their data is an AuditControl.
	AuditRunHalted      AuditType = "run.halted"
	AuditRunCancelAsked AuditType = "run.cancel_asked"
	AuditLogin          AuditType = "login"
	AuditLoginRefused   AuditType = "login.refused"
	AuditKeyMade        AuditType = "key.made"
	AuditKeyRevoked     AuditType = "key.revoked"
	// AuditCompensationDead and those after it say what becomes of compensations. Their
	// data is an AuditCompensation.
	AuditCompensationDead     AuditType = "compensation.dead_letter"
	AuditCompensationRetried  AuditType = "compensation.retried"
	AuditCompensationResolved AuditType = "compensation.resolved" // a person undid it by hand
	AuditCompensationSkipped  AuditType = "compensation.skipped"  // a person lets the effect stay
	AuditSnapshotTaken        AuditType = "snapshot.taken"
	AuditSnapshotPinned       AuditType = "snapshot.pinned"
	AuditSnapshotUnpinned     AuditType = "snapshot.unpinned"
	AuditSnapshotDropped      AuditType = "snapshot.dropped" // by a person; retention does it without a word
	AuditRestoreAsked         AuditType = "restore.asked"
	AuditRestoreNoted         AuditType = "restore.noted" // how far it is
	AuditRestoreEnded         AuditType = "restore.ended"
	// AuditBoxMoved says that the sandbox of a run went to another host, because its own
	// was gone. Its data is an AuditMove.
	AuditBoxMoved AuditType = "sandbox.moved"
)

// AuditEvent is something that is to be recorded.
type AuditEvent struct {
	// ID makes recording it again harmless. Required.
	ID string `json:"id"`
	// Chain is the tenant whose trail it belongs to: the run's org, or "main".
	Chain string `json:"chain"`
	// At is when it happened, by the clock of whoever records it.
	At       time.Time `json:"at"`
	Type     AuditType `json:"type"`
	Severity Severity  `json:"severity,omitempty"`
	// Actor is who did it: a subject, or "worker", "timer", "policy NAME".
	Actor string `json:"actor,omitempty"`
	// Namespace, WorkflowID, FirstRunID, Step and Gate say where; empty where it
	// does not belong to a run.
	Namespace  string `json:"namespace,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
	FirstRunID string `json:"first_run_id,omitempty"`
	Step       string `json:"step,omitempty"`
	Gate       string `json:"gate,omitempty"`
	// Data is the rest, by type: an [AuditGate], [AuditDecision] or [AuditUse], a
	// Ruling. A JSON object without secrets. It is kept in canonical form.
	Data json.RawMessage `json:"data,omitempty"`
}

// AuditGate is the data of AuditGateOpened and AuditGateClosed: the whole gate, so
// that the records alone recompute its digest.
type AuditGate struct {
	Gate Gate `json:"gate"`
}

// AuditDecision is the data of AuditGateSent, AuditGateDecided and AuditGateRefused.
type AuditDecision struct {
	// Gate is the gate's nonce; empty where a refused decision met no gate.
	Gate string `json:"gate"`
	// Digest is the gate's when the decision arrived.
	Digest   string   `json:"digest"`
	Decision Decision `json:"decision"`
	// Error is why it did not count. A refusal without a reason is a finding.
	Error string `json:"error,omitempty"`
	// Channel is where it came in: page, api, slack. Address is the peer's.
	Channel string `json:"channel,omitempty"`
	Address string `json:"address,omitempty"`
}

// AuditUse is the data of AuditGrantUsed, AuditGrantRefused and AuditGrantRevoked.
type AuditUse struct {
	Gate   string `json:"gate"`   // the nonce
	Digest string `json:"digest"` // of the gate as it was used
	// PayloadSHA256 is the [CanonicalSHA256] of what was approved, and RanSHA256 of
	// what the activity got, written out again: its one argument, or an array of several.
	PayloadSHA256 string `json:"payload_sha256"`
	RanSHA256     string `json:"ran_sha256,omitempty"`
	// ReadSHA256 is of what was approved as the activity's own types read it, where
	// that differs from what people saw: types leave out members that they do not know,
	// and write those that were not given.
	ReadSHA256 string `json:"read_sha256,omitempty"`
	// Activity and Effect say who acted; empty where the workflow did, or nobody.
	Activity string    `json:"activity,omitempty"`
	Effect   EffectKey `json:"effect,omitempty"`
	// Error is why it was refused. A refusal without a reason is a finding.
	Error string `json:"error,omitempty"`
}

// AuditControl is the data of AuditRunHalted and AuditRunCancelAsked.
type AuditControl struct {
	// RunID is that of the run that was told, of the chain of its first one.
	RunID  string `json:"run_id,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Policy is the policy that halted it; empty for a person.
	Policy string `json:"policy,omitempty"`
	// Channel is where a person asked: page, api. Address is the peer's.
	Channel string `json:"channel,omitempty"`
	Address string `json:"address,omitempty"`
}

// AuditCompensation is the data of what became of a compensation. State is the one
// that it was in then; Reason is the error of a dead letter, or a person's words.
type AuditCompensation struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Activity string            `json:"activity"`
	State    CompensationState `json:"state"`
	Height   int               `json:"height,omitempty"`
	Reason   string            `json:"reason,omitempty"`
}

// AuditMove is the data of AuditBoxMoved.
type AuditMove struct {
	Box  string `json:"box"`
	From string `json:"from"` // names of hosts
	To   string `json:"to"`
	// SavedAt is from when the files are that the box has now; zero for a box that never
	// had any, and for one that goes back to a snapshot.
	SavedAt time.Time `json:"saved_at,omitzero"`
}

// AuditRecord is an event in its chain.
type AuditRecord struct {
	AuditEvent
	// Seq counts the records of the chain from 1, without gaps.
	Seq int64 `json:"seq"`
	// Prev is the hash of the record before; of the first one, 64 zeros. Hash is
	// the SHA-256, in hex, of Prev, a line end, and the canonical form of the
	// record without Prev and Hash.
	Prev string `json:"prev,omitempty"`
	Hash string `json:"hash,omitempty"`
}

// AuditQuery selects records. The zero value means all.
type AuditQuery struct {
	Chain      string
	WorkflowID string
	Type       AuditType
	From, To   time.Time // To is not included
	// After is the last Seq that was seen, for reading on in either direction; without
	// a Chain it is CodeInvalid.
	After int64
	// Limit is the most records; zero means 1000.
	Limit int
	// Latest gives the newest first; else the oldest.
	Latest bool
}

// Checkpoint says how far a chain has come. It is signed and kept in a second
// place, because cutting the end off a chain leaves a shorter chain that is right.
type Checkpoint struct {
	Chain string    `json:"chain"`
	Seq   int64     `json:"seq"`
	Hash  string    `json:"hash"`
	At    time.Time `json:"at"`
	// Key and Signature are the signer's name and the Ed25519 signature, in base64.
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

func (c Checkpoint) signedBytes() []byte {
	return []byte(hashParts("wflo.checkpoint.v1", c.Chain, fmt.Sprint(c.Seq), c.Hash, c.At.UTC().Format(time.RFC3339Nano), c.Key))
}

// Sign returns the checkpoint signed with key under the given name. The key is not
// the worker's: who can write the trail must not be able to vouch for it.
func (c Checkpoint) Sign(name string, key ed25519.PrivateKey) Checkpoint {
	c.Key = name
	c.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, c.signedBytes()))
	return c
}

// Verify says why the checkpoint is not proved by keys, which map names to Ed25519
// public keys in base64.
func (c Checkpoint) Verify(keys map[string]string) error {
	pub, err := base64.StdEncoding.DecodeString(keys[c.Key])
	if err != nil || len(pub) != ed25519.PublicKeySize {
		return Invalid("checkpoint.key", fmt.Sprintf("%q is not one of those given", c.Key), "give the public key of whoever signs checkpoints")
	}
	sig, err := base64.StdEncoding.DecodeString(c.Signature)
	if err != nil || !ed25519.Verify(pub, c.signedBytes(), sig) {
		return Invalid("checkpoint.signature", "does not verify", "the checkpoint was changed, or the key is another")
	}
	return nil
}

// AuditChain gives the chain of a run's records.
func (r Run) AuditChain() string { return auditChain(r.Org) }

func auditChain(org string) string {
	if org == "" {
		return "main"
	}
	return org
}

// AuditChain gives the chain of a gate's records.
func (g Gate) AuditChain() string { return auditChain(g.Org) }
