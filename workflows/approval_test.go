package workflows_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// refund is the question of these tests.
func refund() wflo.Approval {
	return wflo.Approval{Gate: "refunds", Action: "refund order 17", Payload: json.RawMessage(`{"amount":17}`)}
}

// asking is a workflow that asks and then acts.
func asking(a wflo.Approval) func(workflow.Context) (wflo.Decision, error) {
	return func(ctx workflow.Context) (wflo.Decision, error) {
		d, err := workflows.RequireApproval(ctx, a)
		if err == nil {
			_, err = do(ctx, "refund")
		}
		return d, err
	}
}

func unanswered(wflo.Gate) wflo.Decision { return wflo.Decision{} }

func approve(by string) func(wflo.Gate) wflo.Decision {
	return func(g wflo.Gate) wflo.Decision { return wflotest.Approve(g, by) }
}

func reject(by, reason string) func(wflo.Gate) wflo.Decision {
	return func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, by, reason) }
}

func says(v wflo.Verdict, by string) func(wflo.Gate) wflo.Decision {
	return func(g wflo.Gate) wflo.Decision { return g.Decide(v, by) }
}

func edits(by, payload string) func(wflo.Gate) wflo.Decision {
	return func(g wflo.Gate) wflo.Decision { return wflotest.Edit(g, by, json.RawMessage(payload)) }
}

// TestWhoMustDecide walks the rules about people, with the real gate in a real run.
func TestWhoMustDecide(t *testing.T) {
	type say = func(wflo.Gate) wflo.Decision
	three := []string{"ann", "bob", "cid"}
	tests := map[string]struct {
		change  func(*wflo.Approval)
		say     []say
		code    wflo.Code // of the run; empty for approved
		refused int
	}{
		"two of three":            {func(a *wflo.Approval) { a.Quorum = 2 }, []say{approve("ann"), approve("bob")}, "", 0},
		"one of two":              {func(a *wflo.Approval) { a.Quorum = 2 }, []say{approve("ann")}, wflo.CodeApprovalTimeout, 0},
		"one person twice":        {func(a *wflo.Approval) { a.Quorum = 2 }, []say{approve("ann"), approve("ann")}, wflo.CodeApprovalTimeout, 1},
		"a stranger":              {func(*wflo.Approval) {}, []say{approve("eve")}, wflo.CodeApprovalTimeout, 1},
		"the user":                {func(a *wflo.Approval) { a.FourEyes, a.Approvers = true, append(three, "uma") }, []say{approve("uma")}, wflo.CodeApprovalTimeout, 1},
		"who is behind it":        {func(a *wflo.Approval) { a.FourEyes, a.Approvers = true, append(three, "pia") }, []say{approve("pia")}, wflo.CodeApprovalTimeout, 1},
		"the user rejects":        {func(a *wflo.Approval) { a.FourEyes, a.Approvers = true, append(three, "uma") }, []say{reject("uma", "no")}, wflo.CodeApprovalRejected, 0},
		"two eyes":                {func(a *wflo.Approval) { a.Approvers = append(three, "uma") }, []say{approve("uma")}, "", 0},
		"the editor":              {func(a *wflo.Approval) { a.FourEyes = true; a.Answers = editable }, []say{edits("ann", `{"amount":5}`), approve("ann")}, wflo.CodeApprovalTimeout, 1},
		"edit and approve by one": {func(a *wflo.Approval) { a.Answers = editable }, []say{edits("ann", `{"amount":5}`)}, "", 0},
		"an edit voids votes":     {func(a *wflo.Approval) { a.Quorum, a.Answers = 3, editable }, []say{approve("ann"), approve("bob"), edits("cid", `{"amount":5}`)}, wflo.CodeApprovalTimeout, 0},
		"an edit not asked for":   {func(*wflo.Approval) {}, []say{edits("ann", `{"amount":5}`)}, wflo.CodeApprovalTimeout, 1},
		"an edit of nothing":      {func(a *wflo.Approval) { a.Answers = editable }, []say{edits("ann", `{"amount": 17}`)}, wflo.CodeApprovalTimeout, 1},
		"one denial of two":       {func(a *wflo.Approval) { a.Denials = 2 }, []say{reject("ann", "no"), approve("bob")}, "", 0},
		"two denials":             {func(a *wflo.Approval) { a.Denials = 2 }, []say{reject("ann", "no"), reject("bob", "no")}, wflo.CodeApprovalRejected, 0},
		"no reason":               {func(a *wflo.Approval) { a.ReasonRequired = true }, []say{reject("ann", "")}, wflo.CodeApprovalTimeout, 1},
		"a reason":                {func(a *wflo.Approval) { a.ReasonRequired = true }, []say{reject("ann", "too much")}, wflo.CodeApprovalRejected, 0},
		"both factors":            {func(a *wflo.Approval) { a.Factors = []wflo.Factor{{Approvers: []string{"lea"}}} }, []say{approve("ann"), approve("lea")}, "", 0},
		"one factor":              {func(a *wflo.Approval) { a.Factors = []wflo.Factor{{Approvers: []string{"lea"}}} }, []say{approve("ann"), approve("bob")}, wflo.CodeApprovalTimeout, 0},
		"a late approval":         {func(*wflo.Approval) {}, []say{reject("ann", "no"), approve("bob")}, wflo.CodeApprovalRejected, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := refund()
			a.Approvers = three
			tt.change(&a)
			env, j := newEnv(t, wflotest.Config{User: "uma", Principals: []string{"pia"}, Decide: unanswered})
			for i, s := range tt.say {
				env.After(time.Duration(i+1)*time.Minute, "refunds", s)
			}
			err := env.Run(func(ctx workflow.Context) (wflo.Decision, error) {
				d, err := asking(a)(ctx)
				_ = workflow.Sleep(ctx, 2*time.Hour) // for what comes late
				return d, err
			})
			g, _ := env.Gate("refunds")
			if tt.code != "" {
				wantCode(t, err, tt.code)
			} else if err != nil {
				t.Fatalf("%v; refused: %s", err, g.LastRefusal)
			}
			if want := 1 - min(len(tt.code), 1); len(j.lines) != want || g.Refused != tt.refused || tt.refused > 0 && g.LastRefusal == "" {
				t.Errorf("acted %v, refused %d: %s", j.lines, g.Refused, g.LastRefusal)
			}
		})
	}
}

