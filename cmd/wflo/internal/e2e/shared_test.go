//go:build integration

package e2e

import (
	"strings"
	"testing"
)

// TestDemo is what people try first: it checks its own books and says so.
func TestDemo(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	p := start(t, environment(home), bin.wflo, "demo").want(t, 0, "approved by demo-reviewer", "no container and no workspace is left behind", "Next: wflo dev")
	if strings.Contains(p.said(), "✗") || strings.Count(p.said(), "✓") < 7 || p.errOut.String() != "" {
		t.Errorf("the demo is not content:\n%s", p.said())
	}
	if exists(home + "/wflo") {
		t.Error("the demo left data behind")
	}
}

// TestPrograms tries everything that one running `wflo dev` can serve at once.
func TestPrograms(t *testing.T) {
	t.Parallel()
	model, env := vendor(t, cast)
	d := startDev(t, t.TempDir(), env...)
	t.Cleanup(func() { d.stop(t) })
	for _, tt := range []struct {
		name string
		test func(*testing.T)
	}{
		// Those that wait longest come first.
		{"KillsLeaveNothingOnPostgreSQL", d.testKillsLeaveNothing(onPostgres)},
		{"KillsLeaveNothingOnSQLite", d.testKillsLeaveNothing(onSQLite)},
		{"KillRefundWorker", d.testKillRefundWorker},
		{"KillWorkerInSandboxStep", d.testKillWorkerInSandboxStep},
		{"KillWorkerInModelCall", d.testKillWorkerInModelCall},
		{"WorkerStopsOrderly", d.testWorkerStopsOrderly},
		{"TemporalSignal", d.testTemporalSignal},
		{"TemporalUpdate", d.testTemporalUpdate},
		{"Approve", d.testApprove},
		{"Reject", d.testReject},
		{"Halt", d.testHalt},
		{"Respond", d.testRespond},
		{"UnrulyAgents", func(t *testing.T) { d.testUnrulyAgents(t, model) }},
		{"NoSandbox", d.testNoSandbox},
		{"BadInput", d.testBadInput},
		{"DevRefuses", d.testDevRefuses},
		{"NoSecrets", d.testNoSecrets},
		{"LargePayloads", d.testLargePayloads},
		{"LargeByHand", d.testLargeByHand},
	} {
		t.Run(tt.name, tt.test)
	}
}
