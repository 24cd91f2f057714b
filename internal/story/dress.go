package story

import (
	"context"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// dresser adds to rows what histories do not say: what calls cost, what is tried again,
// how steps ended. It asks each store once, and only when a row needs it.
type dresser struct {
	t       *Teller
	ctx     context.Context //nolint:containedctx // it lives for one request
	r       run
	pending map[string]*workflowpb.PendingActivityInfo
	books   map[wflo.EffectKey][]wflo.Entry
	holds   map[wflo.EffectKey]wflo.Hold
	undone  map[string]bool
	steps   map[string]wflo.StepRecord
	running bool // that steps tells which ones are over
}

func (t *Teller) dresser(ctx context.Context, r run) *dresser {
	d := &dresser{t: t, ctx: ctx, r: r, pending: map[string]*workflowpb.PendingActivityInfo{}}
	for _, p := range r.GetPendingActivities() {
		d.pending[p.GetActivityId()] = p
	}
	return d
}

// row is a row with all that is known.
func (d *dresser) row(p picked) Row {
	p.a.mu.Lock()
	r, e := p.a.view(p.i), p.a.rows[p.i]
	payer := e.effect != "" && p.a.paid[e.effect] == p.i
	p.a.mu.Unlock()
	if e.far != nil {
		r = d.fetched(p, e, r)
	}
	if r.RunID == d.r.runID && d.r.open {
		d.live(&r, &e)
	}
	if payer && (r.Kind == KindModel || r.Kind == KindTool || r.Kind == KindActivity) {
		d.price(&r, e.effect)
	}
	if len(e.effects) > 0 && r.State == StateDone {
		for _, id := range e.effects {
			if d.wasUndone()[id] {
				r.State = StateUndone
			}
		}
	}
	return r
}

// fetched reads what is far away, and keeps it for the next who asks.
func (d *dresser) fetched(p picked, e entry, r Row) Row {
	if err := e.fetch(d.ctx, d.t.read); err != nil {
		d.t.cfg.Logger.DebugContext(d.ctx, "part of a story is not reached", "run", d.r.workflowID, "row", r.ID, "error", err.Error())
		return r
	}
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	own := &p.a.rows[p.i]
	own.Row.Sandbox, own.Row.Name, own.far = e.Row.Sandbox, e.Row.Name, nil
	if own.Error == "" {
		own.Error = e.Row.Error
	}
	return p.a.view(p.i)
}

// live adds what the server and the run know of something that goes on.
func (d *dresser) live(r *Row, e *entry) {
	if a := d.pending[e.activityID]; a != nil && e.activityID != "" && r.End.IsZero() && r.Kind != KindApproval {
		r.Attempts, r.Worker = int(a.GetAttempt()), a.GetLastWorkerIdentity()
		if at := a.GetLastStartedTime(); at != nil {
			r.Began = at.AsTime()
		}
		if f := a.GetLastFailure(); f != nil {
			w := d.t.read.wrongOf(f)
			r.Error, r.Hint, r.Code = w.message, w.hint, w.code
		}
		if a.GetState() == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED && a.GetAttempt() > 1 || a.GetPaused() {
			r.State = StateWaiting
		}
	}
	if r.Kind != KindStep {
		return
	}
	s, over := d.stepRecords()[e.forKey]
	switch {
	case !d.running:
	case !over:
		r.State, r.End, r.Error, r.Hint, r.Code = StateRunning, time.Time{}, "", "", ""
	default:
		r.Effect = s.Effect
		if s.Error != "" && e.within == 0 {
			r.State, r.Error = StateFailed, line(s.Error)
		}
	}
}

// stepRecords is what the run says of its steps that are over.
func (d *dresser) stepRecords() map[string]wflo.StepRecord {
	if d.steps != nil {
		return d.steps
	}
	d.steps = map[string]wflo.StepRecord{}
	if s, _ := d.t.status(d.ctx, d.r); s != nil {
		d.running = true
		for _, record := range s.Steps {
			d.steps[record.Key] = record
		}
	}
	return d.steps
}

// price adds what the ledger says of a call.
func (d *dresser) price(r *Row, key wflo.EffectKey) {
	if d.t.cfg.Ledger == nil {
		return
	}
	if d.books == nil {
		d.open(r.RunID)
	}
	var m *Model
	for _, e := range d.books[key] {
		if m == nil {
			m = &Model{}
		}
		m.Provider, m.Model, m.State = e.Provider, e.Model, e.State
		m.Usage = sum(m.Usage, e.Usage)
		m.Amount += e.Amount
		m.Saved += e.Saved
	}
	if h, ok := d.holds[key]; ok {
		if m == nil {
			m = &Model{Provider: h.Provider, Model: h.Model}
		}
		m.State, m.Reserved = h.State, h.Granted
	}
	if m != nil {
		r.Model = m
		if m.Model != "" && r.Kind == KindModel {
			r.Name = line(m.Model)
		}
	}
}

func sum(a, b wflo.Usage) wflo.Usage {
	return wflo.Usage{
		Input: a.Input + b.Input, CacheRead: a.CacheRead + b.CacheRead, CacheWrite5m: a.CacheWrite5m + b.CacheWrite5m,
		CacheWrite1h: a.CacheWrite1h + b.CacheWrite1h, Output: a.Output + b.Output, Reasoning: a.Reasoning + b.Reasoning, Millis: a.Millis + b.Millis,
	}
}

// open reads the ledger of the run.
func (d *dresser) open(runID string) {
	d.books, d.holds = map[wflo.EffectKey][]wflo.Entry{}, map[wflo.EffectKey]wflo.Hold{}
	root := d.t.root(d.ctx, d.r, runID)
	entries, err := d.t.cfg.Ledger.Entries(d.ctx, root)
	if err != nil {
		d.t.lack(d.ctx, d.r, "the ledger", err)
		return
	}
	for _, e := range entries {
		d.books[e.Key] = append(d.books[e.Key], e)
	}
	if !d.r.open {
		return
	}
	holds, err := d.t.cfg.Ledger.OpenHolds(d.ctx, 0, mostRows)
	if err != nil {
		d.t.lack(d.ctx, d.r, "the ledger", err)
		return
	}
	for _, h := range holds {
		d.holds[h.Key] = h
	}
}

// root names the outermost run, whose ledger a run's calls are in.
func (t *Teller) root(ctx context.Context, r run, runID string) string {
	own := wflo.Run{WorkflowID: r.workflowID, FirstRunID: r.first}
	a, err := t.account(ctx, r.of(runID))
	if err != nil {
		return own.ID()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.run.Root != "" {
		return a.run.Root
	}
	return own.ID()
}

// wasUndone names the compensations of the run whose effect was undone, by the run or by
// anybody later.
func (d *dresser) wasUndone() map[string]bool {
	if d.undone != nil {
		return d.undone
	}
	d.undone = map[string]bool{}
	for _, c := range d.t.compensations(d.ctx, d.r) {
		d.undone[c.ID] = c.State == wflo.CompensationDone
	}
	return d.undone
}

// compensations are those of the chain, as the store has them.
func (t *Teller) compensations(ctx context.Context, r run) []wflo.CompensationRecord {
	if t.cfg.Recovery == nil {
		return nil
	}
	var all []wflo.CompensationRecord
	q := activities.CompensationQuery{Run: wflo.Run{WorkflowID: r.workflowID, FirstRunID: r.first}.ID(), Limit: mostRows}
	for {
		page, err := t.cfg.Recovery.ListCompensations(ctx, q)
		if err != nil {
			t.lack(ctx, r, "the store of compensations", err)
			return all
		}
		all = append(all, page...)
		if len(page) < q.Limit || len(all) >= 10*mostRows {
			return all
		}
		q.After = page[len(page)-1].ID
	}
}

// lack tells the operator why a story is incomplete.
func (t *Teller) lack(ctx context.Context, r run, what string, err error) {
	t.cfg.Logger.WarnContext(ctx, "part of a story is missing", "run", r.workflowID, "part", what, "error", err.Error())
}
