package postgres

import (
	"slices"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

// arguments are the calls by kind and column, as the function batch takes them,
// and which call each item is.
func arguments(calls []*call) (args []any, order []int) {
	r, s, g, v := newReserveColumns(), newSettleColumns(), newGiveUpColumns(), newSaveColumns()
	kinds := [4][]int{}
	for i, c := range calls {
		switch {
		case c.reserve != nil:
			kinds[0] = append(kinds[0], i)
			r.add(c.reserve)
		case c.settle != nil:
			kinds[1] = append(kinds[1], i)
			s.add(c.settle)
		case c.save != nil:
			kinds[3] = append(kinds[3], i)
			v.add(c.save)
		default:
			kinds[2] = append(kinds[2], i)
			g.add(c.key, c.giveUp)
		}
	}
	for _, kind := range kinds {
		order = append(order, kind...)
	}
	return slices.Concat(r.args(), s.args(), g.args(), v.args()), order
}

type reserveColumns struct {
	key                                         []string
	attempt                                     []int32
	amount, least                               []int64
	budgets, scopes, root, run, provider, model []string
	within                                      []int64
	// The lines and scopes, of which only lines have a limit.
	wantItem                     []int32
	wantID                       []string
	wantLimit                    []*int64
	wantThresholds, wantExceeded []*string
}

// Slices that are nil would be NULL.
func newReserveColumns() *reserveColumns {
	return &reserveColumns{key: []string{}, attempt: []int32{}, amount: []int64{}, least: []int64{}, budgets: []string{}, scopes: []string{},
		root: []string{}, run: []string{}, provider: []string{}, model: []string{}, within: []int64{},
		wantItem: []int32{}, wantID: []string{}, wantLimit: []*int64{}, wantThresholds: []*string{}, wantExceeded: []*string{}}
}

func (t *reserveColumns) add(r *reserveCall) {
	t.key, t.attempt = append(t.key, string(r.Key)), append(t.attempt, int32(r.Attempt))
	t.amount, t.least = append(t.amount, int64(r.Amount)), append(t.least, int64(r.Least))
	t.budgets, t.scopes = append(t.budgets, r.budgets), append(t.scopes, literal(r.Scopes))
	t.root, t.run = append(t.root, r.Run.RootID()), append(t.run, r.run)
	t.provider, t.model = append(t.provider, r.Provider), append(t.model, r.Model)
	t.within = append(t.within, int64(r.Within))
	for _, line := range r.Budgets {
		limit, thresholds, exceeded := int64(line.Limit), percents(ledger.Thresholds(line.Thresholds)), string(exceeds(line.OnExceeded))
		t.want(line.ID, &limit, &thresholds, &exceeded)
	}
	for _, id := range r.Scopes {
		t.want(id, nil, nil, nil)
	}
}

// want adds a budget of the last reservation.
func (t *reserveColumns) want(id string, limit *int64, thresholds, exceeded *string) {
	t.wantItem, t.wantID = append(t.wantItem, int32(len(t.key))), append(t.wantID, id)
	t.wantLimit = append(t.wantLimit, limit)
	t.wantThresholds, t.wantExceeded = append(t.wantThresholds, thresholds), append(t.wantExceeded, exceeded)
}

// exceeds spells out what the zero value means.
func exceeds(o wflo.OnExceeded) wflo.OnExceeded {
	if o == "" {
		return wflo.ExceedHalt
	}
	return o
}

func (t *reserveColumns) args() []any {
	return []any{t.key, t.attempt, t.amount, t.least, t.budgets, t.scopes, t.root, t.run, t.provider, t.model, t.within,
		t.wantItem, t.wantID, t.wantLimit, t.wantThresholds, t.wantExceeded}
}

type settleColumns struct {
	key                                     []string
	attempt                                 []int32
	amount                                  []int64
	usage, price, provider, model, response []string
	outcome                                 [][]byte
	by, reason                              []string
}

func newSettleColumns() *settleColumns {
	return &settleColumns{key: []string{}, attempt: []int32{}, amount: []int64{}, usage: []string{}, price: []string{},
		provider: []string{}, model: []string{}, response: []string{}, outcome: [][]byte{}, by: []string{}, reason: []string{}}
}

func (t *settleColumns) add(s *settleCall) {
	t.key, t.attempt, t.amount = append(t.key, string(s.Key)), append(t.attempt, int32(s.Attempt)), append(t.amount, int64(s.Amount))
	t.usage, t.price = append(t.usage, s.usage), append(t.price, s.price)
	t.provider, t.model = append(t.provider, s.Provider), append(t.model, s.Model)
	t.response, t.outcome = append(t.response, s.ResponseID), append(t.outcome, s.Outcome)
	t.by, t.reason = append(t.by, s.By), append(t.reason, s.Reason)
}

func (t *settleColumns) args() []any {
	return []any{t.key, t.attempt, t.amount, t.usage, t.price, t.provider, t.model, t.response, t.outcome, t.by, t.reason}
}

type giveUpColumns struct {
	key     []string
	attempt []int32
	charge  []bool
}

func newGiveUpColumns() *giveUpColumns {
	return &giveUpColumns{key: []string{}, attempt: []int32{}, charge: []bool{}}
}

func (t *giveUpColumns) add(key wflo.EffectKey, g *giveUpCall) {
	t.key, t.attempt, t.charge = append(t.key, string(key)), append(t.attempt, int32(g.attempt)), append(t.charge, g.charge)
}

func (t *giveUpColumns) args() []any { return []any{t.key, t.attempt, t.charge} }

type saveColumns struct {
	key                                                      []string
	attempt                                                  []int32
	root, run, scopes, source, usage, price, provider, model []string
	saved                                                    []int64
	outcome                                                  [][]byte
}

func newSaveColumns() *saveColumns {
	return &saveColumns{key: []string{}, attempt: []int32{}, root: []string{}, run: []string{}, scopes: []string{}, source: []string{},
		usage: []string{}, price: []string{}, provider: []string{}, model: []string{}, saved: []int64{}, outcome: [][]byte{}}
}

func (t *saveColumns) add(s *saveCall) {
	t.key, t.attempt = append(t.key, string(s.Key)), append(t.attempt, int32(s.Attempt))
	t.root, t.run = append(t.root, s.Run.RootID()), append(t.run, s.run)
	t.scopes, t.source = append(t.scopes, literal(s.Scopes)), append(t.source, string(s.Source))
	t.usage, t.price = append(t.usage, s.usage), append(t.price, s.price)
	t.provider, t.model = append(t.provider, s.Provider), append(t.model, s.Model)
	t.saved, t.outcome = append(t.saved, int64(s.Saved)), append(t.outcome, s.Outcome)
}

func (t *saveColumns) args() []any {
	return []any{t.key, t.attempt, t.root, t.run, t.scopes, t.source, t.usage, t.price, t.provider, t.model, t.saved, t.outcome}
}
