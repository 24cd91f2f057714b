package activities

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Ledger keeps budgets, holds and entries. Every method is one transaction,
// safe to call from any number of workers at the same time, and safe to repeat.
// The clock of the database decides about windows, never the caller's. The suite
// in activities/storetest holds every implementation to this.
type Ledger interface {
	Calls
	Budgets
	Reports
	Alerts
	// Close releases the connection.
	Close() error
}

// Calls is the part of a Ledger that paid calls go through.
type Calls interface {
	// Reserve holds money on all budgets of the call, or on none. These are
	// r.Budgets, made with their line's limit where they do not exist, and the
	// current window of every budget that was declared or set for one of
	// r.Scopes: the one of that name, or else the one for each. A line that has
	// such a rule too is made with the lower of both limits; of one that exists
	// the limit stays.
	//
	// What is held is r.Amount, or what there is room for if that is less and at
	// least r.Least. A budget without so much room gives an *wflo.Error with
	// CodeBudgetExceeded whose cause is a *wflo.Refusal; of several, the first
	// one in the order of lines and scopes. Budgets whose OnExceeded is alert or
	// ignore always have room. The first call in a window that needs more than
	// what is not spent of a budget gives an alert of kind AlertExceeded, refused
	// or not, unless the budget ignores it. What other calls hold alerts nobody:
	// most of it comes back.
	//
	// A repeated call with the same key, attempt and amount returns the hold as
	// it is, with Repeated set; another amount is CodeConflict. When an earlier
	// attempt of the same key is settled, that hold is returned (State
	// HoldSettled, with Outcome) and nothing new is reserved. Earlier attempts
	// that are still open become unknown first: they are charged in full and get
	// an entry, also when the call is then refused.
	Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error)
	// Settle turns an open hold into spending of s.Amount, frees the rest and
	// adds an entry, in the windows that the hold was made in. Thresholds that
	// the spending of a budget crosses give an alert each, and so do those that
	// it was above already and that have not alerted, because the limit was
	// lowered or the rule is new: the next charge alerts, whatever its amount,
	// and nothing before it. Repeating it with the
	// same amount changes nothing; another amount is CodeConflict. A hold that
	// became unknown meanwhile is corrected to the actual amount: an entry with
	// the difference, which may be negative, is added, so that Entries still sums
	// to Spent.
	Settle(ctx context.Context, s wflo.Settlement) error
	// Release gives an open hold back because the provider certainly did not
	// charge. Releasing a hold that is not open changes nothing.
	Release(ctx context.Context, key wflo.EffectKey, attempt int) error
	// MarkUnknown charges an open hold in full because the call may have been
	// billed. Marking a hold that is not open changes nothing.
	MarkUnknown(ctx context.Context, key wflo.EffectKey, attempt int) error
	// Save records that an earlier answer was used: a settled hold of nothing,
	// and an entry with the state HoldCached. A hold of the same key and attempt
	// that exists already makes it change nothing.
	Save(ctx context.Context, s wflo.Saving) error
}

// Budgets is the part of a Ledger that declares budgets and reads them.
type Budgets interface {
	// Spend reads one budget in its current window; one that nobody has used or
	// declared is all zero.
	Spend(ctx context.Context, budget string) (wflo.Spend, error)
	// ListBudgets reads every rule and the current window of every budget that a
	// rule made, by ID. A rule for each is always a Spend of its own ID, with its
	// limit and nothing spent, besides the budgets that it made. Budgets of runs
	// without a rule are left out.
	ListBudgets(ctx context.Context) ([]wflo.Spend, error)
	// SetBudget makes a rule or replaces it, and changes the limit of its current
	// windows, keeping top-ups. What was spent before in the current window
	// counts, for a rule for each too, and so do calls that are under way and
	// those whose outcome is unknown. by is who did it.
	SetBudget(ctx context.Context, b wflo.Budget, by string) error
	// DeclareBudgets sets the rules that a worker's configuration declares, each
	// only where the declaration differs from the last one of the same budget: a
	// worker that starts again does not undo what operators set. Rules that are
	// not declared any more stay.
	DeclareBudgets(ctx context.Context, declared []wflo.Budget) error
	// RemoveBudget removes a rule. Its windows are not limited any more; the
	// entries stay, and so do top-ups of the current window, which count again
	// when the rule is set again. A rule that is not there is CodeInvalid.
	RemoveBudget(ctx context.Context, id string) error
	// TopUp raises the limit of a budget's current window once per key. One that
	// a rule for each would make at its first call is made. A budget that does
	// not exist or has no limit is CodeInvalid, and so is the rule for each
	// itself.
	TopUp(ctx context.Context, t wflo.TopUp) (wflo.Spend, error)
}

// Reports is the part of a Ledger that answers what was spent.
type Reports interface {
	// Entries lists the ledger of one root run (wflo.Run.RootID), oldest first.
	Entries(ctx context.Context, rootRun string) ([]wflo.Entry, error)
	// Costs adds up entries and open holds.
	Costs(ctx context.Context, q wflo.CostQuery) ([]wflo.CostRow, error)
	// OpenHolds lists holds that have been open for at least age, oldest first,
	// at most n.
	OpenHolds(ctx context.Context, age time.Duration, n int) ([]wflo.Hold, error)
	// UnknownHolds lists holds whose outcome is still unknown, latest first, at
	// most n. Settle reconciles one.
	UnknownHolds(ctx context.Context, n int) ([]wflo.Hold, error)
}

// Alerts is the part of a Ledger that hands out alerts, at least once each.
type Alerts interface {
	// ClaimAlerts takes up to n alerts that nobody has handled, oldest first, for
	// the time of the lease: nobody else gets them meanwhile.
	ClaimAlerts(ctx context.Context, n int, lease time.Duration) ([]wflo.BudgetAlert, error)
	// AlertDone says that an alert was handed over. It is not given out again.
	AlertDone(ctx context.Context, id string) error
	// ListAlerts reads the latest alerts of a budget, or of all when it is empty,
	// latest first, at most n.
	ListAlerts(ctx context.Context, budget string, n int) ([]wflo.BudgetAlert, error)
}

// Cache keeps answers, so that the same question is not paid for twice. Its
// methods may be called at the same time, by any number of workers. The suite in
// activities/storetest holds every implementation to this.
type Cache interface {
	// Get reads a value that was put and has not expired.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Put keeps a value for ttl, which is positive.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Lock makes the caller the only one to work on a key until it unlocks, or
	// until so much time, which is positive, has passed without Extend: its
	// process died. ok is false while somebody else is.
	Lock(ctx context.Context, key string, d time.Duration) (l Lease, ok bool, err error)
	// Close releases what the cache holds.
	Close() error
}

// Lease is the right to work on a key of a Cache. Its methods may be called at
// the same time.
type Lease interface {
	// Extend makes the lease end in d, which is positive, from now on. ok is false
	// when it has ended: somebody else may be at work.
	Extend(ctx context.Context, d time.Duration) (ok bool, err error)
	// Unlock gives the right back. It may be called at any time, and more than
	// once; it does nothing to a lease that has ended.
	Unlock()
}
