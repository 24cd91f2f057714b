package desk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// The inbox shows what somebody may do, of their own org, without asking runs.
func TestInbox(t *testing.T) {
	o := newOffice(t)
	o.ask(func(a *wflo.Approval) { a.FourEyes, a.Quorum, a.Timeout = true, 2, time.Minute })
	o.askAs("r2", "n2", "other", func(a *wflo.Approval) { a.Timeout = 2 * time.Minute })
	o.askAs("r3", "n3", "acme", func(a *wflo.Approval) { a.Approvers, a.Timeout = []string{"zoe"}, 3*time.Minute })
	o.runs.StopWorkers()
	nonces := func(id wflo.Identity, q desk.Query) []string {
		t.Helper()
		items, err := o.desk.Inbox(t.Context(), id, q)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, item := range items {
			all = append(all, item.Nonce)
			if item.Approval.Payload != nil {
				t.Error("the list has the payload")
			}
		}
		return all
	}
	for _, tt := range []struct {
		name string
		id   wflo.Identity
		q    desk.Query
		want []string
	}{
		{"all", person("ann"), desk.Query{}, []string{"n1", "n2", "n3"}},
		{"of an org", person("ann", of("acme")), desk.Query{}, []string{"n1", "n3"}},
		{"of no org that has any", person("ann", of("acm")), desk.Query{}, nil},
		{"mine", person("ann"), desk.Query{Mine: true}, []string{"n1", "n2"}},
		{"mine by group", person("pat", in("ops")), desk.Query{Mine: true}, []string{"n1", "n2"}},
		{"nothing of mine", person("pat", in("sales")), desk.Query{Mine: true}, nil},
		{"of an approver", person("ann"), desk.Query{Approver: "zoe"}, []string{"n3"}},
		{"of a run", person("ann"), desk.Query{WorkflowID: "r2"}, []string{"n2"}},
		{"the first", person("ann"), desk.Query{Limit: 1}, []string{"n1"}},
		{"the next", person("ann"), desk.Query{Limit: 1, After: "n1"}, []string{"n2"}},
		{"closed", person("ann"), desk.Query{Closed: true}, nil},
	} {
		if got := nonces(tt.id, tt.q); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if _, err := o.desk.Inbox(t.Context(), wflo.Identity{Subject: "ann"}, desk.Query{}); !errors.Is(err, desk.ErrForbidden) {
		t.Errorf("without a role: %v", err)
	}
	if _, err := o.desk.Inbox(t.Context(), person("ann"), desk.Query{Limit: desk.MostItems + 1}); wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("without an end: %v", err)
	}
}

// A list is small, however much was written at its gates; the gate itself has all.
func TestInboxIsSmall(t *testing.T) {
	o := newOffice(t)
	large := func(kind string) json.RawMessage {
		return json.RawMessage(`{"` + kind + `":"` + strings.Repeat("x", 50<<10) + `"}`)
	}
	g := o.ask(func(a *wflo.Approval) {
		a.Quorum, a.Details = 2, strings.Repeat("x", 50<<10)
		a.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictEdit, wflo.VerdictRespond}
		a.Form = json.RawMessage(`{"description":"` + strings.Repeat("x", 50<<10) + `"}`)
	})
	edit := says(wflo.VerdictEdit, g)
	edit.Edit = large("edit")
	if _, err := o.desk.Decide(t.Context(), person("ann"), edit); err != nil {
		t.Fatal(err)
	}
	answer := says(wflo.VerdictRespond, o.runs.Gate("n1"))
	answer.Form = large("answer")
	if g, err := o.desk.Decide(t.Context(), person("bob"), answer); err != nil || g.Status != wflo.GateAnswered {
		t.Fatalf("%s, %v", g.Status, err)
	}
	items, err := o.desk.Inbox(t.Context(), person("ann"), desk.Query{Closed: true})
	if err != nil || len(items) != 1 || len(items[0].Votes) != 2 || items[0].Decision == nil || items[0].Decision.By != "bob" || items[0].Have != 2 {
		t.Fatalf("%+v, %v", items, err)
	}
	data, err := json.Marshal(items)
	if err != nil || len(data) > 4<<10 {
		t.Errorf("the list has %d bytes, %v", len(data), err)
	}
	kept, err := o.records.Gate(t.Context(), "n1")
	if err != nil || len(kept.Votes[1].Form) == 0 || len(kept.Votes[0].Edit) == 0 || len(kept.Decision.Form) == 0 {
		t.Errorf("the list has changed what is kept: %+v, %v", kept, err)
	}
}

