package desk_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a desk with runs that wait.
type office struct {
	t       *testing.T
	desk    *desk.Desk
	runs    *desktest.Runs
	records *faulty
	mu      sync.Mutex
	time    time.Time
}

// faulty is a store whose trail can break.
type faulty struct {
	activities.Records
	mute wflo.AuditType // events of this type cannot be written
}

func (f *faulty) Append(ctx context.Context, events ...wflo.AuditEvent) error {
	for _, e := range events {
		if f.mute != "" && e.Type == f.mute {
			return errors.New("disk of 10.1.2.3 is full")
		}
	}
	return f.Records.Append(ctx, events...)
}

func (o *office) now() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.time
}

func (o *office) pass(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.time = o.time.Add(d)
}

func newOffice(t *testing.T) *office {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	o := &office{t: t, records: &faulty{Records: ledger.Records()}, time: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	if o.runs, err = desktest.New(o.records, o.now); err != nil {
		t.Fatal(err)
	}
	o.desk = &desk.Desk{Client: o.runs, Records: o.records, Sign: o.runs.Sign, Now: o.now, Logger: slog.New(slog.DiscardHandler)}
	return o
}

func refunds(change func(*wflo.Approval)) wflo.Approval {
	a := wflo.Approval{
		Gate: "refunds", Action: "refund order 17", Payload: json.RawMessage(`{"order":17,"amount":"25.00"}`),
		Approvers: []string{"ann", "bob", "group:ops"},
	}
	if change != nil {
		change(&a)
	}
	return a
}

// ask opens the gate "n1" of the run r1 of acme, which acts for eve.
func (o *office) ask(change func(*wflo.Approval)) wflo.Gate {
	o.t.Helper()
	return o.askAs("r1", "n1", "acme", change)
}

func (o *office) askAs(workflowID, nonce, org string, change func(*wflo.Approval)) wflo.Gate {
	o.t.Helper()
	run := wflo.Run{Namespace: "default", WorkflowID: workflowID, FirstRunID: "first", User: "eve", Org: org}
	g, err := o.runs.Ask(o.t.Context(), run, nonce, refunds(change))
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

func person(subject string, change ...func(*wflo.Identity)) wflo.Identity {
	id := wflo.Identity{Subject: subject, Roles: []wflo.AccessRole{wflo.RoleApprover}, Method: "ldap"}
	for _, c := range change {
		c(&id)
	}
	return id
}

func in(groups ...string) func(*wflo.Identity) { return func(id *wflo.Identity) { id.Groups = groups } }
func of(org string) func(*wflo.Identity)       { return func(id *wflo.Identity) { id.Org = org } }

func says(v wflo.Verdict, g wflo.Gate) desk.Request {
	return desk.Request{Nonce: g.Nonce, Digest: g.Digest, Verdict: v, ID: "form-1", Origin: desk.Origin{Channel: "page", Address: "192.0.2.7"}}
}

// trail gives the types and actors of the records at the gate.
func (o *office) trail(chain string) []string {
	o.t.Helper()
	records, err := o.records.ReadAudit(o.t.Context(), wflo.AuditQuery{Chain: chain})
	if err != nil {
		o.t.Fatal(err)
	}
	var all []string
	for _, r := range records {
		all = append(all, string(r.Type)+" "+r.Actor)
	}
	return all
}

func (o *office) wantTrail(chain string, want ...string) {
	o.t.Helper()
	if diff := cmp.Diff(want, o.trail(chain)); diff != "" {
		o.t.Errorf("trail of %s (-want +got):\n%s", chain, diff)
	}
}

// Somebody can be quicker than the run, which learns that its gate is open a moment after
// the index does.
func TestDecideAtOnce(t *testing.T) {
	o := newOffice(t)
	g := o.ask(nil)
	o.runs.Lag(3)
	if after, err := o.desk.Decide(t.Context(), person("ann"), says(wflo.VerdictApprove, g)); err != nil || after.Status != wflo.GateApproved {
		t.Errorf("gate is %s, %v", after.Status, err)
	}
	if n := len(o.runs.Updates()); n != 4 {
		t.Errorf("%d updates", n)
	}
	o.wantTrail("acme", "approval.sent ann", "approval.decided ann")
}

// TestDecideOnAGateThatIsNotAsked is told at once when the run had the time to know.
func TestDecideOnAGateThatIsNotAsked(t *testing.T) {
	o := newOffice(t)
	g := o.ask(nil)
	o.pass(time.Minute)
	o.runs.Lag(1)
	_, err := o.desk.Decide(t.Context(), person("ann"), says(wflo.VerdictApprove, g))
	if wflo.CodeOf(err) != wflo.CodeInvalid || len(o.runs.Updates()) != 1 {
		t.Errorf("%v after %d updates", err, len(o.runs.Updates()))
	}
}

// A decision is signed in the name of who is logged in, judged by its run, and in
// the trail before and after.
func TestDecide(t *testing.T) {
	o := newOffice(t)
	g := o.ask(nil)
	req := says(wflo.VerdictApprove, g)
	req.Reason = "the customer is right"
	got, err := o.desk.Decide(t.Context(), person("cat", in("ops", "staff")), req)
	if err != nil || got.Status != wflo.GateApproved {
		t.Fatalf("%s, %v", got.Status, err)
	}
	sent := o.runs.Updates()[0].Args[0].(wflo.Decision)
	if sent.By != "cat" || sent.Method != "ldap" || !slices.Equal(sent.Groups, []string{"ops", "staff"}) || sent.Reason != req.Reason || !sent.At.Equal(o.now()) {
		t.Errorf("sent %+v", sent)
	}
	if _, err := o.runs.Terms.Verify(sent, true); err != nil {
		t.Errorf("signature: %v", err)
	}
	o.wantTrail("acme", "approval.sent cat", "approval.decided cat")
	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Chain: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	var data wflo.AuditDecision
	if err := json.Unmarshal(records[1].Data, &data); err != nil || data.Channel != "page" || data.Address != "192.0.2.7" || data.Decision.Signature != sent.Signature || data.Gate != "n1" {
		t.Errorf("record %s, %v", records[1].Data, err)
	}
	indexed, err := o.records.Gate(t.Context(), "n1")
	if err != nil || indexed.Status != wflo.GateApproved {
		t.Errorf("index: %s, %v", indexed.Status, err)
	}
}

// What does not count is refused before anything is signed, with a hint, and is in
// the trail with who tried.
func TestRefusals(t *testing.T) {
	four := func(a *wflo.Approval) { a.FourEyes, a.Approvers = true, nil }
	tests := []struct {
		name  string
		gate  func(*wflo.Approval)
		who   wflo.Identity
		req   func(*desk.Request)
		prior func(*office)
		want  string
		kind  error
		chain string
		sent  int // updates that the run refuses
	}{
		{name: "viewer", who: person("ann", func(id *wflo.Identity) { id.Roles = []wflo.AccessRole{wflo.RoleViewer} }), want: "role approver", kind: desk.ErrForbidden, chain: "main"},
		{name: "operator", who: person("ann", func(id *wflo.Identity) { id.Roles = []wflo.AccessRole{wflo.RoleOperator} }), want: "role approver", kind: desk.ErrForbidden, chain: "main"},
		{name: "nobody", who: person(""), want: "role approver", kind: desk.ErrForbidden, chain: "main"},
		{name: "not asked", who: person("mallory", in("sales")), want: "not an approver"},
		{name: "administrator who is not asked", who: person("root", func(id *wflo.Identity) { id.Roles = []wflo.AccessRole{wflo.RoleAdmin} }), want: "not an approver"},
		{name: "another org", who: person("ann", of("other")), want: "no gate n1", kind: fs.ErrNotExist, chain: "other"},
		{name: "unknown gate", who: person("ann"), req: func(r *desk.Request) { r.Nonce = "n2" }, want: "no gate n2", kind: fs.ErrNotExist, chain: "main"},
		{name: "no gate", who: person("ann"), req: func(r *desk.Request) { r.Nonce = "" }, want: "no gate", kind: fs.ErrNotExist, chain: "main"},
		{name: "other digest", who: person("ann"), req: func(r *desk.Request) { r.Digest = strings.Repeat("0", 64) }, want: "it changed since"},
		{name: "no digest", who: person("ann"), req: func(r *desk.Request) { r.Digest = "" }, want: "digest is empty", chain: "main"},
		{name: "odd verdict", who: person("ann"), req: func(r *desk.Request) { r.Verdict = "approved" }, want: "use approve", chain: "main"},
		{name: "verdict that is not asked for", who: person("ann"), req: func(r *desk.Request) { r.Verdict, r.Edit = wflo.VerdictEdit, json.RawMessage(`{}`) }, want: "this gate takes"},
		{name: "four eyes", gate: four, who: person("eve"), want: "four eyes"},
		{name: "no reason", gate: func(a *wflo.Approval) { a.ReasonRequired = true }, who: person("ann"), req: func(r *desk.Request) { r.Verdict = wflo.VerdictReject }, want: "reason is empty"},
		{name: "hidden text", who: person("ann"), req: func(r *desk.Request) { r.Reason = "fine\x1b[2J" }, want: "cannot be seen", chain: "main"},
		{name: "text that is not UTF-8", who: person("ann"), req: func(r *desk.Request) { r.Reason = "\xff" }, want: "cannot be seen", chain: "main"},
		{name: "endless reason", who: person("ann"), req: func(r *desk.Request) { r.Reason = strings.Repeat("x", 20<<10) }, want: "too long"},
		{name: "nobody to escalate to", who: person("ann"), req: func(r *desk.Request) { r.Verdict = wflo.VerdictEscalate }, want: "nobody left"},
		{name: "edit that is read in two ways", gate: edits, who: person("ann"), req: func(r *desk.Request) { r.Verdict, r.Edit = wflo.VerdictEdit, json.RawMessage(`{"a":1,"a":2}`) }, want: "twice"},
		{name: "answer without words", gate: responds(""), who: person("ann"), req: func(r *desk.Request) { r.Verdict, r.Text = wflo.VerdictRespond, " \n" }, want: "text is empty"},
		{name: "form that does not fit", gate: responds(schema), who: person("ann"), req: func(r *desk.Request) {
			r.Verdict, r.Form = wflo.VerdictRespond, json.RawMessage(`{"amount":"secret-of-ann"}`)
		}, want: "/amount"},
		{name: "form that nobody asked for", who: person("ann"), req: func(r *desk.Request) { r.Form = json.RawMessage(`{}`) }, want: "verdict respond"},
		{name: "late", who: person("ann"), prior: func(o *office) {
			o.runs.Change("n1", func(g wflo.Gate) wflo.Gate { return g.Pass(wflo.EventTimeout, g.ExpiresAt) })
		}, want: "comes late", sent: 1},
		{name: "a run that shows something else", gate: func(a *wflo.Approval) {
			a.Escalation = []wflo.Level{{Approvers: []string{"cid"}}}
		}, who: person("cid"), prior: func(o *office) { // of whose escalation the index has not heard
			o.runs.Change("n1", func(g wflo.Gate) wflo.Gate { g.Level, g.Approval.Action = 1, "water the flowers"; return g })
		}, want: "not that of what it shows"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			req := says(wflo.VerdictApprove, o.ask(tt.gate))
			if tt.req != nil {
				tt.req(&req)
			}
			if tt.prior != nil {
				tt.prior(o)
			}
			before := o.runs.Gate("n1")
			_, err := o.desk.Decide(t.Context(), tt.who, req)
			if err == nil || !strings.Contains(err.Error(), tt.want) || wflo.HintOf(err) == "" || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("error %v, hint %q", err, wflo.HintOf(err))
			}
			if err != nil && strings.Contains(err.Error(), "secret-of-ann") {
				t.Errorf("the error repeats what was filled in: %v", err)
			}
			if n := len(o.runs.Updates()); n != tt.sent {
				t.Errorf("%d updates were sent", n)
			}
			if diff := cmp.Diff(before, o.runs.Gate("n1")); diff != "" {
				t.Errorf("the gate changed:\n%s", diff)
			}
			chain := tt.chain
			if chain == "" {
				chain = "acme"
			}
			trail := []string{"approval.refused " + tt.who.Subject}
			if tt.sent > 0 {
				trail = append([]string{"approval.sent " + tt.who.Subject}, trail...)
			}
			o.wantTrail(chain, trail...)
		})
	}
}

