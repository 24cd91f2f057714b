package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// maxLineage bounds how many runs are looked at that were opened again one after the other.
const maxLineage = 1000

// spent is what a run has spent by the ledger, with the runs that it was reopened from:
// for money they are one.
func (a *Restoring) spent(ctx context.Context, run wflo.Run) (sum wflo.Money, err error) {
	entries, err := a.Ledger.Entries(ctx, run.RootID())
	if err != nil {
		return 0, fmt.Errorf("read what run %s has spent: %w", run.ID(), err)
	}
	same := map[string]bool{run.ID(): true}
	for at := run.ID(); len(same) < maxLineage; {
		before, err := reopenedFrom(ctx, a.Snapshot.Recovery, at)
		if err != nil {
			return 0, err
		}
		if before == nil || same[before.From] {
			break
		}
		at = before.From
		same[at] = true
	}
	for _, e := range entries {
		if same[e.Run.ID()] {
			sum += e.Amount
		}
	}
	return sum, nil
}

// inheritance is what the run has that a fork or a reopening starts; nil in place. page is
// what the run says of itself.
func (a *Restoring) inheritance(ctx context.Context, in step.Restoring, page step.StatePage) (*wflo.Inheritance, error) {
	mode := in.Restored.Plan.Mode
	if mode == wflo.RestoreInPlace {
		return nil, nil //nolint:nilnil // the run carries what it has
	}
	state := page.State
	if in.Unknown && len(state.Lines) == 0 {
		last, err := a.present(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("find the budgets of run %s: %w", in.Run.ID(), err)
		}
		state = last.State
	}
	i := inherited(page.Run, state)
	if mode == wflo.RestoreFork {
		return forked(i, page.Run), nil
	}
	i.Spent, i.Calls = max(page.Spent, in.Restored.Plan.SpentTotal), page.Calls
	return i, nil
}

// inherited is what a run has that goes on for another one. Runs that did not say under
// which budgets they were are limited as they began, and charge their root.
func inherited(run wflo.Run, state step.State) *wflo.Inheritance {
	own := wflo.RunBudgetID(run.ID())
	i := &wflo.Inheritance{Root: run.RootID(), Account: state.Account, Bundle: run.Bundle, Lines: slices.Clone(state.Lines)}
	if i.Account == "" {
		i.Account = own
	}
	if len(i.Lines) == 0 {
		if run.Root != "" {
			i.Lines = append(i.Lines, wflo.BudgetLine{ID: wflo.RunBudgetID(run.Root)})
		}
		b := run.Budget
		i.Lines = append(i.Lines, wflo.BudgetLine{ID: i.Account, Limit: b.Limit, Thresholds: b.Thresholds, OnExceeded: b.OnExceeded})
	}
	// Of the runs in between only the first one's line limits anything.
	i.Lines = slices.DeleteFunc(i.Lines, func(l wflo.BudgetLine) bool { return l.ID == own && l.ID != i.Account })
	return i
}

// forked is what a fork has: the budgets above the run's own, and its policies.
func forked(i *wflo.Inheritance, run wflo.Run) *wflo.Inheritance {
	lines := slices.DeleteFunc(i.Lines, func(l wflo.BudgetLine) bool { return l.ID == i.Account })
	root := run.Root
	if wflo.RunBudgetID(root) == i.Account {
		root = "" // it was reopened, and is nobody's child
	}
	return &wflo.Inheritance{Root: root, Lines: lines, Bundle: i.Bundle}
}
