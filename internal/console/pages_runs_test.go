package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// What a list asks of Temporal: the filters, all of them, and the org of whoever asks.
func TestRunsQuery(t *testing.T) {
	o := newBranch(t)
	o.api(o.office.key("lee", "acme", wflo.RoleViewer), "GET", "/api/v1/runs?state=waiting_approval&workflow=RefundAgent&user=eve&team=a+b&id=refund-&from=2026-11-01&to=2026-11-02T10:00:00Z", "")
	o.api(o.root, "GET", "/api/v1/runs?internal=true", "")
	o.api(o.root, "GET", "/api/v1/runs?state=failed", "")
	want := []string{
		"WfloOrg = 'acme' AND WorkflowType != 'wflo.BudgetAlert' AND (ExecutionStatus = 'Running' AND WfloState = 'waiting_approval') AND WorkflowType = 'RefundAgent' AND WfloUser = 'eve' AND WfloTeam = 'a b' AND WorkflowId STARTS_WITH 'refund-' AND StartTime >= '2026-11-01T00:00:00Z' AND StartTime < '2026-11-02T10:00:00Z'",
		"",
		"WorkflowType != 'wflo.BudgetAlert' AND (ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated', 'Canceled') AND (WfloState != 'halted' OR WfloState IS NULL))",
	}
	for i, got := range o.runs.Queries() {
		if got != want[i] {
			t.Errorf("query %d:\n%s\nwant\n%s", i, got, want[i])
		}
	}
	for _, bad := range []string{"state=odd", "user=a%27+OR+%271%27%3D%271", `id=%5C`, "workflow=%22", "team=%00", "from=soon", "after=%21", "limit=0", "limit=9999", "internal=perhaps", "usr=eve"} {
		if got := o.api(o.root, "GET", "/api/v1/runs?"+bad, ""); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
		wants(t, bad, o.api(o.root, "GET", "/runs?"+bad, ""), 422, "note bad")
	}
	if n := len(o.runs.Queries()); n != len(want) {
		t.Errorf("%d queries; what is refused must not be asked", n)
	}
}

// A list in pages: each run once, whoever follows the links.
func TestRunsInPages(t *testing.T) {
	o := newBranch(t)
	path, seen := "/api/v1/runs?limit=4", ""
	for pages := 0; path != ""; pages++ {
		got := o.api(o.root, "GET", path, "")
		seen += got.body
		if path = ""; got.header.Get("Link") != "" {
			path = strings.TrimSuffix(strings.TrimPrefix(got.header.Get("Link"), "<"), `>; rel="next"`)
		}
		if pages > 2 {
			t.Fatal("the pages do not end")
		}
	}
	for _, id := range []string{"deal-9", "refund-17", "research-17", "research-20"} {
		if strings.Count(seen, `"id":"`+id+`"`) != 1 {
			t.Errorf("%s is %d times in\n%s", id, strings.Count(seen, `"id":"`+id+`"`), seen)
		}
	}
	c := o.logIn(o.key)
	page := o.send(c, "GET", "/runs?limit=4", "")
	wants(t, "page", page, 200, `rel="next" href="/runs?after=`, "refund-17", "of $4.00", "!First page", "!research-19")
	_, next, _ := strings.Cut(page.body, `rel="next" href="`)
	next, _, _ = strings.Cut(next, `"`)
	wants(t, "next page", o.send(c, "GET", strings.ReplaceAll(next, "&amp;", "&"), ""), 200, "research-19", "First page", "!refund-17", `!rel="next"`)
}

// Somebody of an org sees their own runs, and nothing of other orgs on any page.
func TestPagesOfTenants(t *testing.T) {
	o := newBranch(t)
	c := o.logIn(o.office.key("lee", "acme", wflo.RoleOperator, wflo.RoleApprover))
	wants(t, "runs", o.send(c, "GET", "/runs", ""), 200, "refund-17", "!deal-9", "!research")
	wants(t, "own", o.send(c, "GET", "/runs/refund-17", ""), 200, "look up the order")
	for _, path := range []string{"/runs/deal-9", "/runs/deal-9?show=audit", "/runs/deal-9/rows/b1", "/runs/research-17"} {
		wants(t, path, o.send(c, "GET", path, ""), 404, "no such run", "!python check.py")
	}
	wants(t, "diff with another's", o.send(c, "GET", "/runs/refund-17?show=snapshots&from="+snapA+"&to="+snapC, ""), 200, "no such snapshot")
	wants(t, "spend", o.send(c, "GET", "/spend", ""), 200, "Spend", "!team:support", "!Budgets", "!DealAgent")
	wants(t, "settings", o.send(c, "GET", "/settings", ""), 200, "lee", "acme", "!large-refunds", "!slack://ops", "!nightly")
	wants(t, "top-up", o.post(c, "/spend/topups", url.Values{"budget": {"team:support"}, "amount": {"1"}, "key": {"k"}}), 403, "all orgs")
}