func edits(a *wflo.Approval) {
	a.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit}
}

const schema = `{"type":"object","properties":{"amount":{"type":"integer"},"note":{"type":"string"}},"required":["amount"],"additionalProperties":false}`

func responds(form string) func(*wflo.Approval) {
	return func(a *wflo.Approval) {
		a.Answers = []wflo.Verdict{wflo.VerdictRespond, wflo.VerdictReject}
		a.Form = json.RawMessage(form)
	}
}

// A double click is one decision: one update name, one vote, one record of it.
func TestDoubleClick(t *testing.T) {
	o := newOffice(t)
	req := says(wflo.VerdictApprove, o.ask(func(a *wflo.Approval) { a.Quorum = 2 }))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if g, err := o.desk.Decide(context.Background(), person("ann"), req); err != nil || g.Status != wflo.GateOpen {
				t.Errorf("%s, %v", g.Status, err)
			}
		})
	}
	wg.Wait()
	if g := o.runs.Gate("n1"); len(g.Votes) != 1 {
		t.Errorf("%d votes", len(g.Votes))
	}
	names := map[string]bool{}
	for _, u := range o.runs.Updates() {
		names[u.UpdateID] = true
	}
	if len(names) != 1 {
		t.Errorf("%d names of updates", len(names))
	}
	o.wantTrail("acme", "approval.sent ann", "approval.decided ann")
	// Another form of the same person is another decision, which does not count.
	req.ID = "form-2"
	if _, err := o.desk.Decide(t.Context(), person("ann"), req); err == nil || !strings.Contains(err.Error(), "comes twice") {
		t.Errorf("second approval: %v", err)
	}
}

