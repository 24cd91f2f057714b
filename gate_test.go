package wflo

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	gateTime = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	unsigned = Terms{AllowUnsigned: true}
)

// ask opens a gate for ann's run.
func ask(change func(*Approval)) Gate {
	a := Approval{
		Gate: "refunds", Action: "refund 3 charges", Payload: json.RawMessage(`{"total":"12.00"}`),
		Answers: []Verdict{VerdictApprove, VerdictReject, VerdictEdit, VerdictRespond},
	}
	if change != nil {
		change(&a)
	}
	r := Run{Namespace: "default", WorkflowID: "w", FirstRunID: "r", User: "ann", Principals: []string{"boss"}}
	return r.Ask(a.Gate, a, gateTime).Seal("nonce")
}

// apply decides one after the other; a step is "NAME VERDICT".
func apply(t *testing.T, g Gate, terms Terms, steps ...string) Gate {
	t.Helper()
	for _, s := range steps {
		by, verdict, _ := strings.Cut(s, " ")
		d := g.Decide(Verdict(verdict), by)
		d.Reason = "because"
		if d.Verdict == VerdictEdit {
			d.Edit = json.RawMessage(fmt.Sprintf(`{"total":"1.00","by":%q}`, by))
		}
		var err error
		if g, err = g.Apply(d, terms, gateTime); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return g
}

func TestGateCloses(t *testing.T) {
	trio := func(a *Approval) { a.Approvers, a.Quorum = []string{"ann", "bob", "cid", "group:ops"}, 2 }
	four := func(a *Approval) { trio(a); a.FourEyes = true }
	terms := Terms{AllowUnsigned: true, Groups: map[string][]string{"ops": {"dan", "eve"}}}
	tests := []struct {
		name   string
		change func(*Approval)
		steps  []string
		want   GateStatus
	}{
		{"one approves", nil, []string{"x approve"}, GateApproved},
		{"one rejects", nil, []string{"x reject"}, GateRejected},
		{"one answers", nil, []string{"x respond"}, GateAnswered},
		{"one of two", trio, []string{"bob approve"}, GateOpen},
		{"two of two", trio, []string{"bob approve", "cid approve"}, GateApproved},
		{"a member of a group counts", trio, []string{"bob approve", "dan approve"}, GateApproved},
		{"one denial is enough", trio, []string{"bob approve", "cid reject"}, GateRejected},
		{"two denials are needed", func(a *Approval) { trio(a); a.Denials = 2 }, []string{"bob approve", "cid reject"}, GateOpen},
		{"two denials", func(a *Approval) { trio(a); a.Denials = 2 }, []string{"bob reject", "cid reject"}, GateRejected},
		{"who changes their mind counts once", func(a *Approval) { trio(a); a.Denials = 2 }, []string{"bob reject", "bob approve", "cid approve"}, GateApproved},
		{"the requester may reject", four, []string{"ann reject"}, GateRejected},
		{"an edit approves for its editor", nil, []string{"x edit"}, GateApproved},
		{"an edit voids votes", trio, []string{"bob approve", "cid edit"}, GateOpen},
		{"and the editor's counts", trio, []string{"bob approve", "cid edit", "bob approve"}, GateApproved},
		{"but not where four eyes are asked for", four, []string{"bob approve", "cid edit", "bob approve"}, GateOpen},
		{"where two others decide", four, []string{"cid edit", "bob approve", "dan approve"}, GateApproved},
		{"every set must approve", func(a *Approval) { a.Approvers, a.Factors = []string{"bob"}, []Factor{{Approvers: []string{"cid"}}} }, []string{"bob approve"}, GateOpen},
		{"and does", func(a *Approval) { a.Approvers, a.Factors = []string{"bob"}, []Factor{{Approvers: []string{"cid"}}} }, []string{"bob approve", "cid approve"}, GateApproved},
		{"one person in two sets", func(a *Approval) {
			a.Approvers, a.Factors = []string{"bob"}, []Factor{{Approvers: []string{"bob", "cid"}}}
		}, []string{"bob approve"}, GateApproved},
		{"sets of policies alone", func(a *Approval) { a.Factors = []Factor{{Approvers: []string{"cid"}}} }, []string{"cid approve"}, GateApproved},
		{"a level is asked by hand", func(a *Approval) {
			a.Approvers, a.Escalation = []string{"bob"}, []Level{{Approvers: []string{"cid"}}}
		}, []string{"bob escalate", "cid approve"}, GateApproved},
		{"a rejection before the action begins", nil, []string{"x approve", "y reject"}, GateRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := apply(t, ask(tt.change), terms, tt.steps...)
			if g.Status != tt.want {
				t.Errorf("after %v the gate is %s; want %s", tt.steps, g.Status, tt.want)
			}
			if err := g.Authorizes(terms, gateTime); (err == nil) != g.Granted() {
				t.Errorf("a gate that is %s authorizes: %v", g.Status, err)
			}
		})
	}
}

