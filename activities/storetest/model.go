package storetest

import (
	"math"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// model is the ledger's contract in plain maps, for one caller at a time. What
// the contract leaves open it leaves open too: see arming.
type model struct {
	now      time.Time
	rules    map[string]modelRule
	accounts map[string]*account // the current window of each budget, by ID
	holds    map[string][]*modelHold
	entries  []wflo.Entry
	alerts   map[alertKey]*bounds
	toppedUp map[string]bool // keys
	touched  map[string]bool // budgets that the last step may have changed, by ID
}

type modelRule struct {
	wflo.Budget
	since time.Time
}

// account is one window of one budget.
type account struct {
	id                       string
	limit, topped            wflo.Money // limit includes what was topped up
	spent, reserved, unknown wflo.Money
	thresholds               []int
	on                       wflo.OnExceeded
	start, end               time.Time
	rolling                  time.Duration
	charges                  []charge // of a rolling window, instead of spent
	arms                     map[int]arming
}

type charge struct {
	at     time.Time
	amount wflo.Money
}

type modelHold struct {
	wflo.Hold
	actual   wflo.Money
	accounts []*account
	saved    bool
}

func newModel(now time.Time) *model {
	return &model{now: now, rules: map[string]modelRule{}, accounts: map[string]*account{}, holds: map[string][]*modelHold{},
		alerts: map[alertKey]*bounds{}, toppedUp: map[string]bool{}, touched: map[string]bool{}}
}

func (m *model) find(key string, attempt int) *modelHold {
	for _, h := range m.holds[key] {
		if h.Attempt == attempt {
			return h
		}
	}
	return nil
}

// ruleOf is the rule of a budget: its own, or the one for each.
func (m *model) ruleOf(id string) (modelRule, bool) {
	if r, ok := m.rules[id]; ok {
		return r, true
	}
	scope, _, err := wflo.SplitBudgetID(id)
	if err != nil {
		return modelRule{}, false // a line's own
	}
	r, ok := m.rules[string(scope)+":"+wflo.Each]
	return r, ok
}

// account is the current window of a budget that has a rule.
func (m *model) account(id string, rule modelRule) *account {
	m.touched[id] = true
	var start, end time.Time
	if rule.Period != wflo.PeriodNone {
		zone := time.UTC
		if loc, err := time.LoadLocation(rule.TimeZone); err == nil {
			zone = loc
		}
		start, end = window(rule.Period, m.now.In(zone))
	}
	if a := m.accounts[id]; a != nil && a.start.Equal(start) {
		return a
	}
	a := &account{id: id, limit: rule.Limit, thresholds: rule.Thresholds, on: exceeded(rule.OnExceeded), start: start, end: end, arms: map[int]arming{}}
	a.rolling, _ = rule.Period.Rolling()
	m.accounts[id] = a
	if start.IsZero() || rule.since.After(start) {
		m.count(a)
	}
	return a
}

// count starts an account with what was spent before in its window.
func (m *model) count(a *account) {
	a.spent, a.charges = 0, nil
	for _, e := range m.entries {
		if slices.Contains(e.Scopes, a.id) && !e.At.Before(a.start) {
			a.spent += e.Amount
			a.charges = append(a.charges, charge{e.At, e.Amount})
		}
	}
}

// spentOf is what counts of an account by now.
func (m *model) spentOf(a *account) wflo.Money {
	if a.rolling == 0 {
		return a.spent
	}
	var sum wflo.Money
	for _, c := range a.charges {
		if c.at.After(m.now.Add(-a.rolling)) {
			sum += c.amount
		}
	}
	return sum
}

func (m *model) roomOf(a *account) wflo.Money {
	if a.limit == 0 {
		return math.MaxInt64
	}
	return a.limit - m.spentOf(a) - a.reserved
}

func (a *account) soft() bool { return a.on == wflo.ExceedAlert || a.on == wflo.ExceedIgnore }

// change moves money on all budgets of a hold.
func (m *model) change(h *modelHold, spent, reserved, unknown wflo.Money) {
	for _, a := range h.accounts {
		m.touched[a.id] = true
		a.spent, a.reserved, a.unknown = a.spent+spent, a.reserved+reserved, a.unknown+unknown
		a.charges = append(a.charges, charge{m.now, spent})
	}
}

// alert follows a charge of whatever amount.
func (m *model) alert(h *modelHold) {
	for _, a := range h.accounts {
		m.crossed(a)
	}
}

func (m *model) enter(h *modelHold, e wflo.Entry) {
	e.Key, e.Attempt, e.At, e.Run, e.Scopes, e.Reserved = h.Key, h.Attempt, m.now, h.Run, h.Scopes, h.Granted
	m.entries = append(m.entries, e)
}

func (m *model) charge(h *modelHold) {
	h.State = wflo.HoldUnknown
	m.change(h, h.Granted, -h.Granted, h.Granted)
	m.alert(h)
	m.enter(h, wflo.Entry{State: h.State, Provider: h.Provider, Model: h.Model, Amount: h.Granted})
}

func (m *model) answer(h *modelHold) (wflo.Hold, wflo.Code) {
	got := h.Hold
	got.Room = math.MaxInt64
	for _, a := range h.accounts {
		if a.limit > 0 && !a.soft() {
			got.Room = min(got.Room, m.roomOf(a))
		}
	}
	return got, ""
}

func (m *model) reserve(r wflo.Reservation) (wflo.Hold, wflo.Code) {
	if h := m.find(string(r.Key), r.Attempt); h != nil {
		if h.Amount != r.Amount {
			return wflo.Hold{}, wflo.CodeConflict
		}
		return m.repeat(h)
	}
	var settled *modelHold
	for _, h := range m.holds[string(r.Key)] {
		if h.Attempt > r.Attempt {
			continue
		}
		switch h.State {
		case wflo.HoldOpen:
			m.charge(h)
		case wflo.HoldSettled:
			settled = h
		}
	}
	if settled != nil {
		return m.repeat(settled)
	}
	h := &modelHold{Hold: wflo.Hold{Reservation: r, State: wflo.HoldOpen, Granted: r.Amount}, accounts: m.budgetsOf(r)}
	if !m.admit(h) {
		return wflo.Hold{}, wflo.CodeBudgetExceeded
	}
	m.keep(h)
	m.change(h, 0, h.Granted, 0)
	return m.answer(h)
}

func (m *model) repeat(h *modelHold) (wflo.Hold, wflo.Code) {
	got, code := m.answer(h)
	got.Repeated = true
	return got, code
}

func (m *model) keep(h *modelHold) {
	key := string(h.Key)
	m.holds[key] = append(m.holds[key], h)
	slices.SortFunc(m.holds[key], func(a, b *modelHold) int { return a.Attempt - b.Attempt })
}

// budgetsOf are the accounts of a call, made where they do not exist.
func (m *model) budgetsOf(r wflo.Reservation) []*account {
	var all []*account
	for _, l := range r.Budgets {
		m.touched[l.ID] = true
		if m.accounts[l.ID] == nil {
			m.accounts[l.ID] = &account{id: l.ID, limit: l.Limit, thresholds: l.Thresholds, on: exceeded(l.OnExceeded), arms: map[int]arming{}}
		}
		all = append(all, m.accounts[l.ID])
	}
	for _, id := range r.Scopes {
		if rule, ok := m.ruleOf(id); ok {
			all = append(all, m.account(id, rule))
		}
	}
	return all
}

// admit cuts the grant to the room there is, or refuses.
func (m *model) admit(h *modelHold) bool {
	least := h.Least
	if least == 0 {
		least = h.Amount
	}
	for _, a := range h.accounts {
		if !a.soft() {
			h.Granted = min(h.Granted, m.roomOf(a))
		}
	}
	ok := h.Granted >= least
	for _, a := range h.accounts {
		left := wflo.Money(math.MaxInt64)
		if a.limit > 0 {
			left = a.limit - m.spentOf(a)
		}
		switch {
		case a.on == wflo.ExceedIgnore:
		case left < least && (ok || !a.soft()):
			m.happens(a, 0)
		case left < least, a.soft() && left < h.Granted:
			m.mayHappen(a, 0)
		}
	}
	return ok
}

func (m *model) settle(s wflo.Settlement) wflo.Code {
	h := m.find(string(s.Key), s.Attempt)
	switch {
	case h == nil:
		return wflo.CodeInvalid
	case h.State == wflo.HoldReleased, h.State == wflo.HoldSettled && h.actual != s.Amount:
		return wflo.CodeConflict
	case h.State == wflo.HoldSettled:
		return ""
	}
	charged := s.Amount
	if h.State == wflo.HoldUnknown {
		charged = s.Amount - h.Granted
		m.change(h, charged, 0, -h.Granted)
	} else {
		m.change(h, charged, -h.Granted, 0)
	}
	m.alert(h)
	h.State, h.actual, h.Outcome = wflo.HoldSettled, s.Amount, s.Outcome
	m.enter(h, wflo.Entry{State: h.State, Provider: s.Provider, Model: s.Model, ResponseID: s.ResponseID, Usage: s.Usage, Price: s.Price,
		Amount: charged, Overdraft: max(0, s.Amount-h.Granted), By: s.By, Reason: s.Reason})
	return ""
}

func (m *model) giveUp(key string, attempt int, charge bool) {
	h := m.find(key, attempt)
	switch {
	case h == nil || h.State != wflo.HoldOpen:
	case charge:
		m.charge(h)
	default:
		h.State = wflo.HoldReleased
		m.change(h, 0, -h.Granted, 0)
	}
}

func (m *model) save(s wflo.Saving) {
	if m.find(string(s.Key), s.Attempt) != nil {
		return
	}
	h := &modelHold{saved: true}
	h.Key, h.Attempt, h.Run, h.Scopes, h.State, h.Outcome = s.Key, s.Attempt, s.Run, s.Scopes, wflo.HoldSettled, s.Outcome
	m.keep(h)
	m.enter(h, wflo.Entry{State: wflo.HoldCached, Provider: s.Provider, Model: s.Model, Usage: s.Usage, Price: s.Price, Saved: s.Saved, Source: s.Source})
}

// set makes or replaces a rule. No hold of the budget may be open or unknown
// when it is new.
func (m *model) set(b wflo.Budget) {
	old, exists := m.rules[b.ID()]
	rule := modelRule{Budget: b, since: m.now}
	if exists {
		rule.since = old.since
	}
	m.rules[b.ID()] = rule
	for id, a := range m.accounts {
		if now, ok := m.ruleOf(id); !ok || now.ID() != b.ID() {
			continue
		}
		if !exists { // its accounts are of before; all counts anew
			loose := m.account(id, rule)
			loose.reserved, loose.unknown = 0, 0
			m.count(loose)
		}
		if a = m.account(id, rule); a != nil {
			a.on, a.thresholds = exceeded(b.OnExceeded), b.Thresholds
			m.limit(a, limited(b.Limit, a.topped))
		}
	}
	if b.Name != wflo.Each {
		m.account(b.ID(), rule)
	}
}

func limited(limit, topped wflo.Money) wflo.Money {
	if limit == 0 {
		return 0
	}
	return limit + topped
}

// remove ends a rule. Of its accounts only the alerts are remembered.
func (m *model) remove(id string) bool {
	rule, ok := m.rules[id]
	if !ok {
		return false
	}
	for of, a := range m.accounts {
		if now, ok := m.ruleOf(of); ok && now.ID() == rule.ID() {
			m.limit(a, 0)
		}
	}
	delete(m.rules, id)
	return true
}

func (m *model) topUp(t wflo.TopUp) bool {
	if m.toppedUp[t.Key] {
		return true
	}
	a := m.accounts[t.Budget]
	if rule, ok := m.ruleOf(t.Budget); ok && (a != nil || rule.Limit > 0) {
		a = m.account(t.Budget, rule)
	}
	if a == nil || a.limit == 0 {
		return false
	}
	m.toppedUp[t.Key] = true
	a.topped += t.Amount
	m.limit(a, a.limit+t.Amount)
	return true
}
