package wflo_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func TestBudgetValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		b     wflo.Budget
		field string // of the error; empty when it is valid
	}{
		{"nothing", wflo.Budget{}, ""},
		{"all", wflo.Budget{Scope: wflo.ScopeTag, Name: "env=prod", Limit: wflo.USD, Period: wflo.PeriodMonthly,
			TimeZone: "Europe/Berlin", Thresholds: []int{1, 99, 100}, OnExceeded: wflo.ExceedAsk}, ""},
		{"rolling", wflo.Budget{Period: wflo.Rolling(36 * time.Hour)}, ""},
		{"no thresholds", wflo.Budget{Thresholds: []int{}}, ""},
		{"negative limit", wflo.Budget{Limit: -1}, "budget.limit"},
		{"scope", wflo.Budget{Scope: "people"}, "budget.scope"},
		{"name with a line end", wflo.Budget{Name: "a\nb"}, "budget.name"},
		{"broken name", wflo.Budget{Name: "a\xff"}, "budget.name"},
		{"long name", wflo.Budget{Name: strings.Repeat("x", 1001)}, "budget.name"},
		{"period", wflo.Budget{Period: "yearly"}, "budget.period"},
		{"rolling nothing", wflo.Budget{Period: wflo.Rolling(0)}, "budget.period"},
		{"rolling backwards", wflo.Budget{Period: wflo.Rolling(-time.Hour)}, "budget.period"},
		{"rolling by parts of seconds", wflo.Budget{Period: wflo.Rolling(1500 * time.Millisecond)}, "budget.period"},
		{"rolling for ever", wflo.Budget{Period: wflo.Rolling(400 * 24 * time.Hour)}, "budget.period"},
		{"zone", wflo.Budget{TimeZone: "Europe/Nowhere"}, "budget.time_zone"},
		{"the machine's zone", wflo.Budget{TimeZone: "Local"}, "budget.time_zone"},
		{"threshold 0", wflo.Budget{Thresholds: []int{0}}, "budget.thresholds[0]"},
		{"threshold 101", wflo.Budget{Thresholds: []int{101}}, "budget.thresholds[0]"},
		{"threshold twice", wflo.Budget{Thresholds: []int{50, 50}}, "budget.thresholds[1]"},
		{"thresholds descending", wflo.Budget{Thresholds: []int{75, 50}}, "budget.thresholds[1]"},
		{"action", wflo.Budget{OnExceeded: "explode"}, "budget.on_exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.b.Validate()
			if c.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, wflo.ErrInvalid) || !strings.HasPrefix(err.Error(), c.field+" ") || wflo.HintOf(err) == "" {
				t.Errorf("got %v, want one about %s with a hint", err, c.field)
			}
		})
	}
}

func TestRunsOwnBudget(t *testing.T) {
	for name, b := range map[string]wflo.Budget{
		"scope": {Scope: wflo.ScopeUser}, "name": {Name: "x"}, "period": {Period: wflo.PeriodDaily}, "zone": {TimeZone: "UTC"},
	} {
		if err := b.ValidateOwn(); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("a run's budget with a %s gave %v", name, err)
		}
	}
	own := wflo.Budget{Scope: wflo.ScopeRun, Limit: wflo.USD, Thresholds: []int{80}, OnExceeded: wflo.ExceedAsk}
	if err := own.ValidateOwn(); err != nil {
		t.Error(err)
	}
}

func TestBudgetID(t *testing.T) {
	for id, b := range map[string]wflo.Budget{
		"run:*": {}, "user:*": {Scope: wflo.ScopeUser}, "user:ann": {Scope: wflo.ScopeUser, Name: "ann"},
		"model:openai/gpt-5.4": {Scope: wflo.ScopeModel, Name: "openai/gpt-5.4"}, "tag:url=http://x": {Scope: wflo.ScopeTag, Name: "url=http://x"},
	} {
		if got := b.ID(); got != id {
			t.Errorf("%+v has the id %q, want %q", b, got, id)
		}
		scope, name, err := wflo.SplitBudgetID(id)
		if again := (wflo.Budget{Scope: scope, Name: name}).ID(); err != nil || again != id {
			t.Errorf("%q was split into %q and %q, %v", id, scope, name, err)
		}
	}
	for _, id := range []string{"", "user", "user:", ":ann", "people:ann"} {
		if _, _, err := wflo.SplitBudgetID(id); !errors.Is(err, wflo.ErrInvalid) || wflo.HintOf(err) == "" {
			t.Errorf("%q gave %v", id, err)
		}
	}
}

