package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// scripted is a browser that runs scripts, on a desk.
func scripted(t *testing.T) *chromiumUser {
	t.Helper()
	return chromiumWith(t, wideDesk, "imagesEnabled=false")
}

// until waits for a condition in the page.
func (b *chromiumUser) until(condition string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](condition, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))); err != nil {
		b.t.Fatalf("%s: %v\n%s", condition, err, b.text())
	}
}

// open goes to a page of the office and waits for an element.
func (b *chromiumUser) open(o *office, path, what string) {
	b.t.Helper()
	b.do(chromedp.Navigate(o.server.URL+path), chromedp.WaitVisible(chromedp.CSS(what)))
}

// What happens to a run comes onto its page by itself: a new row, another state of an old
// one, money, the end. What somebody is typing stays.
func TestLiveRun(t *testing.T) {
	s := someTale()
	o := telling(t, s, nil)
	s.gates(o.gate("n1", "", nil))
	b := scripted(t)
	b.logIn(o, o.key("ann", "", wflo.RoleApprover))
	b.open(o, "/runs/run-n1", "#rows")
	<-s.joined
	b.until(`document.getElementById("live").textContent === "Live."`)
	b.do(chromedp.SendKeys(chromedp.CSS("#reason-approve-1"), "half a sent"))
	b.do(chromedp.Evaluate[chromedp.Void](`window.same = true`))
	s.change(func() {
		s.rows = append(s.rows, story.Row{ID: "m9", Kind: story.KindModel, Name: "openai/new-row", State: story.StateRunning, Start: time.Now(), RunID: "0192-run"})
		s.rows[1].State = story.StateUndone
		s.head.Spend.Spent = 47 * wflo.Cent
	})
	b.until(`document.getElementById("row-m9") !== null`)
	for what, condition := range map[string]string{
		"the row is the last one": `document.querySelector("#rows tr:last-child").id === "row-m9"`,
		"the old row changed":     `document.querySelector("#row-s1 .status").textContent === "undone"`,
		"the money":               `document.getElementById("spend-text").textContent.includes("$0.47 spent")`,
		"the page is the same":    `window.same === true`,
		"what was typed":          `document.getElementById("reason-approve-1").value === "half a sent"`,
		"the focus":               `document.activeElement.id === "reason-approve-1"`,
		"nothing twice":           `document.querySelectorAll("#row-s1").length === 1`,
	} {
		if !b.is(condition) {
			t.Errorf("%s: not so", what)
		}
	}
	s.change(func() { s.head.State, s.head.Closed, s.head.Gates = wflo.StateCompleted, time.Now(), nil })
	b.until(`document.getElementById("live").textContent === "The run is over."`)
	if b.is(`document.querySelector(".ask") !== null`) {
		t.Error("the gate of a run that is over is still shown")
	}
}

// A gate that changes while somebody looks at it is shown anew: nobody approves what they
// were not shown.
func TestLiveGateChanges(t *testing.T) {
	s := someTale()
	o := telling(t, s, nil)
	s.gates(o.gate("n1", "", nil))
	b := scripted(t)
	b.logIn(o, o.key("ann", "", wflo.RoleApprover))
	b.open(o, "/runs/run-n1", "#rows")
	<-s.joined
	b.do(chromedp.SendKeys(chromedp.CSS("#reason-approve-1"), "25 is fine"))
	g := o.runs.Gate("n1")
	g.Approval.Payload, g.Revision, g.Changes = []byte(`{"order":17,"amount":"9999.00"}`), 1, 1
	g = g.Seal("n1")
	o.runs.Change("n1", func(wflo.Gate) wflo.Gate { return g })
	s.change(func() { s.gates(g) })
	b.until(`document.querySelector("#gates pre").textContent.includes("9999.00")`)
	if !b.is(`document.querySelector("#approve-1 input[name=digest]").value === "` + g.Digest + `" && document.getElementById("reason-approve-1").value === ""`) {
		t.Error("the form is still for what was shown before")
	}
}

