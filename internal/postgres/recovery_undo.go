package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/rewind"
	"github.com/wflo-ai/wflo-go/internal/step"
)

const (
	compensationColumns = "id, owner, height, state, begun, cause, error, ended_by, reason, at, changed_at, doc, input, probe_input"
	// noInput reads records without what they were given, which may be large.
	noInput            = "id, owner, height, state, begun, cause, error, ended_by, reason, at, changed_at, '{}'::bytea, NULL::bytea, NULL::bytea"
	queryCompensation  = "SELECT " + compensationColumns + " FROM wflo.compensations WHERE id = $1"
	insertCompensation = `INSERT INTO wflo.compensations (org, workflow_id, run, owner, at, changed_at,
			id, height, state, begun, cause, error, ended_by, reason, doc, input, probe_input)
		SELECT $1, $2, $3, $4, now, now, id, height, state, begun, cause, error, ended_by, reason, doc, nullif(input, ''), nullif(probe_input, '')
		FROM (SELECT wflo.clock() AS now OFFSET 0) AS c, unnest($5::text[], $6::bigint[], $7::text[], $8::boolean[], $9::text[], $10::text[], $11::text[], $12::text[],
			$13::bytea[], $14::bytea[], $15::bytea[]) WITH ORDINALITY
			AS t(id, height, state, begun, cause, error, ended_by, reason, doc, input, probe_input, n) ORDER BY id COLLATE "C", n
		ON CONFLICT (id) DO NOTHING`
	changeCompensation = `UPDATE wflo.compensations SET state = $2, begun = $3, cause = $4, error = $5, ended_by = $6, reason = $7,
		changed_at = CASE WHEN state = $2 THEN changed_at ELSE wflo.clock() END WHERE id = $1 RETURNING changed_at`
)

func scanCompensation(row pgx.CollectableRow) (c wflo.CompensationRecord, _ error) {
	var k wflo.CompensationRecord
	var owner, doc []byte
	var state string
	if err := row.Scan(&k.ID, &owner, &k.Height, &state, &k.Begun, &k.Cause, &k.Error, &k.By, &k.Reason, &k.At, &k.ChangedAt,
		&doc, &k.Input, &k.ProbeInput); err != nil {
		return c, err
	}
	if err := errors.Join(json.Unmarshal(doc, &c), json.Unmarshal(owner, &k.Run)); err != nil {
		return c, err
	}
	c.Run = rewind.Owned(k.Run, c.Run)
	c.ID, c.Height, c.State, c.Begun = unword(k.ID), k.Height, wflo.CompensationState(state), k.Begun
	c.Cause, c.Error, c.By, c.Reason = unword(k.Cause), unword(k.Error), unword(k.By), unword(k.Reason)
	c.Input, c.ProbeInput, c.At, c.ChangedAt = k.Input, k.ProbeInput, k.At.UTC(), k.ChangedAt.UTC()
	return c, nil
}

// newCompensations are the arguments of insertCompensation.
func newCompensations(run wflo.Run, given []wflo.CompensationRecord) ([]any, error) {
	owner, err := json.Marshal(run)
	if err != nil {
		return nil, fmt.Errorf("encode run: %w", err)
	}
	var ids, states, causes, problems, whom, reasons []string
	var heights []int64
	var begun []bool
	var docs, inputs, probes [][]byte
	for _, c := range given {
		if c, err = rewind.New(run, c); err != nil {
			return nil, err
		}
		doc, err := json.Marshal(wflo.CompensationRecord{Name: c.Name, Activity: c.Activity, TaskQueue: c.TaskQueue, Group: c.Group,
			Step: c.Step, Undoes: c.Undoes, Probe: c.Probe, Timeout: c.Timeout, Attempts: c.Attempts,
			Run: rewind.Registration(run), Seq: c.Seq})
		if err != nil {
			return nil, fmt.Errorf("encode compensation %s: %w", c.ID, err)
		}
		ids, states, causes, problems = append(ids, word(c.ID)), append(states, string(c.State)), append(causes, word(c.Cause)), append(problems, word(c.Error))
		whom, reasons = append(whom, word(c.By)), append(reasons, word(c.Reason))
		heights, begun, docs = append(heights, int64(c.Height)), append(begun, c.Begun), append(docs, doc)
		inputs, probes = append(inputs, c.Input), append(probes, c.ProbeInput)
	}
	return []any{word(run.Org), word(run.WorkflowID), word(run.ID()), owner, ids, heights, states, begun, causes, problems, whom, reasons, docs, inputs, probes}, nil
}

// NoteCompensations implements activities.Compensations. New ones alone, which is what
// each effect waits for, are one round trip.
func (r *recovery) NoteCompensations(ctx context.Context, run wflo.Run, n step.CompensationNotes) error {
	args, err := newCompensations(run, n.New)
	if err != nil {
		return err
	}
	const what = "note compensations"
	insert := r.in(insertCompensation)
	if len(n.Marks) == 0 && !n.Closed {
		if len(n.New) == 0 {
			return nil
		}
		err := r.l.call(ctx, func() error {
			_, err := r.l.pool.Exec(ctx, insert, args...)
			return err
		})
		return doing(what, err)
	}
	return r.within(ctx, what, func(tx pgx.Tx) error {
		if len(n.New) > 0 {
			if _, err := tx.Exec(ctx, insert, args...); err != nil {
				return err
			}
		}
		kept, err := r.hold(ctx, tx, run.ID(), n)
		if err != nil {
			return err
		}
		changes, err := rewind.Apply(kept, run.ID(), n)
		if err != nil {
			return err
		}
		return r.change(ctx, tx, changes)
	})
}

