package console

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
	slackchannel "github.com/wflo-ai/wflo-go/internal/notify/slack"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// target is a console with all that it can have, where acme and rival each have a run
// with everything that a run can have.
type target struct {
	*backOffice
	keyID string // of a key of acme that routes about keys are tried with
}

func newTarget(t testing.TB) *target {
	t.Helper()
	s := &target{}
	s.backOffice = newBackOffice(t, func(_ *recoverytest.Runs, c *Config) {
		everything(c)
		c.Logger = telemetry.NewLogger(io.Discard, telemetry.Config{Level: telemetry.NewLevel(slog.LevelInfo)})
		c.Rate = 1e6
		c.Slack = &Slack{Verify: func(h http.Header, body []byte, now time.Time) error {
			return slackchannel.Verify(signingSecret, h, body, now)
		}}
	})
	run := wflo.Run{WorkflowID: "refund-17", FirstRunID: "first-17", Org: "acme", User: "eve"}
	if _, err := s.office.runs.Ask(t.Context(), run, "n1", wflo.Approval{Gate: "refunds", Action: "refund order 17", Payload: []byte(`{"order":17}`), Approvers: []string{"group:ops"}}); err != nil {
		t.Fatal(err)
	}
	wants(t, "a restore", s.api(s.key("olaf", "acme", operator), "POST", "/api/v1/runs/refund-17/restores", `{"id":"r1","to":{"snapshot":"before-charge"},"dry_run":true}`), 200)
	wants(t, "a budget", s.api(s.root, "PUT", "/api/v1/budgets/team:support", `{"limit":"5.00"}`), 200)
	if err := s.records.Enqueue(t.Context(), wflo.Notice{ID: "a1", Channel: "slack://ops", Kind: wflo.NoticeTest, Thread: "a1", Title: "hello", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := s.records.NoticeFailed(t.Context(), "a1", "no such channel", time.Time{}); err != nil {
		t.Fatal(err)
	}
	_, kept, err := s.keys.Make(t.Context(), apikey.Spec{Name: "spare", Subject: "spare", Roles: []wflo.AccessRole{wflo.RoleViewer}, Org: "acme", MadeBy: "root"})
	if err != nil {
		t.Fatal(err)
	}
	s.keyID = kept.ID
	return s
}

// made is a key of somebody in the group that the gate asks.
func (s *target) made(org string, expires time.Time, roles ...wflo.AccessRole) (string, string) {
	s.t.Helper()
	subject := "pat"
	for _, r := range roles {
		subject += "-" + string(r)
	}
	plain, kept, err := s.keys.Make(s.t.Context(), apikey.Spec{Name: "test", Subject: subject, Groups: []string{"ops"}, Roles: roles, Org: org, MadeBy: "root", Expires: expires})
	if err != nil {
		s.t.Fatal(err)
	}
	return plain, kept.ID
}

// path fills in what is acme's.
func (s *target) path(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	id := map[string]string{"runs": "refund-17", "budgets": "team:support", "keys": s.keyID, "notices": "a1", "snapshots": snapA, "compensations": "undo-acme", "restores": "r1"}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if p == "{id}" {
			parts[i] = id[parts[i-1]]
		}
	}
	return method, strings.NewReplacer("{nonce}", "n1", "{key}", "k1", "{attempt}", "1", "{name}", "sso", "{row}", "s1", "{$}", "").Replace(strings.Join(parts, "/"))
}

// try is one route with what is sent to it, and what whoever may use it gets.
type try struct {
	// role is what it takes; empty means that it is open to all.
	role wflo.AccessRole
	// with is the body, or what follows the path of a GET. Those of pages are forms.
	with string
	// in is the status for somebody of all orgs, other for somebody of another org than
	// the one whose things the path names; 0 means that it is in, for routes that name
	// nothing of an org.
	in, other int
	// all says that only those of all orgs may.
	all bool
}

const (
	ok, made, seeOther       = http.StatusOK, http.StatusAccepted, http.StatusSeeOther
	nobody, denies, absentee = http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound
	unfit                    = http.StatusUnprocessableEntity
)

// lasts stands for an answer that does not end; TestStoryEvents reads it.
const lasts = -1

const (
	backTo   = `{"id":"r2","to":{"snapshot":"before-charge"},"reason":"x"}`
	decision = `{"verdict":"approve","digest":"DIGEST"}`
)

// tries is the matrix: what each route takes, and gives to those who may. A route that
// is not here fails the test.
var tries = map[string]try{
	"GET /healthz": {in: ok}, "GET /assets/console.css": {in: ok}, "GET /assets/console.js": {in: ok}, "GET /login": {in: ok},
	"POST /login/key": {with: "key=x", in: nobody}, "POST /login/password": {with: "name=pat&password=x", in: nobody},
	"GET /login/via/{name}": {in: http.StatusFound}, "GET /login/via/{name}/callback": {in: nobody}, "POST /slack/interactions": {in: nobody},

	"GET /metrics": {role: viewer, in: ok, all: true}, "GET /api/v1/openapi.json": {role: viewer, in: ok}, "GET /api/v1/whoami": {role: viewer, in: ok},
	"GET /api/v1/runs": {role: viewer, in: ok}, "GET /api/v1/runs/{id}": {role: viewer, in: ok, other: absentee}, "GET /api/v1/runs/{id}/ledger": {role: viewer, in: ok, other: absentee},
	"GET /api/v1/runs/{id}/head": {role: viewer, in: ok, other: absentee}, "GET /api/v1/runs/{id}/rows": {role: viewer, in: ok, other: absentee},
	"GET /api/v1/runs/{id}/rows/{row}": {role: viewer, in: ok, other: absentee}, "GET /api/v1/runs/{id}/rows/{row}/output": {role: viewer, in: absentee},
	"GET /api/v1/version":           {role: viewer, in: ok},
	"POST /api/v1/runs/{id}/cancel": {role: operator, with: `{"reason":"x"}`, in: ok, other: absentee},
	"POST /api/v1/runs/{id}/halt":   {role: operator, with: `{"reason":"x"}`, in: ok, other: absentee},
	"GET /runs/{id}/stop":           {role: operator, in: ok, other: absentee},
	"POST /runs/{id}/stop":          {role: operator, with: "what=halt&sure=yes&reason=x", in: seeOther, other: absentee},
	"GET /api/v1/runs/{id}/events":  {role: viewer, in: lasts, other: absentee},
	"GET /api/v1/runs/{id}/logs":    {role: viewer, in: ok, other: absentee}, "GET /api/v1/log-level": {role: viewer, in: ok, all: true},
	"PUT /api/v1/log-level": {role: operator, with: `{"level":"warn"}`, in: ok, all: true},
	"GET /api/v1/approvals": {role: viewer, in: ok}, "GET /api/v1/approvals/{nonce}": {role: viewer, in: ok, other: absentee},
	"POST /api/v1/approvals/{nonce}/decisions": {role: approver, with: decision, in: ok, other: absentee},
	"POST /api/v1/runs/{id}/decisions":         {role: approver, with: `{"gate":"refunds","by":"x","verdict":"approve"}`, in: denies, other: absentee},

	"GET /api/v1/budgets": {role: viewer, in: ok, all: true}, "GET /api/v1/budgets/{id}": {role: viewer, in: ok, all: true},
	"PUT /api/v1/budgets/{id}": {role: operator, with: `{"limit":"6.00"}`, in: ok, all: true}, "DELETE /api/v1/budgets/{id}": {role: operator, in: ok, all: true},
	"POST /api/v1/budgets/{id}/topups": {role: operator, with: `{"amount":"1.00","key":"t1","reason":"x"}`, in: ok, all: true},
	"GET /api/v1/spends":               {role: viewer, in: ok, all: true}, "GET /api/v1/alerts": {role: viewer, in: ok, all: true}, "GET /api/v1/costs": {role: viewer, in: ok},
	"GET /api/v1/holds":                             {role: viewer, with: "?state=open", in: ok, all: true},
	"POST /api/v1/holds/{key}/{attempt}/settlement": {role: operator, with: `{"amount":"1.00","reason":"x"}`, in: absentee, all: true},

	"GET /api/v1/keys": {role: admin, in: ok}, "POST /api/v1/keys": {role: admin, with: `{"name":"x","subject":"x","roles":["viewer"]}`, in: ok}, "DELETE /api/v1/keys/{id}": {role: admin, in: ok, other: absentee},
	"GET /api/v1/notices": {role: operator, in: ok, all: true}, "POST /api/v1/notices/{id}/retry": {role: admin, in: ok, all: true}, "GET /api/v1/audit": {role: operator, in: ok},

	"GET /{$}": {role: viewer, in: seeOther}, "GET /inbox": {role: viewer, in: ok}, "GET /gates/{nonce}": {role: viewer, in: ok, other: absentee},
	"POST /gates/{nonce}": {role: approver, with: "verdict=approve&digest=DIGEST", in: ok, other: absentee},
	"POST /inbox":         {role: approver, with: "verdict=reject&reason=x&gate=n1+DIGEST", in: ok, other: absentee},
	"GET /runs":           {role: viewer, in: ok}, "GET /runs/{id}": {role: viewer, in: ok, other: absentee}, "GET /runs/{id}/rows/{row}": {role: viewer, in: ok, other: absentee},
	"GET /spend": {role: viewer, in: ok}, "GET /spend.csv": {role: viewer, in: ok}, "GET /settings": {role: viewer, in: ok},
	"POST /spend/topups": {role: operator, with: "budget=team%3Asupport&amount=1&key=t2&reason=x", in: seeOther, all: true}, "POST /logout": {role: viewer, in: seeOther},

	"GET /api/v1/snapshots": {role: viewer, in: ok}, "GET /api/v1/snapshots/{id}": {role: viewer, in: ok, other: absentee}, "GET /api/v1/snapshots/{id}/diff": {role: viewer, with: "?to=" + snapB, in: ok, other: absentee},
	"POST /api/v1/runs/{id}/snapshots": {role: operator, with: `{"id":"x"}`, in: ok, other: absentee}, "POST /api/v1/snapshots/{id}/pin": {role: operator, in: ok, other: absentee},
	"DELETE /api/v1/snapshots/{id}/pin": {role: operator, in: ok, other: absentee}, "DELETE /api/v1/snapshots/{id}": {role: admin, in: ok, other: absentee},
	"POST /api/v1/runs/{id}/restores": {role: operator, with: backTo, in: made, other: absentee}, "GET /api/v1/restores/{id}": {role: viewer, in: ok, other: absentee},
	"GET /api/v1/runs/{id}/lineage": {role: viewer, in: ok, other: absentee}, "GET /api/v1/compensations": {role: viewer, in: ok}, "GET /api/v1/compensations/{id}": {role: viewer, in: ok, other: absentee},
	"POST /api/v1/compensations/{id}/retry":   {role: operator, in: ok, other: absentee},
	"POST /api/v1/compensations/{id}/resolve": {role: admin, with: `{"reason":"x"}`, in: ok, other: absentee},
	"POST /api/v1/compensations/{id}/skip":    {role: admin, with: `{"reason":"x"}`, in: ok, other: absentee},
	"GET /recovery":                           {role: viewer, in: ok}, "GET /runs/{id}/recovery": {role: viewer, in: ok, other: absentee}, "GET /restores/{id}": {role: viewer, in: ok, other: absentee}, "GET /compensations": {role: viewer, in: ok},
	"POST /runs/{id}/recovery": {role: operator, with: "to=before-charge&once=r3&reason=x", in: seeOther, other: absentee}, "POST /runs/{id}/snapshots": {role: operator, with: "id=y&name=z", in: seeOther, other: absentee},
	"POST /snapshots/{id}/pin": {role: operator, with: "pinned=yes", in: seeOther, other: absentee}, "POST /compensations/{id}/retry": {role: operator, in: seeOther, other: absentee},
	"POST /compensations/{id}/resolve": {role: admin, with: "reason=x", in: seeOther, other: absentee}, "POST /compensations/{id}/skip": {role: admin, with: "reason=x", in: seeOther, other: absentee},
}

// has says which roles are enough for one, written down a second time.
var has = map[wflo.AccessRole][]wflo.AccessRole{
	viewer: {viewer, operator, approver, admin}, operator: {operator, admin}, approver: {approver, admin}, admin: {admin},
}

// sent sends what a route takes, as an API's or as a form's.
func (s *target) sent(c *http.Client, pattern string, t try, header ...string) answered {
	s.t.Helper()
	method, path := s.path(pattern)
	if method == http.MethodGet {
		return s.send(c, method, path+t.with, "", header...)
	}
	if !strings.HasPrefix(path, "/api/") {
		header = append([]string{"Content-Type", formType}, header...)
	}
	return s.send(c, method, path, strings.ReplaceAll(t.with, "DIGEST", s.office.runs.Gate("n1").Digest), header...)
}

// wantStatus is what somebody with a role in an org gets; empty means no key.
func wantStatus(pattern string, t try, role wflo.AccessRole, org string) int {
	method, path, _ := strings.Cut(pattern, " ")
	switch {
	case t.role == "":
		return t.in
	case role == "" && method == http.MethodGet && !strings.HasPrefix(path, "/api/") && path != "/metrics":
		return seeOther // to the login
	case role == "":
		return nobody
	case !slices.Contains(has[t.role], role), org != "" && t.all:
		return denies
	case org == "rival" && t.other != 0:
		return t.other
	}
	return t.in
}

// Every route, for everybody: nobody, keys that are forged, expired and revoked, and each
// role, of all orgs, of the org and of another one.
func TestAttackMatrix(t *testing.T) {
	still := newTarget(t) // where nothing changes
	before := still.state()
	for _, rt := range Routes(still.cfg) {
		if _, there := tries[rt.Pattern]; !there {
			t.Errorf("%s is in no line of the matrix: say who may use it, and what they get", rt.Pattern)
		}
	}
	revoked, id := still.made("", time.Time{}, admin, approver)
	if err := still.records.RevokeKey(t.Context(), id, "root"); err != nil {
		t.Fatal(err)
	}
	expired := still.expired()
	nobodies := map[string]string{"nobody": "", "a forger": "wflo_" + strings.Repeat("a", 16) + "_" + strings.Repeat("b", 52), "a revoked key": revoked, "an expired key": expired, "no key at all": "Basic cm9vdDpyb290"}
	for pattern, line := range tries {
		if line.role == "" {
			if got := still.sent(still.plain(), pattern, line); got.status != line.in {
				t.Errorf("%s: %d, want %d", pattern, got.status, line.in)
			}
			continue
		}
		for who, key := range nobodies {
			got := still.sent(still.plain(), pattern, line, bearer(key)...)
			if want := wantStatus(pattern, line, "", ""); got.status != want || want == nobody && got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s by %s: %d, want %d", pattern, who, got.status, want)
			}
			if got.status == seeOther && !strings.HasPrefix(got.header.Get("Location"), "/login?back=%2F") {
				t.Errorf("%s by %s leads to %s", pattern, who, got.header.Get("Location"))
			}
		}
	}
	ground := newTarget(t)
	for _, org := range []string{"", "acme", "rival"} {
		for _, role := range wflo.AccessRoles() {
			ground = still.everywhere(role, org, ground)
		}
	}
	if after := still.state(); after != before {
		t.Errorf("those who may not have changed\n%s\nto\n%s", before, after)
	}
}