var editable = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit}

// TestEditIsReturned gives the workflow what people made of its payload.
func TestEditIsReturned(t *testing.T) {
	a := refund()
	a.Answers, a.Quorum, a.Approvers = editable, 2, []string{"ann", "bob"}
	env, _ := newEnv(t, wflotest.Config{Decide: unanswered})
	env.After(time.Minute, "refunds", edits("ann", `{"amount":5}`))
	env.After(2*time.Minute, "refunds", approve("bob"))
	if err := env.Run(asking(a)); err != nil {
		t.Fatal(err)
	}
	var d wflo.Decision
	env.Result(&d)
	g, _ := env.Gate("refunds")
	kept, err := env.Records().Gate(t.Context(), g.Nonce) // the run itself lets go of what was asked
	if string(d.Edit) != `{"amount":5}` || d.By != "bob" || g.Revision != 1 || !g.Used || err != nil || string(kept.Original) != `{"amount":17}` {
		t.Errorf("%+v\n%+v\n%+v, %v", d, g, kept, err)
	}
}

// TestStaleDigestAfterEdit: who looked at the payload before the edit has not seen
// what would be done.
func TestStaleDigestAfterEdit(t *testing.T) {
	a := refund()
	a.Answers, a.Quorum, a.Approvers = editable, 2, []string{"ann", "bob"}
	env, j := newEnv(t, wflotest.Config{Panel: func(g wflo.Gate) []wflo.Decision {
		return []wflo.Decision{wflotest.Edit(g, "ann", json.RawMessage(`{"amount":5}`)), wflotest.Approve(g, "bob")}
	}})
	wantCode(t, env.Run(asking(a)), wflo.CodeApprovalTimeout)
	if g, _ := env.Gate("refunds"); g.Refused != 1 || !strings.Contains(g.LastRefusal, "changed since") || len(j.lines) != 0 {
		t.Errorf("%+v", g)
	}
}

