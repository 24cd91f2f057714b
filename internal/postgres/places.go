package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go/sandbox"
)

var _ sandbox.Places = (*places)(nil)

// places are where boxes are, in the same database and over the same connections as
// the ledger.
type places struct{ recovery }

// Places gives where the workspaces of runs are. It is closed with the ledger.
func (l *Ledger) Places() sandbox.Places {
	return &places{recovery{l: l, schema: l.records.sql.schema}}
}

func scanPlace(row pgx.CollectableRow) (p sandbox.Place, err error) {
	var data []byte
	var box string
	var version int64
	if err := row.Scan(&box, &version, &data); err != nil {
		return p, err
	}
	err = json.Unmarshal(data, &p)
	p.Box, p.Version = unword(box), version
	return p, err
}

// Place implements sandbox.Places.
func (s *places) Place(ctx context.Context, box string) (p sandbox.Place, ok bool, err error) {
	found, err := rows(ctx, &s.recovery, "read a place", scanPlace, "SELECT box, version, place FROM wflo.places WHERE box = $1", word(box))
	if err != nil || len(found) == 0 {
		return p, false, err
	}
	return found[0], true, nil
}

// PutPlace implements sandbox.Places.
func (s *places) PutPlace(ctx context.Context, p sandbox.Place) (ok bool, err error) {
	data, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("encode a place: %w", err)
	}
	query, args := "UPDATE wflo.places SET version = version + 1, place = $2 WHERE box = $1 AND version = $3 RETURNING box", []any{word(p.Box), data, p.Version}
	if p.Version == 0 {
		query, args = "INSERT INTO wflo.places (box, version, place) VALUES ($1, 1, $2) ON CONFLICT (box) DO NOTHING RETURNING box", args[:2]
	}
	put, err := rows(ctx, &s.recovery, "keep a place", pgx.RowTo[string], query, args...)
	return len(put) == 1, err
}

// DropPlace implements sandbox.Places.
func (s *places) DropPlace(ctx context.Context, box string) error {
	_, err := rows(ctx, &s.recovery, "drop a place", pgx.RowTo[string], "DELETE FROM wflo.places WHERE box = $1 RETURNING box", word(box))
	return err
}

// ListPlaces implements sandbox.Places.
func (s *places) ListPlaces(ctx context.Context, after string, limit int) ([]sandbox.Place, error) {
	return rows(ctx, &s.recovery, "list places", scanPlace, "SELECT box, version, place FROM wflo.places WHERE box > $1 ORDER BY box LIMIT $2", word(after), limit)
}