// everywhere tries each route as somebody. What they may change they change in the
// playground, and in a new one where others have changed it before.
func (s *target) everywhere(role wflo.AccessRole, org string, ground *target) *target {
	keys := map[*target]string{}
	for pattern, line := range tries {
		want, here := wantStatus(pattern, line, role, org), s
		if line.role == "" || want == lasts {
			continue
		}
		changes := !strings.HasPrefix(pattern, "GET ") && want != denies && want != absentee
		if changes {
			here = ground
		}
		got := here.by(keys, role, org, pattern, line)
		if changes && got.status != want {
			ground = newTarget(s.t)
			got = ground.by(keys, role, org, pattern, line)
		}
		if got.status != want {
			s.t.Errorf("%s by %s of %q: %d, want %d: %.300s", pattern, role, org, got.status, want, got.body)
		}
	}
	return ground
}

// by tries a route as somebody, who has one key in each place.
func (s *target) by(keys map[*target]string, role wflo.AccessRole, org, pattern string, line try) answered {
	s.t.Helper()
	if keys[s] == "" {
		keys[s], _ = s.made(org, time.Time{}, role)
	}
	return s.sent(s.plain(), pattern, line, bearer(keys[s])...)
}

func bearer(key string) []string {
	switch {
	case key == "":
		return nil
	case strings.HasPrefix(key, "Basic "):
		return []string{"Authorization", key}
	}
	return []string{"Authorization", "Bearer " + key}
}

