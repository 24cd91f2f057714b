package console

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// tenant is an org with one of everything. Names are those of every other tenant wherever
// two may have the same; what only this one knows has its canary.
type tenant struct {
	org, key, run, first, nonce, snapshot, undo, restore, keyID string
}

func (n tenant) canary() string { return "canary-of-" + n.org }

// city is a console with two tenants of the same names.
type city struct {
	*target
	told   *ownTales
	one    tenant
	two    tenant
	hidden []string // ids of the second that nobody of the first may read
}

// ownTales tells of each run what is of its own.
type ownTales struct {
	*tale
	of map[string]string // canary by run
}

func (s *ownTales) Head(ctx context.Context, id, run string) (story.Head, error) {
	head, err := s.tale.Head(ctx, id, run)
	head.Note = s.of[id]
	return head, err
}

func (s *ownTales) Rows(ctx context.Context, q story.Query) (story.Page, error) {
	page, err := s.tale.Rows(ctx, q)
	rows := slices.Clone(page.Rows)
	for i := range rows {
		rows[i].Name = s.of[q.WorkflowID]
	}
	page.Rows = rows
	return page, err
}

func (s *ownTales) Output(_ context.Context, id, _, _ string) (story.Output, error) {
	return story.Output{Name: "out.txt", Type: "text/plain", Data: []byte(s.of[id])}, nil
}

func newCity(t *testing.T) *city {
	t.Helper()
	c := &city{told: &ownTales{tale: someTale(), of: map[string]string{}}}
	c.target = newTarget(t)
	c.handler.tells = c.told
	c.one, c.two = c.settle("north"), c.settle("south")
	c.hidden = []string{c.two.run, c.two.first, c.two.nonce, c.two.snapshot, c.two.undo, c.two.restore, c.two.keyID}
	return c
}

// settle gives a tenant one of everything.
func (c *city) settle(org string) tenant {
	c.t.Helper()
	t, ctx := c.t, c.t.Context()
	n := tenant{org: org, run: "nightly-of-" + org, first: "first-of-" + org, nonce: "nonce-of-" + org, undo: "undo-of-" + org, restore: "restore-of-" + org}
	run := wflo.Run{WorkflowID: n.run, FirstRunID: n.first, Workflow: "Nightly", Org: org, User: "eve", Team: "support", Agent: n.canary(), Step: "charge#1"}
	c.told.of[n.run] = n.canary()
	c.runs.Add(run, true)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.office.runs.Ask(ctx, run, n.nonce, wflo.Approval{Gate: "refunds", Action: "refund " + n.canary(), Payload: fmt.Appendf(nil, `{"for":%q}`, n.canary()), Approvers: []string{"group:ops"}})
	must(err)
	s, err := c.runs.Shoot(ctx, run, "before-charge", time.Now())
	must(err)
	n.snapshot = s.ID
	must(c.runs.Dead(ctx, run, n.undo, "refund of "+n.canary()))
	must(c.cfg.Ledger.(interface{ Logs() activities.Logs }).Logs().AppendLogs(ctx, 100, wflo.LogLine{At: time.Now(), Level: slog.LevelError, Message: n.canary(), WorkflowID: n.run, FirstRunID: n.first}))
	key := wflo.EffectKey(fmt.Sprintf("%064x", rand.Uint64()))
	_, err = c.cfg.Ledger.Reserve(ctx, wflo.Reservation{Key: key, Attempt: 1, Amount: wflo.Cent, Run: run, Scopes: run.Scopes("openai", "gpt-5.4"), Provider: "openai", Model: "gpt-5.4", Budgets: []wflo.BudgetLine{{ID: wflo.RunBudgetID(run.ID()), Limit: wflo.USD}}})
	must(err)
	must(c.cfg.Ledger.Settle(ctx, wflo.Settlement{Key: key, Attempt: 1, Amount: wflo.Cent, Provider: "openai", Model: "gpt-5.4"}))
	must(c.records.Append(ctx, wflo.AuditEvent{ID: "e-" + org, Chain: run.AuditChain(), At: time.Now(), Type: wflo.AuditPolicyRuled, Actor: "eve", WorkflowID: n.run, FirstRunID: n.first, Data: fmt.Appendf(nil, `{"of":%q}`, n.canary())}))
	plain, kept, err := c.keys.Make(ctx, apikey.Spec{Name: n.canary(), Subject: "eve", Groups: []string{"ops"}, Roles: []wflo.AccessRole{admin, operator, approver}, Org: org, MadeBy: "root"})
	must(err)
	n.key, n.keyID = plain, kept.ID
	wants(t, "restore", c.api(n.key, "POST", "/api/v1/runs/"+n.run+"/restores", `{"id":"`+n.restore+`","to":{"snapshot":"before-charge"},"reason":"`+n.canary()+`","dry_run":true}`), 200)
	return n
}

