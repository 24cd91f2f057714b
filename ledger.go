package wflo

import "time"

// BudgetLine is one budget that a reservation must fit.
type BudgetLine struct {
	// ID names the budget, such as "run:WORKFLOW/RUN".
	ID string `json:"id"`
	// Limit, Thresholds and OnExceeded are used when the budget does not exist
	// yet; see Budget. A zero limit means no limit. Where the ledger has a rule
	// for the budget too, the lower limit counts.
	Limit      Money      `json:"limit,omitempty"`
	Thresholds []int      `json:"thresholds,omitzero"`
	OnExceeded OnExceeded `json:"on_exceeded,omitempty"`
}

// Reservation holds money before a call is made.
type Reservation struct {
	// Key is the effect key of the call; Attempt counts the tries of that
	// effect from 1. Together they are unique.
	Key     EffectKey `json:"key"`
	Attempt int       `json:"attempt"`
	// Amount is the worst case of the call, in nano-USD.
	Amount Money `json:"amount"`
	// Least is what the call can do with, for example with a shorter answer: as
	// much of Amount is held as there is room for, and not less than this. Zero
	// means Amount.
	Least Money `json:"least,omitempty"`
	// Budgets must all have room, or nothing is reserved. They are made where
	// they do not exist.
	Budgets []BudgetLine `json:"budgets"`
	// Scopes are what the call is attributed to, see Run.Scopes. A budget that
	// was declared or set for one of them must have room as well.
	Scopes []string `json:"scopes,omitempty"`
	// The rest is kept for attribution.
	Run      Run    `json:"run"`
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
	// Within is how long the call may take, for holds that no workflow owns
	// (Run.Namespace is empty): after twice that time nobody is there any more
	// to settle, and the sweep decides.
	Within time.Duration `json:"within,omitempty"`
}

// HoldState says what became of a reservation.
type HoldState string

// The states of a hold. Unknown means that the worker died or lost the
// connection after the call may have been sent: it is charged at the reserved
// amount and flagged, because the provider may have billed it.
const (
	HoldOpen     HoldState = "open"
	HoldSettled  HoldState = "settled"
	HoldReleased HoldState = "released"
	HoldUnknown  HoldState = "unknown"
	HoldCached   HoldState = "cached" // of entries: an earlier answer was used
)

// Hold is a reservation as the ledger has it.
type Hold struct {
	Reservation
	State HoldState `json:"state"`
	// Granted is what is held, between Least and Amount.
	Granted Money `json:"granted"`
	// At is when it was made, by the clock of the database.
	At time.Time `json:"at,omitzero"`
	// Repeated says that the hold existed before the call of Reserve.
	Repeated bool `json:"repeated,omitempty"`
	// Outcome is what the settled call returned, as stored by Settle: a retry
	// whose predecessor settled takes it and does not call again.
	Outcome []byte `json:"outcome,omitempty"`
	// Room is what the tightest budget still had after this reservation. Those
	// without a limit do not count, nor those whose OnExceeded is alert or
	// ignore; without any other it is the largest Money.
	Room Money `json:"room"`
}

