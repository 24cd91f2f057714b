package sqlite

import (
	"context"
	"encoding/json"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// places are a sandbox.Places in the ledger's file, over the same writer.
type places struct{ records }

var _ sandbox.Places = places{}

// Places gives where the workspaces of runs are. They live as long as the ledger.
func (l *Ledger) Places() sandbox.Places { return places{records{l}} }

func scanPlace(row interface{ Scan(...any) error }) (p sandbox.Place, err error) {
	var text, box string
	var version int64
	if err := row.Scan(&box, &version, &text); err != nil {
		return p, err
	}
	err = json.Unmarshal([]byte(text), &p)
	p.Box, p.Version = box, version
	return p, err
}

func (s places) query(ctx context.Context, query string, args ...any) ([]sandbox.Place, error) {
	found, err := s.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // collect closes it
	return collect(found, err, scanPlace)
}

// Place implements sandbox.Places.
func (s places) Place(ctx context.Context, box string) (p sandbox.Place, ok bool, err error) {
	found, err := s.query(ctx, "SELECT box, version, place FROM places WHERE box = ?", box)
	if err != nil || len(found) == 0 {
		return p, false, doing("read a place", err)
	}
	return found[0], true, nil
}

// PutPlace implements sandbox.Places.
func (s places) PutPlace(ctx context.Context, p sandbox.Place) (ok bool, err error) {
	text, err := written("place", p)
	if err != nil {
		return false, err
	}
	query, args := "UPDATE places SET version = version + 1, place = ? WHERE box = ? AND version = ? RETURNING box", []any{text, p.Box, p.Version}
	if p.Version == 0 {
		query, args = "INSERT INTO places (version, place, box) VALUES (1, ?, ?) ON CONFLICT (box) DO NOTHING RETURNING box", args[:2]
	}
	return ok, doing("keep a place", s.do(ctx, func(t *tx) error {
		put, err := all(t, func(row interface{ Scan(...any) error }) (box string, err error) { return box, row.Scan(&box) }, query, args...)
		ok = len(put) == 1
		return err
	}))
}

// DropPlace implements sandbox.Places.
func (s places) DropPlace(ctx context.Context, box string) error {
	return doing("drop a place", s.do(ctx, func(t *tx) error { return t.exec("DELETE FROM places WHERE box = ?", box) }))
}

// ListPlaces implements sandbox.Places.
func (s places) ListPlaces(ctx context.Context, after string, limit int) ([]sandbox.Place, error) {
	found, err := s.query(ctx, "SELECT box, version, place FROM places WHERE box > ? ORDER BY box LIMIT ?", after, limit)
	return found, doing("list places", err)
}
