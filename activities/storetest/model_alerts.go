package storetest

import (
	"time"

	"github.com/wflo-ai/wflo-go"
)

// alertKey names alerts that are counted together. percent is 0 for
// wflo.AlertExceeded, start is zero where windows do not start.
type alertKey struct {
	budget  string
	percent int
	start   time.Time
}

// bounds say how many alerts there must be and may be.
type bounds struct{ least, most int }

// arming says whether an alert is due when its reason comes. The contract is
// silent on a few cases, such as a limit that was taken away and set again.
type arming int

const (
	armed   arming = iota // due
	pending               // may have been given already, and is due at the latest when its reason comes for certain
	open                  // may be due
	fired                 // given
)

func (m *model) bounds(a *account, percent int) *bounds {
	key := alertKey{a.id, percent, a.start.UTC()}
	if m.alerts[key] == nil {
		m.alerts[key] = &bounds{}
	}
	return m.alerts[key]
}

// happens says that the reason of an alert came.
func (m *model) happens(a *account, percent int) {
	n := m.bounds(a, percent)
	switch a.arms[percent] {
	case armed:
		n.least, n.most = n.least+1, n.most+1
	case pending:
		n.least++
	case open:
		n.most++
	case fired:
		if a.rolling > 0 { // a window that slides may have been left meanwhile
			n.most++
		}
	}
	a.arms[percent] = fired
}

// mayHappen says that it depends on the reading of the contract.
func (m *model) mayHappen(a *account, percent int) {
	switch a.arms[percent] {
	case armed:
		m.bounds(a, percent).most++
		a.arms[percent] = pending
	case open, fired:
		m.happens(a, percent)
	case pending:
	}
}

func (m *model) over(a *account, percent int) bool {
	return a.limit > 0 && m.spentOf(a)*100 >= a.limit*wflo.Money(percent)
}

func (a *account) percents() []int {
	if a.thresholds == nil {
		return wflo.DefaultThresholds
	}
	return a.thresholds
}

// crossed follows a charge. Thresholds that were passed since the last one,
// because the limit was lowered or the rule is new, are due as well.
func (m *model) crossed(a *account) {
	for _, percent := range a.percents() {
		if m.over(a, percent) {
			m.happens(a, percent)
		}
	}
}

// limit sets the limit of an account.
func (m *model) limit(a *account, limit wflo.Money) {
	before := a.limit
	a.limit, m.touched[a.id] = limit, true
	if before == 0 || limit == 0 {
		for percent, state := range a.arms {
			if state == fired {
				a.arms[percent] = open
			}
		}
	} else if limit > before {
		for _, percent := range a.percents() {
			if !m.over(a, percent) {
				a.arms[percent] = armed
			}
		}
		if a.arms[0] != armed {
			a.arms[0] = open
		}
	}
}
