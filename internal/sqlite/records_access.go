package sqlite

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// PutBundle implements activities.Bundles.
func (r records) PutBundle(ctx context.Context, hash string, source []byte) error {
	if source == nil {
		source = []byte{} // nil would be NULL
	}
	return r.change(ctx, "keep bundle "+hash, "INSERT INTO bundles (hash, source) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING", hash, source)
}

// Bundle implements activities.Bundles.
func (r records) Bundle(ctx context.Context, hash string) (source []byte, err error) {
	err = r.one(ctx, "read bundle "+hash, "SELECT source FROM bundles WHERE hash = ?", []any{hash}, []any{&source})
	return source, err
}

// PutKey implements activities.Keys.
func (r records) PutKey(ctx context.Context, k activities.APIKey) error {
	kept := k
	kept.Revoked, kept.UsedAt = time.Time{}, time.Time{}
	text, err := written("key "+k.ID, kept)
	if err != nil {
		return err
	}
	return doing("keep key "+k.ID, r.do(ctx, func(t *tx) error {
		done, err := t.ExecContext(t.ctx, "INSERT INTO api_keys (id, hash, key) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", k.ID, k.Hash, text)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err == nil && n == 0 {
			return wflo.Errorf(wflo.CodeConflict, "make another", "key %s is there already", k.ID)
		}
		return err
	}))
}

const keyColumns = "hash, key, revoked_at, used_at"

func scanKey(row interface{ Scan(...any) error }) (k activities.APIKey, err error) {
	var hash, text string
	var revoked, used int64
	if err := row.Scan(&hash, &text, &revoked, &used); err != nil {
		return k, err
	}
	err = decode(text, &k)
	k.Hash, k.Revoked, k.UsedAt = hash, since(revoked), since(used)
	return k, err
}

// Key implements activities.Keys.
func (r records) Key(ctx context.Context, id string) (activities.APIKey, error) {
	rows, err := r.read.QueryContext(ctx, "SELECT "+keyColumns+" FROM api_keys WHERE id = ?", id) //nolint:sqlclosecheck // collect closes it
	found, err := collect(rows, err, scanKey)
	if err == nil && len(found) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return activities.APIKey{}, fmt.Errorf("read key %s: %w", id, err)
	}
	return found[0], nil
}

// ListKeys implements activities.Keys.
func (r records) ListKeys(ctx context.Context) ([]activities.APIKey, error) {
	rows, err := r.read.QueryContext(ctx, "SELECT "+keyColumns+" FROM api_keys ORDER BY id") //nolint:sqlclosecheck // collect closes it
	keys, err := collect(rows, err, scanKey)
	return keys, doing("list keys", err)
}

// RevokeKey implements activities.Keys.
func (r records) RevokeKey(ctx context.Context, id, by string) error {
	return doing("revoke key "+id, r.do(ctx, func(t *tx) error {
		if err := t.exec("UPDATE api_keys SET revoked_at = ?, revoked_by = ? WHERE id = ? AND revoked_at = 0", micros(t.now), by, id); err != nil {
			return err
		}
		var there bool
		if err := t.QueryRowContext(t.ctx, "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)", id).Scan(&there); err != nil || there {
			return err
		}
		return fs.ErrNotExist
	}))
}

// KeyUsed implements activities.Keys. It writes once in a minute at most.
func (r records) KeyUsed(ctx context.Context, id string) error {
	var before int64
	at := micros(r.now().Truncate(time.Minute))
	if err := r.one(ctx, "read key "+id, "SELECT used_at FROM api_keys WHERE id = ?", []any{id}, []any{&before}); err != nil || before >= at {
		return err
	}
	return r.change(ctx, "note the use of key "+id, "UPDATE api_keys SET used_at = ? WHERE id = ? AND used_at < ?", at, id, at)
}

// PutSession implements activities.Sessions.
func (r records) PutSession(ctx context.Context, s activities.Session) error {
	text, err := written("session", s)
	if err != nil {
		return err
	}
	return r.change(ctx, "keep session", `INSERT INTO sessions (id, subject, expires_at, session) VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, expires_at = excluded.expires_at, session = excluded.session`,
		s.ID, s.Identity.Subject, micros(s.Expires), text)
}

// Session implements activities.Sessions.
func (r records) Session(ctx context.Context, id string) (s activities.Session, err error) {
	var text string
	err = r.one(ctx, "read session", "SELECT session FROM sessions WHERE id = ? AND expires_at > ?", []any{id, micros(r.now())}, []any{&text})
	if err != nil {
		return s, err
	}
	return s, doing("read session", decode(text, &s))
}

// DropSession implements activities.Sessions.
func (r records) DropSession(ctx context.Context, id string) error {
	return r.change(ctx, "drop session", "DELETE FROM sessions WHERE id = ?", id)
}

// DropSessions implements activities.Sessions.
func (r records) DropSessions(ctx context.Context, subject string) error {
	return doing("drop sessions", r.do(ctx, func(t *tx) error {
		return t.exec("DELETE FROM sessions WHERE subject = ? OR expires_at <= ?", subject, micros(t.now))
	}))
}
