package console

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
)

// scheme is a colour scheme, as the browser's engine is told to prefer it.
type scheme struct {
	name     string
	settings string
}

var schemes = []scheme{{"light", "preferredColorScheme=1"}, {"dark", "preferredColorScheme=0"}}

// branch is an office with something on every page, and ann, who may do anything.
type branch struct {
	*backOffice
	tale *tale
	key  string
}

func newBranch(t *testing.T) *branch {
	t.Helper()
	s := someTale()
	b := &branch{tale: s}
	b.backOffice = newBackOffice(t, func(_ *recoverytest.Runs, c *Config) {
		everything(c)
		c.tells = s
		c.Links = Links{Temporal: "http://127.0.0.1:8233/namespaces/{namespace}/workflows/{workflow_id}/{run_id}", Trace: "https://jaeger.example.com/trace/{trace_id}"}
		c.Setup = Setup{
			Version: "1.4.0", Channels: []Channel{{Name: "slack://ops", Kind: "slack"}, {Name: "email://ops", Kind: "email"}}, Policies: fmt.Sprintf("%064x", 77),
			Rules:  []Rule{{Name: "large-refunds", When: "cost > 100 OR operation == 'delete'", Then: "require approval by group:senior-ops"}, {Name: "long-runs", When: "execution_time > 600", Then: "notify slack://ops"}},
			Limits: map[string]string{"Requests per second and address": "100", "Open connections": "4096"},
		}
	})
	b.open("n1", "refund-17", "refund order 17 of eve@example.com", wflo.RiskHigh)
	b.open("n2", "deal-9", "delete customer 4711 and all of her orders", wflo.RiskCritical)
	b.open("n3", "mail-3", "send 1,200 newsletters", wflo.RiskLow)
	s.gates(b.office.runs.Gate("n1"))
	for i, user := range []string{"eve", "bob", "mal", "zoe"} {
		b.runs.Add(wflo.Run{WorkflowID: fmt.Sprintf("research-%d", 17+i), FirstRunID: "first", Workflow: "ResearchAgent", User: user, Team: "support"}, i%2 == 0)
	}
	b.spend()
	b.key = b.office.key("ann", "", wflo.RoleAdmin, wflo.RoleApprover)
	if _, _, err := b.keys.Make(t.Context(), apikey.Spec{Name: "nightly report", Subject: "reports", Roles: []wflo.AccessRole{wflo.RoleViewer}, MadeBy: "root", Expires: time.Now().Add(72 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return b
}

// open opens a gate with all that a card can show, and edits it.
func (b *branch) open(nonce, run, action string, risk wflo.Risk) {
	b.t.Helper()
	_, err := b.office.runs.Ask(b.t.Context(), wflo.Run{WorkflowID: run, FirstRunID: "first", Workflow: "RefundAgent", User: "eve"}, nonce, wflo.Approval{
		Gate: "refunds", Action: action, Risk: risk, Payload: []byte(`{"order":17,"amount":"25.00","currency":"EUR","to":"eve@example.com"}`), Details: "The customer wrote twice. The parcel was lost.",
		Approvers: []string{"ann", "group:ops"}, Quorum: 2, OnTimeout: wflo.OnTimeoutEscalate, Answers: []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit},
		Escalation: []wflo.Level{{Approvers: []string{"group:senior-ops"}, After: 20 * time.Minute}, {Approvers: []string{"boss"}}}, Rules: []string{"large-refunds"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// spend books calls of several workflows, and sets budgets.
func (b *branch) spend() {
	b.t.Helper()
	ctx, ledger := b.t.Context(), b.cfg.Ledger
	for _, rule := range []wflo.Budget{
		{Scope: wflo.ScopeTeam, Name: "support", Limit: 5 * wflo.USD, Period: wflo.PeriodDaily}, {Scope: wflo.ScopeModel, Name: "openai/gpt-5.4", Limit: 20 * wflo.USD, Period: wflo.PeriodMonthly, OnExceeded: wflo.ExceedAlert},
		{Scope: wflo.ScopeUser, Limit: 2 * wflo.USD, Period: wflo.PeriodDaily},
	} {
		if err := ledger.SetBudget(ctx, rule, "root"); err != nil {
			b.t.Fatal(err)
		}
	}
	for i, call := range []struct {
		run, workflow, user string
		amount              wflo.Money
		open                bool
	}{{"refund-17", "RefundAgent", "eve", 131 * wflo.Cent, false}, {"research-17", "ResearchAgent", "bob", 84 * wflo.Cent, false}, {"deal-9", "DealAgent", "mal", 22 * wflo.Cent, false}, {"refund-17", "RefundAgent", "eve", 40 * wflo.Cent, true}} {
		run := wflo.Run{WorkflowID: call.run, FirstRunID: map[string]string{"refund-17": "first-17", "deal-9": "first-9"}[call.run], Workflow: call.workflow, User: call.user, Team: "support", Step: "lookup#1"}
		if run.FirstRunID == "" {
			run.FirstRunID = "first"
		}
		key := wflo.EffectKey(fmt.Sprintf("%064x", i+1))
		_, err := ledger.Reserve(ctx, wflo.Reservation{
			Key: key, Attempt: 1, Amount: call.amount, Run: run, Scopes: run.Scopes("openai", "gpt-5.4"), Provider: "openai", Model: "gpt-5.4",
			Budgets: []wflo.BudgetLine{{ID: wflo.RunBudgetID(run.ID()), Limit: 4 * wflo.USD}},
		})
		if err == nil && !call.open {
			err = ledger.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: call.amount, Usage: wflo.Usage{Input: 12_040 * int64(i+1), Output: 2_118}, Provider: "openai", Model: "gpt-5.4"})
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// pages are what somebody looks at, by name, with what must be there.
func (b *branch) pages() [][3]string {
	run := "/runs/refund-17"
	return [][3]string{
		{"inbox", "/inbox", "#yours"}, {"gate", "/gates/n1", "button.yes"}, {"runs", "/runs", "table.list"},
		{"run", run, "#rows"}, {"run-models", run + "?kind=model", "#rows"}, {"run-sandbox", run + "?show=sandbox", "main section.card"},
		{"run-snapshots", run + "?show=snapshots&from=" + snapA + "&to=" + snapB, "#diff"}, {"run-policy", run + "?show=policy", "main section.card"}, {"run-audit", run + "?show=audit", "table.list"},
		{"row", run + "/rows/b1", "#stdout"}, {"stop", run + "/stop", "#sure"}, {"spend", "/spend", "#budgets"}, {"spend-day", "/spend?by=day&scope=team%3Asupport", "table.list"}, {"settings", "/settings", "#keys-list"},
		{"recovery", "/recovery", "#latest"}, {"recovery-run", run + "/recovery?to=" + snapA, "#goback"}, {"compensations", "/compensations", "#dead"}, {"problem", "/gates/none", ".note.bad"},
	}
}

// shoot leaves a picture of the whole page where WFLO_SCREENSHOTS names a folder.
func (b *chromiumUser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("WFLO_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// logIn comes in by the key, and lands on the inbox.
func (b *chromiumUser) logIn(o *office, key string) {
	b.t.Helper()
	b.do(chromedp.Navigate(o.server.URL+"/inbox"), chromedp.WaitVisible(chromedp.CSS("#key")), chromedp.SendKeys(chromedp.CSS("#key"), key+kb.Enter), chromedp.WaitVisible(chromedp.CSS("#yours")))
}

// is evaluates a condition in the page.
func (b *chromiumUser) is(condition string) bool {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](condition))
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// Every page, in both colour schemes, on a phone and on a desk: nothing is wider than the
// window, nothing comes from elsewhere, and axe finds nothing that keeps somebody out.
func TestLook(t *testing.T) {
	for _, s := range schemes {
		for name, width := range map[string]int{"phone": phone, "desk": wideDesk} {
			t.Run(s.name+"-"+name, func(t *testing.T) { look(t, s, name, width) })
		}
	}
}

func look(t *testing.T, s scheme, name string, width int) {
	t.Helper()
	o := newBranch(t)
	b := chromiumWith(t, width, "imagesEnabled=false,"+s.settings)
	b.do(chromedp.Navigate(o.server.URL+"/login"), chromedp.WaitVisible(chromedp.CSS("#key")))
	if dark := b.is(`matchMedia("(prefers-color-scheme: dark)").matches`); dark != (s.name == "dark") {
		t.Fatalf("the browser prefers dark: %v", dark)
	}
	b.sound("login")
	b.shoot(fmt.Sprintf("%s-%s-login", s.name, name))
	b.logIn(o.office, o.key)
	for _, p := range o.pages() {
		b.do(chromedp.Navigate(o.server.URL+p[1]), chromedp.WaitVisible(chromedp.CSS(p[2])))
		if b.is("document.documentElement.scrollWidth > document.documentElement.clientWidth") {
			t.Errorf("%s is wider than the window", p[0])
		}
		if b.is(`performance.getEntriesByType("resource").some(e => new URL(e.name).origin !== location.origin)`) {
			t.Errorf("%s loads something from elsewhere", p[0])
		}
		b.sound(p[0])
		b.shoot(fmt.Sprintf("%s-%s-%s", s.name, name, p[0]))
	}
}

// No page has style or script within it, which the policy for content refuses.
func TestNothingInline(t *testing.T) {
	o := newBranch(t)
	c := o.logIn(o.key)
	for _, p := range o.pages() {
		body := o.send(c, "GET", p[1], "").body
		for _, never := range []string{" style=", "<style", "<script>", "javascript:", " onclick="} {
			if strings.Contains(body, never) {
				t.Errorf("%s has %s", p[0], never)
			}
		}
		for _, link := range strings.Split(body, `href="`)[1:] {
			link, _, _ = strings.Cut(link, `"`)
			u, err := url.Parse(link)
			if err != nil || u.Host != "" && u.Host != "127.0.0.1:8233" && u.Host != "jaeger.example.com" {
				t.Errorf("%s leads to %s", p[0], link)
			}
		}
	}
}