// ladder is a gate with two levels and channels.
func ladder(on wflo.OnTimeout) wflo.Approval {
	a := refund()
	a.Approvers, a.Timeout, a.OnTimeout, a.Notify = []string{"ann"}, time.Hour, on, []string{"slack://ops"}
	a.Escalation = []wflo.Level{
		{After: 40 * time.Minute, Approvers: []string{"bob"}, Notify: []string{"pagerduty://bob"}}, {Approvers: []string{"cid"}},
	}
	return a
}

// TestEscalation reaches the levels by time, by hand and by the end of the time.
func TestEscalation(t *testing.T) {
	type say = func(wflo.Gate) wflo.Decision
	tests := map[string]struct {
		on     wflo.OnTimeout
		say    map[time.Duration]say
		code   wflo.Code
		level  int
		closed time.Duration // after the gate opened
	}{
		"the next level by time":        {wflo.OnTimeoutReject, map[time.Duration]say{45 * time.Minute: approve("bob")}, "", 1, 45 * time.Minute},
		"the next level too early":      {wflo.OnTimeoutReject, map[time.Duration]say{30 * time.Minute: approve("bob")}, wflo.CodeApprovalTimeout, 1, time.Hour},
		"the first level still may":     {wflo.OnTimeoutReject, map[time.Duration]say{45 * time.Minute: approve("ann")}, "", 1, 45 * time.Minute},
		"by hand":                       {wflo.OnTimeoutReject, map[time.Duration]say{5 * time.Minute: says(wflo.VerdictEscalate, "ann"), 6 * time.Minute: approve("bob")}, "", 1, 6 * time.Minute},
		"by hand gives the whole time":  {wflo.OnTimeoutReject, map[time.Duration]say{5 * time.Minute: says(wflo.VerdictEscalate, "ann")}, wflo.CodeApprovalTimeout, 1, 65 * time.Minute},
		"by the end of the time":        {wflo.OnTimeoutEscalate, map[time.Duration]say{61 * time.Minute: approve("cid")}, "", 2, 61 * time.Minute},
		"nobody at all":                 {wflo.OnTimeoutEscalate, nil, wflo.CodeApprovalTimeout, 2, 2 * time.Hour},
		"somebody looks at it":          {wflo.OnTimeoutReject, map[time.Duration]say{5 * time.Minute: says(wflo.VerdictAck, "ann")}, wflo.CodeApprovalTimeout, 0, time.Hour},
		"who was not asked yet may not": {wflo.OnTimeoutReject, map[time.Duration]say{5 * time.Minute: says(wflo.VerdictEscalate, "bob")}, wflo.CodeApprovalTimeout, 1, time.Hour},
		"halt":                          {wflo.OnTimeoutHalt, nil, wflo.CodeHalted, 1, time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env, j := newEnv(t, wflotest.Config{Decide: unanswered})
			for at, s := range tt.say {
				env.After(at, "refunds", s)
			}
			err := env.Run(asking(ladder(tt.on)))
			g, _ := env.Gate("refunds")
			if tt.code != "" {
				wantCode(t, err, tt.code)
			} else if err != nil {
				t.Fatalf("%v; refused: %s", err, g.LastRefusal)
			}
			took := g.ClosedAt.Sub(g.OpenedAt).Round(time.Second)
			if g.Level != tt.level || took != tt.closed || len(j.lines) != 1-min(len(tt.code), 1) {
				t.Errorf("level %d after %s, acted %v", g.Level, took, j.lines)
			}
		})
	}
}

// TestTimeMayApprove lets an action of low risk happen, and says who approved.
func TestTimeMayApprove(t *testing.T) {
	a := refund()
	a.Risk, a.OnTimeout = wflo.RiskLow, wflo.OnTimeoutApprove
	env, j := newEnv(t, wflotest.Config{Decide: unanswered})
	if err := env.Run(asking(a)); err != nil {
		t.Fatal(err)
	}
	var d wflo.Decision
	env.Result(&d)
	if d.By != "timer" || len(j.lines) != 1 {
		t.Errorf("%+v, acted %v", d, j.lines)
	}
}

// notices of the run's outbox, oldest first, as "kind channel".
func notices(t *testing.T, env *wflotest.Env) []string {
	t.Helper()
	all, err := env.Records().ListNotices(context.Background(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b wflo.NoticeRecord) int {
		return cmp.Or(a.Seq-b.Seq, strings.Compare(a.Channel, b.Channel))
	})
	var out []string
	for _, n := range all {
		out = append(out, string(n.Kind)+" "+n.Channel)
	}
	return out
}