// Whoever changes their mind twice, by buttons that have no name of their own, is
// heard each time.
func TestChangeOfMind(t *testing.T) {
	o := newOffice(t)
	req := says(wflo.VerdictApprove, o.ask(func(a *wflo.Approval) { a.Quorum, a.Denials = 2, 2 }))
	req.ID = ""
	for _, v := range []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictApprove, wflo.VerdictReject} {
		o.pass(time.Second)
		req.Verdict = v
		if _, err := o.desk.Decide(t.Context(), person("ann"), req); err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		if votes := o.runs.Gate("n1").Votes; len(votes) != 1 || votes[0].Verdict != v {
			t.Fatalf("after %s: %+v", v, votes)
		}
	}
}

// Without a record there is no decision.
func TestNoRecordNoDecision(t *testing.T) {
	o := newOffice(t)
	req := says(wflo.VerdictApprove, o.ask(nil))
	o.records.mute = wflo.AuditGateSent
	_, err := o.desk.Decide(t.Context(), person("ann"), req)
	if !errors.Is(err, desk.ErrUnavailable) || strings.Contains(err.Error(), "10.1.2.3") || len(o.runs.Updates()) != 0 {
		t.Errorf("%v, %d updates", err, len(o.runs.Updates()))
	}
	o.records.mute = ""
	if g, err := o.desk.Decide(t.Context(), person("ann"), req); err != nil || g.Status != wflo.GateApproved {
		t.Errorf("afterwards: %s, %v", g.Status, err)
	}
}