// On the run's own page a person approves, and comes back to it.
func TestApproveOnRunPage(t *testing.T) {
	s := someTale()
	o := telling(t, s, nil)
	s.gates(o.gate("n1", "", nil))
	for name, settings := range map[string]string{"with scripts": "", "without": ",scriptEnabled=false"} {
		t.Run(name, func(t *testing.T) {
			nonce := strings.ReplaceAll(name, " ", "-")
			o.gate(nonce, "", nil)
			s.change(func() { s.gates(o.runs.Gate(nonce)) })
			b := chromiumWith(t, phone, "imagesEnabled=false"+settings)
			b.logIn(o, o.key("ann", "", wflo.RoleApprover))
			b.open(o, "/runs/run-"+nonce, "button.yes")
			b.do(chromedp.SendKeys(chromedp.CSS("#reason-approve-1"), "looks right"), chromedp.Click(chromedp.CSS("button.yes")), chromedp.WaitVisible(chromedp.CSS(".note.good")))
			if got := b.text(); !strings.Contains(got, "Your decision counts. The gate is approved.") || !strings.Contains(got, "look up the order") {
				t.Errorf("after the approval: %s", got)
			}
			if g := o.runs.Gate(nonce); g.Status != wflo.GateApproved || g.Decision.By != "ann" || g.Decision.Reason != "looks right" {
				t.Errorf("gate %s, %+v", g.Status, g.Decision)
			}
		})
	}
}

// Single keys move through the inbox and lead to forms. None of them decides.
func TestSingleKeys(t *testing.T) {
	o := telling(t, someTale(), nil)
	for _, n := range []string{"n1", "n2", "n3"} {
		o.gate(n, "", func(a *wflo.Approval) {
			a.Action, a.OnTimeout = "refund "+n, wflo.OnTimeoutEscalate
			a.Escalation = []wflo.Level{{Approvers: []string{"boss"}}}
		})
	}
	b := scripted(t)
	b.logIn(o, o.key("ann", "", wflo.RoleApprover))
	if !b.is(`document.title.startsWith("(3) ") && document.getElementById("waiting").textContent.startsWith("3")`) {
		t.Error("the count is not in the title and the navigation")
	}
	first := b.pressed("j")
	second := b.pressed("j")
	if back := b.pressed("k"); back != first || first == second {
		t.Errorf("j, j, k went to %q, %q, %q", first, second, back)
	}
	b.press("?")
	b.until(`document.getElementById("keys").open`)
	b.sound("help")
	b.press("j") // means nothing while the help is open
	b.press(kb.Escape)
	b.press("a")
	b.do(chromedp.WaitVisible(chromedp.CSS("button.yes")))
	b.until(`document.activeElement.id === "reason-approve"`)
	b.press("arej?") // is typed
	if !b.is(`document.activeElement.value === "arej?"`) {
		t.Error("keys do something while somebody types")
	}
	b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
	b.press("r")
	if at := b.focus(); at.What != "#reason-reject" {
		t.Errorf("r leads to %+v", at)
	}
	b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
	b.press("e")
	if at := b.focus(); at.Name != "Ask the next level now" {
		t.Errorf("e leads to %+v", at)
	}
	for _, n := range []string{"n1", "n2", "n3"} {
		o.untouched("keys", n)
	}
	// Whoever needs the keys for something else switches them off.
	b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
	b.press("?")
	b.do(chromedp.Click(chromedp.CSS("#keys-on")))
	b.press(kb.Escape)
	b.open(o, "/inbox", "#yours")
	if at := b.pressed("j"); at != "" {
		t.Errorf("j is off and goes to %s", at)
	}
}

