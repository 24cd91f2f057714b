package pgtables

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Restore implements activities.PartKeeper, in one transaction. To do it again gives the
// same rows again.
func (k *Keeper) Restore(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	if err := k.restore(ctx, in, p); err != nil {
		return fmt.Errorf("restore tables %s: %w", in.Name, err)
	}
	return nil
}

func (k *Keeper) restore(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	set, err := k.set(in.Name)
	if err != nil {
		return err
	}
	m, err := k.load(ctx, p)
	if err != nil {
		return err
	}
	// Before anything is locked: what is damaged holds nobody up.
	if err := k.whole(ctx, m); err != nil {
		return err
	}
	return k.in(ctx, set, restoring, func(ctx context.Context, s *session) error {
		order, now, err := s.ready(ctx, m)
		if err != nil {
			return err
		}
		key := newSumKey()
		sums, err := k.replace(ctx, s, m, order, key)
		if err != nil {
			return err
		}
		if err := s.verify(ctx, m, key, sums, k.limits); err != nil {
			return err
		}
		return s.settle(ctx, m, now)
	})
}

// Check implements activities.PartKeeper: everything that a restore asks before it
// changes rows, without the locks against writers.
func (k *Keeper) Check(ctx context.Context, in activities.PartRequest, p wflo.SnapshotPart) error {
	set, err := k.set(in.Name)
	if err != nil {
		return err
	}
	m, err := k.load(ctx, p)
	if err != nil {
		return err
	}
	if err := k.whole(ctx, m); err != nil {
		return err
	}
	return k.in(ctx, set, reading, func(ctx context.Context, s *session) error {
		_, _, err := s.ready(ctx, m)
		return err
	})
}

