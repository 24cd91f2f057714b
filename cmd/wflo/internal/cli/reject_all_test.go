package cli

import (
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// A batch of rejections has one reason and as many decisions, each on record by itself;
// one that the run refuses, or that is not somebody's to make, holds up no other.
func TestRejectAll(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", nil)
	o.gate("r2", func(a *wflo.Approval) { a.Approvers = []string{"cat"} })
	o.gate("r3", nil)
	ann := o.approver("ann")
	o.does(ann, "reject", "--all", "--yes").want(t, ExitUsage, nil, []string{"--reason is missing"})
	o.does(ann, "reject", "--all", "r1", "--reason", "off", "--yes").want(t, ExitUsage, nil, []string{"too many arguments"})
	o.does(ann, "reject", "r1", "--mine", "--reason", "off").want(t, ExitUsage, nil, []string{"--mine and --group are for --all"})
	o.does(ann, "reject", "--all", "--reason", "off").want(t, ExitUsage, nil, []string{"no terminal to ask on", "--yes"})
	if n := len(o.runs.Updates()); n != 0 {
		t.Fatalf("%d decisions were sent", n)
	}
	o.does(ann, "reject", "--all", "--reason", "the campaign is off", "--yes").want(t, 0,
		[]string{"refunds rejected by ann: the campaign is off\n"}, []string{"1 of 3", "3 of 3", "refunds of r2 passed over", "2 gates rejected, 0 refused, 1 passed over"})
	for nonce, status := range map[string]wflo.GateStatus{"nonce-r1": wflo.GateRejected, "nonce-r2": wflo.GateOpen, "nonce-r3": wflo.GateRejected} {
		if g := o.runs.Gate(nonce); g.Status != status {
			t.Errorf("%s is %s, want %s", nonce, g.Status, status)
		}
	}
	var signatures []string
	for _, nonce := range []string{"nonce-r1", "nonce-r3"} {
		for _, v := range o.runs.Gate(nonce).Votes {
			signatures = append(signatures, v.Signature)
		}
	}
	if len(signatures) != 2 || signatures[0] == "" || signatures[0] == signatures[1] {
		t.Errorf("signatures %q", signatures)
	}
	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateDecided})
	if err != nil || len(records) != 2 {
		t.Errorf("%d decisions on record, %v", len(records), err)
	}
}

// A rejection that fails does not stop a batch, and is how it ends.
func TestRejectAllGoesOn(t *testing.T) {
	o := newOffice(t)
	for _, name := range []string{"cat", "bob"} {
		a := wflo.Approval{Gate: "of-" + name, Action: "pay", Approvers: []string{name}}
		if _, err := o.runs.Ask(t.Context(), wflo.Run{WorkflowID: "r1", FirstRunID: "first"}, "nonce-"+name, a); err != nil {
			t.Fatal(err)
		}
	}
	o.runs.Terms.AllowUnsigned = true
	o.does("", "reject", "--all", "--run", "r1", "--reason", "no", "--yes").want(t, ExitAuth, []string{"of-bob rejected by bob: no\n"},
		[]string{`decision.by is "bob", who is not an approver of this gate`, "1 gate rejected, 1 refused, 0 passed over"})
	if g := o.runs.Gate("nonce-cat"); g.Status != wflo.GateOpen {
		t.Errorf("of-cat is %s", g.Status)
	}
}
