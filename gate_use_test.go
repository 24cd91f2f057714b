package wflo

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// signer is a console whose key the terms trust.
type signer struct {
	key   ed25519.PrivateKey
	terms Terms
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, Terms{Keys: map[string]string{"console": base64.StdEncoding.EncodeToString(public)}}}
}

func (s signer) decide(t *testing.T, g Gate, v Verdict, by string, change func(*Decision)) Gate {
	t.Helper()
	d := g.Decide(v, by)
	d.At = gateTime
	if change != nil {
		change(&d)
	}
	g, err := g.Apply(d.Sign("console", s.key), s.terms, gateTime)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func editTo(payload string) func(*Decision) {
	return func(d *Decision) { d.Edit = json.RawMessage(payload) }
}

// TestEditIsOnItsQuestion: one editor's signed edit counts where it was made, and not as
// the approval of another question with the same payload.
func TestEditIsOnItsQuestion(t *testing.T) {
	s := newSigner(t)
	four := func(a *Approval) {
		a.Approvers, a.Quorum, a.Activity, a.Expiry = []string{"bob", "cid", "ann"}, 2, "Draft", time.Hour
	}
	for name, editor := range map[string]string{"an editor": "bob", "an editor who is behind the run": "ann"} {
		for name, before := range map[string]Gate{name: ask(four), name + ", after another edit": s.decide(t, ask(four), VerdictEdit, "cid", editTo(`{"total":"5.00"}`))} {
			t.Run(name, func(t *testing.T) {
				edited := s.decide(t, before, VerdictEdit, editor, editTo(`{"total":"1.00"}`))
				granted := s.decide(t, edited, VerdictApprove, "cid", nil)
				if granted.Status != GateApproved {
					t.Fatalf("the gate is %s", granted.Status)
				}
				if err := granted.Authorizes(s.terms, gateTime); err != nil {
					t.Fatalf("what people decided: %v", err)
				}
				for name, change := range map[string]func(*Gate){
					"another quorum":   func(g *Gate) { g.Approval.Quorum = 1 },
					"another activity": func(g *Gate) { g.Approval.Activity = "Pay" },
					"other approvers":  func(g *Gate) { g.Approval.Approvers = nil },
					"other requesters": func(g *Gate) { g.Requesters = nil },
					"another revision": func(g *Gate) { g.Revision += 3 },
					"another run":      func(g *Gate) { g.WorkflowID = "other" },
				} {
					forged := edited
					change(&forged)
					forged.Approval.Quorum = 1
					forged.Status, forged.ClosedAt, forged.UseBy = GateApproved, gateTime, gateTime.Add(time.Hour)
					forged.Digest = forged.ComputeDigest()
					forged.Decision = &forged.Votes[0]
					if err := forged.Authorizes(s.terms, gateTime); !errors.Is(err, ErrConflict) {
						t.Errorf("%s: Authorizes = %v", name, err)
					}
				}
			})
		}
	}
}

// TestApprovalStays: who approves does not change what is approved, and an edit without
// the place that it was made for does not count.
func TestApprovalStays(t *testing.T) {
	long := json.RawMessage(`"` + strings.Repeat("x", 900<<10) + `"`)
	edit, form := json.RawMessage(`{"total":"9999.00"}`), json.RawMessage(`{"a":1}`)
	tests := []struct {
		name   string
		change func(*Decision)
		want   string // in the refusal; empty means that it counts
	}{
		{"approval with an edit", func(d *Decision) { d.Edit = edit }, "edit is given"},
		{"approval with a form", func(d *Decision) { d.Form = form }, "form is given"},
		{"approval with a long form", func(d *Decision) { d.Form = long }, "form is given"},
		{"approval with text", func(d *Decision) { d.Text = "2.50" }, ""},
		{"rejection with an edit", func(d *Decision) { d.Verdict, d.Edit = VerdictReject, edit }, "edit is given"},
		{"edit with text in place of a reason", func(d *Decision) { d.Verdict, d.Edit, d.Text = VerdictEdit, edit, "no" }, "text is given"},
		{"acknowledgement with a long edit", func(d *Decision) { d.Verdict, d.Edit = VerdictAck, long }, "edit is given"},
		{"answer with an edit", func(d *Decision) { d.Verdict, d.Edit = VerdictRespond, edit }, "edit is given"},
		{"answer with a form", func(d *Decision) { d.Verdict, d.Form = VerdictRespond, form }, ""},
		{"answer with a long form", func(d *Decision) { d.Verdict, d.Form = VerdictRespond, long }, "form has"},
		{"edit with a form", func(d *Decision) { d.Verdict, d.Edit, d.Form = VerdictEdit, edit, form }, "form is given"},
		{"edit of nobody knows what", func(d *Decision) { d.Verdict, d.Edit, d.PayloadSHA256 = VerdictEdit, edit, "" }, "is missing"},
		{"long id", func(d *Decision) { d.ID = strings.Repeat("x", 300) }, "decision.id"},
		{"id that is not Unicode", func(d *Decision) { d.ID = "\uFFFD" }, "decision.id"},
		{"long method", func(d *Decision) { d.Method = strings.Repeat("x", 300) }, "decision.method"},
		{"long key", func(d *Decision) { d.Key = strings.Repeat("x", 300) }, "decision.key"},
		{"many groups", func(d *Decision) { d.Groups = strings.Split(strings.Repeat("group ", 20_000), " ") }, "decision.groups"},
		{"two groups in one", func(d *Decision) { d.Groups = []string{"dev\x00ops"} }, "decision.groups"},
		{"name that is not Unicode", func(d *Decision) { d.By = "bob\uFFFD" }, "decision.by"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := ask(nil)
			d := g.Decide(VerdictApprove, "bob")
			tt.change(&d)
			after, err := g.Apply(d, unsigned, gateTime)
			switch {
			case tt.want == "" && (err != nil || !after.Granted()):
				t.Errorf("%v; the gate is %s", err, after.Status)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || HintOf(err) == ""):
				t.Errorf("Apply = %v; want a refusal with %q", err, tt.want)
			}
		})
	}
	g := apply(t, ask(nil), unsigned, "bob approve")
	g.Votes[0].Edit = edit
	if err := g.Authorizes(unsigned, gateTime); err == nil {
		t.Error("an approval that holds an edit authorizes")
	}
}

