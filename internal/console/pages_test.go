package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func wants(t testing.TB, what string, got answered, status int, all ...string) {
	t.Helper()
	if got.status != status {
		t.Errorf("%s: %d, want %d: %s", what, got.status, status, got.body)
	}
	for _, want := range all {
		if never, not := strings.CutPrefix(want, "!"); not && strings.Contains(got.body, never) || !not && !strings.Contains(got.body, want) {
			t.Errorf("%s: %q is missing or too much in\n%s", what, want, got.body)
		}
	}
}

// From the link in a mail to the decision: log in, the same page, approve.
func TestApproveByLink(t *testing.T) {
	o := newOffice(t, nil)
	g := o.gate("n1", "", func(a *wflo.Approval) { a.Quorum, a.Risk, a.Details = 2, wflo.RiskHigh, "the customer *asked*" })
	link := "/gates/n1?d=" + g.Digest
	c := o.browser()
	sent := o.send(c, "GET", link, "")
	if want := "/login?back=" + url.QueryEscape(link); sent.status != http.StatusSeeOther || sent.header.Get("Location") != want {
		t.Fatalf("%d to %s", sent.status, sent.header.Get("Location"))
	}
	login := o.send(c, "GET", sent.header.Get("Location"), "")
	wants(t, "login", login, 200, `value="`+link+`"`)
	in := o.post(c, "/login/key", url.Values{"key": {o.key("ann", "", wflo.RoleApprover)}, "back": {link}})
	if in.header.Get("Location") != link {
		t.Fatalf("after the login: %s", in.header.Get("Location"))
	}
	page := o.send(c, "GET", link, "")
	wants(t, "gate", page, 200, "refund order 17", "high risk", "&#34;amount&#34;: &#34;25.00&#34;", g.Digest, "0 of 2", "the customer *asked*",
		"Written by the agent", `<time datetime="`, `<label for="reason-reject">`, "!changed since", "!Not live")
	wants(t, "inbox", o.send(c, "GET", "/inbox", ""), 200, "Waiting for you (1)", "refund order 17", "0 of 2 approvals")
	o.untouched("reading", "n1")
	form := o.form(page.body, "approve")
	form.Set("reason", "two lines\r\nof reason")
	done := o.post(c, "/gates/n1", form)
	wants(t, "decided", done, 200, "Your decision counts. Others must decide too.", "1 of 2", "ann approved", "two lines\nof reason", "You cannot approve: you have approved")
	again := o.post(c, "/gates/n1", form)
	wants(t, "sent again", again, 200, "Your decision counts")
	if g := o.runs.Gate("n1"); len(g.Votes) != 1 || g.Votes[0].By != "ann" || g.Refused != 0 || len(o.runs.Updates()) != 1 {
		t.Errorf("votes %+v, %d updates", g.Votes, len(o.runs.Updates()))
	}
	wants(t, "inbox afterwards", o.send(c, "GET", "/inbox", ""), 200, "Waiting for you (1)", "you approved")
}

