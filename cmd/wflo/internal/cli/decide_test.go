package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/internal/console"
)

const running = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING

// waiting is a server with two runs that wait: r1 at refunds, r2 at refunds and
// at mails.
func waiting() *fakeTemporal {
	return &fakeTemporal{
		runs: []*workflowpb.WorkflowExecutionInfo{
			info("r1", running, map[string]any{wflo.AttrGates: []string{"refunds"}, wflo.AttrState: "waiting_approval", wflo.AttrUser: "ann", wflo.AttrCost: 0.0123}),
			info("r2", running, map[string]any{wflo.AttrGates: []string{"refunds", "mails"}}),
		},
		statuses: map[string]wflo.Status{
			"r1": {State: wflo.StateWaiting, Gates: []wflo.Gate{gate("r1", "refunds")}},
			"r2": {State: wflo.StateWaiting, Gates: []wflo.Gate{gate("r2", "refunds"), gate("r2", "mails")}},
		},
	}
}

func TestApprovals(t *testing.T) {
	f := waiting()
	invoke(t, f, "approvals").want(t, 0, []string{"GATE", "refunds  r1", "mails    r2", "in 59m"}, []string{"wflo approve"})
	if want := "WfloGates IS NOT NULL AND ExecutionStatus = 'Running'"; f.queries[0] != want {
		t.Errorf("query %q, want %q", f.queries[0], want)
	}
	var gates []wflo.Gate
	r := invoke(t, f, "approvals", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &gates); err != nil || len(gates) != 3 || gates[0].ID != "refunds" {
		t.Errorf("json: %v\n%s", err, r.out)
	}
	invoke(t, &fakeTemporal{}, "approvals", "-o", "json").want(t, 0, []string{"[]\n"}, nil)
	invoke(t, &fakeTemporal{}, "approvals").want(t, 0, nil, []string{"nothing waits"})
	// A run that does not answer must not hide the others, nor go unnoticed.
	f.statuses["r2"] = wflo.Status{State: "silent"}
	invoke(t, f, "approvals").want(t, ExitTimeout, []string{"refunds  r1"}, []string{"gates of r2: no answer in time"})
}

func TestDecide(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want wflo.Decision
		out  string
	}{
		"by gate":         {"approve mails --yes", wflo.Decision{Gate: "mails", Verdict: wflo.VerdictApprove, By: "bob"}, "mails approved by bob\n"},
		"by run":          {"approve r1 -y --reason fine", wflo.Decision{Gate: "refunds", Verdict: wflo.VerdictApprove, By: "bob", Reason: "fine"}, "refunds approved by bob: fine\n"},
		"by gate and run": {"approve refunds --run r2 -y --as ann", wflo.Decision{Gate: "refunds", Verdict: wflo.VerdictApprove, By: "ann"}, "refunds approved by ann\n"},
		"reject":          {"reject mails --reason no", wflo.Decision{Gate: "mails", Verdict: wflo.VerdictReject, By: "bob", Reason: "no"}, "mails rejected by bob: no\n"},
		"respond":         {"respond mails --text May", wflo.Decision{Gate: "mails", Verdict: wflo.VerdictRespond, By: "bob", Text: "May"}, "mails answered by bob\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := waiting()
			invoke(t, f, strings.Fields(tc.line)...).want(t, 0, []string{tc.out}, []string{"Refund 12 USD", `"amount": "12.00"`})
			if len(f.decisions) != 1 {
				t.Fatalf("sent %d decisions", len(f.decisions))
			}
			got := f.decisions[0]
			tc.want.Digest, tc.want.Nonce, tc.want.PayloadSHA256 = got.Digest, got.Nonce, got.PayloadSHA256
			tc.want.ID, tc.want.At = got.ID, got.At
			if got.ID == "" || got.Nonce != "n" || got.PayloadSHA256 == "" || time.Since(got.At) > time.Minute {
				t.Errorf("decision %+v does not say by itself what it is about, and when", got)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || got.Digest == "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
			if o := f.updates[0]; o.UpdateName != wflo.UpdateDecide || o.FirstExecutionRunID != "first" || o.UpdateID != updateID(got) {
				t.Errorf("update %+v", o)
			}
		})
	}
}

// The same decision has the same update id; any other has another.
func TestUpdateID(t *testing.T) {
	d := wflo.Decision{Gate: "g", Digest: "d", Verdict: wflo.VerdictApprove, By: "ann"}
	other := d
	other.Verdict = wflo.VerdictReject
	same := d
	if updateID(d) != updateID(same) || updateID(d) == updateID(other) {
		t.Error("update ids do not follow the decision")
	}
}