// TestCountedIsBounded: neither people who change their minds nor programs that answer
// for ever fill the run's history.
func TestCountedIsBounded(t *testing.T) {
	tests := map[string]struct {
		change func(*Approval)
		next   func(g Gate, i int) Decision
		most   int
	}{
		"answers": {func(a *Approval) { a.Quorum = 2 }, func(g Gate, i int) Decision {
			d := g.Decide(VerdictRespond, "bob")
			d.Text = fmt.Sprint(i)
			return d
		}, maxCounted},
		"edits": {func(a *Approval) { a.Quorum = 2 }, func(g Gate, i int) Decision {
			d := g.Decide(VerdictEdit, "bob")
			d.Edit = json.RawMessage(fmt.Sprint(i))
			return d
		}, maxCounted},
		"changes of mind": {func(a *Approval) { a.Quorum, a.Denials = 2, 2 }, func(g Gate, i int) Decision {
			return g.Decide([]Verdict{VerdictApprove, VerdictReject}[i%2], "bob")
		}, maxCounted},
		"two who look at it": {nil, func(g Gate, i int) Decision {
			return g.Decide(VerdictAck, []string{"bob", "cid"}[i%2])
		}, 1},
		"long answers": {func(a *Approval) { a.Quorum = 100 }, func(g Gate, i int) Decision {
			d := g.Decide(VerdictRespond, fmt.Sprint("bob", i))
			d.Form = json.RawMessage(`"` + strings.Repeat("x", maxForm-2) + `"`)
			return d
		}, maxVotes / maxForm},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := ask(tt.change)
			var last error
			for i := range 3 * maxCounted {
				next, err := g.Apply(tt.next(g, i), unsigned, gateTime)
				if g = next; err != nil {
					last = err
				}
			}
			if g.Changes != tt.most || g.Counted != tt.most {
				t.Errorf("%d changes, %d counted; want %d", g.Changes, g.Counted, tt.most)
			}
			if last == nil || HintOf(last) == "" {
				t.Errorf("the last refusal is %v", last)
			}
			no := g.Decide(VerdictReject, "eve")
			g, err := g.Apply(no, unsigned, gateTime)
			if err == nil && g.Status == GateOpen {
				no = g.Decide(VerdictReject, "dan")
				g, err = g.Apply(no, unsigned, gateTime)
			}
			if err != nil || g.Status != GateRejected {
				t.Errorf("a rejection counts always: %v, the gate is %s", err, g.Status)
			}
		})
	}
	// Each level has its own acknowledgement.
	g := apply(t, ask(func(a *Approval) { a.Escalation = []Level{{}, {}} }), unsigned, "bob ack", "bob ack", "cid escalate", "cid ack", "bob escalate", "bob ack")
	if g.Counted != 5 {
		t.Errorf("%d counted", g.Counted)
	}
}

