package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/rewind"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	compensationColumns = "id, owner, height, state, begun, cause, error, ended_by, reason, at, changed_at, compensation, input, probe_input"
	insertCompensation  = `INSERT INTO compensations (id, org, workflow_id, run, owner, height, state, begun, cause, error, ended_by, reason,
		at, changed_at, compensation, input, probe_input) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	// noInput reads records without what they were given, which may be large.
	noInput           = "id, owner, height, state, begun, cause, error, ended_by, reason, at, changed_at, '{}', NULL, NULL"
	queryCompensation = "SELECT " + compensationColumns + " FROM compensations WHERE id = ?"
	queryState        = "SELECT state FROM compensations WHERE id = ?"
	// beginEffect writes nothing for the second attempt.
	beginEffect = "UPDATE compensations SET begun = 1 WHERE id = ? AND begun = 0"
)

func scanCompensation(row interface{ Scan(...any) error }) (c wflo.CompensationRecord, err error) {
	var owner, text string
	var kept wflo.CompensationRecord
	var at, changed int64
	if err := row.Scan(&kept.ID, &owner, &kept.Height, &kept.State, &kept.Begun, &kept.Cause, &kept.Error, &kept.By, &kept.Reason,
		&at, &changed, &text, &kept.Input, &kept.ProbeInput); err != nil {
		return c, err
	}
	if err := decode(text, &c); err != nil {
		return c, err
	}
	if err := decode(owner, &kept.Run); err != nil {
		return c, err
	}
	c.Run = rewind.Owned(kept.Run, c.Run)
	c.ID, c.Height, c.State, c.Begun = kept.ID, kept.Height, kept.State, kept.Begun
	c.Cause, c.Error, c.By, c.Reason = kept.Cause, kept.Error, kept.By, kept.Reason
	c.Input, c.ProbeInput, c.At, c.ChangedAt = kept.Input, kept.ProbeInput, fromMicros(at), fromMicros(changed)
	return c, nil
}

// compensationRow is what is inserted, but for the times.
type compensationRow struct {
	wflo.CompensationRecord
	owner, text string
}

func newRows(run wflo.Run, given []wflo.CompensationRecord) (rows []compensationRow, err error) {
	owner, err := written("run", run)
	if err != nil {
		return nil, err
	}
	for _, c := range given {
		if c, err = rewind.New(run, c); err != nil {
			return nil, err
		}
		rest := wflo.CompensationRecord{Name: c.Name, Activity: c.Activity, TaskQueue: c.TaskQueue, Group: c.Group, Step: c.Step,
			Undoes: c.Undoes, Probe: c.Probe, Timeout: c.Timeout, Attempts: c.Attempts,
			Run: rewind.Registration(run), Seq: c.Seq}
		text, err := written("compensation "+c.ID, rest)
		if err != nil {
			return nil, err
		}
		rows = append(rows, compensationRow{c, owner, text})
	}
	return rows, nil
}

// blob is NULL for nothing.
func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// NoteCompensations implements activities.Compensations.
func (r recovery) NoteCompensations(ctx context.Context, run wflo.Run, n step.CompensationNotes) error {
	rows, err := newRows(run, n.New)
	if err != nil {
		return err
	}
	_, err = ask(ctx, r, "note compensations", func(t *tx) (none nothing, _ error) {
		changes, err := t.decide(run.ID(), rows, n)
		if err != nil {
			return none, err
		}
		for _, c := range rows {
			if err := t.exec(insertCompensation, c.ID, run.Org, run.WorkflowID, run.ID(), c.owner, c.Height, string(c.State), c.Begun,
				c.Cause, c.Error, c.By, c.Reason, micros(t.now), micros(t.now), c.text, blob(c.Input), blob(c.ProbeInput)); err != nil {
				return none, err
			}
		}
		return none, t.changeCompensations(changes)
	})
	return err
}

// changed is a record as it becomes; moved says that its state is another.
type changed struct {
	wflo.CompensationRecord
	moved bool
}

// decide says what of the records changes, without changing it.
func (t *tx) decide(run string, rows []compensationRow, n step.CompensationNotes) ([]changed, error) {
	if len(n.Marks) == 0 && !n.Closed {
		return nil, nil
	}
	kept := map[string]wflo.CompensationRecord{}
	for _, c := range rows {
		if _, twice := kept[c.ID]; !twice {
			kept[c.ID] = c.CompensationRecord
		}
	}
	ids := make([]string, 0, len(n.Marks)+len(rows))
	for _, m := range n.Marks {
		ids = append(ids, m.ID)
	}
	for id := range kept {
		ids = append(ids, id)
	}
	query, args := "SELECT "+noInput+" FROM compensations WHERE id IN (SELECT value FROM json_each(?))", []any{encodeList(ids)}
	if n.Closed {
		query += " UNION SELECT " + noInput + " FROM compensations WHERE run = ? AND state NOT IN (SELECT value FROM json_each(?))"
		args = append(args, run, encodeList(rewind.Ended()))
	}
	found, err := all(t, scanCompensation, query, args...)
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		kept[c.ID] = c
	}
	next, err := rewind.Apply(kept, run, n)
	var changes []changed
	for _, c := range next {
		changes = append(changes, changed{c, c.State != kept[c.ID].State})
	}
	return changes, err
}

func (t *tx) changeCompensations(changes []changed) error {
	for _, c := range changes {
		if err := t.exec(`UPDATE compensations SET state = ?, begun = ?, cause = ?, error = ?, ended_by = ?, reason = ?,
			changed_at = CASE WHEN ? THEN ? ELSE changed_at END WHERE id = ?`,
			string(c.State), c.Begun, c.Cause, c.Error, c.By, c.Reason, c.moved, micros(t.now), c.ID); err != nil {
			return err
		}
	}
	return nil
}

// BeginEffect implements activities.Compensations.
func (r recovery) BeginEffect(ctx context.Context, ids ...string) error {
	ids = slices.Clone(ids)
	_, err := ask(ctx, r, "begin an effect", func(t *tx) (none nothing, _ error) {
		kept := map[string]wflo.CompensationState{}
		for _, id := range ids {
			found, err := all(t, scanState, queryState, id)
			if err != nil {
				return none, err
			}
			for _, state := range found {
				kept[id] = state
			}
		}
		if err := rewind.MayBegin(ids, kept); err != nil {
			return none, err
		}
		for _, id := range ids {
			if err := t.exec(beginEffect, id); err != nil {
				return none, err
			}
		}
		return none, nil
	})
	return err
}

func scanState(row interface{ Scan(...any) error }) (s wflo.CompensationState, err error) {
	return s, row.Scan(&s)
}

// BeginUndo implements activities.Compensations.
func (r recovery) BeginUndo(ctx context.Context, id, cause string) (wflo.CompensationRecord, error) {
	return ask(ctx, r, "begin to undo", func(t *tx) (c wflo.CompensationRecord, _ error) {
		found, err := all(t, scanCompensation, queryCompensation, id)
		if err == nil && len(found) == 0 {
			err = rewind.Missing(id)
		}
		if err != nil {
			return c, err
		}
		c = found[0]
		if !rewind.Undo(&c, cause) {
			return c, nil
		}
		moved := c.State != found[0].State
		if moved {
			c.ChangedAt = fromMicros(micros(t.now))
		}
		return c, t.changeCompensations([]changed{{c, moved}})
	})
}

// Compensation implements activities.Compensations.
func (r recovery) Compensation(ctx context.Context, id string) (wflo.CompensationRecord, error) {
	return only(ctx, r, "read compensation "+id, scanCompensation, queryCompensation, id)
}

// ListCompensations implements activities.Compensations.
func (r recovery) ListCompensations(ctx context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	order := "changed_at"
	if q.Run != "" {
		order = "height"
	}
	place, err := r.place(ctx, "compensations", order, q.After)
	if err != nil {
		return nil, doing("list compensations", err)
	}
	f := &filters{}
	f.equal("org", q.Org)
	f.equal("workflow_id", q.WorkflowID)
	f.equal("run", q.Run)
	if len(q.States) > 0 {
		f.add("state IN (SELECT value FROM json_each(?))", encodeList(q.States))
	}
	if !q.Quiet.IsZero() {
		f.add("changed_at <= ?", micros(q.Quiet.Truncate(time.Microsecond)))
	}
	query, args := f.page(compensationColumns, "compensations", order, place, q.After, q.Limit)
	rows, err := r.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scanCompensation)
	return found, doing("list compensations", err)
}

// AdoptCompensations implements activities.Compensations.
func (r recovery) AdoptCompensations(ctx context.Context, from, to wflo.Run, upTo int) error {
	owner, err := written("run", to)
	if err != nil {
		return err
	}
	return r.change(ctx, "adopt compensations", `UPDATE compensations SET org = ?, workflow_id = ?, run = ?, owner = ?
		WHERE run = ? AND height <= ? AND state NOT IN (SELECT value FROM json_each(?))`,
		to.Org, to.WorkflowID, to.ID(), owner, from.ID(), upTo, encodeList(rewind.Ended()))
}