// pressed presses a key, and gives the link that has the focus after it.
func (b *chromiumUser) pressed(key string) string {
	b.t.Helper()
	b.press(key)
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.activeElement.getAttribute("href") ?? ""`))
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}

// From the run by way of its snapshots to the plan of a restore, which changes nothing.
func TestDryRunFromRunPage(t *testing.T) {
	o := newBranch(t)
	b := scripted(t)
	b.logIn(o.office, o.key)
	b.open(o.office, "/runs/refund-17?show=snapshots", "#from")
	b.do(chromedp.Click(chromedp.CSS("table.list tbody a")), chromedp.WaitVisible(chromedp.CSS("#to")))
	b.do(chromedp.Click(chromedp.CSS("#goback ~ form button")), chromedp.WaitVisible(chromedp.CSS("#cannot")))
	if got := b.text(); !strings.Contains(got, "Nothing has changed") || !strings.Contains(got, "Undone, in this order (1)") {
		t.Errorf("the plan: %s", got)
	}
	if orders := o.runs.Orders(); len(orders) != 1 || !orders[0].DryRun || orders[0].WorkflowID != "refund-17" {
		t.Errorf("orders %+v", orders)
	}
	b.sound("plan")
	b.shoot("light-desk-plan")
}

// An operator tops a budget up, once.
func TestTopUpInChromium(t *testing.T) {
	o := newBranch(t)
	b := scripted(t)
	b.logIn(o.office, o.office.key("olaf", "", wflo.RoleOperator))
	b.open(o.office, "/spend", "#budgets")
	b.do(chromedp.Click(chromedp.CSS("#budgets ~ ul li:nth-child(2) summary")), chromedp.WaitVisible(chromedp.CSS("#amount-1")),
		chromedp.SendKeys(chromedp.CSS("#amount-1"), "2.50"), chromedp.SendKeys(chromedp.CSS("#why-1"), "end of the month"), chromedp.Click(chromedp.CSS("details[open] button")), chromedp.WaitVisible(chromedp.CSS(".note.good")))
	if got := b.text(); !strings.Contains(got, "The budget team:support was topped up.") || !strings.Contains(got, "of $7.50") {
		t.Errorf("after the top-up: %s", got)
	}
	spend, err := o.cfg.Ledger.Spend(t.Context(), "team:support")
	if err != nil || spend.Limit != 750*wflo.Cent || spend.ToppedUp != 250*wflo.Cent {
		t.Errorf("budget %+v, %v", spend, err)
	}
}

// A long run is read in pages, and never all of it is on one.
func TestLongRun(t *testing.T) {
	s := someTale()
	s.rows = nil
	for i := range 5000 {
		parent := ""
		if i%10 != 0 {
			parent = fmt.Sprintf("s%d", i/10*10)
		}
		s.rows = append(s.rows, story.Row{ID: fmt.Sprintf("s%d", i), Parent: parent, Kind: story.KindStep, Name: fmt.Sprintf("step %d", i), State: story.StateDone, Start: taleStart().Add(time.Duration(i) * time.Millisecond), End: taleStart().Add(time.Duration(i+1) * time.Millisecond)})
	}
	o := telling(t, s, nil)
	o.gate("n1", "", nil)
	c := o.logIn(o.key("vic", "", wflo.RoleViewer))
	latest := o.send(c, "GET", "/runs/run-n1", "")
	wants(t, "latest", latest, 200, "step 4999", "step 4800", "!step 4799<", ">First</a>", "!>Latest</a>", "!>Next</a>")
	first := o.send(c, "GET", "/runs/run-n1?at=first", "")
	wants(t, "first", first, 200, "step 0<", "step 199<", "!step 200<", ">Next</a>", ">Latest</a>", "!>First</a>")
	wants(t, "next", o.send(c, "GET", "/runs/run-n1?after=205", ""), 200, `class="k-step earlier"`, "step 200<", "step 205<", "step 404<", "!step 405<", ">First</a>", ">Latest</a>")
	if n := strings.Count(latest.body, "<tr "); n > storyRows+2 {
		t.Errorf("%d rows", n)
	}
	wants(t, "no such page", o.send(c, "GET", "/runs/run-n1?after=9999", ""), 422, "begin again")
}
