package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

func twoOf(a *wflo.Approval) { a.Quorum = 2 }

// Two of two must approve: one person twice is one.
func TestQuorumOfTwo(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", twoOf)
	ann, cat := o.approver("ann"), o.approver("cat", "ops")
	o.does(ann, "approve", "refunds", "--yes", "--reason", "checked").want(t, 0,
		[]string{"refunds has 1 of 2 approvals; waits for 1 of ann, group:ops\n"}, []string{"refund order 17", `"amount": "25.00"`, "risk       high", "approvals  0 of 2"})
	o.does(ann, "approve", "refunds", "--yes").want(t, ExitRefused, nil, []string{"comes twice", "you: you have approved; others must too"})
	o.does(cat, "approvals").want(t, 0, []string{"HAVE", "refunds  r1   refund order 17  high  eve  1/2   in 59m", "ann, group:ops"}, []string{"wflo approve refunds --run r1"})
	o.does(cat, "approvals", "show", "nonce-r1").want(t, 0, []string{
		"approvals     1 of 2 by ann, group:ops", "vote          approve by ann (apikey), ", ": checked", "you           you may decide", o.url + "/gates/nonce-r1",
	}, nil)
	o.does(cat, "approve", "r1", "--yes").want(t, 0, []string{"refunds approved by cat\n"}, []string{"approvals  1 of 2"})
	if g := o.runs.Gate("nonce-r1"); g.Status != wflo.GateApproved || len(g.Votes) != 2 || g.Votes[0].Signature == "" || g.Votes[1].By != "cat" {
		t.Errorf("gate %+v", g)
	}
}

// Who is behind the run may reject and not approve, and is told before they try.
func TestFourEyes(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", func(a *wflo.Approval) { a.FourEyes, a.Approvers = true, nil })
	eve := o.approver("eve")
	o.does(eve, "approvals", "show", "refunds").want(t, 0, []string{
		"four eyes     eve may reject and not approve", "you           four eyes are needed: you asked for this, or changed it", "0 of 1 by anybody",
	}, nil)
	o.does(eve, "approve", "refunds", "--yes").want(t, ExitAuth, nil, []string{"you: four eyes are needed", `decision.by is "eve", who asked for this`, "hint: four eyes are needed"})
	o.does(eve, "reject", "refunds", "--reason", "not ours").want(t, 0, []string{"refunds rejected by eve: not ours\n"}, []string{"four eyes  eve may reject"})
}

// An edit is shown as a difference, voids votes, and others must approve it.
func TestEdit(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", func(a *wflo.Approval) {
		a.Quorum, a.FourEyes, a.Approvers = 2, true, []string{"ann", "cat", "dan"}
		a.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit}
	})
	ann, cat := o.approver("ann"), o.approver("cat")
	o.does(ann, "approve", "refunds", "--yes").want(t, 0, []string{"1 of 2"}, []string{"digest"})
	smaller := o.file(`{"order":17, "amount":"20.00"}`)
	o.does(cat, "approve", "refunds", "--edit", smaller, "--yes").want(t, 0,
		[]string{"refunds has another payload, digest ", "earlier votes are void. 0 of 2 approvals; waits for 2 of ann, cat, dan\n"},
		[]string{`-   "amount": "25.00"`, `+   "amount": "20.00"`})
	o.does(cat, "approve", "refunds", "--yes").want(t, ExitAuth, nil, []string{"who asked for this or changed it"})
	o.does(ann, "approve", "refunds", "--edit", smaller, "--yes").want(t, ExitRefused, nil, []string{"decision.edit changes nothing"})
	o.does(ann, "approvals", "show", "refunds").want(t, 0, []string{
		"changed       once, from what was asked first:", `              -   "amount": "25.00"`, `              +   "amount": "20.00"`, "eve, cat may reject",
		"wflo approve refunds --run r1 --edit FILE", "sha256        ",
	}, nil)
	if g := o.runs.Gate("nonce-r1"); string(g.Approval.Payload) != `{"order":17,"amount":"20.00"}` && string(g.Approval.Payload) != `{"order":17, "amount":"20.00"}` {
		t.Errorf("payload %s", g.Approval.Payload)
	}
}