// What models, people and programs wrote is text on a run's pages too.
func TestHostileStory(t *testing.T) {
	evil := "<img src=x onerror=alert(1)>\u202egnp.exe\u200b\x1b[2J"
	s := someTale()
	for i := range s.rows {
		s.rows[i].Name, s.rows[i].Error, s.rows[i].Summary = evil, evil, evil
	}
	s.head.Why, s.head.Next, s.head.Error, s.head.Hint, s.head.Note, s.head.Workflow = evil, evil, evil, evil, evil, evil
	s.head.Halted, s.head.Run.User, s.head.Bundle, s.head.State = &wflo.Halt{By: evil, Reason: evil, Policy: evil}, evil, evil, wflo.RunState(evil)
	s.rows[7].Sandbox.Limits, s.rows[7].Sandbox.Image, s.rows[7].Sandbox.Profiles = map[string]string{evil: evil}, evil, map[string]string{evil: evil}
	s.rows[8].Policy.Rules, s.rows[8].Policy.Inputs, s.rows[8].Policy.Verdict = []string{evil}, []byte(`{"a":"<img src=x>\u202e"}`), evil
	full := story.Detail{Row: s.rows[7], Input: &story.Content{Text: evil}, Output: &story.Content{Text: `{"a":"` + "\u202e" + `<img src=x>"}`}, Stdout: &story.Content{Text: evil}, Stderr: &story.Content{Text: evil}, Files: []string{evil}, Trace: evil}
	s.details["b1"] = full
	o := telling(t, s, func(c *Config) {
		c.Links = Links{Temporal: "https://t.example/{workflow_id}", Trace: "https://t.example/{trace_id}"}
		c.Setup = Setup{Version: evil, Channels: []Channel{{Name: evil, Kind: evil}}, Rules: []Rule{{evil, evil, evil}}, Limits: map[string]string{evil: evil}}
	})
	s.head.TraceID = `"><img src=x>`
	o.gate("n1", "", nil)
	c := o.logIn(o.key("ann", "", wflo.RoleAdmin, wflo.RoleApprover))
	for _, path := range []string{"/runs/run-n1", "/runs/run-n1?show=sandbox", "/runs/run-n1?show=policy", "/runs/run-n1?show=audit", "/runs/run-n1/rows/b1", "/settings", "/runs?id=" + url.QueryEscape("<img src=x>")} {
		got := o.send(c, "GET", path, "")
		wants(t, path, got, 200)
		for _, never := range []string{"<img", "\u202e", "\u200b", "\x1b"} {
			if strings.Contains(got.body, never) {
				t.Errorf("%s shows %q", path, never)
			}
		}
	}
}