// Whoever clicks a button twice makes one decision.
func TestDoubleClickOnPage(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", nil)
	c := o.logIn(o.key("ann", "", wflo.RoleApprover))
	form := o.form(o.send(c, "GET", "/gates/n1", "").body, "approve")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got := o.post(c, "/gates/n1", form); got.status != http.StatusOK || !strings.Contains(got.body, "The gate is approved") {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if g := o.runs.Gate("n1"); g.Status != wflo.GateApproved || len(g.Votes) != 1 {
		t.Errorf("%s with %d votes", g.Status, len(g.Votes))
	}
}

// TestRejectMany rejects what is ticked, without a script: each gate by a decision of its
// own, and one that does not count is told of and stops no other.
func TestRejectMany(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", nil)
	c := o.logIn(o.key("ann", "", wflo.RoleApprover))
	if page := o.send(c, "GET", "/inbox", "").body; strings.Contains(page, "many") {
		t.Error("one gate can be ticked")
	}
	changes := func(a *wflo.Approval) {
		a.Answers, a.Approvers, a.FourEyes = []wflo.Verdict{wflo.VerdictReject, wflo.VerdictEdit}, nil, true
	}
	for _, nonce := range []string{"n2", "n3", "n4"} {
		o.gate(nonce, "", changes)
	}
	page := o.send(c, "GET", "/inbox", "").body
	form := o.form(page, "reject")
	for _, m := range regexp.MustCompile(`<input type="checkbox" form="many" name="gate" value="([^"]+)" aria-label="Tick [^"]+">`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "n4 ") {
			form.Add("gate", m[1])
		}
	}
	if len(form["gate"]) != 3 {
		t.Fatalf("ticked %v in %s", form["gate"], page)
	}
	wants(t, "no reason", o.post(c, "/inbox", form), 422, "reason is empty")
	form.Set("reason", "the month is closed")
	wants(t, "nothing ticked", o.post(c, "/inbox", url.Values{"csrf": form["csrf"], "verdict": {"reject"}, "reason": {"x"}}), 422, "tick the gates")
	wants(t, "another verdict", o.post(c, "/inbox", url.Values{"csrf": form["csrf"], "verdict": {"approve"}, "reason": {"x"}, "gate": form["gate"]}), 422, "several gates can be rejected")
	o.untouched("before", "n1")
	bob := o.logIn(o.key("bob", "", wflo.RoleApprover))
	edit := o.form(o.send(bob, "GET", "/gates/n3", "").body, "edit")
	edit.Set("edit", `{"order":17,"amount":"20.00"}`)
	wants(t, "edit", o.post(bob, "/gates/n3", edit), 200, "The action is changed")
	for range 2 { // a second click changes nothing
		wants(t, "reject", o.post(c, "/inbox", form), 422, "2 gates are rejected.", "gate refunds of ", "it changed since it was shown", "Waiting for you (2)")
	}
	for nonce, want := range map[string]wflo.GateStatus{"n1": wflo.GateRejected, "n2": wflo.GateRejected, "n3": wflo.GateOpen, "n4": wflo.GateOpen} {
		if g := o.runs.Gate(nonce); g.Status != want || want == wflo.GateRejected && (len(g.Votes) != 1 || g.Votes[0].Reason != "the month is closed" || g.Votes[0].Signature == "") {
			t.Errorf("%s is %s with %+v", nonce, g.Status, g.Votes)
		}
	}
}

// What changed after it was shown is not approved, and the page says so.
func TestStalePage(t *testing.T) {
	o := newOffice(t, nil)
	change := func(a *wflo.Approval) {
		a.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit}
		a.FourEyes, a.Approvers = true, nil
	}
	first := o.gate("n1", "", change)
	ann, bob := o.logIn(o.key("ann", "", wflo.RoleApprover)), o.logIn(o.key("bob", "", wflo.RoleApprover))
	old := o.form(o.send(ann, "GET", "/gates/n1", "").body, "approve")
	page := o.send(bob, "GET", "/gates/n1", "").body
	edit := o.form(page, "edit")
	edit.Set("edit", "{\r\n \"order\": 17, \"amount\": \"20.00\"\r\n}")
	wants(t, "edit", o.post(bob, "/gates/n1", edit), 200, "The action is changed", "What people changed (1 edits)", "<del>-   &#34;amount&#34;: &#34;25.00&#34;", "<ins>+   &#34;amount&#34;: &#34;20.00&#34;", "You cannot approve: four eyes are needed")
	wants(t, "approve what was shown before", o.post(ann, "/gates/n1", old), 422, "it changed since it was shown", "It changed since you were shown it")
	wants(t, "the old link", o.send(ann, "GET", "/gates/n1?d="+first.Digest, ""), 200, "It changed since you were shown it")
	if g := o.runs.Gate("n1"); g.Status != wflo.GateOpen {
		t.Errorf("gate %s", g.Status)
	}
	fresh := o.form(o.send(ann, "GET", "/gates/n1", "").body, "approve")
	wants(t, "approve what is shown now", o.post(ann, "/gates/n1", fresh), 200, "The gate is approved")
}