// TestGateRefuses is the table of what must not count, signed by a console's key.
func TestGateRefuses(t *testing.T) {
	public, console, _ := ed25519.GenerateKey(nil)
	own, bobs, _ := ed25519.GenerateKey(nil)
	terms := Terms{
		Keys:    map[string]string{"console": base64.StdEncoding.EncodeToString(public)},
		Signers: map[string]Signer{"bob-laptop": {Public: base64.StdEncoding.EncodeToString(own), Subject: "bob", Groups: []string{"ops"}}},
	}
	g := ask(func(a *Approval) {
		a.Approvers, a.Quorum, a.FourEyes, a.ReasonRequired = []string{"ann", "boss", "bob", "cid", "group:ops"}, 2, true, true
	})
	var voted Gate
	{
		d := g.Decide(VerdictApprove, "cid")
		d.At = gateTime
		var err error
		if voted, err = g.Apply(d.Sign("console", console), terms, gateTime); err != nil {
			t.Fatal(err)
		}
	}
	good := func(change func(*Decision)) Decision {
		d := g.Decide(VerdictApprove, "bob")
		d.At = gateTime
		if change != nil {
			change(&d)
		}
		return d.Sign("console", console)
	}
	if _, err := g.Apply(good(nil), terms, gateTime); err != nil {
		t.Fatalf("a good decision: %v", err)
	}
	after := good(nil)
	after.Verdict = VerdictReject
	tests := []struct {
		name string
		g    Gate
		d    Decision
		want string
	}{
		{"unsigned", g, g.Decide(VerdictApprove, "bob"), "signature is missing"},
		{"forged", g, g.Decide(VerdictApprove, "bob").Sign("console", bobs), "does not verify"},
		{"changed after signing", g, after, "does not verify"},
		{"key that nobody knows", g, g.Decide(VerdictApprove, "bob").Sign("other", console), "not one that the worker trusts"},
		{"a person's key for somebody else", g, g.Decide(VerdictApprove, "cid").Sign("bob-laptop", bobs), "proves somebody else"},
		{"self-approval", g, good(func(d *Decision) { d.By = "ann" }), "four eyes"},
		{"approval by a principal", g, good(func(d *Decision) { d.By = "boss" }), "four eyes"},
		{"stranger", g, good(func(d *Decision) { d.By = "eve" }), "not an approver"},
		{"stranger in a wrong group", g, good(func(d *Decision) { d.By, d.Groups = "eve", []string{"dev"} }), "not an approver"},
		{"one person twice", voted, good(func(d *Decision) { d.By = "cid" }), "comes twice"},
		{"wrong gate", g, good(func(d *Decision) { d.Gate = "payout" }), "the gate is"},
		{"wrong epoch", g, good(func(d *Decision) { d.Epoch = 1 }), "epoch"},
		{"wrong digest", g, good(func(d *Decision) { d.Digest = strings.Repeat("0", 64) }), "digest"},
		{"wrong nonce", g, good(func(d *Decision) { d.Nonce = "other" }), "nonce"},
		{"wrong payload", g, good(func(d *Decision) { d.PayloadSHA256 = strings.Repeat("0", 64) }), "payload"},
		{"signed without saying for what", g, good(func(d *Decision) { d.Nonce, d.PayloadSHA256 = "", "" }), "is missing"},
		{"held back for an hour", g, good(func(d *Decision) { d.At = gateTime.Add(-time.Hour) }), "too old"},
		{"from the future", g, good(func(d *Decision) { d.At = gateTime.Add(time.Hour) }), "future"},
		{"without a time", g, good(func(d *Decision) { d.At = time.Time{} }), "at is missing"},
		{"rejection without a reason", g, good(func(d *Decision) { d.Verdict = VerdictReject }), "reason is empty"},
		{"edit of nothing", g, good(func(d *Decision) { d.Verdict = VerdictEdit }), "has 0 bytes"},
		{"edit that changes nothing", g, good(func(d *Decision) { d.Verdict, d.Edit = VerdictEdit, json.RawMessage(`{ "total": "12.00" }`) }), "changes nothing"},
		{"edit that people read otherwise than programs", g, good(func(d *Decision) { d.Verdict, d.Edit = VerdictEdit, json.RawMessage(`{"a":1,"a":2}`) }), "twice"},
		{"escalation without a level", g, good(func(d *Decision) { d.Verdict = VerdictEscalate }), "nobody left"},
		{"verdict that is none", g, good(func(d *Decision) { d.Verdict = "yes" }), "takes"},
		{"long reason", g, good(func(d *Decision) { d.Reason = strings.Repeat("x", 20<<10) }), "too long"},
		{"reason that is not Unicode", g, good(func(d *Decision) { d.Reason = "half\uFFFD" }), "not Unicode"},
		{"name with a control character", g, good(func(d *Decision) { d.By = "bob\n" }), "not valid text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after, err := tt.g.Apply(tt.d, terms, gateTime)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Apply = %v; want a refusal with %q", err, tt.want)
			}
			if after.Changes != tt.g.Changes || len(after.Votes) != len(tt.g.Votes) {
				t.Errorf("a refused decision changed the gate")
			}
			if err != nil && HintOf(err) == "" {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}

// TestGateAfterEdit shows that a decision on what was shown before an edit counts
// for nothing after it.
func TestGateAfterEdit(t *testing.T) {
	g := ask(func(a *Approval) { a.Quorum = 2 })
	before := g.Decide(VerdictApprove, "bob")
	edited := apply(t, g, unsigned, "cid edit")
	if _, err := edited.Apply(before, unsigned, gateTime); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a decision on the old payload gave %v", err)
	}
	if string(edited.Original) != `{"total":"12.00"}` || edited.Digest == g.Digest || edited.Digest != edited.ComputeDigest() {
		t.Errorf("the edit was not kept: %+v", edited)
	}
	granted := apply(t, edited, unsigned, "bob approve")
	granted.Approval.Payload = json.RawMessage(`{"total":"9999.00"}`)
	if err := granted.Authorizes(unsigned, gateTime); !errors.Is(err, ErrConflict) {
		t.Errorf("another payload than the approved one: %v", err)
	}
}

