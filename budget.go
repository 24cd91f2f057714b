package wflo

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Scope says whose spending a budget counts.
type Scope string

// The scopes of budgets. A call is charged to every scope that it is in, in one
// transaction. ScopeRun counts everything that a run and its child workflows pay
// for, ScopeStep the steps of one name in all runs, ScopeWorkflow the runs of one
// workflow type.
const (
	ScopeRun      Scope = "run"
	ScopeStep     Scope = "step"
	ScopeAgent    Scope = "agent"
	ScopeWorkflow Scope = "workflow"
	ScopeUser     Scope = "user"
	ScopeTeam     Scope = "team"
	ScopeOrg      Scope = "org"
	ScopeModel    Scope = "model" // named PROVIDER/MODEL
	ScopeTag      Scope = "tag"   // named KEY=VALUE
)

// Scopes are all scopes, narrow ones first.
var Scopes = []Scope{ScopeRun, ScopeStep, ScopeAgent, ScopeWorkflow, ScopeUser, ScopeTeam, ScopeOrg, ScopeModel, ScopeTag}

// Each is the name of a budget that everybody in its scope has separately, such
// as "user:*"; one that is named beats it.
const Each = "*"

// Period says when a budget starts again from zero. The database's clock decides,
// and calendar periods begin at midnight of the budget's time zone.
type Period string

// The periods. Weeks begin on Monday. See [Rolling] for windows that slide.
const (
	PeriodNone    Period = ""        // never: what was spent stays spent
	PeriodDaily   Period = "daily"   // from midnight
	PeriodWeekly  Period = "weekly"  // from Monday, midnight
	PeriodMonthly Period = "monthly" // from the first, midnight
)

const rollingPrefix = "rolling:"

// Rolling is the period that counts what was spent within the last d, a whole
// number of seconds: "rolling:24h0m0s".
func Rolling(d time.Duration) Period { return Period(rollingPrefix + d.String()) }

// Rolling is the length of a rolling period, or false for another.
func (p Period) Rolling() (time.Duration, bool) {
	text, ok := strings.CutPrefix(string(p), rollingPrefix)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= time.Second && d%time.Second == 0 && d <= maxRolling
}

const maxRolling = 366 * 24 * time.Hour

// OnExceeded says what happens to a call that does not fit a budget.
type OnExceeded string

// What happens when a budget is exceeded. The zero value is ExceedHalt. Budgets
// that alert or ignore never keep a call from being made.
const (
	ExceedHalt   OnExceeded = "halt"   // the call is refused, and the run ends unless it handles the error
	ExceedAsk    OnExceeded = "ask"    // the run waits for an approval that raises the budget
	ExceedAlert  OnExceeded = "alert"  // the call is made, and an alert is given once per window
	ExceedIgnore OnExceeded = "ignore" // the call is made
)

// DefaultThresholds are the percentages of a limit that alert where a budget
// does not say.
var DefaultThresholds = []int{50, 75, 90}

// Budget limits spending. As a run's own (Run.Budget, Task.Budget) it has neither
// name nor period, and counts everything that the run and its child workflows
// pay for; the others are declared with the worker, or set by operators.
type Budget struct {
	// Scope and Name say whose spending counts: ScopeUser and "ann". An empty
	// scope is ScopeRun, an empty name is [Each].
	Scope Scope  `json:"scope,omitempty"`
	Name  string `json:"name,omitempty"`
	// Limit is the most that may be spent per period. Zero means no limit.
	Limit Money `json:"limit,omitempty"`
	// Period says when it starts again from zero.
	Period Period `json:"period,omitempty"`
	// TimeZone is the IANA name of the zone whose calendar counts, such as
	// Europe/Berlin. Empty means UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Thresholds are the percentages of the limit, 1 to 100, that alert once per
	// window each, ascending. Nil means DefaultThresholds, empty means none.
	Thresholds []int `json:"thresholds,omitzero"`
	// OnExceeded says what happens to a call that does not fit.
	OnExceeded OnExceeded `json:"on_exceeded,omitempty"`
}

// ID names the budget, "SCOPE:NAME". It is what a BudgetLine and the commands
// call it.
func (b Budget) ID() string {
	if b.Scope == "" {
		b.Scope = ScopeRun
	}
	if b.Name == "" {
		b.Name = Each
	}
	return string(b.Scope) + ":" + b.Name
}

// SplitBudgetID is the scope and the name in a budget's ID.
func SplitBudgetID(id string) (Scope, string, error) {
	scope, name, ok := strings.Cut(id, ":")
	if !ok || name == "" || !slices.Contains(Scopes, Scope(scope)) {
		return "", "", Invalid("budget", fmt.Sprintf("is %q", id), "name it SCOPE:NAME, such as team:payments or user:*; scopes are "+scopeList())
	}
	return Scope(scope), name, nil
}

