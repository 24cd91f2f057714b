package ledger

import (
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// CheckBudget is Validate for a rule: its identifier must be storable too. It
// returns the rule with its scope and name written out.
func CheckBudget(b wflo.Budget) (wflo.Budget, error) {
	if err := b.Validate(); err != nil {
		return b, err
	}
	scope, name, err := wflo.SplitBudgetID(b.ID())
	if err != nil {
		return b, err
	}
	b.Scope, b.Name = scope, name
	if problem := idProblem(b.ID()); problem != "" {
		return b, wflo.Invalid("budget", problem, "name a budget, such as team:search")
	}
	return b, nil
}

// CheckTopUp says what is wrong with a top-up, if anything.
func CheckTopUp(t wflo.TopUp) error {
	if problem := idProblem(t.Key); problem != "" {
		return wflo.Invalid("topup.key", problem, "give each top-up a key of its own")
	}
	if problem := idProblem(t.Budget); problem != "" {
		return wflo.Invalid("topup.budget", problem, "name a budget, such as team:search")
	}
	if t.Amount <= 0 {
		return wflo.Invalid("topup.amount", "is "+t.Amount.String(), "give a positive amount of dollars, such as 5.00")
	}
	return nil
}

// CheckSaving is CheckReservation for an answer that was used again.
func CheckSaving(s wflo.Saving) error {
	if err := CheckHold(s.Key, s.Attempt); err != nil {
		return err
	}
	if s.Saved < 0 {
		return wflo.Invalid("saving.saved", "is "+s.Saved.String(), "give what the answer would cost now")
	}
	if s.Source != "" {
		if problem := idProblem(string(s.Source)); problem != "" {
			return wflo.Invalid("saving.source", problem, "give the effect key of the call that paid")
		}
	}
	if err := checkAttribution("saving", s.Run, s.Scopes); err != nil {
		return err
	}
	return s.Usage.Validate()
}

// Values of CostQuery.By that are no scopes.
const (
	ByProvider = "provider"
	ByHour     = "hour"
	ByDay      = "day"
	ByWeek     = "week"
	ByMonth    = "month"
)

var timeUnits = []string{ByHour, ByDay, ByWeek, ByMonth}

// CheckCostQuery says what is wrong with a question, if anything.
func CheckCostQuery(q wflo.CostQuery) error {
	known := q.By == "" || q.By == ByProvider || slices.Contains(timeUnits, q.By) || slices.Contains(wflo.Scopes, wflo.Scope(q.By))
	switch {
	case !known:
		return wflo.Invalid("by", fmt.Sprintf("is %q", q.By), "use a scope such as user or model, provider, hour, day, week, month, or nothing for the total")
	case q.Limit < 0:
		return wflo.Invalid("limit", fmt.Sprintf("is %d", q.Limit), "give the most rows, or zero for the default")
	case !q.From.IsZero() && !q.To.IsZero() && q.To.Before(q.From):
		return wflo.Invalid("to", "is before from", "give a time after it")
	}
	if _, err := Zone(q.TimeZone); err != nil {
		return err
	}
	return checkScopes("query", q.Scopes)
}