func TestGateAuthorizes(t *testing.T) {
	public, key, _ := ed25519.GenerateKey(nil)
	terms := Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}, Groups: map[string][]string{"ops": {"bob"}}}
	g := ask(func(a *Approval) { a.Approvers, a.Expiry = []string{"group:ops"}, time.Minute })
	d := g.Decide(VerdictApprove, "bob")
	d.At = gateTime
	g, err := g.Apply(d.Sign("console", key), terms, gateTime)
	if err != nil || g.Status != GateApproved {
		t.Fatalf("%s, %v", g.Status, err)
	}
	tests := []struct {
		name  string
		terms Terms
		now   time.Time
		want  error
	}{
		{"in time", terms, gateTime.Add(time.Minute), nil},
		{"too late", terms, gateTime.Add(time.Minute + 1), ErrApprovalExpired},
		{"the user was removed from the group", Terms{Keys: terms.Keys, Groups: map[string][]string{"ops": {"cid"}}}, gateTime, ErrApprovalRejected},
		{"the key is trusted no more", Terms{Groups: terms.Groups}, gateTime, ErrApprovalRejected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := g.Authorizes(tt.terms, tt.now); !errors.Is(err, tt.want) {
				t.Errorf("Authorizes = %v; want %v", err, tt.want)
			}
		})
	}
	forged := g
	forged.Votes = slices.Clone(g.Votes)
	forged.Votes[0].Digest = strings.Repeat("0", 64)
	if err := forged.Authorizes(terms, gateTime); err == nil {
		t.Error("a vote on another digest authorizes")
	}
}

func TestGateSatisfiable(t *testing.T) {
	terms := Terms{Groups: map[string][]string{"ops": {"ann", "bob"}, "one": {"ann"}}}
	tests := []struct {
		name   string
		change func(*Approval)
		want   string
	}{
		{"anybody", nil, ""},
		{"two of two without four eyes", func(a *Approval) { a.Approvers, a.Quorum = []string{"ann", "bob"}, 2 }, ""},
		{"two of two with the requester", func(a *Approval) { a.Approvers, a.Quorum, a.FourEyes = []string{"ann", "bob"}, 2, true }, "1 may approve"},
		{"a group with one other", func(a *Approval) { a.Approvers, a.FourEyes = []string{"group:ops"}, true }, ""},
		{"a group of the requester", func(a *Approval) { a.Approvers, a.FourEyes = []string{"group:one"}, true }, "0 may approve"},
		{"a group that nobody lists", func(a *Approval) { a.Approvers, a.FourEyes = []string{"group:far"}, true }, ""},
		{"the next level can", func(a *Approval) {
			a.Approvers, a.FourEyes, a.Escalation = []string{"ann"}, true, []Level{{Approvers: []string{"cid"}}}
		}, ""},
		{"a policy's set cannot", func(a *Approval) { a.FourEyes, a.Factors = true, []Factor{{Approvers: []string{"boss"}}} }, "0 may approve"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := ask(tt.change).Satisfiable(terms)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Satisfiable = %v; want %q", err, tt.want)
			}
		})
	}
	nobody := Run{WorkflowID: "w"}.Ask("g", Approval{Gate: "g", Action: "a", FourEyes: true}, gateTime)
	if err := nobody.Satisfiable(terms); err == nil {
		t.Error("four eyes without anybody behind the run")
	}
}

