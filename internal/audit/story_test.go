package audit_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

var (
	noon      = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	voteKey   = ed25519.NewKeyFromSeed([]byte("a key of the console, 32 bytes.."))
	otherKey  = ed25519.NewKeyFromSeed([]byte("a key of somebody else, 32 byte."))
	markKey   = ed25519.NewKeyFromSeed([]byte("a key that signs checkpoints, 32"))
	markKeys  = map[string]string{"marks": public(markKey)}
	auditor   = wflo.Terms{Keys: map[string]string{"console": public(voteKey)}}
	storyGate = "refunds"
)

func public(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// story is a refund that two of three approve and an activity pays, as it is
// recorded. A test spoils it before it is sealed.
type story struct {
	opened, closed wflo.Gate
	votes          []wflo.Decision
	uses           []wflo.AuditUse
	usedAt         time.Time
	revoked        bool
	more           []wflo.AuditEvent
	leaveOut       map[wflo.AuditType]bool
	run            wflo.Run
}

func newStory(t testing.TB) *story {
	t.Helper()
	s := &story{run: wflo.Run{Namespace: "default", WorkflowID: "wf", FirstRunID: "first", User: "ann"}, leaveOut: map[wflo.AuditType]bool{}}
	s.opened = s.run.Ask(storyGate, wflo.Approval{
		Gate: storyGate, Action: "refund <b>", Payload: json.RawMessage(`{"to": "Zoë", "amount": 12345678901234567890}`), Activity: "Refund",
		Approvers: []string{"bob", "cat", "dan"}, Quorum: 2, FourEyes: true, Form: json.RawMessage(`{"type":"object","a":1}`),
	}, noon)
	s.tell(t, "nonce")
	return s
}

// tell has two people approve the gate of a nonce, and the activity act.
func (s *story) tell(t testing.TB, nonce string) {
	t.Helper()
	s.opened = s.opened.Seal(nonce)
	s.closed, s.votes = s.opened, nil
	for i, by := range []string{"bob", "cat"} {
		s.vote(t, wflo.VerdictApprove, by, time.Duration(i+1)*time.Minute)
	}
	s.usedAt = noon.Add(3 * time.Minute)
	s.uses = []wflo.AuditUse{s.use(t, "effect")}
}

func (s *story) vote(t testing.TB, verdict wflo.Verdict, by string, after time.Duration) {
	t.Helper()
	d := s.closed.Decide(verdict, by)
	d.ID, d.At, d.Reason = fmt.Sprint(by, "-", len(s.votes)), noon.Add(after), "because"
	d = d.Sign("console", voteKey)
	next, err := s.closed.Apply(d, auditor, noon.Add(after))
	if err != nil {
		t.Fatal(err)
	}
	s.closed, s.votes = next, append(s.votes, d)
}

func (s *story) use(t testing.TB, effect wflo.EffectKey) wflo.AuditUse {
	t.Helper()
	sum, err := wflo.CanonicalSHA256(s.closed.Approval.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return wflo.AuditUse{Gate: s.closed.Nonce, Digest: s.closed.Digest, PayloadSHA256: sum, RanSHA256: sum, Activity: "Refund", Effect: effect}
}

func (s *story) events(t testing.TB) (all []wflo.AuditEvent) {
	t.Helper()
	add := func(kind wflo.AuditType, at time.Time, data any) {
		if s.leaveOut[kind] {
			return
		}
		text, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, wflo.AuditEvent{ID: fmt.Sprint(kind, len(all)), Chain: "main", At: at, Type: kind, Actor: "worker", Namespace: "default",
			WorkflowID: s.run.WorkflowID, FirstRunID: s.run.FirstRunID, Gate: storyGate, Data: text})
	}
	add(wflo.AuditGateOpened, noon, wflo.AuditGate{Gate: s.opened})
	for _, d := range s.votes {
		add(wflo.AuditGateDecided, d.At, wflo.AuditDecision{Gate: s.opened.Nonce, Digest: s.opened.Digest, Decision: d})
	}
	late := s.closed.Decide(wflo.VerdictApprove, "eve")
	add(wflo.AuditGateRefused, noon, wflo.AuditDecision{Gate: s.opened.Nonce, Digest: s.opened.Digest, Decision: late, Error: "comes late"})
	for _, u := range s.uses { // before the end of the gate: they do not wait for each other
		add(wflo.AuditGrantUsed, s.usedAt, u)
	}
	if s.revoked {
		add(wflo.AuditGrantRevoked, s.usedAt, wflo.AuditUse{Gate: s.opened.Nonce, Digest: s.opened.Digest})
	}
	add(wflo.AuditGateClosed, s.usedAt, wflo.AuditGate{Gate: s.closed})
	return append(all, s.more...)
}

func seal(t testing.TB, events ...wflo.AuditEvent) (records []wflo.AuditRecord) {
	t.Helper()
	heads := map[string]wflo.AuditRecord{}
	for _, e := range events {
		r, err := audit.Seal(heads[e.Chain], e)
		if err != nil {
			t.Fatal(err)
		}
		heads[e.Chain], records = r, append(records, r)
	}
	return records
}

// mark signs a checkpoint for a record.
func mark(r wflo.AuditRecord) wflo.Checkpoint {
	return wflo.Checkpoint{Chain: r.Chain, Seq: r.Seq, Hash: r.Hash, At: noon.Add(time.Hour)}.Sign("marks", markKey)
}

func each(records []wflo.AuditRecord) iter.Seq2[wflo.AuditRecord, error] {
	return func(yield func(wflo.AuditRecord, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func verify(t testing.TB, records []wflo.AuditRecord, o audit.Options) *audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), each(records), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func kinds(r *audit.Report) map[audit.Kind]bool {
	found := map[audit.Kind]bool{}
	for _, f := range r.Findings {
		found[f.Kind] = true
	}
	return found
}

// options are those of an auditor with a checkpoint of the last record.
func options(records []wflo.AuditRecord) audit.Options {
	return audit.Options{Terms: auditor, CheckpointKeys: markKeys, Checkpoints: []wflo.Checkpoint{mark(records[len(records)-1])}}
}