func TestStanding(t *testing.T) {
	o := newOffice(t)
	o.ask(func(a *wflo.Approval) {
		a.FourEyes, a.Quorum, a.Approvers = true, 2, []string{"ann", "eve", "group:ops"}
		a.Escalation = []wflo.Level{{Approvers: []string{"boss"}}}
		a.OnTimeout = wflo.OnTimeoutEscalate
	})
	o.desk.Terms.Groups = map[string][]string{"ops": {"pat"}}
	if _, err := o.desk.Decide(t.Context(), person("ann"), says(wflo.VerdictApprove, o.runs.Gate("n1"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id   wflo.Identity
		want desk.Standing
	}{
		{person("ann"), desk.Standing{Eligible: true, Voted: "approve", Can: []wflo.Verdict{"reject", "escalate", "ack"}, Why: "you have approved; others must too"}},
		{person("eve"), desk.Standing{Eligible: true, Excluded: true, Can: []wflo.Verdict{"reject", "escalate", "ack"}, Why: "four eyes are needed: you asked for this, or changed it"}},
		{person("pat"), desk.Standing{Eligible: true, Can: []wflo.Verdict{"approve", "reject", "escalate", "ack"}}},
		{person("boss"), desk.Standing{Why: "you are not asked here"}},
		{person("pat", func(id *wflo.Identity) { id.Roles = []wflo.AccessRole{wflo.RoleViewer} }), desk.Standing{Eligible: true, Why: "you do not have the role approver"}},
	} {
		v, err := o.desk.Gate(t.Context(), tt.id, "n1")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, v.You); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.id.Subject, diff)
		}
		if v.Have != 1 || v.Need != 2 || len(v.Sets) != 1 || v.Sets[0].Have != 1 || !v.Live {
			t.Errorf("%d of %d, sets %+v, live %v", v.Have, v.Need, v.Sets, v.Live)
		}
	}
	// After the boss is asked, the boss may.
	if _, err := o.desk.Decide(t.Context(), person("pat"), says(wflo.VerdictEscalate, o.runs.Gate("n1"))); err != nil {
		t.Fatal(err)
	}
	g, err := o.desk.Decide(t.Context(), person("boss"), says(wflo.VerdictApprove, o.runs.Gate("n1")))
	if err != nil || g.Status != wflo.GateApproved {
		t.Errorf("%s, %v", g.Status, err)
	}
	v, err := o.desk.Gate(t.Context(), person("pat"), "n1")
	if err != nil || !slices.Equal(v.You.Can, []wflo.Verdict{"reject"}) {
		t.Errorf("an approval that is not used can be taken back: %+v, %v", v.You, err)
	}
}

// That somebody saw what is asked is in the trail once; peeking is not.
func TestViewed(t *testing.T) {
	o := newOffice(t)
	g := o.ask(edits)
	for range 3 {
		if _, err := o.desk.Gate(t.Context(), person("ann"), "n1"); err != nil {
			t.Fatal(err)
		}
		if _, err := o.desk.Peek(t.Context(), person("bob"), "n1"); err != nil {
			t.Fatal(err)
		}
	}
	o.wantTrail("acme", "approval.viewed ann")
	req := says(wflo.VerdictEdit, g)
	req.Edit = json.RawMessage(`{"order":17,"amount":"20.00"}`)
	if _, err := o.desk.Decide(t.Context(), person("bob"), req); err != nil {
		t.Fatal(err)
	}
	if _, err := o.desk.Gate(t.Context(), person("ann"), "n1"); err != nil {
		t.Fatal(err)
	}
	o.wantTrail("acme", "approval.viewed ann", "approval.sent bob", "approval.decided bob", "approval.viewed ann")
	if _, err := o.desk.Gate(t.Context(), person("ann", of("other")), "n1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another org: %v", err)
	}
}

