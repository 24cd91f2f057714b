package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// attribute is the migration that gives what was written before budgets of all
// scopes existed its scopes, which are derived from the run. After it entries
// are closed to changes again.
func attribute(ctx context.Context, t *sql.Tx) error {
	for after := int64(0); ; {
		holds, last, err := unattributed(ctx, t, after)
		if err != nil {
			return err
		}
		if len(holds) == 0 {
			break
		}
		for _, h := range holds {
			scopes := []byte(encode(h.scopes))
			_, one := t.ExecContext(ctx, "UPDATE holds SET scopes = ? WHERE key = ? AND attempt = ?", string(scopes), h.key, h.attempt)
			_, two := t.ExecContext(ctx, "UPDATE entries SET scopes = ? WHERE key = ? AND attempt = ?", string(scopes), h.key, h.attempt)
			_, three := t.ExecContext(ctx, `INSERT OR IGNORE INTO entry_budgets (budget, at, entry) SELECT b.value, e.at, e.id
				FROM entries e, json_each(?) b WHERE e.key = ? AND e.attempt = ?`, encode(h.counted()), h.key, h.attempt)
			if err := errors.Join(one, two, three); err != nil {
				return fmt.Errorf("attribute hold %s attempt %d: %w", h.key, h.attempt, err)
			}
		}
		after = last
	}
	for _, change := range []string{"UPDATE", "DELETE"} {
		_, err := t.ExecContext(ctx, "CREATE TRIGGER entries_no_"+change+" BEFORE "+change+" ON entries BEGIN SELECT RAISE(ABORT, 'entries are only ever added'); END")
		if err != nil {
			return fmt.Errorf("close entries to changes: %w", err)
		}
	}
	return nil
}

// unattributed reads the next holds after a row, and says which row was last.
func unattributed(ctx context.Context, t *sql.Tx, after int64) (holds []hold, last int64, err error) {
	rows, err := t.QueryContext(ctx, "SELECT rowid, key, attempt, run, provider, model, budgets FROM holds WHERE rowid > ? ORDER BY rowid LIMIT 500", after)
	if err != nil {
		return nil, 0, fmt.Errorf("read holds: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h hold
		var run, lines []byte
		err := rows.Scan(&last, &h.key, &h.attempt, &run, &h.provider, &h.model, &lines)
		if err == nil {
			err = errors.Join(json.Unmarshal(run, &h.run), json.Unmarshal(lines, &h.lines))
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read holds: %w", err)
		}
		h.scopes = h.run.Scopes(h.provider, h.model)
		holds = append(holds, h)
	}
	return holds, last, rows.Err()
}

// encode is the JSON of one of our own types, which all have one.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("sqlite: encode %T: %v", v, err))
	}
	return string(b)
}

// decode reads what encode wrote; empty text leaves v as it is.
func decode(text string, v any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}