func scopeList() string {
	names := make([]string, len(Scopes))
	for i, s := range Scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// maxName bounds names of scopes, in bytes.
const maxName = 1000

// Validate says what is wrong with the budget, if anything. Zero limits pass: in
// this type zero means that no limit was given, so a command line that was given
// a budget of zero must refuse it itself.
func (b Budget) Validate() error {
	if b.Limit < 0 {
		return Invalid("budget.limit", "is "+b.Limit.String(), "give a positive amount of dollars, such as 5.00")
	}
	if b.Scope != "" && !slices.Contains(Scopes, b.Scope) {
		return Invalid("budget.scope", fmt.Sprintf("is %q", string(b.Scope)), "use "+scopeList())
	}
	if problem := nameProblem(b.Name); problem != "" {
		return Invalid("budget.name", problem, "name one "+string(b.Scope)+", or * for each")
	}
	switch b.Period {
	case PeriodNone, PeriodDaily, PeriodWeekly, PeriodMonthly:
	default:
		if _, ok := b.Period.Rolling(); !ok {
			return Invalid("budget.period", fmt.Sprintf("is %q", string(b.Period)),
				"use daily, weekly, monthly, or rolling: with whole seconds up to 366 days, such as rolling:24h; leave it out for never")
		}
	}
	if b.TimeZone != "" {
		if _, err := time.LoadLocation(b.TimeZone); err != nil || b.TimeZone == "Local" {
			return Invalid("budget.time_zone", fmt.Sprintf("is %q", b.TimeZone), "use a name of the IANA time zone database, such as Europe/Berlin")
		}
	}
	for i, t := range b.Thresholds {
		if t < 1 || t > 100 || i > 0 && t <= b.Thresholds[i-1] {
			return Invalid(fmt.Sprintf("budget.thresholds[%d]", i), fmt.Sprintf("is %d", t), "give ascending percentages from 1 to 100")
		}
	}
	switch b.OnExceeded {
	case "", ExceedHalt, ExceedAsk, ExceedAlert, ExceedIgnore:
		return nil
	}
	return Invalid("budget.on_exceeded", fmt.Sprintf("is %q", string(b.OnExceeded)), "use halt, ask, alert or ignore")
}

// ValidateOwn is Validate for a run's own budget.
func (b Budget) ValidateOwn() error {
	if b.Scope != "" && b.Scope != ScopeRun || b.Name != "" || b.Period != PeriodNone || b.TimeZone != "" {
		return Invalid("budget", "of a run has a scope, a name or a period: "+b.ID(), "declare such budgets with the worker or with wflo budget set")
	}
	return b.Validate()
}

func nameProblem(name string) string {
	switch {
	case len(name) > maxName:
		return fmt.Sprintf("is %d bytes long, more than %d", len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Sprintf("%q is not valid text", name)
	}
	return ""
}

// Refusal says which budget had no room for a call. It is the cause of errors
// with CodeBudgetExceeded, in workflow code too:
//
//	var refusal *wflo.Refusal
//	if errors.As(err, &refusal) { ... }
type Refusal struct {
	Budget   string `json:"budget"`
	Limit    Money  `json:"limit"`
	Spent    Money  `json:"spent"`
	Reserved Money  `json:"reserved"`
	// Asked is the least that the call needed.
	Asked Money `json:"asked"`
	// WindowEnd is when the budget starts again from zero; zero when it never
	// does or its window slides.
	WindowEnd  time.Time  `json:"window_end,omitzero"`
	OnExceeded OnExceeded `json:"on_exceeded,omitempty"`
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("budget %q has no room for %s: limit %s, spent %s, reserved %s", r.Budget, r.Asked, r.Limit, r.Spent, r.Reserved)
	if !r.WindowEnd.IsZero() {
		text += ", resets at " + r.WindowEnd.UTC().Format(time.RFC3339)
	}
	return text
}

// AlertKind says why an alert was given.
type AlertKind string

// The kinds of alerts: a threshold of the limit was crossed, or a call needed more
// than was left (and, where OnExceeded lets it pass, was made all the same).
const (
	AlertThreshold AlertKind = "threshold"
	AlertExceeded  AlertKind = "exceeded"
)

// BudgetAlert is given in the transaction of the spending that caused it, once
// per window of the budget and threshold, and once per window for AlertExceeded.
// Raising the limit re-arms the thresholds above what is spent then.
type BudgetAlert struct {
	// ID is unique in the ledger. Handlers are called again after a crash: an ID
	// that was handled should be skipped.
	ID     string    `json:"id"`
	Kind   AlertKind `json:"kind"`
	Budget string    `json:"budget"`
	// Percent is the threshold that was crossed; 100 for AlertExceeded.
	Percent    int        `json:"percent"`
	Limit      Money      `json:"limit"`
	Spent      Money      `json:"spent"`
	Reserved   Money      `json:"reserved"`
	OnExceeded OnExceeded `json:"on_exceeded,omitempty"`
	// The window of the budget, zero where it has none.
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
	At          time.Time `json:"at"`
	// Run is the run whose call caused it.
	Run Run `json:"run"`
}

// TopUp raises the limit of a budget in its current window.
type TopUp struct {
	// Key makes it idempotent: the same key raises once. Required.
	Key    string `json:"key"`
	Budget string `json:"budget"`
	Amount Money  `json:"amount"` // positive
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// Spend is the state of one budget in its current window. Spent + Reserved never
// exceeds Limit by our own doing, except where OnExceeded lets calls pass; Spent
// includes Unknown.
type Spend struct {
	Budget   string `json:"budget"`
	Limit    Money  `json:"limit,omitempty"` // zero: no limit
	Spent    Money  `json:"spent"`
	Reserved Money  `json:"reserved"`
	Unknown  Money  `json:"unknown,omitempty"`
	// ToppedUp is the part of Limit that was added for this window only.
	ToppedUp Money `json:"topped_up,omitempty"`
	// Rule is what made the budget: its declaration, as it was when the window
	// began or was last set. Nil for a run's own budget.
	Rule *Budget `json:"rule,omitempty"`
	// The window, zero for budgets that never start again. A rolling one ends
	// when it is read.
	WindowStart time.Time `json:"window_start,omitzero"`
	WindowEnd   time.Time `json:"window_end,omitzero"`
}

// RunBudgetID names the budget of a run (Run.ID).
func RunBudgetID(run string) string { return string(ScopeRun) + ":" + run }
