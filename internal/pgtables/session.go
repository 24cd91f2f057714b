package pgtables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go"
)

// session is one connection with one transaction over the tables of a set.
type session struct {
	conn   *pgx.Conn
	set    *tableSet
	tables []table // with names, conditions and oids, in the order of names
}

// settings fix how values are written and read. row_security makes the server refuse
// what it would hide.
const settings = `SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL TimeZone = 'UTC';
SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL xmloption = 'content';
SET LOCAL client_encoding = 'UTF8'; SET LOCAL quote_all_identifiers = off; SET LOCAL row_security = off;
SET LOCAL standard_conforming_strings = on; SET LOCAL array_nulls = on; SET LOCAL idle_in_transaction_session_timeout = 0; `

// plainNames makes the server write every name with its schema, and find nothing that
// somebody put in the way.
const plainNames = "SET LOCAL search_path = ''; "

// mode is what a transaction is for.
type mode struct {
	begin string
	lock  string
}

var (
	reading   = mode{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ", "ACCESS SHARE"}
	restoring = mode{"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ", "EXCLUSIVE"}
)

// in runs do in a transaction over the locked tables of a set, and commits what it did
// unless it gives an error.
func (k *Keeper) in(ctx context.Context, set *tableSet, m mode, do func(ctx context.Context, s *session) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, set.conf.Copy())
	if err != nil {
		return explain(ctx, "connecting to the database", err)
	}
	s := &session{conn: conn, set: set}
	defer s.close()
	conn.PgConn().Frontend().SetMaxBodyLen(k.limits.RowBytes + 64)
	if err := s.find(ctx); err != nil {
		return err
	}
	if err := s.begin(ctx, m, k.lockTimeout, k.timeout); err != nil {
		return err
	}
	if err := do(ctx, s); err != nil {
		return explain(ctx, "the transaction", err)
	}
	return s.run(ctx, "the commit", "COMMIT")
}

// closeTimeout bounds saying good-bye. The server rolls back what was not committed.
const closeTimeout = 5 * time.Second

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	// Nothing is left to be lost: a commit has answered before.
	_ = s.conn.Close(ctx)
}

// run executes statements without results.
func (s *session) run(ctx context.Context, doing, sql string) error {
	_, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	return explain(ctx, doing, err)
}

// find looks for the tables of the set, outside of the transaction, because one that
// has looked at anything sees what there was before it got its locks.
func (s *session) find(ctx context.Context) error {
	for _, t := range s.set.tables {
		found := table{Where: t.Where}
		err := s.conn.QueryRow(ctx, `SELECT n.nspname, c.relname, c.oid::int8 FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)`, t.Name).
			Scan(&found.Schema, &found.Name, &found.oid)
		if errors.Is(err, pgx.ErrNoRows) {
			return wflo.Errorf(wflo.CodeInvalid, "correct the set in the worker's configuration, or the role's search path", "table %s of set %s is not there", t.Name, s.set.name)
		}
		if err != nil {
			return explain(ctx, "looking for table "+t.Name, err)
		}
		s.tables = append(s.tables, found)
	}
	slices.SortFunc(s.tables, func(a, b table) int {
		return cmpNames(a.Schema, a.Name, b.Schema, b.Name)
	})
	for i := range s.tables[1:] {
		if s.tables[i].oid == s.tables[i+1].oid {
			return wflo.Errorf(wflo.CodeInvalid, "name each table once", "set %s has table %s twice", s.set.name, s.tables[i].show())
		}
	}
	return nil
}

func cmpNames(schemaA, nameA, schemaB, nameB string) int {
	if c := strings.Compare(schemaA, schemaB); c != 0 {
		return c
	}
	return strings.Compare(nameA, nameB)
}

// begin opens the transaction and locks the tables, one after the other, always in the
// order of names.
func (s *session) begin(ctx context.Context, m mode, lock, whole time.Duration) error {
	times := fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d; ", max(lock.Milliseconds(), 1), max(whole.Milliseconds(), 1))
	if err := s.run(ctx, "the beginning of a transaction", m.begin+settings+times); err != nil {
		return err
	}
	for i := range s.tables {
		t := &s.tables[i]
		if err := s.run(ctx, "locking table "+t.show(), "LOCK TABLE "+t.ident()+" IN "+m.lock+" MODE"); err != nil {
			return err
		}
	}
	return nil
}

// oids are the tables as PostgreSQL writes an array.
func (s *session) oids() string {
	var ids []string
	for i := range s.tables {
		ids = append(ids, fmt.Sprint(s.tables[i].oid))
	}
	return "{" + strings.Join(ids, ",") + "}"
}

// table finds one by its oid.
func (s *session) table(oid int64) *table {
	for i := range s.tables {
		if s.tables[i].oid == oid {
			return &s.tables[i]
		}
	}
	return nil
}

// query calls each with every row, which it scans.
func (s *session) query(ctx context.Context, sql string, each func(rows pgx.Rows) error) error {
	rows, err := s.conn.Query(ctx, sql, s.oids())
	if err != nil {
		return explain(ctx, "reading the schema", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return explain(ctx, "reading the schema", err)
		}
	}
	return explain(ctx, "reading the schema", rows.Err())
}
