package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// reservationsRefuseNonsense: what else a reservation may not say.
func reservationsRefuseNonsense(b *books) {
	long := "user:" + strings.Repeat("x", 10_000)
	negative, above := ask("k", 1, 5), ask("k", 1, 5)
	negative.Least, above.Least = -1, 6
	for name, r := range map[string]wflo.Reservation{
		"negative least":    negative,
		"least over amount": above,
		"no scope":          in(ask("k", 1, 5), ""),
		"long scope":        in(ask("k", 1, 5), long),
		"NUL in scope":      in(ask("k", 1, 5), "user:a\x00b"),
		"broken scope":      in(ask("k", 1, 5), "user:a\xffb"),
	} {
		_, err := b.Reserve(b.Context(), r)
		b.invalid("Reserve with "+name, err)
	}
	if got, err := b.OpenHolds(b.Context(), 0, 10); err != nil || len(got) != 0 {
		b.Errorf("holds were left behind: %+v, %v", got, err)
	}
}

func savingsRefuseNonsense(b *books) {
	for name, change := range map[string]func(*wflo.Saving){
		"no key":          func(s *wflo.Saving) { s.Key = "" },
		"attempt 0":       func(s *wflo.Saving) { s.Attempt = 0 },
		"negative saving": func(s *wflo.Saving) { s.Saved = -1 },
		"negative usage":  func(s *wflo.Saving) { s.Usage.Input = -1 },
		"long run":        func(s *wflo.Saving) { s.Run.WorkflowID = strings.Repeat("x", 10_000) },
	} {
		s := sampleSaving("k", 1, 5)
		change(&s)
		b.invalid("Save with "+name, b.Save(b.Context(), s))
	}
	if got := b.total(wflo.CostQuery{}); got.Hits != 0 {
		b.Errorf("total is %+v", got)
	}
}

func rulesRefuseNonsense(b *books) {
	for name, r := range map[string]wflo.Budget{
		"a negative limit":      {Scope: wflo.ScopeUser, Name: "ann", Limit: -1},
		"a scope":               {Scope: "planet", Name: "earth", Limit: 1},
		"a name":                {Scope: wflo.ScopeUser, Name: "a\x00b", Limit: 1},
		"a long name":           {Scope: wflo.ScopeUser, Name: strings.Repeat("x", 10_000), Limit: 1},
		"a period":              {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: "fortnightly"},
		"a rolling period":      {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: "rolling:-1h"},
		"a zone":                {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: wflo.PeriodDaily, TimeZone: "Europe/Atlantis"},
		"a threshold":           {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Thresholds: []int{101}},
		"an order":              {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Thresholds: []int{75, 50}},
		"what happens":          {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, OnExceeded: "explode"},
		"an injected zone":      {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: wflo.PeriodDaily, TimeZone: "UTC'; DROP TABLE budgets; --"},
		"the local zone":        {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: wflo.PeriodDaily, TimeZone: "Local"},
		"a part of a second":    {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: "rolling:1500ms"},
		"more than a leap year": {Scope: wflo.ScopeUser, Name: "ann", Limit: 1, Period: "rolling:8785h"},
	} {
		b.invalid("SetBudget with a bad "+name, b.SetBudget(b.Context(), r, "ops"))
		b.invalid("DeclareBudgets with a bad "+name, b.DeclareBudgets(b.Context(), []wflo.Budget{r}))
	}
	for _, id := range []string{"", "user", "user:", "planet:earth", "a\x00b"} {
		b.invalid(fmt.Sprintf("RemoveBudget %q", id), b.RemoveBudget(b.Context(), id))
	}
	if got := b.list(); len(got) != 0 {
		b.Errorf("budgets were made: %+v", got)
	}
}

func topUpsRefuseNonsense(b *books) {
	b.set(rule("user:ann", 10), rule("user:free", 0))
	b.reserve(in(ask("k", 1, 1, line("nolimit", 0)), "user:free"))
	good := wflo.TopUp{Key: "t", Budget: "user:ann", Amount: 5, By: "ops"}
	for name, change := range map[string]func(*wflo.TopUp){
		"no key":           func(t *wflo.TopUp) { t.Key = "" },
		"no amount":        func(t *wflo.TopUp) { t.Amount = 0 },
		"a negative one":   func(t *wflo.TopUp) { t.Amount = -5 },
		"one past Money":   func(t *wflo.TopUp) { t.Amount = 1<<63 - 1 },
		"no budget":        func(t *wflo.TopUp) { t.Budget = "" },
		"another budget":   func(t *wflo.TopUp) { t.Budget = "user:never" },
		"no limit":         func(t *wflo.TopUp) { t.Budget = "user:free" },
		"a line without":   func(t *wflo.TopUp) { t.Budget = "nolimit" },
		"NUL in its name":  func(t *wflo.TopUp) { t.Budget = "user:a\x00b" },
		"a key too long":   func(t *wflo.TopUp) { t.Key = strings.Repeat("x", 10_000) },
		"a key with a NUL": func(t *wflo.TopUp) { t.Key = "a\x00b" },
	} {
		bad := good
		change(&bad)
		_, err := b.TopUp(b.Context(), bad)
		b.invalid("TopUp with "+name, err)
	}
	b.sums("user:ann", 10, 0, 0)
	// A key that was refused is not used up, and one that was used never
	// raises again.
	b.topUp("t", "user:ann", 5)
	good.Amount = 500
	if _, err := b.TopUp(b.Context(), good); err != nil && wflo.CodeOf(err) != wflo.CodeConflict {
		b.Errorf("the same key with another amount gave %v", err)
	}
	b.sums("user:ann", 15, 0, 0)
}

func reportsRefuseNonsense(b *books) {
	b.someCosts()
	for name, q := range map[string]wflo.CostQuery{
		"an unknown key":   {By: "planet"},
		"an injected key":  {By: "user' OR '1'='1"},
		"an unknown zone":  {By: "day", TimeZone: "Europe/Atlantis"},
		"the local zone":   {By: "day", TimeZone: "Local"},
		"an injected zone": {By: "day", TimeZone: "UTC'; DROP TABLE entries; --"},
		"a negative limit": {By: "user", Limit: -1},
		"a scope's name":   {Scopes: []string{"ann"}},
		"an empty scope":   {Scopes: []string{""}},
	} {
		rows, err := b.Costs(b.Context(), q)
		if err == nil {
			b.Errorf("%s gave %+v", name, rows)
		}
		b.invalid("Costs with "+name, err)
	}
	// None are none: never all of them.
	for _, n := range []int{0, -1} {
		open, openErr := b.OpenHolds(b.Context(), 0, n)
		unknown, unknownErr := b.UnknownHolds(b.Context(), n)
		claimed, claimErr := b.ClaimAlerts(b.Context(), n, time.Hour)
		listed, listErr := b.ListAlerts(b.Context(), "", n)
		if len(open)+len(unknown)+len(claimed)+len(listed) != 0 {
			b.Errorf("at most %d gave %d holds, %d unknown, %d and %d alerts", n, len(open), len(unknown), len(claimed), len(listed))
		}
		for _, err := range []error{openErr, unknownErr, claimErr, listErr} {
			if err != nil && wflo.CodeOf(err) != wflo.CodeInvalid {
				b.Errorf("at most %d gave %v", n, err)
			}
		}
	}
	if got := b.total(wflo.CostQuery{}); got.Calls != 4 {
		b.Errorf("total is %+v", got)
	}
}