// When no worker answers, nothing is said to be decided; what was sent and not
// answered is told from that, and sending it again tells.
func TestSilence(t *testing.T) {
	o := newOffice(t)
	req := says(wflo.VerdictApprove, o.ask(nil))
	o.runs.StayAway(true)
	_, err := o.desk.Decide(t.Context(), person("ann"), req)
	if !errors.Is(err, desk.ErrUnconfirmed) || wflo.HintOf(err) == "" {
		t.Errorf("no answer: %v", err)
	}
	o.wantTrail("acme", "approval.sent ann")
	o.runs.StayAway(false)
	o.time = o.time.Add(time.Minute) // it is signed anew, and the run has the first one
	g, err := o.desk.Decide(t.Context(), person("ann"), req)
	if err != nil || g.Status != wflo.GateApproved {
		t.Fatalf("again: %s, %v", g.Status, err)
	}
	records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateDecided})
	if err != nil || len(records) != 1 || records[0].ID != g.Decision.RecordID(g.Nonce) {
		t.Errorf("the trail has %d decisions that counted, of which the first is %+v, %v", len(records), records, err)
	}

	down := newOffice(t)
	req = says(wflo.VerdictApprove, down.ask(nil))
	down.runs.StopWorkers()
	if _, err = down.desk.Decide(t.Context(), person("ann"), req); !errors.Is(err, desk.ErrUnconfirmed) || wflo.HintOf(err) == "" || strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("no worker: %v", err)
	}
	v, err := down.desk.Gate(t.Context(), person("ann"), "n1")
	if err != nil || v.Live || v.Note == "" || v.Status != wflo.GateOpen {
		t.Errorf("view %+v, %v", v.Note, err)
	}
}

