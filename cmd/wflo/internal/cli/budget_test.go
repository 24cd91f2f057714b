package cli

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func TestBudgetHelp(t *testing.T) {
	for _, name := range []string{"budget", "budget list", "budget show", "budget set", "budget rm", "budget topup", "alerts", "cost reconcile"} {
		golden(t, "help-"+strings.ReplaceAll(name, " ", "-")+".txt", prices(t, append(strings.Fields(name), "--help")...))
	}
}

func TestBudgetUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"budget lst", []string{"unknown command", "did you mean list"}},
		{"budget show", []string{"ID is missing"}},
		{"budget show payments", []string{`budget is "payments"`, "hint: name it SCOPE:NAME"}},
		{"budget show team:", []string{"SCOPE:NAME"}},
		{"budget set team:payments --limit 5", []string{"no terminal to ask on", "--yes"}},
		{"budget set payments --limit 5 --yes", []string{"SCOPE:NAME"}},
		{"budget set team:payments --limit 0 --yes", []string{"--limit is $0.00", "or none"}},
		{"budget set team:payments --limit 1e3 --yes", []string{`amount "1e3"`}},
		{"budget set team:payments --period yearly --yes", []string{`--period is "yearly"`, "rolling:24h"}},
		{"budget set team:payments --period rolling:9999d --yes", []string{"--period is"}},
		{"budget set team:payments --period= --yes", []string{`--period is ""`}},
		{"budget set team:payments --zone Mars/Base --yes", []string{"budget.time_zone", "Europe/Berlin"}},
		{"budget set team:payments --thresholds 90,50 --yes", []string{`--thresholds is "90,50"`}},
		{"budget set team:payments --thresholds 101 --yes", []string{"from 1 to 100"}},
		{"budget set team:payments --on-exceeded explode --yes", []string{"--on-exceeded is", "halt, ask, alert, ignore"}},
		{"budget set org:acme --period daily --yes", []string{"--limit is missing for the new budget org:acme"}},
		{"budget rm team:payments", []string{"no terminal to ask on"}},
		{"budget topup team:payments", []string{"AMOUNT is missing"}},
		{"budget topup team:payments 5 --yes", []string{"--reason is missing"}},
		{"budget topup team:payments 0 --reason x --yes", []string{"AMOUNT is $0.00"}},
		{"budget topup team:payments lots --reason x --yes", []string{`amount "lots"`}},
		{"budget topup team:payments 9223372036 --reason x --yes", []string{"together are more than"}},
		{"budget topup team:payments 5 --reason x", []string{"no terminal to ask on"}},
		{"alerts --limit 0", []string{"--limit is 0"}},
		{"alerts --budget x", []string{"SCOPE:NAME"}},
		{"run x --on-exceeded ask", []string{"--on-exceeded is about the run's own budget"}},
		{"run x --thresholds 50", []string{"--thresholds is about the run's own budget"}},
		{"run x --budget 5 --on-exceeded wait", []string{`--on-exceeded is "wait"`}},
		{"run x --budget 5 --thresholds 0", []string{"--thresholds is"}},
		{"run x --tag env", []string{`--tag is "env"`}},
		{"run x --tag =prod", []string{`--tag is "=prod"`}},
		{"run x --tag a=1 --tag a=2", []string{"--tag a is given twice"}},
		{"run x --team " + strings.Repeat("x", 1001), []string{"run.team is 1001 bytes long"}},
		{"list --api ftp://x", nil},
		{"budget list --api ftp://x", []string{"--api (or WFLO_API) is no address"}},
		{"budget list --api http://ann:pass@127.0.0.1:1", []string{"--api (or WFLO_API) is no address"}},
	} {
		t.Run(tc.line, func(t *testing.T) {
			b := someBooks()
			r := b.ask(t, strings.Fields(tc.line)...)
			if len(b.set)+len(b.topUps) > 0 {
				t.Errorf("changed all the same: %+v %+v", b.set, b.topUps)
			}
			if strings.Contains(r.errOut, "pass@") {
				t.Errorf("a password is shown: %s", r.errOut)
			}
			if tc.want != nil {
				r.want(t, ExitUsage, nil, tc.want)
			} else if r.code != 0 {
				t.Errorf("exit code %d: %s", r.code, r.errOut)
			}
		})
	}
}

func TestBudgetList(t *testing.T) {
	b := someBooks()
	b.ask(t, "budget", "list").want(t, 0, []string{
		"BUDGET", "team:payments  $6.00  $3.00  $0.90     [#####+....] 65%  daily    in 36", "d     ask",
		`org:e\x1b[2J   none   $0.00  $0.00     -                 none     never`,
		"user:*         $1.00  $0.00  $0.00     [..........] 0%   last 7d  bit by bit",
	}, nil)
	var all []wflo.Spend
	if err := json.Unmarshal([]byte(b.ask(t, "budget", "list", "-o", "json").out), &all); err != nil || len(all) != 3 || all[1].Limit != 6*wflo.USD {
		t.Errorf("%+v, %v", all, err)
	}
	empty := &books{}
	empty.ask(t, "budget", "list").want(t, 0, nil, []string{"no budgets; set one with"})
	empty.ask(t, "budget", "list", "-o", "json").want(t, 0, []string{"[]"}, nil)
	b.ask(t, "budget", "list", "-o", "csv").want(t, ExitUsage, nil, []string{`--output is "csv"`})
}