func TestEscalateAndAck(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", func(a *wflo.Approval) {
		a.Escalation = []wflo.Level{{After: 10 * time.Minute, Approvers: []string{"group:managers"}}}
	})
	ann, sue := o.approver("ann"), o.approver("sue", "managers")
	o.does(sue, "approve", "refunds", "--yes").want(t, ExitAuth, nil, []string{"not an approver of this gate"})
	o.does(ann, "ack", "refunds").want(t, 0, []string{"refunds is being looked at by ann; its time is up in 59m"}, []string{"refund order 17"})
	o.does(ann, "approvals", "show", "r1").want(t, 0, []string{"level 1       group:managers: after 10m0s", "acked by      ann", "wflo escalate refunds --run r1"}, nil)
	o.does(ann, "escalate", "refunds", "--yes", "--reason", "above my limit").want(t, 0, []string{"refunds escalated to level 1: asks 1 of ann, group:ops, group:managers, in 59m"}, []string{"digest"})
	o.does(ann, "escalate", "refunds", "--yes").want(t, ExitRefused, nil, []string{"nobody left to ask"})
	o.does(sue, "approve", "refunds", "--yes").want(t, 0, []string{"refunds approved by sue\n"}, []string{"digest"})
}

// What comes late has an exit code of its own. A rejection is in time until the
// action begins.
func TestLate(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", nil)
	o.gate("r2", nil)
	ann := o.approver("ann")
	for _, run := range []string{"r1", "r2"} {
		o.does(ann, "approve", run, "--yes").want(t, 0, []string{"approved by ann"}, []string{"digest"})
	}
	o.does(ann, "approve", "r1", "--yes").want(t, ExitLate, nil, []string{"gate refunds of run r1 is closed: refunds approved by ann", "hint: nothing was changed"})
	o.does(ann, "reject", "r1", "--reason", "wrong order").want(t, 0, []string{"refunds revoked by ann: wrong order\n"}, []string{"digest"})
	o.does(ann, "reject", "r1", "--reason", "again").want(t, ExitLate, nil, []string{"refunds revoked by ann"})
	o.runs.Change("nonce-r2", func(g wflo.Gate) wflo.Gate {
		g.Used, g.Changes = true, g.Changes+1
		return g
	})
	o.does(ann, "reject", "r2", "--reason", "wrong order").want(t, ExitLate, nil, []string{"is closed: refunds approved by ann"})
	o.does(ann, "approvals", "--closed").want(t, 0, []string{"STATUS", "revoked", "approved", "ann"}, nil)
	o.does(ann, "approvals").want(t, 0, nil, []string{"nothing waits"})
	o.does(ann, "approve", "nix", "--yes").want(t, ExitError, nil, []string{"no open gate and no run is called nix"})
}

// A batch decides one gate after the other, and a refusal does not stop it.
func TestApproveAll(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", nil)
	o.gate("r2", func(a *wflo.Approval) { a.Approvers = []string{"group:ops"} })
	o.gate("r3", func(a *wflo.Approval) { a.FourEyes, a.Approvers = true, nil })
	ann, eve := o.approver("ann"), o.approver("eve", "ops")
	o.does(ann, "approvals", "--mine").want(t, 0, []string{"r1", "r3", "anybody"}, []string{"decide with"})
	if r := o.does(ann, "approvals", "--mine"); strings.Contains(r.out, "r2") {
		t.Errorf("not ann's:\n%s", r.out)
	}
	if r := o.does(ann, "approvals", "--run", "r2"); !strings.Contains(r.out, "r2") || strings.Contains(r.out, "r1") {
		t.Errorf("of r2:\n%s", r.out)
	}
	o.does(eve, "approve", "--all", "--group", "ops", "--yes").want(t, 0, []string{"refunds approved by eve\n"},
		[]string{"1 of 3", "3 of 3", "refunds of r3 passed over: four eyes are needed", "2 gates approved, 0 refused, 1 passed over"})
	if n := len(o.runs.Updates()); n != 2 {
		t.Errorf("%d decisions were sent", n)
	}
	if g := o.runs.Gate("nonce-r3"); g.Status != wflo.GateOpen {
		t.Errorf("r3 is %s", g.Status)
	}
	var done []desk.View
	r := o.does(ann, "approve", "--all", "--yes", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &done); err != nil || len(done) != 1 || done[0].WorkflowID != "r3" || done[0].Status != wflo.GateApproved {
		t.Errorf("exit code %d, %v:\n%s", r.code, err, r.out)
	}
	o.does(ann, "approve", "--all", "--yes").want(t, 0, nil, []string{"nothing waits"})
}