// events are the types of the run's audit trail, in order.
func events(t *testing.T, env *wflotest.Env) []wflo.AuditType {
	t.Helper()
	records, err := env.Records().ReadAudit(context.Background(), wflo.AuditQuery{Chain: "main"})
	if err != nil {
		t.Fatal(err)
	}
	var out []wflo.AuditType
	for _, r := range records {
		if r.Type != wflo.AuditPolicyRuled {
			out = append(out, r.Type)
		}
	}
	return out
}

// TestWhoIsTold lists all that a gate with levels tells, in its order, with what the
// trail keeps of it.
func TestWhoIsTold(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{Decide: unanswered})
	env.After(70*time.Minute, "refunds", approve("bob"))
	a := ladder(wflo.OnTimeoutEscalate)
	a.Reminders = []int{25}
	if err := env.Run(asking(a)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"approval.requested slack://ops", "approval.reminder slack://ops", // after 15 minutes
		"approval.escalated pagerduty://bob", "approval.reminder pagerduty://bob", // 40, and a quarter of what is left
		"approval.escalated slack://ops", "approval.closed pagerduty://bob", "approval.closed slack://ops",
	}
	if got := notices(t, env); !slices.Equal(got, want) {
		t.Errorf("told %q", got)
	}
	trail := []wflo.AuditType{
		wflo.AuditGateOpened, wflo.AuditGateReminded, wflo.AuditGateEscalated, wflo.AuditGateReminded, wflo.AuditGateEscalated,
		wflo.AuditGateDecided, wflo.AuditGateClosed,
	}
	if got := events(t, env); !slices.Equal(got, trail) {
		t.Errorf("trail %q", got)
	}
	g, _ := env.Gate("refunds")
	kept, err := env.Records().Gate(context.Background(), g.Nonce)
	if err != nil || kept.Status != wflo.GateApproved || kept.Digest != g.Digest || len(kept.Votes) != 1 {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// TestUnsatisfiableGateDoesNotOpen: nobody is asked what nobody could approve.
func TestUnsatisfiableGateDoesNotOpen(t *testing.T) {
	a := refund()
	a.Approvers, a.FourEyes = []string{"uma"}, true
	env, j := newEnv(t, wflotest.Config{User: "uma"})
	err := env.Run(asking(a))
	wantCode(t, err, wflo.CodeInvalid)
	if len(env.Gates()) != 0 || len(j.lines) != 0 || !strings.Contains(err.Error(), "could never be approved") {
		t.Errorf("%v, gates %v", err, env.Gates())
	}
}

// TestWorkerDefaults fill in what a gate does not say, before anything is shown.
func TestWorkerDefaults(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{User: "uma", Decide: unanswered, Plugin: func(cfg *plugin.Config) {
		cfg.ApprovalDefaults.FourEyes, cfg.ApprovalDefaults.ReasonRequired = true, true
		cfg.ApprovalDefaults.Notify, cfg.ApprovalDefaults.Timeout = []string{"slack://ops"}, 10*time.Minute
	}})
	wantCode(t, env.Run(asking(refund())), wflo.CodeApprovalTimeout)
	g := env.Gates()[0]
	if a := g.Approval; !a.FourEyes || !a.ReasonRequired || !slices.Equal(a.Notify, []string{"slack://ops"}) || a.Timeout != 10*time.Minute ||
		g.ExpiresAt.Sub(g.OpenedAt) != 10*time.Minute || g.Digest != g.ComputeDigest() {
		t.Errorf("%+v", g)
	}
}

