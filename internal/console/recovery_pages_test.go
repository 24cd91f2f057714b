package console

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
)

// formTo reads the hidden inputs of the form of a page that goes to a path.
func (o *office) formTo(page, path string) url.Values {
	o.t.Helper()
	for _, part := range strings.Split(page, "<form ")[1:] {
		if !strings.HasPrefix(part, `method="post" action="`+path+`"`) {
			continue
		}
		found := url.Values{}
		for _, m := range hiddenInput.FindAllStringSubmatch(strings.SplitN(part, "</form>", 2)[0], -1) {
			found.Set(m[1], m[2])
		}
		return found
	}
	o.t.Fatalf("no form to %s in %s", path, page)
	return nil
}

// From the snapshot by way of the plan to the restore, and what becomes of a form that is
// sent twice.
func TestRestoreOnPages(t *testing.T) {
	b := newBackOffice(t, nil)
	c := b.logIn(b.op)
	wants(t, "latest", b.send(c, "GET", "/recovery", ""), 200, "before-charge", `href="/runs/deal-9/recovery?to=`+snapC+"#goback")
	if got := b.send(c, "GET", "/recovery?run=refund-17", ""); got.status != 303 || got.header.Get("Location") != "/runs/refund-17/recovery" {
		t.Errorf("open: %d %s", got.status, got.header.Get("Location"))
	}
	page := b.send(c, "GET", "/runs/refund-17/recovery?to="+snapA, "")
	wants(t, "run", page, 200, `value="`+snapA+`"`, "after-charge", "was never taken back", "$0.01 spent until then", "workspace (4 MiB)", "refund of order 17", "!"+snapC)
	form := b.formTo(page.body, "/runs/refund-17/recovery")
	form.Set("to", "before-charge")
	form.Set("parts", "some")
	form.Set("tables", "orders, items")
	sent := b.post(c, "/runs/refund-17/recovery", form)
	path := sent.header.Get("Location")
	if sent.status != 303 || !strings.HasPrefix(path, "/restores/") {
		t.Fatalf("plan: %d %s %s", sent.status, path, sent.body)
	}
	page = b.send(c, "GET", path, "")
	wants(t, "plan", page, 200, "Nothing has changed", "$0.37, and it stays spent ($2.00 in all)", "Cannot be undone (0)", "Undone, in this order (1)", "Approvals that become void (1)",
		"Done again (9)", "and 7 more", "called again", "the schema changed", "mode 0644 to 0755", "and 3 more", `out/report&lt;b&gt;x&lt;/b&gt;\u202egnp\x1b[2J.md`, "!\u202e", "!<b>x")
	form = b.formTo(page.body, "/runs/refund-17/recovery")
	wants(t, "without a reason", b.post(c, "/runs/refund-17/recovery", form), 422, "restore.reason is empty")
	form.Set("reason", "wrong\r\naccount")
	for range 2 {
		if sent = b.post(c, "/runs/refund-17/recovery", form); sent.status != 303 || sent.header.Get("Location") != "/restores/"+form.Get("id") {
			t.Fatalf("go back: %d %s", sent.status, sent.body)
		}
	}
	wants(t, "done", b.send(c, "GET", sent.header.Get("Location"), ""), 200, "The run went back", "epoch 1", "wrong account", "olga")
	wants(t, "lineage", b.send(c, "GET", "/runs/refund-17/recovery", ""), 200, "in-place", "wrong account", "by olga")
	orders := b.runs.Orders()
	if n := len(orders); n != 2 || orders[1].DryRun || orders[1].Parts == nil || strings.Join(orders[1].Parts.Tables, ",") != "orders,items" || orders[1].Parts.Workspace || orders[1].Mode != wflo.RestoreInPlace || orders[1].Plan != "d1f5" {
		t.Errorf("ordered %+v", orders)
	}
	wants(t, "no such snapshot", b.post(c, "/runs/refund-17/recovery", url.Values{"csrf": form["csrf"], "to": {"none"}}), 422, "has no snapshot")
}