// of fills in what a tenant has.
func (c *city) of(n tenant, pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	id := map[string]string{"runs": n.run, "budgets": "org:" + n.org, "keys": n.keyID, "notices": "a1", "snapshots": n.snapshot, "compensations": n.undo, "restores": n.restore}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if p == "{id}" {
			parts[i] = id[parts[i-1]]
		}
	}
	return method, strings.NewReplacer("{nonce}", n.nonce, "{key}", "k1", "{attempt}", "1", "{name}", "sso", "{row}", "s1", "{$}", "").Replace(strings.Join(parts, "/"))
}

// reveals says what of the second tenant is in an answer, beyond what was asked with.
func (c *city) reveals(got answered, asked string) string {
	all := got.body
	for _, values := range got.header {
		all += strings.Join(values, "\n")
	}
	if strings.Contains(all, c.two.canary()) {
		return c.two.canary()
	}
	for _, id := range c.hidden {
		if strings.Contains(all, id) && !strings.Contains(asked, id) {
			return id
		}
	}
	return ""
}

// filters are the parameters that routes take; values come from both tenants.
func (c *city) filters() map[string][]string {
	both := func(of func(tenant) string) []string { return []string{of(c.one), of(c.two)} }
	runs := both(func(n tenant) string { return n.run })
	firsts := both(func(n tenant) string { return n.first })
	ids := append(both(func(n tenant) string { return n.snapshot }), both(func(n tenant) string { return n.undo })...)
	orgs := []string{"org:" + c.one.org, "org:" + c.two.org, "user:eve", "team:support", "run:" + c.two.run + "/" + c.two.first, "agent:%"}
	return map[string][]string{
		"run": append(runs, firsts...), "workflow": append(runs, "Nightly", "%", "' OR '1'='1"), "first_run": firsts, "first": firsts, "name": {"before-charge", "%"},
		"chain": {c.one.org, c.two.org, "main", ""}, "approver": {"eve", "group:ops"}, "after": append(append(ids, c.one.nonce, c.two.nonce), "0", "1"), "from": append(ids, "2020-01-01T00:00:00Z", "2020-01-01"),
		"to": append(ids, "2099-01-01T00:00:00Z", "2099-01-01"), "limit": {"1", "100"}, "scope": orgs, "budget": orgs, "by": {"workflow", "user", "team", "agent", "model", "day", "org", "step"},
		"mine": {"true", "false"}, "closed": {"true"}, "latest": {"true"}, "show": {"story", "sandbox", "snapshots", "policy", "audit", "all", "mine", "closed"}, "kind": {"model", "auto", "manual", "approval"}, "state": {"", "running", "dead_letter", "open"},
		"id": append(runs, "n"), "user": {"eve", "%"}, "team": {"support"}, "type": {"policy.ruled", "login"}, "level": {"debug"}, "live": {"1"}, "d": {"x"}, "gate": {c.one.nonce, c.two.nonce}, "at": {"s1"}, "internal": {"true"},
	}
}

var knownFilters = regexp.MustCompile(`use ([a-z_]+(?:, [a-z_]+)*)`)

// knows lists the filters of a path, which its refusal of an unknown one names.
func (c *city) knows(path string) []string {
	c.t.Helper()
	m := knownFilters.FindStringSubmatch(c.api(c.root, "GET", path+"?unheard-of=1", "").body)
	if m == nil {
		return nil
	}
	return strings.Split(m[1], ", ")
}

