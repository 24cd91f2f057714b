package console

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/wflo-ai/wflo-go"
)

// stop is where the focus of the keyboard is.
type stop struct {
	// What is the element, such as button.yes or #reason-approve.
	What string `json:"what"`
	// Name is what screen readers call it.
	Name string `json:"name"`
	// Left, Top and Bottom are where it is on the page, in pixels.
	Left, Top, Bottom float64
	// Ring says that its focus can be seen, and Seen that it is in the window.
	Ring, Seen bool
}

// focused describes the element that has the focus.
const focused = `(() => {
	const e = document.activeElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
	const what = e.id ? "#" + e.id : e.tagName.toLowerCase() + (e.className ? "." + e.className : "");
	const name = e.labels?.length ? e.labels[0].textContent : e.ariaLabel || e.ariaLabelledByElements?.map(l => l.textContent).join(" ") || e.textContent;
	return {
		what, name: name.trim(), Left: r.left, Top: r.top + scrollY, Bottom: r.bottom + scrollY,
		Ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && s.outlineColor !== "rgba(0, 0, 0, 0)",
		Seen: r.width > 0 && r.height > 0 && r.bottom > 0 && r.top < innerHeight && r.left >= 0 && r.right <= innerWidth,
	};
})()`

// press presses keys, one after the other.
func (b *chromiumUser) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// focus is where the keyboard is.
func (b *chromiumUser) focus() stop {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[stop](focused))
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}

// tabTo presses the tabulator until the element has the focus, and gives the stops on
// the way, with it.
func (b *chromiumUser) tabTo(what string) []stop {
	b.t.Helper()
	var way []stop
	for range 60 {
		b.press(kb.Tab)
		at := b.focus()
		way = append(way, at)
		if at.What == what {
			return way
		}
	}
	b.t.Fatalf("the tabulator does not reach %s: %+v", what, way)
	return nil
}

// wantOrder checks that the stops are where people expect the next one: to the right, or
// below, each of them named, seen, and with a ring.
func wantOrder(t *testing.T, way []stop) {
	t.Helper()
	for i, at := range way {
		if at.Name == "" || !at.Ring || !at.Seen {
			t.Errorf("focus cannot be seen, or is without a name: %+v", at)
		}
		if i == 0 || way[i-1].What == "a.skip" {
			continue // which is above all, and only while it has the focus
		}
		before := way[i-1]
		sameRow := at.Top < before.Bottom && before.Top < at.Bottom
		if sameRow && at.Left <= before.Left || !sameRow && at.Top < before.Top {
			t.Errorf("after %+v the tabulator jumps back to %+v", before, at)
		}
	}
}

func whats(way []stop) (all []string) {
	for _, at := range way {
		all = append(all, at.What)
	}
	return all
}

// With the keyboard alone, a person logs in, finds a gate, reads it, and changes what is
// asked, and approves, rejects and answers others. The browser runs no scripts.
func TestKeyboardAlone(t *testing.T) {
	t.Run("phone", func(t *testing.T) { keyboardAlone(t, phone) })
	t.Run("desk", func(t *testing.T) { keyboardAlone(t, wideDesk) })
}

func keyboardAlone(t *testing.T, width int) {
	t.Helper()
	o := newOffice(t, nil)
	o.gate("n1", "", func(a *wflo.Approval) {
		a.Answers, a.ReasonRequired = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit}, true
		a.Details = "please"
	})
	key := o.key("ann", "", wflo.RoleApprover)
	b := newChromium(t, width)
	b.do(chromedp.Navigate(o.server.URL+"/"), chromedp.WaitVisible(chromedp.CSS("#key")))
	wantOrder(t, b.tabTo("#key"))
	b.press(key + kb.Enter)
	b.do(chromedp.WaitVisible(chromedp.CSS("#yours")))

	// The first stop leaps over the navigation.
	b.press(kb.Tab)
	if at := b.focus(); at.What != "a.skip" || !at.Seen || !at.Ring {
		t.Errorf("the first stop is %+v", at)
	}
	b.press(kb.Enter)
	way := b.tabTo("a")
	for b.focus().Name != "refund order 17" {
		way = append(way, b.tabTo("a")...)
	}
	if slices.Contains(whats(way), "a.brand") {
		t.Errorf("the leap did not pass the navigation: %v", whats(way))
	}
	wantOrder(t, way)
	b.press(kb.Enter)
	b.do(chromedp.WaitVisible(chromedp.CSS("button.yes")))

	b.edits(o)
	b.approves(o)
	b.rejects(o)
	b.answers(o)
}