func TestDecideSigns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ann.key")
	key, err := approver.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	terms := wflo.Terms{Keys: map[string]string{"ann": key.Public()}}
	f := waiting()
	invoke(t, f, "approve", "mails", "--yes", "--key", file).want(t, 0, []string{"approved"}, []string{"digest"})
	if err := gate("r2", "mails").Admit(f.decisions[0], terms, time.Now()); err != nil {
		t.Errorf("flag: %v", err)
	}
	t.Setenv("WFLO_APPROVER_KEY", file)
	f = waiting()
	invoke(t, f, "approve", "mails", "--yes").want(t, 0, []string{"approved"}, []string{"digest"})
	if err := gate("r2", "mails").Admit(f.decisions[0], terms, time.Now()); err != nil {
		t.Errorf("environment: %v", err)
	}
	f = waiting()
	invoke(t, f, "approve", "mails", "--yes", "--key", file+".none").want(t, ExitAuth, nil, []string{"approver key", "make one with: wflo keygen"})
	if len(f.decisions) > 0 {
		t.Error("a decision was sent without the key that was asked for")
	}
}

// The key that a wflo dev left here must not be in the way at another worker.
func TestKeyOfAnotherInstallation(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", home)
	if err := os.MkdirAll(DefaultDataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := approver.Ensure(DefaultDataDir()); err != nil {
		t.Fatal(err)
	}
	f := waiting()
	f.home = home
	f.terms = &wflo.Terms{AllowUnsigned: true}
	invoke(t, f, "approve", "mails", "--yes").want(t, 0, []string{"mails approved by bob"}, []string{"decided without a signature"})
	if len(f.decisions) != 2 || f.decisions[0].Signature == "" || f.decisions[1].Signature != "" {
		t.Errorf("sent %+v", f.decisions)
	}
	f = waiting()
	f.home = home
	f.terms = &wflo.Terms{Keys: map[string]string{"ann": "unused"}}
	invoke(t, f, "approve", "mails", "--yes").want(t, ExitAuth, nil, []string{`decision.key "approver" is not one that the worker trusts`, "hint: add its public key"})
	f = waiting()
	f.home = home
	f.terms = &wflo.Terms{AllowUnsigned: true}
	key := filepath.Join(DefaultDataDir(), approver.FileName)
	invoke(t, f, "approve", "mails", "--yes", "--key", key).want(t, ExitAuth, nil, []string{"decision.key"})
	if len(f.decisions) != 1 {
		t.Error("a decision was sent without the key that was asked for")
	}
}

func TestDecideRefuses(t *testing.T) {
	closed := gate("r3", "done")
	closed.Status, closed.Decision = wflo.GateRejected, &wflo.Decision{By: "ann"}
	forged := gate("r4", "forged")
	forged.Approval.Payload = json.RawMessage(`{"amount":"9999.00"}`)
	for name, tc := range map[string]struct {
		line   string
		update error
		code   int
		want   []string
	}{
		"ambiguous":  {"approve refunds -y", nil, ExitUsage, []string{"refunds fits 2 open gates", "refunds --run r1, refunds --run r2"}},
		"many":       {"approve r2 -y", nil, ExitUsage, []string{"r2 fits 2 open gates"}},
		"unknown":    {"approve nix -y", nil, ExitError, []string{"no open gate and no run is called nix", "hint: see: wflo approvals"}},
		"other run":  {"approve mails --run r1 -y", nil, ExitError, []string{"run r1 has no open gate mails"}},
		"no run":     {"approve mails --run r9 -y", nil, ExitError, []string{"no run r9"}},
		"closed":     {"approve r3 -y", nil, ExitLate, []string{"gate done of run r3 is closed: done rejected by ann"}},
		"forged":     {"approve forged --run r4 -y", nil, ExitError, []string{"does not fit what it shows", "hint: do not decide"}},
		"not one":    {"approve mails -y", wireInvalid("decision.by is \"bob\", who is not an approver of this gate", "ask one of [ann]"), ExitAuth, []string{"not an approver", "hint: ask one of [ann]"}},
		"unsigned":   {"approve mails -y", wireInvalid("decision.signature is missing", "sign"), ExitAuth, []string{"decision.signature is missing"}},
		"late":       {"approve mails -y", wireInvalid("decision comes late: gate mails is approved", "nothing was changed"), ExitLate, []string{"comes late"}},
		"changed":    {"approve mails -y", wireInvalid("decision.digest is not the gate's", "look at it again"), ExitRefused, []string{"decision.digest"}},
		"no plug-in": {"approve r5 -y", nil, ExitError, []string{"no open gate"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := waiting()
			f.update = tc.update
			f.statuses["r3"] = wflo.Status{Gates: []wflo.Gate{closed}}
			f.statuses["r4"] = wflo.Status{Gates: []wflo.Gate{forged}}
			f.statuses["r5"] = wflo.Status{State: "plain"}
			invoke(t, f, strings.Fields(tc.line)...).want(t, tc.code, nil, tc.want)
			if tc.update == nil && len(f.decisions) > 0 {
				t.Error("a decision was sent")
			}
		})
	}
}

func wireInvalid(msg, hint string) error {
	return temporal.NewApplicationErrorWithOptions(msg+" ("+hint+")", string(wflo.CodeInvalid), temporal.ApplicationErrorOptions{Details: []any{hint}})
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]int{"y\n": ExitOK, "YES\n": ExitOK, "yes": ExitOK, "\n": ExitDenied, "": ExitDenied, "sure\n": ExitDenied} {
		var errOut strings.Builder
		a := &app{deps: Deps{Stdin: strings.NewReader(answer), Stderr: &errOut}}
		if got := exitCode(a.confirm("Approve?", "nothing was decided")); got != want {
			t.Errorf("confirm(%q) = exit code %d, want %d", answer, got, want)
		}
	}
}

