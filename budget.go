package wflo

import "time"

// Budget limits spending. A run's budget counts everything that the run and its
// child workflows pay for.
type Budget struct {
	// Limit is the most that may be spent. Zero means no limit.
	Limit Money `json:"limit,omitempty"`
}

// Validate refuses a negative limit. A command line that was given a budget of
// zero must refuse it itself: in this type zero means that no limit was given.
func (b Budget) Validate() error {
	if b.Limit < 0 {
		return Invalid("budget.limit", "is "+b.Limit.String(), "give a positive amount of dollars, such as 5.00")
	}
	return nil
}

// Price is a rate table for one model at one moment, in pico-USD (1e-12 USD)
// per token. It is frozen into every ledger entry, so that history does not
// change when prices do.
type Price struct {
	// ID names the row of the price book, such as "openai/gpt-5.4@2026-03-05".
	ID           string `json:"id"`
	Input        int64  `json:"input"`
	CacheRead    int64  `json:"cache_read"`
	CacheWrite5m int64  `json:"cache_write_5m"`
	CacheWrite1h int64  `json:"cache_write_1h"`
	Output       int64  `json:"output"`
	Reasoning    int64  `json:"reasoning"`
	// PerRequest is charged once per call, in nano-USD.
	PerRequest Money `json:"per_request,omitempty"`
}

// BudgetLine is one budget that a reservation must fit.
type BudgetLine struct {
	// ID names the budget, such as "run:WORKFLOW/RUN".
	ID string `json:"id"`
	// Limit is used when the budget does not exist yet. Zero means no limit.
	Limit Money `json:"limit,omitempty"`
}

// Reservation holds money before a call is made.
type Reservation struct {
	// Key is the effect key of the call; Attempt counts the tries of that
	// effect from 1. Together they are unique.
	Key     EffectKey `json:"key"`
	Attempt int       `json:"attempt"`
	// Amount is the worst case of the call, in nano-USD.
	Amount Money `json:"amount"`
	// Budgets must all have room for Amount, or nothing is reserved.
	Budgets []BudgetLine `json:"budgets"`
	// The rest is kept for attribution.
	Run      Run    `json:"run"`
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
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
)

// Hold is a reservation as the ledger has it.
type Hold struct {
	Reservation
	State HoldState `json:"state"`
	// Repeated says that the hold existed before the call of Reserve.
	Repeated bool `json:"repeated,omitempty"`
	// Outcome is what the settled call returned, as stored by Settle: a retry
	// whose predecessor settled takes it and does not call again.
	Outcome []byte `json:"outcome,omitempty"`
	// Room is what the tightest budget still had after this reservation.
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
}

// Entry is one line of the ledger. Entries are only ever added.
type Entry struct {
	Key        EffectKey `json:"key"`
	Attempt    int       `json:"attempt"`
	At         time.Time `json:"at"`
	State      HoldState `json:"state"` // settled or unknown
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
}

// Spend is the state of one budget. Spent + Reserved never exceeds Limit by
// our own doing; Spent includes Unknown.
type Spend struct {
	Budget   string `json:"budget"`
	Limit    Money  `json:"limit,omitempty"` // zero: no limit
	Spent    Money  `json:"spent"`
	Reserved Money  `json:"reserved"`
	Unknown  Money  `json:"unknown,omitempty"`
}

// RunBudgetID names the budget of a run (Run.ID).
func RunBudgetID(run string) string { return "run:" + run }
