package govern

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
)

// siege is an open gate under attack.
type siege struct {
	*notary
	// g is the gate, old one of an earlier run of the same workflow ID, and stale the
	// gate before its payload was edited.
	g, old, stale wflo.Gate
	// said is what ann has said already.
	said wflo.Decision
	// ben is the key of a person, who may sign for himself only.
	ben ed25519.PrivateKey
}

func (s *siege) by(who string) wflo.Decision { return s.g.Decide(wflo.VerdictApprove, who) }

// attacks are decisions that must not count, and what their sender is told.
var attacks = []struct {
	name string
	make func(s *siege) wflo.Decision
	want string
}{
	{"unsigned", func(s *siege) wflo.Decision { return s.by("ben") }, "signature"},
	{"forged with another key under the trusted name", func(s *siege) wflo.Decision {
		_, other, _ := ed25519.GenerateKey(nil)
		d := s.by("ben")
		d.At = time.Now()
		return d.Sign("console", other)
	}, "does not verify"},
	{"forged with a key that nobody trusts", func(s *siege) wflo.Decision {
		_, other, _ := ed25519.GenerateKey(nil)
		d := s.by("ben")
		d.At = time.Now()
		return d.Sign("mine", other)
	}, "not one that the worker trusts"},
	{"signed by a person for somebody else", func(s *siege) wflo.Decision {
		d := s.by("cat")
		d.At = time.Now()
		return d.Sign("ben", s.ben)
	}, "proves somebody else"},
	{"signed by a person who claims a group", func(s *siege) wflo.Decision {
		d := s.g.Decide(wflo.VerdictApprove, "dan")
		d.At, d.Groups = time.Now(), []string{"owners"}
		return d.Sign("dan", s.ben)
	}, "not an approver"},
	{"changed after it was signed", func(s *siege) wflo.Decision { d := s.approve(s.g, "eve"); d.By = "ben"; return d }, "does not verify"},
	{"a rejection turned around", func(s *siege) wflo.Decision {
		d := s.reject(s.g, "ben")
		d.Verdict = wflo.VerdictApprove
		return d
	}, "does not verify"},
	{"replayed from an earlier run of the same workflow", func(s *siege) wflo.Decision { return s.approve(s.old, "ben") }, "decision.nonce"},
	{"replayed, without its nonce", func(s *siege) wflo.Decision {
		return s.sign(s.old.Decide(wflo.VerdictApprove, "ben"), func(d *wflo.Decision) { d.Nonce = "" })
	}, "decision.digest"},
	{"wrong gate", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.Gate = "delete#2" })
	}, "has not opened"},
	{"wrong epoch", func(s *siege) wflo.Decision { return s.sign(s.by("ben"), func(d *wflo.Decision) { d.Epoch++ }) }, "decision.epoch"},
	{"wrong hash of what is shown", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.Digest = strings.Repeat("0", 64) })
	}, "decision.digest"},
	{"wrong hash of the payload", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.PayloadSHA256 = strings.Repeat("0", 64) })
	}, "payload_sha256"},
	{"of the payload before the edit", func(s *siege) wflo.Decision { return s.approve(s.stale, "ben") }, "decision.digest"},
	{"by whom the run acts for", func(s *siege) wflo.Decision { return s.approve(s.g, "eve") }, "asked for this or changed it"},
	{"by who delegated the run", func(s *siege) wflo.Decision { return s.approve(s.g, "max") }, "asked for this or changed it"},
	{"by who edited the payload", func(s *siege) wflo.Decision { return s.approve(s.g, "cat") }, "asked for this or changed it"},
	{"by a stranger", func(s *siege) wflo.Decision { return s.approve(s.g, "mallory") }, "not an approver"},
	{"by nobody", func(s *siege) wflo.Decision { return s.approve(s.g, "") }, "decision.by"},
	{"by one person a second time", func(s *siege) wflo.Decision { return s.approve(s.g, "ann") }, "comes twice"},
	{"by one person in other letters", func(s *siege) wflo.Decision { return s.approve(s.g, "Ann") }, "not an approver"},
	{"by one person with a look-alike letter", func(s *siege) wflo.Decision { return s.approve(s.g, "аnn") }, "decision.by"},
	{"held back", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.At = time.Now().Add(-16 * time.Minute) })
	}, "too old"},
	{"dated ahead", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.At = time.Now().Add(6 * time.Minute) })
	}, "in the future"},
	{"without a date", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.At = time.Time{} })
	}, "decision.at"},
	{"a verdict that is none", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.Verdict = "approved" })
	}, "decision.verdict"},
	{"an edit that can be read in two ways", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) {
			d.Verdict, d.Edit = wflo.VerdictEdit, json.RawMessage(`{"rows":7,"rows":7000}`)
		})
	}, "decision.edit"},
	{"a reason without end", func(s *siege) wflo.Decision {
		return s.sign(s.by("ben"), func(d *wflo.Decision) { d.Reason = strings.Repeat("x", 20<<10) })
	}, "too long"},
	{"an escalation to nobody", func(s *siege) wflo.Decision {
		return s.sign(s.g.Decide(wflo.VerdictEscalate, "ben"))
	}, "nobody left"},
}