func TestBudgetShow(t *testing.T) {
	b := someBooks()
	b.ask(t, "budget", "show", "team:payments").want(t, 0, []string{
		"$6.00, of which $1.00 was added for this window", "$3.00, of which $0.03 is unknown", "[#####+....] 65%", "left           $2.10",
		"50%, 75%, 90%", "ask: the run waits", "a call did not fit: spent $4.99 of $5.00", `by run r2\x1b[31m`, "50% reached",
	}, nil)
	if b.asked != "team:payments" {
		t.Errorf("alerts of %q", b.asked)
	}
	b.ask(t, "budget", "show", "user:*").want(t, 0, []string{"alerts at      none", "last 7d"}, nil)
	b.ask(t, "budget", "show", "team:nobody").want(t, ExitError, nil, []string{"no budget team:nobody", "wflo budget list"})
	r := invoke(t, b.serves(t, withRun()), "budget", "show", "run:r1")
	r.want(t, 0, []string{"run:r1/run-r1", "$5.00"}, nil)
}

// withRun is a Temporal that knows a failed run "r1".
func withRun() *fakeTemporal {
	f := waiting()
	for _, r := range f.runs {
		r.FirstRunId = r.Execution.RunId
	}
	return f
}

// A change keeps what is not given, and is by whoever gives the command.
func TestBudgetSet(t *testing.T) {
	b := someBooks()
	b.ask(t, "budget", "set", "team:payments", "--limit", "7.50", "--thresholds", "80", "--yes").want(t, 0,
		[]string{"set team:payments: $3.90 of $7.50 used\n"},
		[]string{"was  team:payments: $5.00, period daily in Europe/Berlin", "now  team:payments: $7.50, period daily in Europe/Berlin, alerts at 80%, when exceeded ask"})
	b.ask(t, "budget", "set", "model:openai/gpt-5.4", "--limit", "none", "--period", "rolling:2d", "--thresholds", "none", "--on-exceeded", "alert", "-y", "-o", "json").want(t, 0, []string{`"budget": "model:openai/gpt-5.4"`}, []string{"now  model:openai/gpt-5.4: no limit, period last 2d"})
	// A user who has the budget for each gets one of their own.
	b.spends["user:ann"] = wflo.Spend{Budget: "user:ann", Limit: wflo.USD, Spent: wflo.Cent, Rule: b.spends["user:*"].Rule}
	b.ask(t, "budget", "set", "user:ann", "--limit", "2", "--yes").want(t, 0, []string{"set user:ann"}, []string{"now  user:ann: $2.00, period last 7d"})
	want := []wflo.Budget{
		{Scope: wflo.ScopeTeam, Name: "payments", Limit: 750 * wflo.Cent, Period: wflo.PeriodDaily, TimeZone: "Europe/Berlin", Thresholds: []int{80}, OnExceeded: wflo.ExceedAsk},
		{Scope: wflo.ScopeModel, Name: "openai/gpt-5.4", Period: wflo.Rolling(48 * time.Hour), Thresholds: []int{}, OnExceeded: wflo.ExceedAlert},
		{Scope: wflo.ScopeUser, Name: "ann", Limit: 2 * wflo.USD, Period: wflo.Rolling(7 * day), Thresholds: []int{}},
	}
	if diff := gocmp.Diff(want, b.set); diff != "" || !slices.Equal(b.by, []string{"bob", "bob", "bob"}) {
		t.Errorf("by %v, set (-want +got):\n%s", b.by, diff)
	}
}

func TestBudgetRemove(t *testing.T) {
	b := someBooks()
	b.ask(t, "budget", "rm", "team:payments", "--yes").want(t, 0, []string{"removed team:payments\n"}, nil)
	if _, ok := b.spends["team:payments"]; ok {
		t.Error("it is still there")
	}
	b.ask(t, "budget", "rm", "team:payments", "--yes").want(t, ExitError, nil, []string{"is not there: team:payments", "hint: see: wflo budget list"})
}

func TestBudgetTopUp(t *testing.T) {
	b := someBooks()
	b.ask(t, "budget", "topup", "team:payments", "1.25", "--reason", "month end", "--key", "k1", "--yes").want(t, 0,
		[]string{"raised team:payments: $3.90 of $7.25 used\n"}, []string{"$3.90 of $6.00 used; the limit becomes $7.25"})
	r := invoke(t, b.serves(t, withRun()), "budget", "topup", "run:r1", "2", "--reason", "long", "--yes")
	r.want(t, 0, []string{"raised run:r1/run-r1"}, []string{"the limit becomes $7.00"})
	b.ask(t, "budget", "topup", `org:acme`, "2", "--reason", "x", "--yes").want(t, ExitError, nil, []string{"no budget org:acme"})
	if len(b.topUps) != 2 || b.topUps[0] != (wflo.TopUp{Key: "k1", Budget: "team:payments", Amount: 125 * wflo.Cent, By: "bob", Reason: "month end"}) ||
		b.topUps[1].Budget != "run:r1/run-r1" || len(b.topUps[1].Key) < 20 {
		t.Errorf("top-ups %+v", b.topUps)
	}
}