// A gate whose run is over is closed when it is seen, and by Reconcile.
func TestReconcile(t *testing.T) {
	o := newOffice(t)
	for i := range 4 {
		o.askAs(fmt.Sprintf("r%d", i), fmt.Sprintf("n%d", i), "acme", func(a *wflo.Approval) { a.Details = "why it is asked" })
	}
	o.runs.End("r0")
	o.runs.End("r1")
	v, err := o.desk.Gate(t.Context(), person("ann"), "n0")
	if err != nil || v.Status != wflo.GateCancelled || len(v.You.Can) != 0 {
		t.Errorf("seen: %s, %v", v.Status, err)
	}
	if n, err := o.desk.Reconcile(t.Context()); n != 0 || err != nil {
		t.Errorf("before their time: %d, %v", n, err)
	}
	o.pass(2 * time.Hour)
	if n, err := o.desk.Reconcile(t.Context()); n != 1 || err != nil {
		t.Errorf("after their time: %d, %v", n, err)
	}
	for nonce, want := range map[string]wflo.GateStatus{"n0": wflo.GateCancelled, "n1": wflo.GateCancelled, "n2": wflo.GateOpen} {
		if g, err := o.records.Gate(t.Context(), nonce); err != nil || g.Status != want {
			t.Errorf("%s is %s, %v", nonce, g.Status, err)
		}
	}
	closed, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditGateClosed})
	if err != nil || len(closed) != 2 {
		t.Errorf("%d of 2 are in the trail, %v", len(closed), err)
	}
	for _, r := range closed {
		var data wflo.AuditGate
		if err := json.Unmarshal(r.Data, &data); err != nil || r.Actor != "console" || data.Gate.Status != wflo.GateCancelled || data.Gate.Digest != data.Gate.ComputeDigest() {
			t.Errorf("record of %s by %s, %v: the digest cannot be recomputed", data.Gate.ID, r.Actor, err)
		}
	}
	// A decision for a run that ended between look and send.
	o.runs.End("r2")
	if _, err := o.desk.Decide(t.Context(), person("ann"), says(wflo.VerdictApprove, o.runs.Gate("n2"))); err == nil || wflo.HintOf(err) == "" {
		t.Errorf("run over: %v", err)
	}
}

// A run that was terminated and whose worker is gone is over too.
func TestReconcileWithoutWorker(t *testing.T) {
	o := newOffice(t)
	o.ask(nil)
	o.runs.End("r1")
	o.runs.StopWorkers()
	v, err := o.desk.Gate(t.Context(), person("ann"), "n1")
	if err != nil || v.Status != wflo.GateCancelled || v.Live {
		t.Errorf("%s, live %v, %v", v.Status, v.Live, err)
	}
	_, err = o.desk.Decide(t.Context(), person("ann"), says(wflo.VerdictApprove, v.Gate))
	if err == nil || !strings.Contains(err.Error(), "comes late") || len(o.runs.Updates()) != 0 {
		t.Errorf("decision: %v", err)
	}
}

// Decisions that come signed pass through, and nobody passes off others' as theirs.
func TestForward(t *testing.T) {
	o := newOffice(t)
	g := o.ask(func(a *wflo.Approval) { a.Quorum = 2 })
	unsigned := g.Decide(wflo.VerdictApprove, "ann")
	unsigned.ID, unsigned.At = "d1", o.now()
	signed := o.runs.Sign(unsigned)
	from := desk.Origin{Channel: "api", Address: "192.0.2.7"}
	for name, tt := range map[string]struct {
		by       wflo.Identity
		workflow string
		d        wflo.Decision
		want     string
	}{
		"in another's name": {person("bob"), "r1", unsigned, `cannot decide as "ann"`},
		"by a viewer":       {person("ann", func(id *wflo.Identity) { id.Roles = []wflo.AccessRole{wflo.RoleViewer} }), "r1", unsigned, "role approver"},
		"of another org":    {person("bob", of("other")), "r1", signed, "no gate"},
		"unsigned":          {person("ann"), "r1", unsigned, "signature is missing"},
		"other run":         {person("ann"), "r9", signed, "not one of this run"},
		"forged": {person("bob"), "r1", func() wflo.Decision {
			d := signed
			d.By = "bob"
			return d
		}(), "does not verify"},
		"unreadable": {person("bob"), "r1", func() wflo.Decision {
			d := signed
			d.Edit = json.RawMessage(`{"a":1,"a":2}`)
			return d
		}(), "twice"},
	} {
		if _, err := o.desk.Forward(t.Context(), tt.by, tt.workflow, tt.d, from); err == nil || !strings.Contains(err.Error(), tt.want) || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := o.desk.Forward(t.Context(), person("bob", of("acme")), "r1", signed, from)
	if err != nil || len(got.Votes) != 1 || got.Votes[0].By != "ann" {
		t.Errorf("signed: %+v, %v", got.Votes, err)
	}
	if all := o.trail("acme"); all[len(all)-1] != "approval.decided bob" {
		t.Errorf("trail %q", all)
	}
}

// Who brings a decision of their own without a signature is in the groups that the desk
// knows, not in those that they say.
func TestForwardUnsigned(t *testing.T) {
	for name, tt := range map[string]struct {
		by   wflo.Identity
		said []string
		want string // in the refusal; empty for none
	}{
		"a group that they say":        {person("eve"), []string{"ops"}, "not an approver"},
		"a group that they are in":     {person("pat", in("ops")), nil, ""},
		"and one that they say beside": {person("pat", in("ops")), []string{"board"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.runs.Terms.AllowUnsigned = true
			g := o.ask(func(a *wflo.Approval) { a.Approvers, a.Quorum = []string{"group:ops", "group:board"}, 2 })
			dec := g.Decide(wflo.VerdictApprove, tt.by.Subject)
			dec.Groups, dec.Method = tt.said, "oidc"
			got, err := o.desk.Forward(t.Context(), tt.by, "r1", dec, desk.Origin{Channel: "api"})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v; want %q", err, tt.want)
				}
				return
			}
			if err != nil || len(got.Votes) != 1 || !slices.Equal(got.Votes[0].Groups, []string{"ops"}) || got.Votes[0].Method != "ldap" {
				t.Errorf("%+v, %v", got.Votes, err)
			}
		})
	}
}

