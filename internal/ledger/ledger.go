// Package ledger holds the rules that every implementation of activities.Ledger
// shares and that need no database: which reservations and settlements are
// well-formed ([CheckReservation], [CheckSettlement], which drivers call before
// they start a transaction), the words in which one is refused ([Refuse],
// [Conflict]), so that an operator reads the same sentence whatever the store is,
// when a budget's window begins and ends ([Window]), which thresholds were
// crossed ([Crossed]), and how a report is added up ([Costs]).
//
// The package decides nothing about money: sums and limits are the business of
// the transaction.
package ledger

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wflo-ai/wflo-go"
)

// MaxID is the longest key, budget or run identifier in bytes. PostgreSQL's
// index rows end at about 2,700, and the refusal must come before the call is
// made and not when it is settled. Temporal's own identifiers end at 1,000.
const MaxID = 2048

// CheckReservation says what is wrong with the reservation, if anything, as an
// *wflo.Error with wflo.CodeInvalid.
func CheckReservation(r wflo.Reservation) error {
	if err := CheckHold(r.Key, r.Attempt); err != nil {
		return err
	}
	switch {
	case r.Amount < 0:
		return wflo.Invalid("reservation.amount", "is "+r.Amount.String(), "reserve the worst case of the call, or zero when it is free")
	case r.Least < 0 || r.Least > r.Amount:
		return wflo.Invalid("reservation.least", fmt.Sprintf("is %s of %s", r.Least, r.Amount), "give a part of the amount, or zero for all of it")
	case r.Within < 0:
		return wflo.Invalid("reservation.within", "is "+r.Within.String(), "give the longest time that the call may take, or zero")
	}
	if err := checkAttribution("reservation", r.Run, r.Scopes); err != nil {
		return err
	}
	return checkLines(r.Budgets)
}

// checkAttribution refuses whose call it is when that cannot be stored. It is
// indexed; a bad one must not surface when the money is already spent.
func checkAttribution(what string, run wflo.Run, scopes []string) error {
	if problem := idProblem(run.RootID()); problem != "" {
		return wflo.Invalid(what+".run", problem, "use the run of the Temporal header")
	}
	return checkScopes(what, scopes)
}

func checkScopes(what string, scopes []string) error {
	for i, id := range scopes {
		field := fmt.Sprintf("%s.scopes[%d]", what, i)
		if problem := idProblem(id); problem != "" {
			return wflo.Invalid(field, problem, "name it SCOPE:NAME, such as user:ann")
		}
		if _, name, err := wflo.SplitBudgetID(id); err != nil || name == wflo.Each {
			return wflo.Invalid(field, fmt.Sprintf("is %q", id), "name it SCOPE:NAME, such as user:ann")
		}
		if slices.Contains(scopes[:i], id) {
			return wflo.Invalid(field, fmt.Sprintf("repeats %q", id), "name every scope once")
		}
	}
	return nil
}

func checkLines(lines []wflo.BudgetLine) error {
	seen := make(map[string]bool, len(lines))
	for i, line := range lines {
		field := fmt.Sprintf("reservation.budgets[%d]", i)
		switch problem := idProblem(line.ID); {
		case problem != "":
			return wflo.Invalid(field+".id", problem, "name a budget, such as team:search")
		case line.Limit < 0:
			return wflo.Invalid(field+".limit", "is "+line.Limit.String(), "give a positive amount, or zero for no limit")
		case seen[line.ID]:
			return wflo.Invalid(field+".id", fmt.Sprintf("repeats %q", line.ID), "name every budget once")
		}
		terms := wflo.Budget{Limit: line.Limit, Thresholds: line.Thresholds, OnExceeded: line.OnExceeded}
		if err := terms.Validate(); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		seen[line.ID] = true
	}
	return nil
}

// CheckSettlement is CheckReservation for a settlement.
func CheckSettlement(s wflo.Settlement) error {
	if err := CheckHold(s.Key, s.Attempt); err != nil {
		return err
	}
	if s.Amount < 0 {
		return wflo.Invalid("settlement.amount", "is "+s.Amount.String(), "settle what the call cost, or release the hold")
	}
	return s.Usage.Validate()
}

// CheckHold refuses what cannot name a hold.
func CheckHold(key wflo.EffectKey, attempt int) error {
	if problem := idProblem(string(key)); problem != "" {
		return wflo.Invalid("key", problem, "use the effect key of the step")
	}
	if attempt < 1 || attempt > math.MaxInt32 {
		return wflo.Invalid("attempt", fmt.Sprintf("is %d", attempt), "count attempts from 1")
	}
	return nil
}

func idProblem(id string) string {
	switch {
	case id == "":
		return "is empty"
	case len(id) > MaxID:
		return fmt.Sprintf("is %d bytes long, more than %d", len(id), MaxID)
	case !utf8.ValidString(id) || strings.ContainsRune(id, 0):
		return fmt.Sprintf("%q is not valid text", id)
	}
	return ""
}

// Text makes a word of a provider storable everywhere: PostgreSQL's text takes
// neither NUL nor broken UTF-8, and a settlement must not fail for a garbled
// response id.
func Text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Refuse is the error for a call that does not fit a budget. Its cause is the
// refusal, for errors.As.
func Refuse(r wflo.Refusal) error {
	return &wflo.Error{Code: wflo.CodeBudgetExceeded, Message: r.Error(), Err: &r,
		Hint: "raise the budget or lower the call's worst case, for example its max_tokens; reserved money comes back when running calls settle"}
}

// OutOfRange is the error for sums that wflo.Money cannot hold; what says whose.
func OutOfRange(what string) error {
	return wflo.Invalid("amount", "is out of range: "+what, fmt.Sprintf("a budget counts up to %s", wflo.Money(math.MaxInt64)))
}

// Conflict is the error for a hold that is asked for, or settled, with another
// amount than before. did is "reserved" or "settled".
func Conflict(key wflo.EffectKey, attempt int, did string, before, now wflo.Money) error {
	return wflo.Errorf(wflo.CodeConflict, "a repeated call must carry the same amount; count a new attempt for a new call",
		"effect %s attempt %d was %s with %s, not %s", key, attempt, did, before, now)
}

// Missing is the error for a settlement without a hold.
func Missing(key wflo.EffectKey, attempt int) error {
	return wflo.Errorf(wflo.CodeInvalid, "reserve before the call, and settle with the same key and attempt",
		"effect %s attempt %d has no hold", key, attempt)
}

// Given is the error for a settlement of a hold that was released.
func Given(key wflo.EffectKey, attempt int) error {
	return wflo.Errorf(wflo.CodeConflict, "release a hold only when the provider certainly did not charge",
		"effect %s attempt %d was released and cannot be settled", key, attempt)
}

// Overdraft is how far the actual cost went above the reserved amount.
func Overdraft(reserved, actual wflo.Money) wflo.Money { return max(0, actual-reserved) }

// Wrap says what a driver was doing when err happened; nil stays nil. A refusal
// in the words of this package names the effect itself and stays as it is.
func Wrap(doing string, key wflo.EffectKey, attempt int, err error) error {
	if err == nil || wflo.CodeOf(err) != "" {
		return err
	}
	return fmt.Errorf("%s %s attempt %d: %w", doing, key, attempt, err)
}