func TestList(t *testing.T) {
	f := waiting()
	f.runs = append(f.runs, info("r3", enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, map[string]any{wflo.AttrState: "running", wflo.AttrUser: "eve\x1b[2J"}))
	invoke(t, f, "list").want(t, 0, []string{"ID ", "r1  wflo.Agent  waiting_approval  ann", "$0.0123", "1m30s ago", `eve\x1b[2J`, "failed"}, nil)
	invoke(t, f, "list", "--limit", "1", "-o", "jsonl").want(t, 0, []string{`{"id":"r1"`, `"spent":"0.0123"`, `"gates":["refunds"]`}, nil)
	if r := invoke(t, f, "list", "--limit", "2", "-o", "jsonl"); strings.Count(r.out, "\n") != 2 {
		t.Errorf("limit 2 gave:\n%s", r.out)
	}
	invoke(t, &fakeTemporal{}, "list").want(t, 0, nil, []string{"no runs"})
}

func TestStateQuery(t *testing.T) {
	for state, want := range map[wflo.RunState]string{
		"":                  "",
		wflo.StateRunning:   "ExecutionStatus = 'Running' AND (WfloState = 'running' OR WfloState IS NULL)",
		wflo.StateWaiting:   "ExecutionStatus = 'Running' AND WfloState = 'waiting_approval'",
		wflo.StateCompleted: "ExecutionStatus = 'Completed'",
		wflo.StateHalted:    "WfloState = 'halted'",
	} {
		if got := console.StateQuery(state); got != want {
			t.Errorf("StateQuery(%q) = %s, want %s", state, got, want)
		}
	}
}

// The runs that hand over alerts are not in a list, unless all are asked for.
func TestListHidesAlerts(t *testing.T) {
	f := waiting()
	invoke(t, f, "list", "--limit", "1").want(t, 0, []string{"r1"}, nil)
	invoke(t, f, "list", "--state", "halted").want(t, 0, []string{"r1"}, nil)
	invoke(t, f, "list", "--all", "--state", "halted").want(t, 0, []string{"r1"}, nil)
	want := []string{"WorkflowType != 'wflo.BudgetAlert'", "WorkflowType != 'wflo.BudgetAlert' AND (WfloState = 'halted')", "WfloState = 'halted'"}
	if diff := cmp.Diff(want, f.queries); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	f := waiting()
	f.statuses["r1"] = wflo.Status{
		Run: wflo.Run{User: "ann", Budget: wflo.Budget{Limit: 5 * wflo.USD}}, State: wflo.StateWaiting, Doing: "refunds",
		Spent: 2300 * wflo.MicroUSD, Calls: 1, Steps: []wflo.StepRecord{{Key: "look"}},
		Gates:         []wflo.Gate{gate("r1", "refunds")},
		Compensations: []wflo.CompensationRecord{{Name: "refund back", Activity: "Unpay", State: wflo.CompensationDead, Error: "no route"}},
		Halted:        &wflo.Halt{By: "eve", Reason: "stop"},
	}
	invoke(t, f, "status", "r1").want(t, 0, []string{
		"state     waiting_approval", "spent     $0.0023 in 1 model call, of $5.00", "  step  look", "  gate  refunds: Refund 12 USD",
		"wflo approve refunds --run r1", "  undo  refund back (Unpay) dead_letter: no route", "halted by eve: stop",
	}, nil)
	var st runStatus
	r := invoke(t, f, "status", "r1", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &st); err != nil || st.ID != "r1" || st.Detail == nil || st.Detail.Steps[0].Key != "look" {
		t.Errorf("json: %v\n%s", err, r.out)
	}
	f.statuses["r2"] = wflo.Status{State: "plain"}
	invoke(t, f, "status", "r2").want(t, 0, []string{"run       r2"}, []string{"has not the wflo plugin"})
	f.statuses["r2"] = wflo.Status{State: "silent"}
	invoke(t, f, "status", "r2").want(t, 0, []string{"run       r2"}, []string{"does not answer"})
	invoke(t, f, "status", "nix").want(t, ExitError, nil, []string{"no run nix in namespace default", "hint: see: wflo list"})
}