// Without a key nobody's decisions are signed.
func TestNoKey(t *testing.T) {
	o := newOffice(t)
	req := says(wflo.VerdictApprove, o.ask(nil))
	o.desk.Sign = nil
	if _, err := o.desk.Decide(t.Context(), person("ann"), req); !errors.Is(err, desk.ErrUnavailable) || len(o.runs.Updates()) != 0 {
		t.Errorf("%v", err)
	}
}

// The run refuses what changed after the desk looked, and that is in the trail.
func TestRunRefuses(t *testing.T) {
	o := newOffice(t)
	req := says(wflo.VerdictApprove, o.ask(nil))
	o.runs.Terms.Keys = map[string]string{"another": o.runs.Terms.Keys[desktest.KeyName]}
	_, err := o.desk.Decide(t.Context(), person("ann"), req)
	if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), "not one that the worker trusts") || wflo.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	o.wantTrail("acme", "approval.sent ann", "approval.refused ann")
}

// Each decision of a batch stands for itself.
func TestBatch(t *testing.T) {
	o := newOffice(t)
	var all []desk.Request
	for _, nonce := range []string{"n1", "n2", "n3"} {
		all = append(all, says(wflo.VerdictApprove, o.askAs("r-"+nonce, nonce, "", nil)))
	}
	all[1].Digest = all[0].Digest
	out, err := o.desk.Batch(t.Context(), person("ann"), all)
	if err != nil || len(out) != 3 || out[0].Err != nil || out[1].Err == nil || out[2].Err != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	signatures := map[string]bool{}
	for _, u := range o.runs.Updates() {
		signatures[u.Args[0].(wflo.Decision).Signature] = true
	}
	if len(signatures) != 2 {
		t.Errorf("%d signatures", len(signatures))
	}
	if _, err := o.desk.Batch(t.Context(), person("ann"), make([]desk.Request, desk.MostBatch+1)); err == nil {
		t.Error("a batch without an end was taken")
	}
}