// Whatever somebody of one tenant asks, nothing of another one comes back: each route
// about each thing of the other one, and at random with any filters.
func TestAttackTenants(t *testing.T) {
	c := newCity(t)
	seed, asked := rand.Uint64(), 0
	random := rand.New(rand.NewPCG(seed, 1))
	own := map[string]bool{}
	filters := c.filters()
	check := func(pattern, path string, got answered) {
		asked++
		if what := c.reveals(got, path); what != "" {
			t.Errorf("seed %d: %s shows %s: %d %.400s", seed, path, what, got.status, got.body)
		}
		if strings.Contains(got.body, c.one.canary()) {
			own[pattern] = true
		}
	}
	for _, rt := range Routes(c.cfg) {
		if !strings.HasPrefix(rt.Pattern, "GET ") || rt.lasts || rt.Role == "" {
			continue
		}
		for _, n := range []tenant{c.one, c.two} {
			_, path := c.of(n, rt.Pattern)
			check(rt.Pattern, path, c.api(c.one.key, "GET", path, ""))
			known := c.knows(path)
			for _, name := range known {
				for _, v := range filters[name] {
					q := path + "?" + url.Values{name: {v}}.Encode()
					check(rt.Pattern, q, c.api(c.one.key, "GET", q, ""))
				}
			}
			for range min(4, len(known)) {
				q := url.Values{}
				for range 3 {
					name := known[random.IntN(len(known))]
					if values := filters[name]; len(values) > 0 {
						q.Set(name, values[random.IntN(len(values))])
					}
				}
				check(rt.Pattern, path+"?"+q.Encode(), c.api(c.one.key, "GET", path+"?"+q.Encode(), ""))
			}
		}
	}
	for _, pattern := range []string{
		"GET /api/v1/runs/{id}/rows", "GET /api/v1/runs/{id}/head", "GET /api/v1/runs/{id}/rows/{row}/output", "GET /api/v1/runs/{id}/ledger", "GET /api/v1/runs/{id}/logs", "GET /api/v1/approvals", "GET /api/v1/approvals/{nonce}", "GET /api/v1/audit", "GET /api/v1/keys",
		"GET /api/v1/compensations", "GET /api/v1/compensations/{id}", "GET /api/v1/restores/{id}", "GET /api/v1/costs", "GET /inbox", "GET /gates/{nonce}", "GET /runs/{id}", "GET /spend", "GET /compensations",
	} {
		if !own[pattern] {
			t.Errorf("%s never shows what is the caller's own, so it shows nothing about tenants", pattern)
		}
	}
	if asked < 400 {
		t.Errorf("only %d requests; filters are not found", asked)
	}
}

// Nothing of one tenant is changed by another, whichever route they take.
func TestAttackTenantsChangeNothing(t *testing.T) {
	c := newCity(t)
	before := c.southern()
	tried := 0
	for pattern, line := range tries {
		if line.role == "" || strings.HasPrefix(pattern, "GET ") || pattern == "POST /logout" {
			continue
		}
		method, path := c.of(c.two, pattern)
		header := []string{}
		if !strings.HasPrefix(path, "/api/") {
			header = append(header, "Content-Type", formType)
		}
		tried++
		with := strings.ReplaceAll(line.with, "DIGEST", c.office.runs.Gate(c.two.nonce).Digest)
		got := c.api(c.one.key, method, path, with, header...)
		if own := pattern == "POST /api/v1/keys"; !own && got.status != denies && got.status != absentee {
			t.Errorf("%s by another tenant: %d %.300s", pattern, got.status, got.body)
		}
		if what := c.reveals(got, path); what != "" {
			t.Errorf("%s shows %s", pattern, what)
		}
	}
	// An id that the other one chose is not the caller's either.
	body := `{"id":"` + c.two.restore + `","to":{"snapshot":"before-charge"},"reason":"x"}`
	if got := c.api(c.one.key, "POST", "/api/v1/runs/"+c.one.run+"/restores", body); got.status != absentee || c.reveals(got, body) != "" {
		t.Errorf("a restore by their id: %d %s", got.status, got.body)
	}
	if after := c.southern(); after != before || tried < 20 {
		t.Errorf("%d routes; the other tenant's state\n%s\nbecame\n%s", tried, before, after)
	}
}

// southern is what the second tenant sees of its own things.
func (c *city) southern() string {
	c.t.Helper()
	var all strings.Builder
	for _, path := range []string{"/api/v1/snapshots", "/api/v1/compensations", "/api/v1/approvals/" + c.two.nonce, "/api/v1/restores/" + c.two.restore, "/api/v1/runs/" + c.two.run + "/ledger", "/api/v1/runs/" + c.two.run + "/lineage"} {
		got := c.api(c.two.key, "GET", path, "")
		if got.status != ok || !json.Valid([]byte(got.body)) {
			c.t.Fatalf("%s: %d %s", path, got.status, got.body)
		}
		all.WriteString(got.body)
	}
	if k, err := c.records.Key(c.t.Context(), c.two.keyID); err != nil || !k.Revoked.IsZero() {
		c.t.Errorf("their key: %+v, %v", k, err)
	}
	return all.String()
}

// Who follows a run of another tenant gets no event of it, however the stream is asked for.
func TestAttackTenantsFollow(t *testing.T) {
	c := newCity(t)
	for _, path := range []string{"/api/v1/runs/" + c.two.run + "/events", "/api/v1/runs/" + c.two.run + "/events?run=" + c.two.first, "/api/v1/runs/" + c.one.run + "/events?run=" + c.two.first} {
		got := c.api(c.one.key, "GET", path, "", "Last-Event-ID", "0-1")
		if got.status != absentee || c.reveals(got, path) != "" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}