// ready refuses what can be known to fail, and gives the order for deletes and what the
// tables are.
func (s *session) ready(ctx context.Context, m *manifest) ([]int, *manifest, error) {
	now, err := s.schema(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := sameSchema(m, now); err != nil {
		return nil, nil, err
	}
	for _, q := range m.Sequences {
		if findSequence(now, q) == nil {
			return nil, nil, refused("give the column its sequence again, or restore a snapshot that was taken since",
				"sequence %s is not what a column gets its values from any more", show(q.Schema, q.Name))
		}
	}
	if err := s.allowed(ctx); err != nil {
		return nil, nil, err
	}
	links, err := s.links(ctx)
	if err != nil {
		return nil, nil, err
	}
	way, err := order(s.tables, links)
	if err != nil {
		return nil, nil, err
	}
	return way, now, s.untouched(ctx, links)
}

const selectRights = `SELECT c.oid::int8, pg_catalog.has_table_privilege(c.oid, 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'DELETE'),
	pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c WHERE c.oid = ANY($1::oid[])`

// allowed says early what the role lacks.
func (s *session) allowed(ctx context.Context) error {
	return s.query(ctx, selectRights, func(rows pgx.Rows) error {
		var oid int64
		var writes, owns bool
		if err := rows.Scan(&oid, &writes, &owns); err != nil {
			return err
		}
		t := s.table(oid)
		if !writes {
			return refused("grant the role INSERT, UPDATE and DELETE on it", "the role of the set may not replace rows of table %s", t.show())
		}
		if s.set.skipTriggers && !owns {
			return refused("make the role a member of the owner, or leave skip_triggers out", "the role of the set does not own table %s and so cannot skip its triggers", t.show())
		}
		return nil
	})
}

// replace deletes the rows, copies the old ones in, and gives their sums by table.
// Triggers run with the search path that the role has otherwise.
func (k *Keeper) replace(ctx context.Context, s *session, m *manifest, order []int, key sumKey) ([]string, error) {
	off, on, err := s.triggers(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, "preparing the tables", "SET LOCAL search_path TO DEFAULT; SET CONSTRAINTS ALL DEFERRED; "+off); err != nil {
		return nil, err
	}
	for _, i := range order {
		t := &s.tables[i]
		if err := s.run(ctx, "deleting rows of table "+t.show(), t.deleteRows()); err != nil {
			return nil, err
		}
	}
	sums := make([]string, len(m.Tables))
	for _, i := range slices.Backward(order) {
		sum := newRowSum(key)
		if err := k.copyBack(ctx, s, &m.Tables[i], sum); err != nil {
			return nil, err
		}
		sums[i] = sum.hex()
	}
	if err := s.run(ctx, "checking constraints", "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return nil, err
	}
	return sums, s.run(ctx, "taking triggers back", on+plainNames)
}

func (k *Keeper) copyBack(ctx context.Context, s *session, t *table, sum *rowSum) error {
	rows := k.pour(ctx, t, sum)
	defer rows.end()
	doing := "writing table " + t.show()
	tag, err := s.conn.PgConn().CopyFrom(ctx, rows, t.copyIn())
	if failed := rows.failure(); failed != nil {
		return explain(ctx, doing, failed)
	}
	if err != nil {
		return explain(ctx, doing, err)
	}
	// A trigger that returns null leaves its row out.
	if n := tag.RowsAffected(); n != t.Rows {
		return otherRows(t, n)
	}
	return nil
}

// verify reads everything again, inside of the transaction. The rows must be those that
// were sent, which are those of the snapshot, because its hash covers their chunks. In
// manifests that have a sum it is the sum that the hash covers.
func (s *session) verify(ctx context.Context, m *manifest, key sumKey, sums []string, most Limits) error {
	for i := range m.Tables {
		t, under, want := s.tables[i], key, sums[i]
		if m.Tables[i].Sum != "" {
			under, want = nil, m.Tables[i].Sum
		}
		sum := newRowSum(under)
		if err := s.read(ctx, &t, t.copyAny(), counting(most, sum)); err != nil {
			return err
		}
		if sum.hex() != want || t.Rows != m.Tables[i].Rows {
			return otherRows(&t, t.Rows)
		}
	}
	return nil
}

// settle sets sequences back.
func (s *session) settle(ctx context.Context, m, now *manifest) error {
	for _, then := range m.Sequences {
		if err := s.setBack(ctx, then, findSequence(now, then)); err != nil {
			return err
		}
	}
	return nil
}

func otherRows(t *table, n int64) error {
	return refused("look at the triggers of the table: set skip_triggers for the set if they must not fire for rows that come back",
		"table %s would not have the rows of the snapshot (%d came back): a trigger changes them, or the condition does not hold for them any more", t.show(), n)
}

func findSequence(m *manifest, q sequence) *sequence {
	for i := range m.Sequences {
		if s := &m.Sequences[i]; s.Schema == q.Schema && s.Name == q.Name {
			return s
		}
	}
	return nil
}

// setBack puts a sequence to where it was. A change of a sequence outlives the
// transaction; RESTART is the exception, because it makes the sequence's storage anew,
// so that what follows it is rolled back with it. One that others use only goes
// forward.
func (s *session) setBack(ctx context.Context, then sequence, now *sequence) error {
	doing := "setting back sequence " + show(then.Schema, then.Name)
	q := []sequence{*now}
	if err := s.readPositions(ctx, q); err != nil {
		return err
	}
	if q[0].Last == then.Last && q[0].Called == then.Called {
		return nil
	}
	if now.shared && !ahead(then, q[0]) {
		return nil
	}
	if err := s.run(ctx, doing, "ALTER SEQUENCE "+then.ident()+" RESTART"); err != nil {
		return err
	}
	_, err := s.conn.Exec(ctx, "SELECT pg_catalog.setval($1::pg_catalog.regclass, $2, $3)", then.ident(), then.Last, then.Called)
	return explain(ctx, doing, err)
}

// ahead says that a sequence was further than it is.
func ahead(then, now sequence) bool {
	if now.increment < 0 {
		return then.Last < now.Last || then.Last == now.Last && then.Called && !now.Called
	}
	return then.Last > now.Last || then.Last == now.Last && then.Called && !now.Called
}

const selectTriggers = `WITH RECURSIVE family(id) AS (
		SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY($1::oid[])
		UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.id
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition)
	SELECT n.nspname, c.relname, g.tgname, g.tgenabled::text FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.id
	JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid
	WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') ORDER BY n.nspname, c.relname, g.tgname`

// triggers gives the statements that keep triggers of users from firing, and those that
// make each what it was. Others never see the difference: it ends with the transaction.
func (s *session) triggers(ctx context.Context) (off, on string, err error) {
	if !s.set.skipTriggers {
		return "", "", nil
	}
	err = s.query(ctx, selectTriggers, func(rows pgx.Rows) error {
		var schema, name, trigger, enabled string
		if err := rows.Scan(&schema, &name, &trigger, &enabled); err != nil {
			return err
		}
		alter := "ALTER TABLE ONLY " + pgx.Identifier{schema, name}.Sanitize()
		trigger = pgx.Identifier{trigger}.Sanitize() + "; "
		off += alter + " DISABLE TRIGGER " + trigger
		if enabled == "A" {
			on += alter + " ENABLE ALWAYS TRIGGER " + trigger
		} else {
			on += alter + " ENABLE TRIGGER " + trigger
		}
		return nil
	})
	return off, on, err
}