// hold locks and reads the records that notes are about, in the order of their ids.
func (r *recovery) hold(ctx context.Context, tx pgx.Tx, run string, n step.CompensationNotes) (map[string]wflo.CompensationRecord, error) {
	var ids []string
	for _, m := range n.Marks {
		ids = append(ids, m.ID)
	}
	if n.Closed {
		left, err := inside(ctx, r, tx, pgx.RowTo[string], "SELECT id FROM wflo.compensations WHERE run = $1 AND state <> ALL ($2)", word(run), rewind.Ended())
		if err != nil {
			return nil, err
		}
		for _, id := range left {
			ids = append(ids, unword(id))
		}
	}
	batch := &pgx.Batch{}
	sorted := words(ids)
	for _, id := range sorted {
		batch.Queue(r.in("SELECT "+noInput+" FROM wflo.compensations WHERE id = $1 FOR UPDATE"), id)
	}
	kept := map[string]wflo.CompensationRecord{}
	held := tx.SendBatch(ctx, batch)
	for range sorted {
		found, err := collectBatch(held, scanCompensation)
		if err != nil {
			return nil, closing(held, err)
		}
		for _, c := range found {
			kept[c.ID] = c
		}
	}
	return kept, held.Close()
}

// change writes records that are locked, and fills in when they changed.
func (r *recovery) change(ctx context.Context, tx pgx.Tx, changes []wflo.CompensationRecord) error {
	batch := &pgx.Batch{}
	for i := range changes {
		c := &changes[i]
		batch.Queue(r.in(changeCompensation), word(c.ID), string(c.State), c.Begun, word(c.Cause), word(c.Error), word(c.By), word(c.Reason)).
			QueryRow(func(row pgx.Row) error {
				var at time.Time
				err := row.Scan(&at)
				c.ChangedAt = at.UTC()
				return err
			})
	}
	return tx.SendBatch(ctx, batch).Close()
}

// BeginEffect implements activities.Compensations.
func (r *recovery) BeginEffect(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	const what = "begin an effect"
	type fence struct{ ID, State string }
	found, err := rows(ctx, r, what, pgx.RowToStructByPos[fence], "SELECT found_id, found_state FROM wflo.begin_effect($1, $2)", words(ids), rewind.Late())
	if err != nil {
		return err
	}
	kept := map[string]wflo.CompensationState{}
	for _, f := range found {
		kept[unword(f.ID)] = wflo.CompensationState(f.State)
	}
	return doing(what, rewind.MayBegin(ids, kept))
}

// BeginUndo implements activities.Compensations.
func (r *recovery) BeginUndo(ctx context.Context, id, cause string) (c wflo.CompensationRecord, _ error) {
	err := r.within(ctx, "begin to undo", func(tx pgx.Tx) error {
		found, err := inside(ctx, r, tx, scanCompensation, queryCompensation+" FOR UPDATE", word(id))
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return rewind.Missing(id)
		}
		if c = found[0]; rewind.Undo(&c, cause) {
			changes := []wflo.CompensationRecord{c}
			err = r.change(ctx, tx, changes)
			c = changes[0]
		}
		return err
	})
	if err != nil {
		return wflo.CompensationRecord{}, err
	}
	return c, nil
}

// Compensation implements activities.Compensations.
func (r *recovery) Compensation(ctx context.Context, id string) (wflo.CompensationRecord, error) {
	return only(ctx, r, "read compensation "+id, scanCompensation, queryCompensation, word(id))
}

// ListCompensations implements activities.Compensations.
func (r *recovery) ListCompensations(ctx context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error) {
	const what = "list compensations"
	order, where := "changed_at", place[time.Time]
	if q.Run != "" {
		order, where = "height", place[int64]
	}
	from, err := where(ctx, r, "compensations", order, q.After)
	if err != nil {
		return nil, doing(what, err)
	}
	c := &conditions{}
	c.equal("org", q.Org)
	c.equal("workflow_id", q.WorkflowID)
	c.equal("run", q.Run)
	if len(q.States) > 0 {
		states := []string{}
		for _, s := range q.States {
			states = append(states, word(string(s)))
		}
		c.add("state = ANY (%v)", states)
	}
	if !q.Quiet.IsZero() {
		c.add("changed_at <= %v", q.Quiet)
	}
	query, args := c.page(compensationColumns, "compensations", order, from, q.Limit)
	return rows(ctx, r, what, scanCompensation, query, args...)
}

// AdoptCompensations implements activities.Compensations. Rows are locked in the order
// of their ids, as everywhere.
func (r *recovery) AdoptCompensations(ctx context.Context, from, to wflo.Run, upTo int) error {
	owner, err := json.Marshal(to)
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	_, err = rows(ctx, r, "adopt compensations", pgx.RowTo[string], `WITH held AS MATERIALIZED (
			SELECT id FROM wflo.compensations WHERE run = $1 AND height <= $2 AND state <> ALL ($3) ORDER BY id FOR UPDATE)
		UPDATE wflo.compensations c SET org = $4, workflow_id = $5, run = $6, owner = $7 FROM held h WHERE c.id = h.id RETURNING c.id`,
		word(from.ID()), upTo, rewind.Ended(), word(to.Org), word(to.WorkflowID), word(to.ID()), owner)
	return err
}