// edits goes over everything on the page of the gate, in the order in which it stands
// there, and changes what is asked.
func (b *chromiumUser) edits(o *office) {
	b.t.Helper()
	way := b.tabTo("summary")
	wantOrder(b.t, way)
	want := []string{"a.skip", "a.brand", "a", "a", "a", "a", "a", "a", "button.quiet", "a", "pre.payload", "pre.details", "#reason-approve", "button.yes", "#reason-reject", "button.no", "summary"}
	if !slices.Equal(whats(way), want) {
		b.t.Errorf("stops %v, want %v", whats(way), want)
	}
	b.press(kb.Enter) // opens it
	wantOrder(b.t, append([]stop{way[len(way)-1]}, b.tabTo("#edit-json")...))
	b.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.press(`{"order":17,"amount":"20.00"}`)
	b.tabTo("button")
	b.press(" ")
	b.do(chromedp.WaitVisible(chromedp.CSS(".note.good")))
	if g := o.runs.Gate("n1"); g.Revision != 1 || string(g.Approval.Payload) != `{"order":17,"amount":"20.00"}` {
		b.t.Errorf("after the change: gate %s, revision %d, %s", g.Status, g.Revision, g.Approval.Payload)
	}
}

// approves says why, and presses the button with the space bar.
func (b *chromiumUser) approves(o *office) {
	b.t.Helper()
	o.gate("n4", "", nil)
	b.do(chromedp.Navigate(o.server.URL+"/gates/n4"), chromedp.WaitVisible(chromedp.CSS("button.yes")))
	b.tabTo("#reason-approve")
	b.press("looks right")
	b.tabTo("button.yes")
	b.press(" ")
	b.do(chromedp.WaitVisible(chromedp.CSS(".status.approved")))
	if g := o.runs.Gate("n4"); g.Status != wflo.GateApproved || g.Decision.By != "ann" || g.Decision.Reason != "looks right" {
		b.t.Errorf("gate %s, %+v", g.Status, g.Decision)
	}
}

// rejects tries to reject without the reason that is required, and then gives one.
func (b *chromiumUser) rejects(o *office) {
	b.t.Helper()
	o.gate("n2", "", func(a *wflo.Approval) { a.ReasonRequired = true })
	b.do(chromedp.Navigate(o.server.URL+"/gates/n2"), chromedp.WaitVisible(chromedp.CSS("button.no")))
	b.tabTo("button.no")
	b.press(kb.Enter)
	if at := b.focus(); at.What != "#reason-reject" || o.runs.Gate("n2").Status != wflo.GateOpen {
		b.t.Errorf("without its reason the focus is at %+v, gate %s", at, o.runs.Gate("n2").Status)
	}
	b.press("wrong account")
	b.tabTo("button.no")
	b.press(kb.Enter)
	b.do(chromedp.WaitVisible(chromedp.CSS(".status.rejected")))
	if g := o.runs.Gate("n2"); g.Status != wflo.GateRejected || g.Decision.Reason != "wrong account" {
		b.t.Errorf("gate %s, %+v", g.Status, g.Decision)
	}
}

// answers fills in a form with a number, a box and a choice.
func (b *chromiumUser) answers(o *office) {
	b.t.Helper()
	o.gate("n3", "", func(a *wflo.Approval) {
		a.Answers = []wflo.Verdict{wflo.VerdictRespond}
		a.Form = json.RawMessage(`{"type":"object","required":["n"],"properties":{"n":{"type":"integer","title":"How many"},"ok":{"type":"boolean"},"size":{"type":"string","enum":["S","L"]}}}`)
	})
	b.do(chromedp.Navigate(o.server.URL+"/gates/n3"), chromedp.WaitVisible(chromedp.CSS("fieldset")))
	way := b.tabTo("#field-0")
	b.press("3")
	way = append(way, b.tabTo("#field-1")...)
	b.press(" ")
	way = append(way, b.tabTo("#field-2")...)
	b.press("L") // as people choose from a list
	way = append(way, b.tabTo("button.yes")...)
	wantOrder(b.t, way)
	b.press(kb.Enter)
	b.do(chromedp.WaitVisible(chromedp.CSS(".status.answered")))
	if g := o.runs.Gate("n3"); g.Status != wflo.GateAnswered || string(g.Decision.Form) != `{"n":3,"ok":true,"size":"L"}` {
		b.t.Errorf("gate %s, %+v", g.Status, g.Decision)
	}
}