// The other answers of a page.
func TestOtherAnswers(t *testing.T) {
	o := newOffice(t, nil)
	c := o.logIn(o.key("ann", "", wflo.RoleApprover))
	o.gate("n1", "", func(a *wflo.Approval) {
		a.ReasonRequired, a.OnTimeout = true, wflo.OnTimeoutEscalate
		a.Escalation = []wflo.Level{{Approvers: []string{"boss"}, After: time.Minute}, {Approvers: []string{"group:board"}}}
	})
	page := o.send(c, "GET", "/gates/n1", "").body
	wants(t, "escalation", answered{status: 200, body: page}, 200, "boss: <time", "group board: when the time is up", "required></textarea>")
	wants(t, "ack", o.post(c, "/gates/n1", o.form(page, "ack")), 200, "no more reminders", "Looked at by")
	wants(t, "escalate", o.post(c, "/gates/n1", o.form(page, "escalate")), 200, "The next level is asked now", "boss: asked")
	wants(t, "reject without a reason", o.post(c, "/gates/n1", o.form(page, "reject")), 422, "reason is empty")
	reject := o.form(page, "reject")
	reject.Set("reason", "too much")
	wants(t, "reject", o.post(c, "/gates/n1", reject), 200, "The gate is rejected")

	o.gate("n2", "", func(a *wflo.Approval) {
		a.Answers = []wflo.Verdict{wflo.VerdictRespond}
		a.Form = json.RawMessage(`{"type":"object","required":["n"],"properties":{"n":{"type":"integer","title":"How many"},"ok":{"type":"boolean"},"size":{"type":"string","enum":["S","L"]}}}`)
	})
	page = o.send(c, "GET", "/gates/n2", "").body
	wants(t, "form", answered{status: 200, body: page}, 200, `<label for="field-0">How many</label>`, `type="checkbox"`, `<option value="L">L</option>`)
	answer := o.form(page, "respond")
	answer.Set("field.n", "three")
	wants(t, "no number", o.post(c, "/gates/n2", answer), 422, "n is not a number")
	answer.Set("field.n", "3")
	answer.Set("field.size", "XXL")
	wants(t, "no choice", o.post(c, "/gates/n2", answer), 422, "/size")
	answer.Set("field.size", "L")
	wants(t, "answer", o.post(c, "/gates/n2", answer), 200, "The gate is answered")
	if got := string(o.runs.Gate("n2").Decision.Form); got != `{"n":3,"ok":false,"size":"L"}` {
		t.Errorf("answered %s", got)
	}

	o.gate("n3", "", func(a *wflo.Approval) { a.Answers = []wflo.Verdict{wflo.VerdictRespond} })
	text := o.form(o.send(c, "GET", "/gates/n3", "").body, "respond")
	text.Set("text", "use the blue one")
	wants(t, "text", o.post(c, "/gates/n3", text), 200, "The gate is answered", "use the blue one")
}