// TestForm takes answers that fit a schema, and nothing else.
func TestForm(t *testing.T) {
	form := `{"type":"object","properties":{"amount":{"type":"integer","maximum":100}},"required":["amount"],"additionalProperties":false}`
	respond := func(data string) func(wflo.Gate) wflo.Decision {
		return func(g wflo.Gate) wflo.Decision {
			d := g.Decide(wflo.VerdictRespond, "ann")
			d.Form = json.RawMessage(data)
			return d
		}
	}
	for data, fits := range map[string]bool{
		`{"amount":7}`: true, `{"amount":101}`: false, `{"amount":"7"}`: false, `{}`: false, ``: false, `[]`: false,
		`{"amount":7,"amount":8}`: false, `{"amount":7,"to":"eve"}`: false,
	} {
		t.Run(data, func(t *testing.T) {
			a := refund()
			a.Form, a.Answers = json.RawMessage(form), []wflo.Verdict{wflo.VerdictRespond, wflo.VerdictReject}
			env, _ := newEnv(t, wflotest.Config{Decide: unanswered})
			env.After(time.Minute, "refunds", respond(data))
			err := env.Run(asking(a))
			if !fits {
				wantCode(t, err, wflo.CodeApprovalTimeout)
				return
			}
			var d wflo.Decision
			if err != nil {
				t.Fatal(err)
			}
			if env.Result(&d); string(d.Form) != data {
				t.Errorf("%s", d.Form)
			}
		})
	}
	for name, bad := range map[string]string{
		"another document": `{"$ref":"https://example.com/schema.json"}`, "a file": `{"$ref":"file:///etc/passwd"}`,
		"no schema": `{"type":"nonsense"}`, "a bad pattern": `{"type":"string","pattern":"("}`, "too long": `{"description":"` + strings.Repeat("x", 70<<10) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := refund()
			a.Form = json.RawMessage(bad)
			env, _ := newEnv(t, wflotest.Config{})
			if wantCode(t, env.Run(asking(a)), wflo.CodeInvalid); len(env.Gates()) != 0 {
				t.Error("the gate opened")
			}
		})
	}
}

// TestParallelGates keeps a run waiting until the last of its gates has closed.
func TestParallelGates(t *testing.T) {
	env, _ := newEnv(t, wflotest.Config{Decide: unanswered})
	ids := []string{"refunds", "refunds#2", "other"}
	for i, id := range ids {
		env.After(time.Duration(i+1)*time.Minute, id, approve("ann"))
	}
	var states []wflo.RunState
	for i := range ids {
		env.RegisterDelayedCallback(func() { states = append(states, env.Status().State) }, time.Duration(i+1)*time.Minute+time.Second)
	}
	err := env.Run(func(ctx workflow.Context) error {
		left := 3
		var failed error
		for _, gate := range []string{"refunds", "refunds", "other"} {
			workflow.Go(ctx, func(ctx workflow.Context) {
				a := refund()
				a.Gate = gate
				if _, err := workflows.RequireApproval(ctx, a); err != nil {
					failed = err
				}
				left--
			})
		}
		if err := workflow.Await(ctx, func() bool { return left == 0 }); err != nil {
			return err
		}
		_ = workflow.Sleep(ctx, time.Minute)
		return failed
	})
	want := []wflo.RunState{wflo.StateWaiting, wflo.StateWaiting, wflo.StateRunning}
	if err != nil || !slices.Equal(states, want) {
		t.Errorf("%v, states %v", err, states)
	}
}

// TestUpdateSaysWhatHappened: the second click on one decision is answered like the
// first, and changes nothing.
func TestUpdateSaysWhatHappened(t *testing.T) {
	a := refund()
	a.Quorum, a.Approvers = 2, []string{"ann", "bob"}
	env, _ := newEnv(t, wflotest.Config{Decide: unanswered})
	var got []string
	send := func(id string, d wflo.Decision) {
		env.UpdateWorkflow(wflo.UpdateDecide, id, &testsuite.TestUpdateCallback{
			OnReject: func(err error) { got = append(got, "refused") }, OnAccept: func() {},
			OnComplete: func(v any, err error) {
				g, ok := v.(wflo.Gate)
				got = append(got, fmt.Sprintf("%v %d votes %v", ok, len(g.Votes), err))
			},
		}, d)
	}
	env.RegisterDelayedCallback(func() {
		g, _ := env.Gate("refunds")
		d := wflotest.Approve(g, "ann")
		d.ID = "click"
		send("u1", d)
		send("u2", d)
		send("u3", wflotest.Approve(g, "ann"))
		send("u4", wflotest.Approve(g, "bob"))
	}, time.Minute)
	if err := env.Run(asking(a)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"true 1 votes <nil>", "true 1 votes <nil>", "refused", "true 2 votes <nil>"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