func TestGateTime(t *testing.T) {
	g := ask(func(a *Approval) {
		a.Timeout, a.OnTimeout, a.Notify = time.Hour, OnTimeoutEscalate, []string{"slack://ops"}
		a.Escalation = []Level{{After: 30 * time.Minute, Approvers: []string{"cid"}}, {Approvers: []string{"dan"}}}
	})
	var got []string
	for range 20 {
		at, what := g.Next()
		if g.Status != GateOpen {
			break
		}
		g = g.Pass(what, at)
		got = append(got, fmt.Sprintf("%s %s", at.Sub(gateTime), what))
	}
	want := []string{
		"30m0s escalate",                   // before the reminder at half the time, which is the same moment
		"45m0s reminder", "57m0s reminder", // of the second level, until the first timeout
		"1h0m0s timeout", // asks the third level, with a whole hour
		"1h30m0s reminder", "1h54m0s reminder", "2h0m0s timeout",
	}
	if !slices.Equal(got, want) {
		t.Errorf("time brought\n%q\nwant\n%q", got, want)
	}
	if g.Status != GateTimedOut || g.Level != 2 {
		t.Errorf("in the end it is %s at level %d", g.Status, g.Level)
	}
	acked := apply(t, ask(func(a *Approval) {
		a.Notify, a.Escalation = []string{"slack://ops"}, []Level{{After: time.Minute}}
	}), unsigned, "bob ack")
	if at, what := acked.Next(); what != EventTimeout || at != acked.ExpiresAt {
		t.Errorf("somebody looks at it, and still %s comes at %s", what, at)
	}
}

// model is the gate in the simplest words: who said what last on the present
// payload.
type model struct {
	last     map[string]Verdict
	revision int
	closed   string
}

// TestGateMachine walks gates by random decisions and events, and compares them
// with a model that counts votes in a map.
func TestGateMachine(t *testing.T) {
	people := []string{"ann", "bob", "cid", "dan", "eve"}
	rapid.Check(t, func(t *rapid.T) {
		quorum := rapid.IntRange(1, 3).Draw(t, "quorum")
		denials := rapid.IntRange(1, 2).Draw(t, "denials")
		four := rapid.Bool().Draw(t, "four eyes")
		g := ask(func(a *Approval) { a.Approvers, a.Quorum, a.Denials, a.FourEyes = people[:4], quorum, denials, four })
		m := model{last: map[string]Verdict{}}
		excluded := map[string]bool{"ann": four}
		for i := range rapid.IntRange(1, 25).Draw(t, "steps") {
			by := rapid.SampledFrom(people).Draw(t, "by")
			v := rapid.SampledFrom([]Verdict{VerdictApprove, VerdictReject, VerdictEdit}).Draw(t, "verdict")
			d := g.Decide(v, by)
			if v == VerdictEdit {
				d.Edit = json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))
			}
			stale := rapid.IntRange(0, 9).Draw(t, "stale") == 0
			if stale {
				d.Digest = "0000"
			}
			next, err := g.Apply(d, unsigned, gateTime)
			counts := !stale && by != "eve" && (v == VerdictReject || !excluded[by]) &&
				(m.last[by] != v || v == VerdictEdit) &&
				(m.closed == "" || m.closed == "approved" && v == VerdictReject)
			if (err == nil) != counts {
				t.Fatalf("step %d: %s %s on %+v gave %v; the model says %v", i, by, v, m, err, counts)
			}
			if err == nil {
				m.take(by, v, quorum, denials, four, excluded)
			}
			g = next
			if string(g.Status) != map[string]string{"": "open"}[m.closed]+m.closed {
				t.Fatalf("step %d: the gate is %s, the model %q", i, g.Status, m.closed)
			}
			if g.Revision != m.revision || g.Digest != g.ComputeDigest() {
				t.Fatalf("step %d: revision %d, the model's %d", i, g.Revision, m.revision)
			}
			if err := g.Authorizes(unsigned, gateTime); (err == nil) != (m.closed == "approved") {
				t.Fatalf("step %d: the gate is %s and authorizes: %v", i, g.Status, err)
			}
		}
	})
}

func (m *model) take(by string, v Verdict, quorum, denials int, four bool, excluded map[string]bool) {
	if m.closed == "approved" {
		m.closed = "revoked"
		return
	}
	if v == VerdictEdit {
		m.last, m.revision = map[string]Verdict{}, m.revision+1
		excluded[by] = four
		if four {
			return
		}
	}
	m.last[by] = v
	yes, no := 0, 0
	for _, said := range m.last {
		if said == VerdictReject {
			no++
		} else {
			yes++
		}
	}
	switch {
	case no >= denials:
		m.closed = "rejected"
	case yes >= quorum:
		m.closed = "approved"
	}
}