// What agents and people write is shown, and is nothing but text: no markup, and
// nothing that cannot be seen.
func TestHostileText(t *testing.T) {
	o := newOffice(t, nil)
	evil := "<script>alert(1)</script>\"'&\u202egnp.exe\u200b\x1b[2J\u2028"
	payload, err := json.Marshal(map[string]string{"to": evil, "<b>": "</pre></textarea><form>"})
	if err != nil {
		t.Fatal(err)
	}
	o.gate("n1", "", func(a *wflo.Approval) {
		a.Action, a.Details, a.Payload, a.Approvers = evil, evil+"\n"+evil, payload, nil
		a.Rules = []string{evil}
		a.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictEdit, wflo.VerdictReject}
	})
	o.runs.Change("n1", func(g wflo.Gate) wflo.Gate {
		g.Refused, g.LastRefusal, g.User = 1, evil, evil
		return g
	})
	c := o.logIn(o.key("ann", "", wflo.RoleApprover))
	for _, path := range []string{"/gates/n1", "/inbox", "/inbox?workflow=" + url.QueryEscape(evil), "/gates/n1?d=" + url.QueryEscape(evil), "/gates/" + url.PathEscape(evil), "/inbox?show=" + url.QueryEscape(evil)} {
		got := o.send(c, "GET", path, "")
		for _, never := range []string{"<script>", "</pre></text", "<b>", "\u202e", "\u200b", "\x1b", "\u2028"} {
			if strings.Contains(got.body, never) {
				t.Errorf("%s shows %q", path, never)
			}
		}
	}
	wants(t, "gate", o.send(c, "GET", "/gates/n1", ""), 200, `\u202egnp.exe`, `\u200b`, `\x1b[2J`, "&lt;script&gt;", `\u2028`)
	edit := o.form(o.send(c, "GET", "/gates/n1", "").body, "edit")
	edit.Set("edit", `{"to":"`+"\u202e"+`x"}`)
	wants(t, "edit", o.post(c, "/gates/n1", edit), 200, `\u202ex`, "!\u202e")
}

// Nothing of one org is shown to another.
func TestOtherOrg(t *testing.T) {
	o := newOffice(t, nil)
	g := o.gate("n1", "acme", func(a *wflo.Approval) { a.Approvers = nil })
	o.gate("n2", "rival", func(a *wflo.Approval) { a.Action, a.Approvers = "buy the rival", nil })
	key := o.key("lee", "acme", wflo.RoleAdmin, wflo.RoleApprover)
	c := o.logIn(key)
	wants(t, "inbox", o.send(c, "GET", "/inbox", ""), 200, "refund order 17", "!buy the rival")
	wants(t, "gate", o.send(c, "GET", "/gates/n2", ""), 404, "no gate n2", "!buy the rival")
	wants(t, "own run", o.api(key, "GET", "/api/v1/runs/run-n1", ""), 200, `"id":"run-n1"`)
	wants(t, "run", o.api(key, "GET", "/api/v1/runs/run-n2", ""), 404, "no such run")
	wants(t, "ledger", o.api(key, "GET", "/api/v1/runs/run-n2/ledger", ""), 404, "no such run")
	wants(t, "approvals", o.api(key, "GET", "/api/v1/approvals", ""), 200, `"nonce":"n1"`, `!"nonce":"n2"`)
	wants(t, "approval", o.api(key, "GET", "/api/v1/approvals/n2", ""), 404, "!buy the rival")
	wants(t, "decision", o.api(key, "POST", "/api/v1/approvals/n2/decisions", `{"verdict":"approve","digest":"`+g.Digest+`"}`), 404, "no gate n2")
	form := o.form(o.send(c, "GET", "/gates/n1", "").body, "reject")
	wants(t, "decision on the page", o.post(c, "/gates/n2", form), 404, "no gate n2")
	wants(t, "signed decision", o.api(key, "POST", "/api/v1/runs/run-n2/decisions", `{"gate":"refunds","by":"lee","verdict":"approve"}`), 404, "no gate")
	wants(t, "trail", o.api(key, "GET", "/api/v1/audit?chain=rival", ""), 403, "another org")
	wants(t, "own trail", o.api(key, "GET", "/api/v1/audit", ""), 200, `"chain":"acme"`, "!rival\"")
	wants(t, "budgets", o.api(key, "GET", "/api/v1/budgets", ""), 403, "all orgs")
	wants(t, "key for another org", o.api(key, "POST", "/api/v1/keys", `{"name":"x","subject":"x","roles":["viewer"],"org":"rival"}`), 403, "another org")
	wants(t, "keys", o.api(key, "GET", "/api/v1/keys", ""), 200, `"org":"acme"`, "!rival")
	wants(t, "costs", o.api(key, "GET", "/api/v1/costs", ""), 200, `"scopes":["org:acme"]`)
	o.untouched("another org", "n2")
}