// The sections of a run's page, and what each says where there is nothing.
func TestSectionsOfRun(t *testing.T) {
	o := newBranch(t)
	c := o.logIn(o.key)
	run := "/runs/refund-17"
	wants(t, "head", o.send(c, "GET", run, ""), 200, "It waits for 1 of 1", "wflo approve run-n1", "$0.31</strong> spent, $0.12 reserved of $1.00; $0.57 left", "high risk", "1 executed",
		`href="http://127.0.0.1:8233/namespaces/default/workflows/refund-17/0192-run"`, `href="https://jaeger.example.com/trace/4bf92f3577b34da6a3ce929d0e0e4736"`, `href="/runs/refund-17/recovery"`, "1,204 in, 312 out", "exit code 3", "2 attempts")
	wants(t, "one kind", o.send(c, "GET", run+"?kind=model", ""), 200, "openai/gpt-5.4", "!orders.find")
	wants(t, "sandbox", o.send(c, "GET", run+"?show=sandbox", ""), 200, "python:3.13@sha256:0f3c", "seccomp", "512 MiB", "at most 91 MiB", "An approval is open", "!reason-approve")
	wants(t, "policy", o.send(c, "GET", run+"?show=policy", ""), 200, "large-refunds", "&#34;operation&#34;", strings.Repeat("0", 63)+"7")
	wants(t, "snapshots", o.send(c, "GET", run+"?show=snapshots&from="+snapB+"&to="+snapA, ""), 200, "before-charge", "1 entries before, 2 after", "/recovery?to="+snapA)
	wants(t, "audit", o.send(c, "GET", run+"?show=audit", ""), 200, "approval.viewed")
	wants(t, "audit for viewers", o.send(o.logIn(o.looks), "GET", run+"?show=audit", ""), 200, "The trail is for operators", "!approval.viewed")
	wants(t, "row", o.send(c, "GET", run+"/rows/b1", ""), 200, "row 2 differs", "40 MiB, of which this is the beginning", `href="/api/v1/runs/refund-17/rows/b1/output"`, "out/report.md", "at check.py:12")
	wants(t, "no such row", o.send(c, "GET", run+"/rows/none", ""), 404, "no such row")
	for _, bad := range []string{"show=all", "kind=odd", "at=last", "x=y"} {
		wants(t, bad, o.send(c, "GET", run+"?"+bad, ""), 422, "note bad")
	}
	wants(t, "unknown run", o.send(c, "GET", "/runs/none", ""), 404, "no such run")
}

// Spending on a page and in a file, and a form that is sent twice raises once.
func TestSpendPage(t *testing.T) {
	o := newBranch(t)
	c := o.logIn(o.key)
	page := o.send(c, "GET", "/spend", "")
	wants(t, "by workflow", page, 200, "RefundAgent", "$1.31", "$2.37", "$0.40 reserved", "team:support", "user:*: $2.00 daily", `href="/spend?scope=workflow%3ARefundAgent"`)
	wants(t, "of one user", o.send(c, "GET", "/spend?by=model&scope=user%3Abob", ""), 200, "openai/gpt-5.4", "<strong>$0.84</strong>", "!12,040")
	wants(t, "another time", o.send(c, "GET", "/spend?from=2020-01-01&to=2020-01-02", ""), 200, "$0.00", "$0.40 reserved now", "!$1.31<")
	wants(t, "nothing", o.send(c, "GET", "/spend?scope=team%3Anone", ""), 200, "Nothing was spent")
	for _, bad := range []string{"by=moon", "from=x", "from=2026-02-01&to=2026-01-01", "scope=user%3A%2A", "scope=x"} {
		wants(t, bad, o.send(c, "GET", "/spend?"+bad, ""), 422, "note bad")
		wants(t, bad, o.send(c, "GET", "/spend.csv?"+bad, ""), 422, "note bad")
	}
	file := o.send(c, "GET", "/spend.csv?by=user", "")
	wants(t, "file", file, 200, "user,calls,cache_hits,tokens_in,tokens_out,spent_usd,unknown_usd,reserved_usd,saved_usd\n", "eve,1,0,12040,2118,1.31,0.00,0.40,0.00\n")
	if kind := file.header.Get("Content-Type"); !strings.HasPrefix(kind, "text/csv") {
		t.Errorf("the file is %s", kind)
	}
	form := o.formTo(page.body, "/spend/topups")
	form.Set("amount", "$1.50")
	for range 2 {
		if got := o.post(c, "/spend/topups", form); got.status != http.StatusSeeOther {
			t.Fatalf("top up: %d %s", got.status, got.body)
		}
	}
	wants(t, "raised once", o.send(c, "GET", "/spend", ""), 200, "$1.50 of it topped up")
	form.Set("key", "another")
	for _, bad := range []string{"", "0", "-1", "1e9", "much", "NaN"} {
		form.Set("amount", bad)
		wants(t, bad, o.post(c, "/spend/topups", form), 422, "note bad")
	}
	form.Set("amount", "1")
	form.Set("csrf", "guess")
	wants(t, "forged", o.post(c, "/spend/topups", form), 403)
	wants(t, "by a viewer", o.api(o.looks, "POST", "/spend/topups", ""), 403)
	wants(t, "no form for viewers", o.send(o.logIn(o.looks), "GET", "/spend", ""), 200, "team:support", "!Top up")
}