// What a gate shows is what its digest covers, of gates of old histories too.
func TestDigestOfOldGates(t *testing.T) {
	o := newOffice(t)
	o.ask(nil)
	o.runs.Change("n1", func(g wflo.Gate) wflo.Gate {
		g.Version = 0
		g = g.Seal(g.Nonce)
		g.Approval.Action = "something harmless"
		return g
	})
	_, err := o.desk.Decide(t.Context(), person("ann"), says(wflo.VerdictApprove, o.runs.Gate("n1")))
	if wflo.CodeOf(err) != wflo.CodeConflict || len(o.runs.Updates()) != 0 {
		t.Errorf("%v, %d updates", err, len(o.runs.Updates()))
	}
}

func TestCheckForm(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(`{"type":"object"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ schema, data, want string }{
		"fits":            {schema, `{"amount":5,"note":"x"}`, ""},
		"missing":         {schema, `{"note":"x"}`, "does not fit"},
		"odd type":        {schema, `{"amount":"5"}`, "/amount"},
		"unknown field":   {schema, `{"amount":5,"admin":true}`, "does not fit"},
		"empty":           {schema, ``, "is empty"},
		"no JSON":         {schema, `{`, "is not JSON"},
		"two readings":    {schema, `{"amount":5,"amount":6}`, "twice"},
		"too large":       {schema, `{"amount":5,"note":"` + strings.Repeat("x", 70<<10) + `"}`, "too large"},
		"schema of files": {`{"$ref":"file://` + file + `"}`, `{}`, "not a JSON schema that can be used"},
		"schema of hosts": {`{"$ref":"http://169.254.169.254/latest"}`, `{}`, "not a JSON schema that can be used"},
		"no schema":       {`{"type":5}`, `{}`, "not a JSON schema that can be used"},
	} {
		err := desk.CheckForm(json.RawMessage(tt.schema), json.RawMessage(tt.data))
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || wflo.HintOf(err) == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFields(t *testing.T) {
	fields, ok := desk.Fields(json.RawMessage(`{"type":"object","required":["n"],"properties":{
		"n":{"type":"integer","title":"How many"},"b":{"type":"boolean"},"c":{"type":"string","enum":["x","y"]},"d":{"type":"number"}}}`))
	if !ok || len(fields) != 4 {
		t.Fatalf("%+v, %v", fields, ok)
	}
	got, err := desk.ReadFields(fields, "f.", url.Values{"f.n": {"3"}, "f.b": {"yes"}, "f.c": {"x"}, "f.d": {""}, "f.extra": {"1"}})
	if err != nil || string(got) != `{"b":true,"c":"x","n":3}` {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"x", "true", "1 2", "[1]", "\"1\""} {
		if got, err := desk.ReadFields(fields, "f.", url.Values{"f.n": {bad}}); err == nil {
			t.Errorf("%q became %s", bad, got)
		}
	}
	for _, hard := range []string{`{}`, `{"type":"array"}`, `{"type":"object","properties":{"a":{"type":"object"}}}`, `{"type":"object","properties":{"a":{"type":["string","null"]}}}`} {
		if _, ok := desk.Fields(json.RawMessage(hard)); ok {
			t.Errorf("%s is taken for plain fields", hard)
		}
	}
}

// FuzzReadFields: whatever a browser sends, the answer is JSON or a refusal with a
// hint.
func FuzzReadFields(f *testing.F) {
	f.Add("3", "x")
	f.Add("1e999", "\xff")
	fields := []desk.Field{{Name: "n", Kind: "number"}, {Name: "s", Kind: "text"}}
	f.Fuzz(func(t *testing.T, n, s string) {
		got, err := desk.ReadFields(fields, "", url.Values{"n": {n}, "s": {s}})
		if err != nil && wflo.HintOf(err) == "" || err == nil && !json.Valid(got) {
			t.Errorf("%q %q: %s, %v", n, s, got, err)
		}
	})
}