// A restore that is under way has a page that looks again by itself.
func TestRestoreUnderWayOnPage(t *testing.T) {
	hold := make(chan struct{})
	b := newBackOffice(t, func(r *recoverytest.Runs, _ *Config) { r.Hold = hold })
	c := b.logIn(b.op)
	csrf := b.formTo(b.send(c, "GET", "/runs/refund-17/recovery", "").body, "/runs/refund-17/recovery").Get("csrf")
	form := url.Values{"csrf": {csrf}, "id": {"r1"}, "real": {"yes"}, "to": {"2026-11-22T10:00:00Z"}, "reason": {"x"}}
	if got := b.post(c, "/runs/refund-17/recovery", form); got.status != 303 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	got := b.send(c, "GET", "/restores/r1", "")
	wants(t, "under way", got, 200, "The run is going back: planned")
	if got.header.Get("Refresh") == "" {
		t.Error("the page does not look again")
	}
	close(hold)
	form.Set("id", "r2")
	b.post(c, "/runs/refund-17/recovery", form)
	got = b.send(c, "GET", "/restores/r2", "")
	wants(t, "in the way", got, 200, `role="alert"`, "restore")
	if got.header.Get("Refresh") != "" {
		t.Error("the page of what is over looks again")
	}
}

// Who may do less is shown no form for it, and what cannot be undone waits for an
// administrator.
func TestRecoveryFormsByRole(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs, _ *Config) { r.Plan = recoverytest.Irreversible(r.Plan) })
	vic, olga, root := b.logIn(b.looks), b.logIn(b.op), b.logIn(b.root)
	for _, path := range []string{"/runs/refund-17/recovery", "/compensations"} {
		page := b.send(vic, "GET", path, "").body
		if n := strings.Count(page, `method="post"`); n != 1 { // to log out
			t.Errorf("%s shows %d forms to a viewer", path, n)
		}
	}
	wants(t, "operator", b.send(olga, "GET", "/compensations", ""), 200, "Dead letters (2)", "Try again", "!It is undone")
	wants(t, "administrator", b.send(root, "GET", "/compensations", ""), 200, "Try again", "It is undone", "Nothing is to be undone", "failed because: the provider is down")
	csrf := b.formTo(b.send(olga, "GET", "/runs/refund-17/recovery", "").body, "/runs/refund-17/recovery").Get("csrf")
	path := b.post(olga, "/runs/refund-17/recovery", url.Values{"csrf": {csrf}, "to": {"before-charge"}}).header.Get("Location")
	wants(t, "plan for an operator", b.send(olga, "GET", path, ""), 200, "It would be refused", "mail#1", "an administrator must accept", "!Go back now")
	page := b.send(root, "GET", path, "")
	wants(t, "plan for an administrator", page, 200, "Go back now", `name="accept"`)
	form := b.formTo(page.body, "/runs/refund-17/recovery")
	form.Set("reason", "we will write again")
	refused := b.post(root, "/runs/refund-17/recovery", form).header.Get("Location")
	wants(t, "not accepted", b.send(root, "GET", refused, ""), 200, "cannot be undone", `role="alert"`)
	form.Set("accept", "yes")
	form.Set("id", "again")
	wants(t, "accepted", b.send(root, "GET", b.post(root, "/runs/refund-17/recovery", form).header.Get("Location"), ""), 200, "The run went back")
	form.Set("csrf", "guess")
	wants(t, "forged", b.post(root, "/runs/refund-17/recovery", form), 403)
}

func TestDeadLettersOnPage(t *testing.T) {
	b := newBackOffice(t, nil)
	c := b.logIn(b.root)
	page := b.send(c, "GET", "/compensations?run=refund-17", "").body
	resolve := b.formTo(page, "/compensations/undo-acme/resolve")
	wants(t, "without a reason", b.post(c, "/compensations/undo-acme/resolve", resolve), 422, "reason is empty")
	resolve.Set("reason", "paid back by hand")
	got := b.post(c, "/compensations/undo-acme/resolve", resolve)
	if got.status != 303 || got.header.Get("Location") != "/compensations?did=resolve&run=refund-17" {
		t.Fatalf("%d %s", got.status, got.header.Get("Location"))
	}
	wants(t, "resolved", b.send(c, "GET", got.header.Get("Location"), ""), 200, "It counts as undone", "Dead letters (0)", "paid back by hand", "by root")
	retry := b.formTo(b.send(c, "GET", "/compensations", "").body, "/compensations/undo-rival/retry")
	wants(t, "retried", b.send(c, "GET", b.post(c, "/compensations/undo-rival/retry", retry).header.Get("Location"), ""), 200, "It is being tried again", "Dead letters (0)")
	wants(t, "retry twice", b.post(c, "/compensations/undo-rival/retry", retry), 422, "only dead letters")
	wants(t, "no filter", b.send(c, "GET", "/compensations?state=odd", ""), 422, "use dead_letter")
}