func TestRolling(t *testing.T) {
	for _, d := range []time.Duration{time.Second, time.Hour, 30 * 24 * time.Hour} {
		if got, ok := wflo.Rolling(d).Rolling(); !ok || got != d {
			t.Errorf("%s became %s, %t", d, got, ok)
		}
	}
	for _, p := range []wflo.Period{"", wflo.PeriodDaily, "rolling:", "rolling:x", "24h", wflo.Rolling(math.MaxInt64)} {
		if d, ok := p.Rolling(); ok {
			t.Errorf("%q is rolling for %s", p, d)
		}
	}
}

func TestRefusalSaysItAll(t *testing.T) {
	r := &wflo.Refusal{Budget: "team:payments", Limit: 10 * wflo.USD, Spent: 7 * wflo.USD, Reserved: 2 * wflo.USD, Asked: 3 * wflo.USD,
		WindowEnd: time.Date(2026, 12, 1, 0, 0, 0, 0, time.FixedZone("CET", 3600))}
	for _, part := range []string{"team:payments", "$10.00", "$7.00", "$2.00", "$3.00", "resets at 2026-11-30T23:00:00Z"} {
		if !strings.Contains(r.Error(), part) {
			t.Errorf("%q does not say %s", r, part)
		}
	}
}

func TestStepName(t *testing.T) {
	for step, want := range map[string]string{
		"":                              "",
		"g0/wflo.llm.Chat#1":            "wflo.llm.Chat",
		"g12/charge#3/wflo.llm.Chat#2":  "charge",
		"order-17/wflo.llm.Chat#1":      "order-17",
		"orders/17/wflo.llm.Chat#1":     "orders/17",
		"order#17/wflo.llm.Chat#1":      "order",
		"goal/wflo.llm.Chat#1":          "goal",
		"g/wflo.llm.Chat#1":             "g",
		"g0/outer#1/wflo.sandbox.Run#1": "outer",
	} {
		if got := (wflo.Run{Step: step}).StepName(); got != want {
			t.Errorf("step %q has the name %q, want %q", step, got, want)
		}
	}
}

func TestRunScopes(t *testing.T) {
	r := wflo.Run{
		WorkflowID: "w", FirstRunID: "1", Root: "top/0", Workflow: "billing.Invoice", Step: "g0/charge#1/wflo.llm.Chat#1",
		User: "ann", Team: "payments", Org: "acme", Agent: "clerk", Tags: map[string]string{"env": "prod", "cost": "7"},
	}
	want := []string{"run:top/0", "step:charge", "agent:clerk", "workflow:billing.Invoice", "user:ann", "team:payments", "org:acme",
		"model:openai/gpt-5.4", "tag:cost=7", "tag:env=prod"}
	if got := r.Scopes("openai", "gpt-5.4"); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := (wflo.Run{WorkflowID: "w", FirstRunID: "1"}).Scopes("", ""); !slices.Equal(got, []string{"run:w/1"}) {
		t.Errorf("a bare run has %q", got)
	}
}

func TestRunValidate(t *testing.T) {
	if err := (wflo.Run{User: "ann", Tags: map[string]string{"env": "", "a": "b=c"}}).Validate(); err != nil {
		t.Error(err)
	}
	many := map[string]string{}
	for i := range 21 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	for field, r := range map[string]wflo.Run{
		"run.user": {User: "a\x00"}, "run.team": {Team: "\xff"}, "run.org": {Org: strings.Repeat("x", 2000)}, "run.agent": {Agent: "a\tb"},
		"run.tags": {Tags: many}, "run.tags ": {Tags: map[string]string{"": "x"}}, "run.tags  ": {Tags: map[string]string{"a=b": "x"}},
		"run.tags   ": {Tags: map[string]string{"a": "\n"}}, "budget": {Budget: wflo.Budget{Scope: wflo.ScopeOrg}},
	} {
		if err := r.Validate(); !errors.Is(err, wflo.ErrInvalid) || !strings.HasPrefix(err.Error(), strings.TrimSpace(field)) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// A run that was reopened is limited as the run that it began as, whatever else its
// lines are.
func TestRunBudgetIsThatOfTheFirst(t *testing.T) {
	run := wflo.Run{WorkflowID: "orders/7", FirstRunID: "b"}
	line := func(id string) wflo.BudgetLine { return wflo.BudgetLine{ID: id} }
	for name, tt := range map[string]struct {
		lines []wflo.BudgetLine
		want  string
	}{
		"by itself":     {nil, "run:orders/7/b"},
		"a child":       {[]wflo.BudgetLine{line("run:orders/a"), line("run:orders/7/b")}, "run:orders/7/b"},
		"reopened":      {[]wflo.BudgetLine{line("run:orders/7/a"), line("run:orders/7/b")}, "run:orders/7/a"},
		"of a namesake": {[]wflo.BudgetLine{line("run:orders/7/8/a"), line("user:ann"), line("run:orders/7/b")}, "run:orders/7/b"},
	} {
		run.Lines = tt.lines
		if got := run.BudgetID(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
