package console

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/wflo-ai/wflo-go"
)

const chromium = "/usr/bin/chromium"

// chromiumUser is somebody with a browser.
type chromiumUser struct {
	t   *testing.T
	ctx context.Context
}

// phone is how wide a window is there, in pixels, and wideDesk where there is more room.
const phone, wideDesk = 390, 1280

// newChromium starts a browser that runs no scripts.
func newChromium(t *testing.T, width int) *chromiumUser {
	t.Helper()
	return chromiumWith(t, width, "imagesEnabled=false,scriptEnabled=false")
}

// chromiumWith starts a browser with settings of its engine.
func chromiumWith(t *testing.T, width int, settings string) *chromiumUser {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Fatalf("Chromium is missing; run deploy/setup.sh, or apt-get install chromium: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute) // the test's own ends before it can quit
	ctx, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(width, 844), chromedp.Flag("blink-settings", settings))...)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Error(err)
		}
		quit()
		stop()
		cancel()
	})
	b := &chromiumUser{t, ctx}
	b.do(chromedp.EmulateViewport(int64(width), 844)) // windows are wider than phones
	return b
}

func (b *chromiumUser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// text is what the page shows.
func (b *chromiumUser) text() string {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("main")))
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// A person with a real browser, without scripts, on a phone: log in, find the gate,
// approve it.
func TestApproveInChromium(t *testing.T) {
	o := newOffice(t, nil)
	o.gate("n1", "", func(a *wflo.Approval) { a.Details = "<script>document.title='owned'</script>" })
	key := o.key("ann", "", wflo.RoleApprover)

	b := newChromium(t, phone)
	ctx := b.ctx
	b.do(chromedp.Navigate(o.server.URL+"/"), chromedp.WaitVisible(chromedp.CSS("#key")), chromedp.SendKeys(chromedp.CSS("#key"), key+"\r"), chromedp.WaitVisible(chromedp.CSS("#yours")))
	inbox := b.text()
	b.do(chromedp.Click(chromedp.CSS(".gates a")), chromedp.WaitVisible(chromedp.CSS("button.yes")))
	gate := b.text()
	title, err := chromedp.Run(ctx, chromedp.Title())
	if err != nil {
		t.Fatal(err)
	}
	border, err := chromedp.Run(ctx, chromedp.Evaluate[string]("getComputedStyle(document.querySelector('header')).borderBottomStyle"))
	if err != nil {
		t.Fatal(err)
	}
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.SendKeys(chromedp.CSS("#reason-approve"), "looks right"), chromedp.Click(chromedp.CSS("button.yes")), chromedp.WaitVisible(chromedp.CSS(".note.good")))
	done := b.text()
	for what, tt := range map[string][2]string{
		"inbox": {inbox, "refund order 17"}, "gate": {gate, "Exactly what will be done"}, "details": {gate, "<script>"}, "done": {done, "The gate is approved"}, "title": {title, "refunds"},
	} {
		if !strings.Contains(tt[0], tt[1]) {
			t.Errorf("%s: %q lacks %q", what, tt[0], tt[1])
		}
	}
	if border != "solid" {
		t.Errorf("the style sheet does not apply: %q", border)
	}
	if wide {
		t.Error("the page is wider than a phone")
	}
	if g := o.runs.Gate("n1"); g.Status != wflo.GateApproved || g.Decision.By != "ann" || g.Decision.Reason != "looks right" {
		t.Errorf("gate %s, %+v", g.Status, g.Decision)
	}
}
