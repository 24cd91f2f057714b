package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// maxGroup bounds the calls of one transaction, and with it how long the first of
// them waits for the others' work.
const maxGroup = 256

var errClosed = errors.New("the ledger is closed")

// job is a call that waits for its transaction.
type job struct {
	ctx  context.Context
	work func(*tx) error
	done chan error // has room for the answer
}

// do has work run in a transaction of the writer. Calls that arrive while a
// transaction runs share the next one, because the flush to the disk costs more
// than what it flushes. work sees what the ones before it in the group did.
//
// An error with a code of wflo is work's answer, and what work did is kept: work
// must decide before it changes anything. Any other error undoes work, and only
// that. work may be run twice, for that reason. When ctx ends, do returns at
// once, and work may be done or not.
func (l *Ledger) do(ctx context.Context, work func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{ctx, work, make(chan error, 1)}
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.closing:
		return errClosed
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeAll runs jobs until the ledger closes.
func (l *Ledger) writeAll() {
	defer close(l.closed)
	for {
		var group []*job
		select {
		case j := <-l.jobs:
			group = append(group, j)
		case <-l.closing:
			return
		}
		for more := true; more && len(group) < maxGroup; {
			select {
			case j := <-l.jobs:
				group = append(group, j)
			default:
				more = false
			}
		}
		l.runGroup(group)
	}
}

// runGroup gives every job its answer.
func (l *Ledger) runGroup(group []*job) {
	var live []*job
	for _, j := range group {
		if err := j.ctx.Err(); err != nil {
			j.done <- err
			continue
		}
		live = append(live, j)
	}
	if len(live) == 0 {
		return
	}
	answers, began, err := l.commit(live)
	for i, j := range live {
		answer := err
		switch {
		case err == nil:
			answer = answers[i]
		case began && len(live) > 1:
			// One of them is at fault. Alone, it hurts itself only.
			var alone []error
			if alone, _, answer = l.commit(live[i : i+1]); answer == nil {
				answer = alone[0]
			}
		}
		j.done <- answer
	}
}

// commit runs the jobs in one transaction. began says whether the database let
// them begin; err undid all of them.
func (l *Ledger) commit(group []*job) (answers []error, began bool, err error) {
	// The callers' contexts end none of this: the others depend on it.
	ctx := context.Background()
	raw, err := l.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, false, fmt.Errorf("begin: %w", err)
	}
	t := &tx{Tx: raw, ledger: l, ctx: ctx, now: l.now(), statements: map[string]*sql.Stmt{}}
	t.at = t.now.UnixNano()
	if err := t.recall(); err != nil {
		return nil, true, l.undo(raw, err)
	}
	for _, j := range group {
		answer := j.work(t)
		if answer != nil && wflo.CodeOf(answer) == "" {
			return nil, true, l.undo(raw, answer)
		}
		answers = append(answers, answer)
	}
	if err := t.flush(); err != nil {
		return nil, true, l.undo(raw, err)
	}
	if err := raw.Commit(); err != nil {
		return nil, true, l.undo(raw, fmt.Errorf("commit: %w", err))
	}
	return answers, true, nil
}

func (l *Ledger) undo(t *sql.Tx, err error) error {
	l.rules, l.accounts = nil, nil // they may be as this transaction made them
	if undo := t.Rollback(); !errors.Is(undo, sql.ErrTxDone) {
		err = errors.Join(err, undo)
	}
	return err
}

// maxAccounts bounds what is remembered from one transaction to the next.
const maxAccounts = 10_000

const queryVersion = "PRAGMA data_version"

// recall takes over what the last transaction knew, unless somebody else has
// written to the file since.
func (t *tx) recall() error {
	l := t.ledger
	var version int64
	if err := t.queryRow(queryVersion).Scan(&version); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if version != l.version {
		l.version, l.rules, l.accounts = version, nil, nil
	}
	if l.accounts == nil || len(l.accounts) > maxAccounts {
		l.accounts = map[string]*account{}
	}
	t.accounts = l.accounts
	return nil
}

// tx is one transaction of the writer.
type tx struct {
	*sql.Tx
	ledger *Ledger
	ctx    context.Context
	// now is its time, and at the same in nanoseconds since 1970.
	now time.Time
	at  int64
	// accounts are those that were read, by this transaction or before it. Their sums are made here, and written
	// once when the transaction ends.
	accounts   map[string]*account
	statements map[string]*sql.Stmt
}

// statement is the prepared form of a query, or nil where it has none. It is
// closed with the transaction.
func (t *tx) statement(query string) *sql.Stmt {
	if s := t.statements[query]; s != nil {
		return s
	}
	prepared := t.ledger.prepared[query]
	if prepared == nil {
		return nil
	}
	s := t.StmtContext(t.ctx, prepared)
	t.statements[query] = s
	return s
}

func (t *tx) exec(query string, args ...any) (err error) {
	if s := t.statement(query); s != nil { //nolint:sqlclosecheck // the transaction closes it
		_, err = s.ExecContext(t.ctx, args...)
	} else {
		_, err = t.ExecContext(t.ctx, query, args...)
	}
	return err
}

func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	if s := t.statement(query); s != nil { //nolint:sqlclosecheck // the transaction closes it
		return s.QueryContext(t.ctx, args...)
	}
	return t.QueryContext(t.ctx, query, args...)
}

// queryRow is for prepared queries only.
func (t *tx) queryRow(query string, args ...any) *sql.Row {
	return t.statement(query).QueryRowContext(t.ctx, args...) //nolint:sqlclosecheck // the transaction closes it
}

// often are the statements of every paid call and of every gate, which are prepared
// once.
var often = []string{queryAccount, updateAccount, insertAccount, queryAttempts, queryHold, insertHold, closeHold, insertEntry, insertEntryBudgets,
	queryVersion, upsertGate, dropApprovers, addApprovers, insertGrant, queryGrant, queryHead, queryEvent, insertEvent}

// oftenRead are those of reading a budget, and of the gate that somebody decides on.
var oftenRead = []string{queryAccount, queryRule, queryExpired, queryGate}

func (l *Ledger) prepare(ctx context.Context) (err error) {
	if l.prepared, err = prepareAll(ctx, l.write, slices.Concat(often, oftenRecovery)); err != nil {
		return err
	}
	l.reading, err = prepareAll(ctx, l.read, oftenRead)
	return err
}

func prepareAll(ctx context.Context, db *sql.DB, queries []string) (map[string]*sql.Stmt, error) {
	all := map[string]*sql.Stmt{}
	for _, query := range queries {
		s, err := db.PrepareContext(ctx, query) //nolint:sqlclosecheck // closed with the connection
		if err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		all[query] = s
	}
	return all, nil
}
