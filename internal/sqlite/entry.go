package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/ledger"
)

const (
	insertEntry = `INSERT INTO entries (key, attempt, at, state, adjusts, root_run, run, provider, model, response_id, usage, price,
		reserved_nano, amount_nano, overdraft_nano, saved_nano, source, scopes, settled_by, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`
	insertEntryBudgets = "INSERT INTO entry_budgets (budget, at, entry) SELECT value, ?, ? FROM json_each(?)"
	entryColumns       = `e.key, e.attempt, e.at, e.state, e.run, e.provider, e.model, e.response_id, e.usage, e.price, e.reserved_nano,
		e.amount_nano, e.overdraft_nano, e.saved_nano, e.source, e.scopes, e.settled_by, e.reason`
)

// addEntry writes a line of the ledger for a hold as it was before it closed.
func (t *tx) addEntry(h hold, e wflo.Entry) error {
	adjusts := h.state == wflo.HoldUnknown
	run, scopes := h.runText, h.scopesText
	if run == "" {
		run, scopes = encode(h.run), encodeList(h.scopes)
	}
	var id int64
	err := t.queryRow(insertEntry, h.key, h.attempt, t.at, e.State, adjusts, h.run.RootID(), run,
		ledger.Text(e.Provider), ledger.Text(e.Model), ledger.Text(e.ResponseID), encode(e.Usage), encode(e.Price), h.granted, e.Amount,
		e.Overdraft, e.Saved, e.Source, scopes, ledger.Text(e.By), ledger.Text(e.Reason)).Scan(&id)
	if err != nil {
		return fmt.Errorf("add entry: %w", err)
	}
	if counted := h.counted(); len(counted) > 0 {
		if err := t.exec(insertEntryBudgets, t.at, id, encode(counted)); err != nil {
			return fmt.Errorf("attribute entry: %w", err)
		}
	}
	return nil
}

func scanEntry(row interface{ Scan(...any) error }, more ...any) (wflo.Entry, error) {
	var e wflo.Entry
	var at int64
	var run, usage, price, scopes string
	into := []any{&e.Key, &e.Attempt, &at, &e.State, &run, &e.Provider, &e.Model, &e.ResponseID, &usage, &price, &e.Reserved,
		&e.Amount, &e.Overdraft, &e.Saved, &e.Source, &scopes, &e.By, &e.Reason}
	if err := row.Scan(append(into, more...)...); err != nil {
		return e, err
	}
	e.At = time.Unix(0, at).UTC()
	return e, errors.Join(decode(run, &e.Run), decode(usage, &e.Usage), decode(price, &e.Price), decode(scopes, &e.Scopes))
}

// Entries implements activities.Ledger.
func (l *Ledger) Entries(ctx context.Context, rootRun string) ([]wflo.Entry, error) {
	rows, err := l.read.QueryContext(ctx, "SELECT "+entryColumns+" FROM entries e WHERE e.root_run = ? ORDER BY e.id", rootRun)
	if err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
	}
	defer rows.Close()
	var entries []wflo.Entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", rootRun, err)
	}
	return entries, nil
}