// A refusal does not stop a batch, and is how it ends.
func TestApproveAllGoesOn(t *testing.T) {
	o := newOffice(t)
	for _, name := range []string{"cat", "bob"} {
		a := wflo.Approval{Gate: "of-" + name, Action: "pay", Approvers: []string{name}}
		if _, err := o.runs.Ask(t.Context(), wflo.Run{WorkflowID: "r1", FirstRunID: "first"}, "nonce-"+name, a); err != nil {
			t.Fatal(err)
		}
	}
	o.runs.Terms.AllowUnsigned = true
	o.does("", "approve", "--all", "--run", "r1", "--yes").want(t, ExitAuth, []string{"of-bob approved by bob\n"},
		[]string{`decision.by is "bob", who is not an approver of this gate`, "1 gate approved, 1 refused, 0 passed over"})
	if g := o.runs.Gate("nonce-cat"); g.Status != wflo.GateOpen {
		t.Errorf("of-cat is %s", g.Status)
	}
}

// Answers to a form come from a file or standard input, and fit its schema.
func TestForm(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", func(a *wflo.Approval) {
		a.Answers = []wflo.Verdict{wflo.VerdictRespond, wflo.VerdictReject}
		a.Form = json.RawMessage(`{"type":"object","required":["iban"],"properties":{"iban":{"type":"string"}},"additionalProperties":false}`)
	})
	ann := o.approver("ann")
	o.does(ann, "approvals", "show", "r1").want(t, 0, []string{`"required": [`, "wflo respond refunds --run r1 --form FILE"}, nil)
	o.does(ann, "approve", "r1", "--yes").want(t, ExitRefused, nil, []string{`decision.verdict is "approve"`})
	o.does(ann, "respond", "r1", "--form", o.file(`{"bic":"x"}`)).want(t, ExitRefused, nil, []string{"decision.form does not fit", "hint: mend the answer"})
	o.does(ann, "respond", "r1", "--form", o.file(`{`)).want(t, ExitUsage, nil, []string{"--form is not JSON"})
	o.reads(`{"iban":"DE02"}`, ann, "respond", "r1", "--form", "-").want(t, 0, []string{"refunds answered by ann\n"}, []string{"digest"})
}

// Without a login a decision is signed here, in the one name that its key proves.
func TestOwnKey(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", twoOf)
	file := filepath.Join(t.TempDir(), "ann.key")
	key, err := approver.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	o.runs.Terms.Signers = map[string]wflo.Signer{"ann": {Public: key.Public(), Subject: "ann"}}
	o.does("", "approve", "refunds", "--run", "r1", "--yes", "--key", file).want(t, ExitAuth, nil, []string{`decision.by is "bob"`})
	o.does("", "approve", "refunds", "--run", "r1", "--yes", "--key", file, "--as", "ann").want(t, 0, []string{"1 of 2 approvals"}, []string{"digest"})
	v := o.runs.Gate("nonce-r1").Votes[0]
	if v.Nonce != "nonce-r1" || v.PayloadSHA256 == "" || v.At.IsZero() || v.Groups != nil || v.Key != "ann" {
		t.Errorf("vote %+v", v)
	}
	// A key of one's own goes past the API, which would sign for somebody else.
	cat := o.approver("cat", "ops")
	o.does(cat, "approve", "refunds", "--yes", "--as", "ann").want(t, ExitUsage, nil, []string{"the API knows who you are"})
	o.does(cat, "approve", "refunds", "--run", "r1", "--yes", "--key", file, "--as", "cat").want(t, ExitAuth, nil, []string{`the key "ann" proves somebody else`})
}

func TestDiffLines(t *testing.T) {
	for _, tc := range []struct{ before, after, want string }{
		{"a b c", "a b c", "  a,  b,  c"},
		{"a b c", "a x c", "  a,- b,+ x,  c"},
		{"a b", "a b c", "  a,  b,+ c"},
		{"a b c d", "b d", "- a,  b,- c,  d"},
		{"a", "b c", "- a,+ b,+ c"},
		{"a a", "a", "  a,- a"},
	} {
		got := diffLines(strings.Fields(tc.before), strings.Fields(tc.after))
		if diff := cmp.Diff(strings.Split(tc.want, ","), got); diff != "" {
			t.Errorf("%s to %s (-want +got):\n%s", tc.before, tc.after, diff)
		}
	}
	long := make([]string, 2000)
	for i := range long {
		long[i] = string(rune('a' + i%7))
	}
	if got := diffLines(append([]string{"x"}, long...), append(long, "y")); len(got) != 4002 {
		t.Errorf("texts that differ in too much give %d lines", len(got))
	}
}
