// Package budgets is a desk that writes reports, with everything that it may
// spend said beforehand: what the team may spend in a month and what each of its
// users in a day, what one section of a report may cost, and who is told.
//
// [Write] is the workflow, [Declared] are the budgets, and [Post] tells people
// about them. Its folder worker joins them in plugin.Config, its folder starter
// starts a report, and its test shows each budget at work: a section that goes
// without its review, a team that runs dry and is topped up while the report
// waits, and letters that are sent.
package budgets

import (
	"context"
	"fmt"

	"github.com/wflo-ai/wflo-go"
)

// Team is the team of the desk: runs say so, see package starter.
const Team = "desk"

// Declared are the budgets of the desk. A call that fits one and not another is
// not made.
func Declared() []wflo.Budget {
	return []wflo.Budget{
		// The team's month: who meets its end waits until somebody adds to it.
		{
			Scope: wflo.ScopeTeam, Name: Team, Limit: 2 * wflo.Cent, Period: wflo.PeriodMonthly, TimeZone: "Europe/Berlin",
			Thresholds: []int{50, 90}, OnExceeded: wflo.ExceedAsk,
		},
		// Everybody's day: without a name it is one for each user. Above it nothing
		// is refused, but somebody is told.
		{Scope: wflo.ScopeUser, Limit: wflo.USD, Period: wflo.PeriodDaily, TimeZone: "Europe/Berlin", OnExceeded: wflo.ExceedAlert},
		// What experiments spend in any 24 hours, whoever makes them. At its end they
		// are over.
		{Scope: wflo.ScopeTag, Name: "kind=experiment", Limit: 5 * wflo.Cent, Period: "rolling:24h", OnExceeded: wflo.ExceedHalt},
	}
}

// Letter is a message for people.
type Letter struct {
	// ID is the same whenever the same thing is told again, so that whoever sends
	// letters can leave out those that were sent.
	ID   string
	To   string
	Text string
}

// Post writes letters about budgets. Its methods are the handlers of alerts:
// activities, which may take their time, and which are called again when they
// fail.
type Post struct {
	// Send sends a letter, once per ID. It may be called at the same time.
	Send func(ctx context.Context, l Letter) error
}

// Threshold tells the desk that a part of a budget is spent.
func (p *Post) Threshold(ctx context.Context, a wflo.BudgetAlert) error {
	return p.send(ctx, "desk", a, fmt.Sprintf("%s is at %d %%: %s of %s", a.Budget, a.Percent, a.Spent, a.Limit))
}

// Exceeded tells whoever pays that a call did not fit, and what came of it.
func (p *Post) Exceeded(ctx context.Context, a wflo.BudgetAlert) error {
	what := "the call was refused"
	switch a.OnExceeded {
	case wflo.ExceedAsk:
		what = "the run waits for approval: wflo approvals"
	case wflo.ExceedAlert, wflo.ExceedIgnore:
		what = "the call was made all the same"
	}
	return p.send(ctx, "finance", a, fmt.Sprintf("%s has no room, with %s of %s spent; %s", a.Budget, a.Spent, a.Limit, what))
}

func (p *Post) send(ctx context.Context, to string, a wflo.BudgetAlert, text string) error {
	if !a.WindowEnd.IsZero() {
		text += fmt.Sprintf(" (until %s)", a.WindowEnd.UTC().Format("2 January 15:04 MST"))
	}
	if err := p.Send(ctx, Letter{ID: a.ID, To: to, Text: text}); err != nil {
		return fmt.Errorf("tell %s about %s: %w", to, a.Budget, err)
	}
	return nil
}
