package story

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

const (
	someRows = 200
	mostRows = 1000
)

// place is where a page goes on: a run of the chain, and how many of its rows were passed.
type place struct {
	runID  string
	passed int
}

func (p place) String() string { return p.runID + "." + strconv.Itoa(p.passed) }

func placeOf(after string) (place, error) {
	runID, n, ok := strings.Cut(after, ".")
	passed, err := strconv.Atoi(n)
	if !ok || err != nil || passed < 0 {
		return place{}, wflo.Invalid("after", fmt.Sprintf("is %q", line(after)), "give the next of the page before")
	}
	return place{runID, passed}, nil
}

// picked is a row of a page: where it is.
type picked struct {
	a *account
	i int
}

// Rows gives a page of the story.
func (t *Teller) Rows(ctx context.Context, q Query) (Page, error) {
	switch {
	case q.Limit < 0 || q.Limit > mostRows:
		return Page{}, wflo.Invalid("limit", fmt.Sprintf("is %d", q.Limit), fmt.Sprintf("use 1 to %d", mostRows))
	case q.Limit == 0:
		q.Limit = someRows
	}
	if q.Latest && q.After != "" {
		return Page{}, wflo.Invalid("latest", "is asked for with after", "give one of them")
	}
	r, err := t.describe(ctx, q.WorkflowID, q.RunID)
	if err != nil {
		return Page{}, err
	}
	ids, _, err := t.chain(ctx, r)
	if err != nil {
		return Page{}, err
	}
	page := Page{Open: r.open}
	var found []picked
	var end place
	if q.Latest {
		found, end, err = t.backward(ctx, r, ids, q)
	} else {
		found, end, err = t.forward(ctx, r, ids, q)
	}
	if err != nil {
		return Page{}, err
	}
	if end.runID != "" {
		page.Next = end.String()
	}
	page.Rows, page.Parents, err = t.show(ctx, r, found)
	return page, err
}

func (q *Query) wants(k Kind) bool { return len(q.Kinds) == 0 || slices.Contains(q.Kinds, k) }

// forward picks rows from a place on. end is where the next page begins.
func (t *Teller) forward(ctx context.Context, r run, ids []string, q Query) (found []picked, end place, err error) {
	at := place{runID: ids[0]}
	if q.After != "" {
		if at, err = placeOf(q.After); err != nil {
			return nil, end, err
		}
	}
	k := slices.Index(ids, at.runID)
	if k < 0 {
		return nil, end, wflo.Errorf(wflo.CodeConflict, "read it from its start", "the story has changed: run %s is not part of it any more", line(at.runID))
	}
	for ; k < len(ids); k++ {
		a, err := t.account(ctx, r.of(ids[k]))
		if err != nil {
			return nil, end, err
		}
		from := 0
		if ids[k] == at.runID {
			from = at.passed
		}
		a.mu.Lock()
		n := len(a.rows)
		for i := from; i < n; i++ {
			if !q.wants(a.rows[i].Kind) {
				continue
			}
			if len(found) == q.Limit {
				a.mu.Unlock()
				return found, place{ids[k], i}, nil
			}
			found = append(found, picked{a, i})
		}
		a.mu.Unlock()
		end = place{ids[k], n}
	}
	if !r.open {
		end = place{}
	}
	return found, end, nil
}

// backward picks the last rows. end is behind the last of them, for a run that goes on.
func (t *Teller) backward(ctx context.Context, r run, ids []string, q Query) (found []picked, end place, err error) {
	for k := len(ids) - 1; k >= 0 && len(found) < q.Limit; k-- {
		a, err := t.account(ctx, r.of(ids[k]))
		if err != nil {
			return nil, end, err
		}
		a.mu.Lock()
		n := len(a.rows)
		for i := n - 1; i >= 0 && len(found) < q.Limit; i-- {
			if q.wants(a.rows[i].Kind) {
				found = append(found, picked{a, i})
			}
		}
		a.mu.Unlock()
		if k == len(ids)-1 && r.open {
			end = place{ids[k], n}
		}
	}
	slices.Reverse(found)
	return found, end, nil
}

// All gives every row, in order, for exports.
func (t *Teller) All(ctx context.Context, workflowID, runID string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		q := Query{WorkflowID: workflowID, RunID: runID, Limit: mostRows}
		for {
			page, err := t.Rows(ctx, q)
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, r := range page.Rows {
				if !yield(r, nil) {
					return
				}
			}
			if page.Next == "" || len(page.Rows) < mostRows {
				return
			}
			q.After = page.Next
		}
	}
}

// show makes rows of what was picked, and of what they are within.
func (t *Teller) show(ctx context.Context, r run, found []picked) (rows, parents []Row, err error) {
	rows = make([]Row, 0, len(found))
	in := make(map[picked]bool, len(found))
	for _, p := range found {
		in[p] = true
	}
	var around []picked
	for _, p := range found {
		p.a.mu.Lock()
		for i := p.a.rows[p.i].parent; i >= 0; i = p.a.rows[i].parent {
			if at := (picked{p.a, i}); !in[at] {
				in[at] = true
				around = append(around, at)
			}
		}
		p.a.mu.Unlock()
	}
	slices.SortStableFunc(around, func(a, b picked) int {
		if a.a != b.a {
			return a.a.started.Compare(b.a.started)
		}
		return a.i - b.i
	})
	d := t.dresser(ctx, r)
	for _, p := range found {
		rows = append(rows, d.row(p))
	}
	for _, p := range around {
		parents = append(parents, d.row(p))
	}
	return rows, parents, ctx.Err()
}

// view is a row as the history tells it.
func (a *account) view(i int) Row {
	e := &a.rows[i]
	r := e.Row
	if r.Kind == KindStep {
		r.End = e.until
		if e.within > 0 {
			r.State, r.End, r.Error, r.Hint, r.Code = StateRunning, time.Time{}, "", "", ""
		}
	}
	if e.undone && r.State == StateDone {
		r.State = StateUndone
	}
	return r
}