// besiege opens a gate that has been edited once and has one approval of two.
func besiege(t *testing.T) (*world, client.WorkflowRun, *siege) {
	t.Helper()
	public, ben, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w, n := guardedWorld(t, func(c *plugin.Config) {
		key := base64.StdEncoding.EncodeToString(public)
		c.Approvals.Signers = map[string]wflo.Signer{"ben": {Public: key, Subject: "ben"}, "dan": {Public: key, Subject: "dan", Groups: []string{"interns"}}}
	})
	s := &siege{notary: n, ben: ben}
	ask := order{Approval: deletion("delete 7000", func(a *wflo.Approval) {
		a.Quorum, a.FourEyes = 2, true
		a.Approvers = []string{"ann", "ben", "cat", "eve", "max", "group:owners"}
		a.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit}
	})}
	who := wflo.Run{User: "eve", Principals: []string{"max"}}
	first := w.start(who, guardedWorkflow, ask)
	s.old = w.gate(first, 1)
	w.must(first, n.reject(s.old, "ann"))
	wantCode(t, w.wait(first, nil), wflo.CodeApprovalRejected)

	run := w.start(who, guardedWorkflow, ask)
	s.stale = w.gate(run, 1)
	edit := s.stale.Decide(wflo.VerdictEdit, "cat")
	edit.Edit = json.RawMessage(`"delete 7"`)
	s.g = w.must(run, n.sign(edit))
	s.said = n.approve(s.g, "ann")
	s.g = w.must(run, s.said)
	return w, run, s
}

// TestAttacksOnAnOpenGate sends what must not count, as an update and as a signal.
// The gate is as it was after each, and takes the right decision after all of them.
func TestAttacksOnAnOpenGate(t *testing.T) {
	w, run, s := besiege(t)
	refused := w.status(run).Gates[0].Refused
	same := cmpopts.IgnoreFields(wflo.Gate{}, "Refused", "LastRefusal", "Changes")
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w.mustNot(run, a.make(s), a.want)
			w.signal(run, wflo.SignalDecide, a.make(s))
			if strings.HasPrefix(a.name, "wrong gate") {
				return // it is no gate's refusal
			}
			refused++
			eventually(t, "the refusal", func() bool { return w.status(run).Gates[0].Refused == refused })
			now := w.status(run).Gates[0]
			if diff := cmp.Diff(s.g, now, same); diff != "" {
				t.Errorf("the gate changed (-before +after):\n%s", diff)
			}
			if !strings.Contains(now.LastRefusal, a.want) {
				t.Errorf("refused because %q, want %q", now.LastRefusal, a.want)
			}
		})
	}
	updates := count(w.history(run.GetID(), run.GetRunID()), enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
	if updates != 2 { // the edit and ann's
		t.Errorf("%d updates in history, want 2", updates)
	}
	w.wantLines()
	// Clocks of signers may be off by so much.
	late := s.sign(s.by("ben"), func(d *wflo.Decision) { d.At = time.Now().Add(-14 * time.Minute) })
	w.must(run, late)
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete 7")
	if err := w.replay(w.history(run.GetID(), run.GetRunID())); err != nil {
		t.Errorf("replay: %v", err)
	}
}

// TestOneDecisionSentManyTimesIsOne sends one signed decision with new update IDs and
// as signals, while another vote is missing.
func TestOneDecisionSentManyTimesIsOne(t *testing.T) {
	w, run, s := besiege(t)
	before := s.g
	for i := range 3 {
		if _, err := w.decide(run, fmt.Sprint("again-", i), s.said); err != nil {
			t.Errorf("the same decision again: %v", err)
		}
		w.signal(run, wflo.SignalDecide, s.said)
	}
	if diff := cmp.Diff(before, w.status(run).Gates[0]); diff != "" {
		t.Errorf("the gate changed (-before +after):\n%s", diff)
	}
	w.wantLines()
}