func TestAlerts(t *testing.T) {
	b := someBooks()
	b.ask(t, "alerts").want(t, 0, []string{"team:payments  did not fit: halt  $4.99", "team:payments  50%                $2.60", `r2\x1b[31m`}, nil)
	b.ask(t, "alerts", "--budget", "team:payments", "--limit", "1", "-o", "jsonl").want(t, 0, []string{`"id":"a2"`}, nil)
	if b.asked != "team:payments" {
		t.Errorf("asked for alerts of %q", b.asked)
	}
	(&books{}).ask(t, "alerts").want(t, 0, nil, []string{"no alerts"})
}

// What answers instead of an API is not believed, and hostile text stays text.
func TestNotAnAPI(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		answer string
		want   []string
	}{
		"a web page":   {200, "<html>", []string{"read the answer of", "hint: use the version"}},
		"old worker":   {404, "404 page not found\n", []string{"not as a worker's API", "older worker"}},
		"redirect":     {302, "", []string{"not as a worker's API"}},
		"hostile":      {422, `{"code":"wflo.Invalid","message":"a\u001b[2Jb","hint":"c\u202ed"}`, []string{`a\x1b[2Jb`, `hint: c\u202ed`}},
		"no room":      {422, `{"code":"wflo.BudgetExceeded","message":"no room"}`, []string{"no room"}},
		"another code": {422, `{"code":"os.Exit","message":"odd"}`, []string{"odd"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tc.status == 302 {
					http.Redirect(w, r, "http://192.0.2.1/steal", tc.status)
					return
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.answer))
			}))
			defer s.Close()
			code := ExitError
			if name == "no room" {
				code = ExitBudget
			}
			invoke(t, &fakeTemporal{api: s.URL}, "budget", "list").want(t, code, nil, tc.want)
		})
	}
	invoke(t, &fakeTemporal{}, "budget", "list").want(t, ExitError, nil, []string{"no worker's API answers at http://127.0.0.1:1", "hint: start `wflo dev`"})
}

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		used, limit wflo.Money
		want        int64
	}{
		{0, 0, -1}, {1, 0, -1}, {0, 10, 0}, {999, 1000, 99}, {1000, 1000, 100}, {3, 2, 150}, {-5, 10, 0},
		{math.MaxInt64, math.MaxInt64, 100}, {math.MaxInt64 - 1, math.MaxInt64, 99}, {math.MaxInt64, 1, math.MaxInt64},
	} {
		if got := percent(tc.used, tc.limit); got != tc.want {
			t.Errorf("percent(%d, %d) = %d, want %d", tc.used, tc.limit, got, tc.want)
		}
	}
	for _, tc := range []struct {
		spent, reserved wflo.Money
		want            string
	}{
		{0, 0, "[..........] 0%"}, {10, 0, "[#.........] 10%"}, {10, 15, "[#+........] 25%"}, {99, 0, "[#########.] 99%"}, {100, 0, "[##########] 100%"}, {300, 5, "[##########] 305%"},
	} {
		if got := usedBar(wflo.Spend{Spent: tc.spent, Reserved: tc.reserved, Limit: 100}); got != tc.want {
			t.Errorf("%d spent, %d reserved: %s, want %s", tc.spent, tc.reserved, got, tc.want)
		}
	}
}

func TestRunIsGoverned(t *testing.T) {
	f := &fakeTemporal{}
	invoke(t, f, "run", "x.Y", "-d", "--user", "ann", "--team", "payments", "--org", "acme", "--tag", "env=prod", "--tag", "cost=a=b",
		"--budget", "5.00", "--on-exceeded", "ask", "--thresholds", "40,80").want(t, 0, []string{"y-"}, []string{"started"})
	want := wflo.Run{
		User: "ann", Team: "payments", Org: "acme", Workflow: "x.Y", Tags: map[string]string{"env": "prod", "cost": "a=b"},
		Budget: wflo.Budget{Limit: 5 * wflo.USD, OnExceeded: wflo.ExceedAsk, Thresholds: []int{40, 80}},
	}
	if diff := gocmp.Diff(want, f.run); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
}

func TestBudgetCompletion(t *testing.T) {
	b := someBooks()
	out := b.ask(t, "__complete", "budget", "show", "").out
	if !strings.Contains(out, "team:payments\nuser:*\n") || strings.Contains(out, "org:") {
		t.Errorf("completion offers:\n%s", out)
	}
}
