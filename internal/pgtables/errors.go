package pgtables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/wflo-ai/wflo-go"
)

const useAnother = "restore another snapshot, and find out what changed the blob store"

// damaged is the error for what is not what was stored: a retry cannot help.
func damaged(format string, args ...any) error {
	return wflo.Errorf(wflo.CodeConflict, useAnother, format, args...)
}

// refused is the error for tables that cannot take the rows back as they are.
func refused(hint, format string, args ...any) error {
	return wflo.Errorf(wflo.CodeConflict, hint, format, args...)
}

func errTooMuch(format string, args ...any) error {
	return wflo.Errorf(wflo.CodePayloadTooLarge, "raise the limits of tables, or keep fewer rows with a condition", format, args...)
}

// unread is the error for a blob that the store did not give. Only one that is not
// there is final.
func unread(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("%s is missing from the blob store: %w", what, err)
	}
	return &blobError{fmt.Errorf("read %s: %w", what, err)}
}

// lost is a failure of the database that may be over the next time. It has no cause,
// because what drivers and servers say quotes addresses and rows.
type lost struct {
	text  string
	cause error // of the context, or nil
}

func (e *lost) Error() string { return e.text }
func (e *lost) Unwrap() error { return e.cause }

// explain says what the database refused, without its words where they may quote rows:
// doing is what was being done, with the table's name.
func explain(ctx context.Context, doing string, err error) error {
	var ours *wflo.Error
	var before *lost
	var pg *pgconn.PgError
	var large *pgproto3.ExceededMaxBodyLenErr
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours), errors.As(err, &before):
		return err
	case errors.As(err, &large):
		return errTooMuch("%s: a row is larger than %d bytes", doing, large.MaxExpectedBodyLen)
	case ctx.Err() != nil:
		return &lost{doing + ": " + context.Cause(ctx).Error(), context.Cause(ctx)}
	case errors.As(err, &pg):
		return explainServer(doing, pg)
	case errors.As(err, new(*blobError)):
		return err
	}
	return &lost{doing + ": the connection to the database failed", nil}
}

// refusals are what the server says that only a change of something else can help,
// by its code. What they name is not what rows hold.
var refusals = map[string]struct{ problem, hint string }{
	"23503": {"would leave a row that refers to one that is not there", "add the table of that constraint to the set, or its rows"},
	"23505": {"finds a row with the same unique value outside of the rows that are kept", "keep the rows that belong together with one condition"},
	"23514": {"breaks a check", "restore under the constraints of the snapshot"},
	"23502": {"lacks a value that must be there", "restore under the constraints of the snapshot"},
	"23P01": {"breaks an exclusion constraint", "keep the rows that belong together with one condition"},
	"42501": {"is not allowed to the role", "grant the role what the set needs: SELECT to save; INSERT, UPDATE and DELETE on tables, and owning sequences, to restore"},
	"42P01": {"finds no such table", "correct the set in the worker's configuration"},
	"42703": {"finds no such column", "correct the condition in the worker's configuration"},
	"42883": {"finds no such function or operator", "write functions in conditions with their schema"},
	"42601": {"is not SQL", "correct the condition in the worker's configuration"},
	"25006": {"meets a server that cannot be written to", "use the address of the primary server"},
	"28P01": {"is refused by the database: the role or its password is wrong", "correct the set's URL"},
	"28000": {"is refused by the database: the role may not connect", "correct the set's URL"},
	"3D000": {"finds no such database", "correct the set's URL"},
	"P0001": {"is refused by a trigger", "set skip_triggers for the set, or change the trigger"},
}

// passing are failures that are over the next time.
var passing = map[string]string{
	"55P03": "another transaction holds a lock that was waited for too long",
	"57014": "the database cancelled it, or it took too long",
	"40P01": "it deadlocked with another transaction",
	"40001": "it conflicts with another transaction",
	"53300": "the database has no connection left",
	"53100": "the database's disk is full",
}

func explainServer(doing string, pg *pgconn.PgError) error {
	where := ""
	if pg.ConstraintName != "" {
		where = " (constraint " + pg.ConstraintName
		if pg.TableName != "" {
			where += " of " + show(pg.SchemaName, pg.TableName)
		}
		where += ")"
	} else if pg.ColumnName != "" {
		where = " (column " + pg.ColumnName + " of " + show(pg.SchemaName, pg.TableName) + ")"
	}
	if r, ok := refusals[pg.Code]; ok {
		return wflo.Errorf(wflo.CodeConflict, r.hint, "%s %s%s (SQLSTATE %s)", doing, r.problem, where, pg.Code)
	}
	if text, ok := passing[pg.Code]; ok {
		return &lost{fmt.Sprintf("%s: %s (SQLSTATE %s)", doing, text, pg.Code), nil}
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", "53", "57", "58", "XX":
		return &lost{fmt.Sprintf("%s: the database failed or ended the connection (SQLSTATE %s)", doing, pg.Code), nil}
	}
	return wflo.Errorf(wflo.CodeConflict, "look for it in the database's log", "%s is refused by the database%s (SQLSTATE %s)", doing, where, pg.Code)
}

// blobError is a failure of the blob store while the database was at work.
type blobError struct{ err error }

func (e *blobError) Error() string { return e.err.Error() }
func (e *blobError) Unwrap() error { return e.err }