// expired is a key that was good until now.
func (s *target) expired() string {
	s.t.Helper()
	at := time.Now().Add(-2 * time.Hour)
	old, err := apikey.New(apikey.Config{Store: s.records, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return at }})
	if err != nil {
		s.t.Fatal(err)
	}
	plain, _, err := old.Make(s.t.Context(), apikey.Spec{Name: "old", Subject: "old", Roles: []wflo.AccessRole{admin, approver}, MadeBy: "root", Expires: at.Add(time.Hour)})
	if err != nil {
		s.t.Fatal(err)
	}
	return plain
}

// state is what somebody could have changed, as text.
func (s *target) state() string {
	s.t.Helper()
	var all strings.Builder
	for _, path := range []string{"/api/v1/budgets", "/api/v1/holds?state=open", "/api/v1/notices", "/api/v1/snapshots", "/api/v1/compensations", "/api/v1/approvals/n1", "/api/v1/restores/r1", "/api/v1/log-level"} {
		got := s.api(s.root, "GET", path, "")
		if got.status != ok {
			s.t.Fatalf("%s: %d %s", path, got.status, got.body)
		}
		all.WriteString(got.body)
	}
	if k, err := s.records.Key(s.t.Context(), s.keyID); err != nil || !k.Revoked.IsZero() {
		s.t.Errorf("the spare key: %+v, %v", k, err)
	}
	return all.String()
}
