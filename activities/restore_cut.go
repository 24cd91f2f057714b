package activities

import (
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// cutUndone ends the outcomes before the first successful one whose effect does not stand
// any more: whoever got its answer again would believe in it. Rows are the compensations
// of the snapshot's run; at is the item that was cut at, nil for none.
func cutUndone(s wflo.Snapshot, outcomes []step.Outcome, rows []wflo.CompensationRecord) (kept []step.Outcome, at *step.Outcome) {
	end := len(outcomes)
	for _, r := range latest(s, rows) {
		if isUndone(r) {
			end = min(end, effectAt(s, r, outcomes))
		}
	}
	if end == len(outcomes) {
		return outcomes, nil
	}
	return outcomes[:end], &outcomes[end]
}

// cutAbove is cutUndone for a run that first undoes what it did after the outcomes that it
// keeps: otherwise it would do that twice, under one compensation. What was registered
// since the snapshot's branch was given up is not of that branch. height is how many
// compensations stay registered.
func cutAbove(s wflo.Snapshot, outcomes []step.Outcome, rows []wflo.CompensationRecord) (kept []step.Outcome, height int) {
	rows = slices.Clone(rows)
	kept, _ = cutUndone(s, outcomes, rows)
	height = s.Height
	for _, r := range rows {
		if r.Run.Epoch > s.Run.Epoch && (!r.State.Ended() || r.State == wflo.CompensationKept) {
			height = max(0, min(height, r.Height-1))
		}
	}
	for {
		before := height
		for _, r := range latest(s, rows) {
			if i := effectAt(s, r, outcomes); !isUndone(r) && len(kept) <= i && i < len(outcomes) {
				height = min(height, r.Height-1)
			}
		}
		if height == before {
			return kept, height
		}
		for i := range rows {
			if rows[i].Height > height && !isUndone(rows[i]) {
				rows[i].State = wflo.CompensationDone
			}
		}
		kept, _ = cutUndone(s, outcomes, rows)
	}
}

func isUndone(r wflo.CompensationRecord) bool {
	switch r.State {
	case wflo.CompensationRunning, wflo.CompensationDone, wflo.CompensationSkipped, wflo.CompensationDead:
		return true
	}
	return false
}

// latest are the compensations that say what became of what the snapshot knows. A step is
// done anew after it was rolled back, or after a restore, with compensations of its own:
// those of the last try count, of the latest epoch that the snapshot knows.
func latest(s wflo.Snapshot, rows []wflo.CompensationRecord) []wflo.CompensationRecord {
	tries, last := map[string]wflo.CompensationRecord{}, map[string]int{}
	for _, r := range rows {
		if before, ok := tries[tryOf(r.Step)]; counts(s, r) && (!ok || later(r, before)) {
			tries[tryOf(r.Step)] = r
		}
	}
	var all []wflo.CompensationRecord
	for _, r := range rows {
		if try := tries[tryOf(r.Step)]; !counts(s, r) || r.Step != "" && (r.Step != try.Step || r.Run.Epoch != try.Run.Epoch) {
			continue
		}
		key := r.Step + "\x00" + registrationOf(r.Run.Step)
		i, ok := last[key]
		switch {
		case !ok:
			last[key] = len(all)
			all = append(all, r)
		case later(r, all[i]):
			all[i] = r
		}
	}
	return all
}

// registrationOf is the key of a registration without the number that it has after an
// earlier one of that key was undone.
func registrationOf(key string) string {
	if i := strings.LastIndexByte(key, '#'); i >= 0 {
		n, _, _ := strings.Cut(key[i:], ".")
		return key[:i] + n
	}
	return key
}

// counts says that a compensation may be of an effect that the snapshot knows. One of
// another run is that of the run which goes on for this one, and has taken it over.
func counts(s wflo.Snapshot, r wflo.CompensationRecord) bool {
	if r.Run.ID() != s.Run.ID() {
		return r.Height <= s.Height
	}
	return r.Run.Epoch <= s.Run.Epoch
}

// effectAt finds the first successful outcome that tells of the effect of a compensation;
// len(outcomes) where none does.
func effectAt(s wflo.Snapshot, r wflo.CompensationRecord, outcomes []step.Outcome) int {
	of := tryOf(r.Step)
	first := func(is func(o *step.Outcome) bool) int {
		for i := range outcomes {
			if o := &outcomes[i]; (o.Kind == step.OutcomeStep || o.Kind == step.OutcomeActivity) && is(o) {
				return i
			}
		}
		return len(outcomes)
	}
	if of != "" {
		return first(func(o *step.Outcome) bool { return o.Failure == nil && around(of, o.Key) })
	}
	if !r.Begun || r.Run.Generation != s.Run.Generation {
		return len(outcomes) // it never happened, or before all that is in the journal
	}
	if r.Undoes != "" {
		named := first(func(o *step.Outcome) bool { return o.Seq > r.Seq && strings.Contains(o.Key, "/"+r.Undoes+"#") })
		if named < len(outcomes) {
			if outcomes[named].Failure != nil {
				return len(outcomes)
			}
			return named
		}
		// Of what a step did that has ended, only the step is left.
		return first(func(o *step.Outcome) bool { return o.Seq > r.Seq && o.Kind == step.OutcomeStep && o.Failure == nil })
	}
	return first(func(o *step.Outcome) bool { return o.Seq > r.Seq && o.Failure == nil })
}

// around says that one of two keys is that of the other one's step.
func around(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

// cutAgain adds what is done again because the journal ends earlier than the snapshot, and
// what of that cannot be undone.
func cutAgain(plan *wflo.RestorePlan, s wflo.Snapshot, all []step.Outcome, kept int, rows []wflo.CompensationRecord) {
	rows = latest(s, rows)
	for i, o := range all[kept:] {
		item := wflo.PlanItem{Key: o.Key, Kind: string(o.Kind), Effect: o.Effect, At: o.At}
		switch o.Kind {
		case step.OutcomeGate:
			item.Note = "people are asked again"
			plan.Void = withItem(plan.Void, item)
			continue
		case step.OutcomeStep, step.OutcomeActivity:
		default:
			continue
		}
		if strings.Contains(o.Key, "/wflo.snapshot#") {
			continue
		}
		plan.Again = withItem(plan.Again, item)
		if item.Note = stays(s, all, kept+i, rows); item.Note != "" {
			plan.Irreversible = withItem(plan.Irreversible, item)
		}
	}
}

func withItem(items []wflo.PlanItem, item wflo.PlanItem) []wflo.PlanItem {
	if slices.ContainsFunc(items, func(have wflo.PlanItem) bool { return have.Key == item.Key && have.Kind == item.Kind }) {
		return items
	}
	return append(items, item)
}

// stays says why the effect of an outcome stays when it is done again; empty where it does
// not, or where it has none.
func stays(s wflo.Snapshot, all []step.Outcome, at int, rows []wflo.CompensationRecord) string {
	o := all[at]
	switch o.Effect {
	case wflo.EffectPure, wflo.EffectRead:
		return ""
	}
	if strings.Contains(o.Key, "/"+step.PrefixLLM) || strings.Contains(o.Key, "/"+step.PrefixSandbox) {
		return "" // what it costs stays spent; files are a part of snapshots
	}
	undone := false
	for _, r := range rows {
		if r.Step == "" && effectAt(s, r, all) != at || r.Step != "" && !around(tryOf(r.Step), o.Key) {
			continue
		}
		if r.State == wflo.CompensationDead {
			return "its undoing failed"
		}
		undone = true
	}
	switch {
	case undone, o.Effect == wflo.EffectReversible: // without a compensation it ended before it did anything
		return ""
	case o.Effect == "":
		return "nothing undoes it; its effect is not declared"
	}
	return "nothing undoes it"
}