func TestSnapshotsOnPage(t *testing.T) {
	b := newBackOffice(t, nil)
	c := b.logIn(b.op)
	page := b.send(c, "GET", "/runs/refund-17/recovery", "").body
	take := b.formTo(page, "/runs/refund-17/snapshots")
	take.Set("name", "by hand "+recoverytest.Evil[:8])
	for range 2 {
		if got := b.post(c, "/runs/refund-17/snapshots", take); got.status != 303 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	page = b.send(c, "GET", "/runs/refund-17/recovery", "").body
	if strings.Count(page, "by hand &lt;b&gt;x&lt;/b&gt;") != 1 {
		t.Errorf("a form that was sent twice is not one snapshot: %s", page)
	}
	pin := b.formTo(page, "/snapshots/"+snapA+"/pin")
	if got := b.post(c, "/snapshots/"+snapA+"/pin", pin); got.status != 303 || got.header.Get("Location") != "/runs/refund-17/recovery" {
		t.Fatalf("%d %s", got.status, got.header.Get("Location"))
	}
	wants(t, "pinned", b.send(c, "GET", "/runs/refund-17/recovery", ""), 200, "pinned", "Unpin")
	b.runs.Add(wflo.Run{WorkflowID: "a/b c", FirstRunID: "f"}, false)
	wants(t, "an id with a slash", b.send(c, "GET", "/runs/"+url.PathEscape("a/b c")+"/recovery", ""), 200, "Recovery of a/b c", "Reopen", `action="/runs/a%2Fb%20c/recovery"`, "!Take a snapshot")
}

// A person with a real browser, without scripts, on a phone: from the dead letter to its
// run, the plan, and back.
func TestRestoreInChromium(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs, _ *Config) { r.Plan = recoverytest.Irreversible(r.Plan) })
	u := newChromium(t, phone)
	u.do(chromedp.EmulateViewport(phone, 844)) // a window of its own is never that narrow
	narrow := func(what string) {
		t.Helper()
		wide, err := chromedp.Run(u.ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
		if err != nil || wide {
			t.Errorf("%s is wider than a phone: %v %v", what, wide, err)
		}
	}
	u.do(chromedp.Navigate(b.server.URL+"/compensations"), chromedp.WaitVisible(chromedp.CSS("#key")), chromedp.SendKeys(chromedp.CSS("#key"), b.root+"\r"), chromedp.WaitVisible(chromedp.CSS("#dead")))
	narrow("compensations")
	u.do(chromedp.Click(chromedp.CSS("a[href='/runs/refund-17/recovery']")), chromedp.WaitVisible(chromedp.CSS("#goback")))
	narrow("run")
	u.do(chromedp.SendKeys(chromedp.CSS("#to"), "before-charge"), chromedp.Click(chromedp.CSS("form[action$='recovery'] button")), chromedp.WaitVisible(chromedp.CSS("#reason")))
	narrow("plan")
	if text := u.text(); !strings.Contains(text, "It would be refused") || !strings.Contains(text, "Nothing has changed") {
		t.Errorf("the plan: %s", text)
	}
	u.do(chromedp.SendKeys(chromedp.CSS("#reason"), "wrong account"), chromedp.Click(chromedp.CSS("#accept")), chromedp.Click(chromedp.CSS("button.no")), chromedp.WaitVisible(chromedp.CSS(".note.good")))
	narrow("done")
	if text := u.text(); !strings.Contains(text, "The run went back") {
		t.Errorf("at the end: %s", text)
	}
	if orders := b.runs.Orders(); len(orders) != 2 || !orders[1].AcceptIrreversible || orders[1].Reason != "wrong account" {
		t.Errorf("ordered %+v", orders)
	}
}