// TestOlderWordsOfAPersonDoNotCount sends again what somebody has taken back: it is
// signed and as fresh as it was.
func TestOlderWordsOfAPersonDoNotCount(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) { a.Quorum, a.Denials = 2, 2 })})
	g := w.gate(run, 1)
	yes := n.approve(g, "ann")
	w.must(run, yes)
	w.must(run, n.reject(g, "ann")) // she changed her mind
	w.mustNot(run, yes, "has said")
	w.signal(run, wflo.SignalDecide, yes)
	eventually(t, "the refusal", func() bool { return w.status(run).Gates[0].Refused == 1 })
	if got := w.must(run, n.reject(g, "ben")); got.Status != wflo.GateRejected {
		t.Errorf("gate is %s after two rejections", got.Status)
	}
	wantCode(t, w.wait(run, nil), wflo.CodeApprovalRejected)
	w.wantLines()
}

// TestOneEscalationRaisesOneLevel sends one signed escalation again and again.
func TestOneEscalationRaisesOneLevel(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) {
		a.Escalation = []wflo.Level{{Approvers: []string{"cat"}}, {Approvers: []string{"dan"}}}
	})})
	up := n.sign(w.gate(run, 1).Decide(wflo.VerdictEscalate, "ann"))
	for range 3 {
		if g := w.must(run, up); g.Level != 1 {
			t.Fatalf("level %d", g.Level)
		}
		w.signal(run, wflo.SignalDecide, up)
	}
	g := w.status(run).Gates[0]
	if g.Level != 1 {
		t.Errorf("level %d", g.Level)
	}
	w.mustNot(run, n.approve(g, "dan"), "not an approver")
	w.must(run, n.reject(g, "cat"))
	wantCode(t, w.wait(run, nil), wflo.CodeApprovalRejected)
}

// TestDecisionsBeforeTheGateIsOpen do not count when it opens, and are shown on it.
func TestDecisionsBeforeTheGateIsOpen(t *testing.T) {
	w, n := guardedWorld(t, nil)
	before := w.startAs(w.queue+"-other", wflo.Run{}, guardedWorkflow, order{Approval: deletion("other", nil)})
	guess := n.approve(w.gate(before, 1), "ann")
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil), First: "go on"})
	w.mustNot(run, guess, "has not opened")
	for range 3 {
		w.signal(run, wflo.SignalDecide, guess)
	}
	w.signal(run, "go on", nil)
	g := w.gate(run, 1)
	if g.Refused != 3 || g.LastRefusal == "" || len(g.Votes) != 0 {
		t.Errorf("gate %s", asJSON(t, g))
	}
	w.must(run, n.approve(g, "ann"))
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.wantLines("delete")
	w.must(before, n.reject(w.gate(before, 1), "ann"))
}

// TestDecisionsAfterTheGateClosed change nothing: an approval after a rejection, and
// anything after the action.
func TestDecisionsAfterTheGateClosed(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil), Then: "act"})
	g := w.gate(run, 1)
	w.must(run, n.approve(g, "ann"))
	w.mustNot(run, n.approve(g, "ben"), "comes late")
	if got := w.must(run, n.reject(g, "ben")); got.Status != wflo.GateRevoked {
		t.Errorf("gate is %s after a rejection that came before the action", got.Status)
	}
	w.mustNot(run, n.approve(g, "ann"), "comes late")
	w.signal(run, "act", nil)
	wantCode(t, w.wait(run, nil), wflo.CodeApprovalRejected)
	w.wantLines()

	done := w.startAs(w.queue+"-done", wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", nil)})
	g = w.gate(done, 1)
	w.must(done, n.approve(g, "ann"))
	if err := w.wait(done, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.decide(done, "", n.reject(g, "ben")); err == nil {
		t.Error("a run that is over takes a decision")
	}
	w.wantLines("delete")
}

// TestApprovalAfterTheTimeWasUp comes while no worker is there to say no: its signal
// waits in the run's history, behind the timer's end.
func TestApprovalAfterTheTimeWasUp(t *testing.T) {
	w, n := guardedWorld(t, nil)
	run := w.start(wflo.Run{}, guardedWorkflow, order{Approval: deletion("delete", func(a *wflo.Approval) { a.Timeout = time.Second })})
	g := w.gate(run, 1)
	w.worker.Stop()
	eventually(t, "the end of the time", func() bool {
		return count(w.history(run.GetID(), run.GetRunID()), enumspb.EVENT_TYPE_TIMER_FIRED) == 1
	})
	w.signal(run, wflo.SignalDecide, n.approve(g, "ann"))
	w.restart()
	wantCode(t, w.wait(run, nil), wflo.CodeApprovalTimeout)
	w.wantLines()
	if got := w.status(run).Gates[0]; got.Status != wflo.GateTimedOut || got.Refused != 1 {
		t.Errorf("gate %s after %d refusals", got.Status, got.Refused)
	}
}