func TestCellsAreNoFormulas(t *testing.T) {
	for in, want := range map[string]string{"eve": "eve", "=HYPERLINK(1)": "'=HYPERLINK(1)", "+1": "'+1", "-1": "'-1", "@x": "'@x", "": "", "\t=1": `\x09=1`} {
		if got := cell(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// The set-up is shown, and keys by their names alone.
func TestSettingsPage(t *testing.T) {
	o := newBranch(t)
	secret, old, err := o.keys.Make(t.Context(), apikey.Spec{Name: "old", Subject: "old", Roles: []wflo.AccessRole{wflo.RoleViewer}, MadeBy: "root"})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.records.RevokeKey(t.Context(), old.ID, "root"); err != nil {
		t.Fatal(err)
	}
	got := o.send(o.logIn(o.key), "GET", "/settings", "")
	wants(t, "settings", got, 200, "1.4.0", "slack://ops", "large-refunds", "nightly report", "ends soon", "revoked", "API keys; Slack", "!"+secret, "!"+old.Hash)
	wants(t, "for a viewer", o.send(o.logIn(o.looks), "GET", "/settings", ""), 200, "Keys are for administrators", "slack://ops", "!nightly")
}

// Without a story there are no pages that tell one, and links do not lead to them.
func TestWithoutStory(t *testing.T) {
	b := newBackOffice(t, func(_ *recoverytest.Runs, c *Config) { c.tells = nil })
	c := b.logIn(b.op)
	wants(t, "runs", b.send(c, "GET", "/runs", ""), 200, `href="/runs/refund-17/recovery"`)
	if got := b.send(c, "GET", "/runs/refund-17", ""); got.status != http.StatusNotFound {
		t.Errorf("the page of a run: %d", got.status)
	}
}

func TestWaterfall(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	row := func(id, parent string, start, began, end int, state story.State) story.Row {
		r := story.Row{ID: id, Parent: parent, State: state, Start: at.Add(time.Duration(start) * time.Second)}
		if began >= 0 {
			r.Began = at.Add(time.Duration(began) * time.Second)
		}
		if end >= 0 {
			r.End = at.Add(time.Duration(end) * time.Second)
		}
		return r
	}
	p := story.Page{Parents: []story.Row{row("a", "", -50, -50, 10, story.StateDone)}, Rows: []story.Row{
		row("b", "a", 0, 2, 5, story.StateDone), row("c", "b", 5, -1, 5, story.StateDone), row("d", "gone", 6, -1, -1, story.StateWaiting), row("e", "", 10, -1, -1, story.StateRunning), row("f", "", 7, -1, -1, story.StateFailed),
	}}
	w := fall(p, story.Head{Started: at}, at.Add(10*time.Second), func(r story.Row) string { return r.ID })
	type drawn struct{ depth, waitX, wait, barX, bar int }
	want := map[string]drawn{"a": {0, 0, 0, 0, 1000}, "b": {1, 0, 200, 200, 300}, "c": {2, 500, 0, 500, 4}, "d": {0, 600, 400, 1000, 0}, "e": {0, 1000, 0, 996, 4}, "f": {0, 700, 0, 700, 4}}
	for _, r := range w.Rows {
		if got := (drawn{r.Depth, r.WaitX, r.Wait, r.BarX, r.Bar}); got != want[r.ID] {
			t.Errorf("%s is %+v, want %+v", r.ID, got, want[r.ID])
		}
	}
	if w.Span != "10.0 s" || w.Half != "5.0 s" || !w.Rows[0].Earlier || w.Rows[1].Earlier || w.Rows[5].Took != "" || w.Rows[3].Took != "4.0 s" {
		t.Errorf("%+v", w)
	}
	if empty := fall(story.Page{}, story.Head{}, at, nil); len(empty.Rows) != 0 {
		t.Errorf("%+v", empty)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "", 0: "0 µs", 430 * time.Millisecond: "430 ms", 2_149 * time.Millisecond: "2.1 s", 192 * time.Second: "3 min 12 s", 125 * time.Minute: "2 h 5 min", 76 * time.Hour: "3 days 4 h"} {
		if got := took(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for _, tt := range []struct {
		part, of int64
		want     int
	}{{0, 5, 0}, {5, 0, 0}, {1, 3, 333}, {7, 3, 1000}, {-1, 3, 0}, {4e18, 8e18, 500}, {8e18, 9e18, 888}} {
		if got := share(tt.part, tt.of); got != tt.want {
			t.Errorf("share(%d, %d) = %d, want %d", tt.part, tt.of, got, tt.want)
		}
	}
}