// Settlement closes a hold with what the call really cost.
type Settlement struct {
	Key     EffectKey `json:"key"`
	Attempt int       `json:"attempt"`
	// Amount is the actual cost. It may be above the reserved amount when a
	// provider bills more than its own limits promise; it is recorded all the
	// same, and the entry is flagged as an overdraft.
	Amount Money `json:"amount"`
	Usage  Usage `json:"usage"`
	Price  Price `json:"price"`
	// Model and Provider are those that billed.
	Provider string `json:"provider"`
	Model    string `json:"model"`
	// ResponseID is the provider's id.
	ResponseID string `json:"response_id,omitempty"`
	// Outcome is handed to a later attempt of the same effect.
	Outcome []byte `json:"outcome,omitempty"`
	// By and Reason are set where a person settles a call whose outcome was
	// unknown.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Entry is one line of the ledger. Entries are only ever added.
type Entry struct {
	Key        EffectKey `json:"key"`
	Attempt    int       `json:"attempt"`
	At         time.Time `json:"at"`
	State      HoldState `json:"state"` // settled, unknown or cached
	Run        Run       `json:"run"`
	Provider   string    `json:"provider"`
	Model      string    `json:"model"`
	ResponseID string    `json:"response_id,omitempty"`
	Usage      Usage     `json:"usage"`
	Price      Price     `json:"price"`
	Reserved   Money     `json:"reserved"`
	Amount     Money     `json:"amount"`
	// Overdraft is how far Amount went above Reserved; normally zero.
	Overdraft Money `json:"overdraft,omitempty"`
	// Saved is what an answer from the cache would have cost, and Source the
	// effect that paid for it.
	Saved  Money     `json:"saved,omitempty"`
	Source EffectKey `json:"source,omitempty"`
	// Scopes are what the entry is attributed to.
	Scopes []string `json:"scopes,omitempty"`
	// By and Reason say who settled it by hand, and why; empty where the call's
	// own worker did.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Saving records that an earlier answer was used instead of a call. It costs
// nothing.
type Saving struct {
	Key     EffectKey `json:"key"`
	Attempt int       `json:"attempt"`
	Run     Run       `json:"run"`
	Scopes  []string  `json:"scopes,omitempty"`
	// Source is the effect that paid for the answer; Usage, Price, Provider and
	// Model are those of its call, and Saved is what it would cost now.
	Source   EffectKey `json:"source"`
	Usage    Usage     `json:"usage"`
	Price    Price     `json:"price"`
	Provider string    `json:"provider"`
	Model    string    `json:"model"`
	Saved    Money     `json:"saved"`
	// Outcome is handed to a later attempt of the same effect.
	Outcome []byte `json:"outcome,omitempty"`
}

// CostQuery asks what was spent.
type CostQuery struct {
	// By says what the rows are for: a Scope, "provider", or a time unit: hour,
	// day, week, month. Empty gives one row, the total.
	By string `json:"by,omitempty"`
	// From and To bound the time of the entries, From inclusive and To exclusive;
	// zero means no bound.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// TimeZone is the IANA zone of By's time units; empty means UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Scopes must all apply to an entry, such as "user:ann".
	Scopes []string `json:"scopes,omitempty"`
	// Limit bounds the rows, dearest first (time units: latest first); zero means
	// 1000. What does not fit is added up in a row with the key "(others)".
	Limit int `json:"limit,omitempty"`
}

// CostOthers is the key of the row for all that did not fit CostQuery.Limit;
// CostNone is that of entries without what By asks for.
const (
	CostOthers = "(others)"
	CostNone   = "(none)"
)

// CostRow is what was spent for one key. An entry with several tags counts for
// each of them when By is ScopeTag.
type CostRow struct {
	// Key is the name in the scope, such as "ann", "openai/gpt-5.4" or
	// "env=prod", or the provider, or the start of the time unit in the query's
	// zone: "2026-11-01T00:00:00+01:00" for hours, "2026-11-01" for days and for
	// weeks (their Monday), "2026-11" for months. It is empty in the total.
	Key string `json:"key"`
	// Calls counts the calls that were billed or may have been, Hits the answers
	// from the cache.
	Calls int64 `json:"calls"`
	Hits  int64 `json:"hits,omitempty"`
	// Spent includes Unknown and Overdraft.
	Spent     Money `json:"spent"`
	Unknown   Money `json:"unknown,omitempty"`
	Overdraft Money `json:"overdraft,omitempty"`
	// Reserved is held by calls that are running, whatever the query's times.
	Reserved Money `json:"reserved,omitempty"`
	Saved    Money `json:"saved,omitempty"`
	Usage    Usage `json:"usage"`
}
