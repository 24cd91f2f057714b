//go:build integration

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// Exit codes as `wflo exit-codes` documents them.
const (
	exitError   = 1
	exitUsage   = 2
	exitDenied  = 3
	exitAuth    = 4
	exitBudget  = 5
	exitRefused = 7
	exitLate    = 8
)

// decode reads what a command printed as JSON.
func (p *program) decode(t *testing.T, out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.out.String()), out); err != nil {
		t.Errorf("%s: %v in\n%s", clipped(p.cmd.Args), err, p.said())
	}
}

// A refund that is followed, looked at from all sides, and approved.
func (d *dev) testApprove(t *testing.T) {
	t.Parallel()
	c, id := d.client(t), unique("approve")
	run := d.begin(t, "run", "refund", "--id", id, "--team", "finance", "--budget", "1.00", "--input", refundInput(t, id), "-o", "json")
	gate := awaitGate(t, c, id)

	var gates []wflo.Gate
	await(t, "the gate in the list", func() bool {
		d.wflo(t, "approvals", "-o", "json").want(t, 0).decode(t, &gates)
		return len(gates) > 0 && strings.Contains(d.wflo(t, "approvals").want(t, 0).said(), "wflo approve refunds --run ")
	})
	var st struct {
		ID, State string
		Detail    wflo.Status
	}
	d.wflo(t, "status", id, "-o", "json").want(t, 0).decode(t, &st)
	if st.ID != id || st.State != "waiting_approval" || len(st.Detail.Gates) != 1 || st.Detail.Gates[0].Digest != gate.Digest || st.Detail.Spent == 0 {
		t.Errorf("got %+v", st)
	}
	d.wflo(t, "status", id).want(t, 0, "waiting_approval", "refund 2 duplicate charges, 30.50 EUR in all", "finance", "of $1.00")
	d.wflo(t, "list", "--state", "waiting_approval").want(t, 0, id, "example.Refund")

	d.wflo(t, "approve", "refunds", "--run", id).wantHint(t, exitUsage, "no terminal", "--yes")
	d.wflo(t, "approve", "refunds", "--run", id, "--yes", "--reason", "checked").want(t, 0, "refunds approved by ann: checked")
	var end struct {
		State  string
		Spent  wflo.Money
		Result struct{ Refunds []json.RawMessage }
	}
	run.want(t, 0).decode(t, &end)
	if end.State != "completed" || len(end.Result.Refunds) != 2 || end.Spent == 0 {
		t.Errorf("got %+v:\n%s", end, run.said())
	}
	d.wflo(t, "approve", "refunds", "--run", id, "--yes").wantHint(t, exitLate, "is closed: refunds approved by ann", "nothing was changed")
	d.wflo(t, "halt", id, "--reason", "too late").wantHint(t, exitError, "has ended", "wflo status "+id)
}

// What a person forbids does not happen, and scripts can tell.
func (d *dev) testReject(t *testing.T) {
	t.Parallel()
	c, id := d.client(t), unique("reject")
	run := d.begin(t, "run", "refund", "--id", id, "--input", refundInput(t, id))
	awaitGate(t, c, id)
	d.wflo(t, "reject", "refunds", "--run", id).wantHint(t, exitUsage, "--reason is missing", "--reason")
	d.wflo(t, "reject", "refunds", "--run", id, "--reason", "not ours").want(t, 0, "refunds rejected by ann: not ours")
	run.want(t, exitDenied, "ann rejected", "not ours")
	if s, ok := status(t, c, id); !ok || len(s.Steps) != 0 {
		t.Errorf("steps were taken: %+v", s.Steps)
	}
}

// A halt ends the run, its agent and the program that is running.
func (d *dev) testHalt(t *testing.T) {
	t.Parallel()
	id := unique("halt")
	run := d.begin(t, "run", "agent", "--id", id, "--model", modelName, "--tools", "run_python", "--prompt", "pause "+id)
	b := awaitPause(t, id)
	d.wflo(t, "halt", id).wantHint(t, exitUsage, "--reason is missing", "--reason")
	d.wflo(t, "halt", id, "--reason", "stop it").want(t, 0, "halting "+id)
	run.want(t, exitDenied, "halted by ann: stop it")
	if b.running(t) {
		t.Error("the program survived the halt")
	}
	await(t, "the state in the list", func() bool {
		return strings.Contains(d.wflo(t, "list", "--state", "halted", "-o", "jsonl").want(t, 0).out.String(), id)
	})
}

// A question to a person is answered.
func (d *dev) testRespond(t *testing.T) {
	t.Parallel()
	c, id := d.client(t), unique("respond")
	run := d.begin(t, "run", "agent", "--id", id, "--model", modelName, "--tools", "ask_human", "--prompt", "ask "+id)
	awaitGate(t, c, id)
	d.wflo(t, "approve", id, "--yes").wantHint(t, exitRefused, "decision.verdict", "respond")
	d.wflo(t, "respond", id, "--text", "you may").want(t, 0, "answered by ann")
	run.want(t, 0, "done")
}