// TestUseByIsBounded: the end of an approval is not in the digest, and still nobody can
// move it.
func TestUseByIsBounded(t *testing.T) {
	s := newSigner(t)
	hour := func(a *Approval) { a.Expiry, a.Approvers, a.Quorum = time.Hour, []string{"bob", "cid"}, 2 }
	signed := s.decide(t, s.decide(t, ask(hour), VerdictApprove, "bob", nil), VerdictApprove, "cid", nil)
	open := apply(t, ask(hour), unsigned, "bob approve", "cid approve")
	timed := ask(func(a *Approval) { a.Expiry, a.OnTimeout, a.Risk = time.Hour, OnTimeoutApprove, RiskLow })
	timed = timed.Pass(EventTimeout, timed.ExpiresAt)
	year := 365 * 24 * time.Hour
	tests := []struct {
		name   string
		g      Gate
		terms  Terms
		change func(*Gate)
		want   error
	}{
		{"signed, as it closed", signed, s.terms, nil, nil},
		{"signed, closed as late as a decision counts", signed, s.terms, func(g *Gate) {
			g.ClosedAt = gateTime.Add(decisionAge + decisionSkew)
			g.UseBy = g.ClosedAt.Add(time.Hour)
		}, nil},
		{"signed, without an end", signed, s.terms, func(g *Gate) { g.UseBy = time.Time{} }, ErrConflict},
		{"signed, a later end", signed, s.terms, func(g *Gate) { g.UseBy = g.UseBy.Add(time.Second) }, ErrConflict},
		{"signed, a later end and close", signed, s.terms, func(g *Gate) { g.UseBy, g.ClosedAt = g.UseBy.Add(year), g.ClosedAt.Add(year) }, ErrConflict},
		{"signed, with a later vote that proves nothing", signed, s.terms, func(g *Gate) {
			g.UseBy, g.ClosedAt = g.UseBy.Add(year), g.ClosedAt.Add(year)
			v := g.Votes[0]
			v.At = g.ClosedAt
			g.Votes = append(g.Votes[:2:2], v)
		}, ErrConflict},
		{"unsigned, as it closed", open, unsigned, nil, nil},
		{"unsigned, without an end", open, unsigned, func(g *Gate) { g.UseBy = time.Time{} }, ErrConflict},
		{"unsigned, a later end", open, unsigned, func(g *Gate) { g.UseBy = g.UseBy.Add(time.Second) }, ErrConflict},
		{"time approved", timed, s.terms, nil, nil},
		{"time approved, without an end", timed, s.terms, func(g *Gate) { g.UseBy = time.Time{} }, ErrConflict},
		{"time approved, a later end", timed, s.terms, func(g *Gate) { g.UseBy = g.UseBy.Add(time.Second) }, ErrConflict},
		{"of a version whose digest covers less", signed, s.terms, func(g *Gate) { g.Version = 2 }, ErrConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(&tt.g)
			}
			if err := tt.g.Authorizes(tt.terms, gateTime); !errors.Is(err, tt.want) {
				t.Errorf("Authorizes = %v; want %v", err, tt.want)
			}
		})
	}
}

func TestGateContinues(t *testing.T) {
	opened := ask(func(a *Approval) { a.Quorum = 2 })
	edited := apply(t, opened, unsigned, "cid edit")
	granted := apply(t, edited, unsigned, "bob approve")
	for name, tt := range map[string]struct {
		before, now Gate
		change      func(*Gate)
		want        bool
	}{
		"itself":             {opened, opened, nil, true},
		"its end":            {opened, granted, nil, true},
		"the edit's end":     {edited, granted, nil, true},
		"an earlier state":   {granted, opened, nil, false},
		"another nonce":      {opened, granted, func(g *Gate) { *g = g.Seal("other") }, false},
		"another question":   {opened, granted, func(g *Gate) { g.Approval.Quorum = 1; *g = g.Seal(g.Nonce) }, false},
		"other requesters":   {opened, granted, func(g *Gate) { g.Requesters = []string{"cid"}; *g = g.Seal(g.Nonce) }, false},
		"another payload":    {edited, granted, func(g *Gate) { g.Approval.Payload = json.RawMessage(`1`); *g = g.Seal(g.Nonce) }, false},
		"another run":        {opened, granted, func(g *Gate) { g.FirstRunID = "r2"; *g = g.Seal(g.Nonce) }, false},
		"another tenant":     {opened, granted, func(g *Gate) { g.Org = "acme" }, false},
		"an earlier version": {opened, granted, func(g *Gate) { g.Version = 2; *g = g.Seal(g.Nonce) }, false},
	} {
		if tt.change != nil {
			tt.change(&tt.now)
		}
		if got := tt.now.Continues(tt.before); got != tt.want {
			t.Errorf("%s: Continues = %v", name, got)
		}
	}
}
