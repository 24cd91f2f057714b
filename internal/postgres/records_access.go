package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// PutBundle implements activities.Bundles.
func (r *records) PutBundle(ctx context.Context, hash string, source []byte) error {
	if source == nil {
		source = []byte{}
	}
	_, err := r.exec(ctx, "keep bundle "+hash, r.sql.putBundle, word(hash), source)
	return err
}

// Bundle implements activities.Bundles.
func (r *records) Bundle(ctx context.Context, hash string) ([]byte, error) {
	return one(ctx, r, "read bundle "+hash, pgx.RowTo[[]byte], r.sql.bundle, word(hash))
}

// one reads the one row that must be there.
func one[T any](ctx context.Context, r *records, what string, scan pgx.RowToFunc[T], query string, args ...any) (T, error) {
	found, err := read(ctx, r.l, scan, query, args...)
	if err == nil && len(found) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", what, err)
	}
	return found[0], nil
}

// PutKey implements activities.Keys. It is sent once, because a repetition could
// not tell its own key from another's.
func (r *records) PutKey(ctx context.Context, k activities.APIKey) error {
	groups, err := json.Marshal(k.Groups)
	if err != nil {
		return fmt.Errorf("encode groups: %w", err)
	}
	roles, err := json.Marshal(k.Roles)
	if err != nil {
		return fmt.Errorf("encode roles: %w", err)
	}
	done, err := r.l.pool.Exec(ctx, r.sql.putKey, word(k.ID), word(k.Name), word(k.Hash), word(k.Subject), string(groups), string(roles),
		word(k.Org), word(k.MadeBy), k.MadeAt, moment(k.Expires), moment(k.Revoked), moment(k.UsedAt))
	if err != nil {
		return fmt.Errorf("add key %s: %w", k.ID, err)
	}
	if done.RowsAffected() == 0 {
		return wflo.Errorf(wflo.CodeConflict, "make another key", "there is a key %s already", k.ID)
	}
	return nil
}

// moment is NULL for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Key implements activities.Keys.
func (r *records) Key(ctx context.Context, id string) (activities.APIKey, error) {
	return one(ctx, r, "read key "+id, scanKey, r.sql.key, word(id))
}

// ListKeys implements activities.Keys.
func (r *records) ListKeys(ctx context.Context) ([]activities.APIKey, error) {
	all, err := read(ctx, r.l, scanKey, r.sql.keys)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return all, nil
}

// RevokeKey implements activities.Keys.
func (r *records) RevokeKey(ctx context.Context, id, by string) error {
	changed, err := r.exec(ctx, "revoke key "+id, r.sql.revokeKey, word(id), word(by))
	if err == nil && changed == 0 {
		err = fmt.Errorf("revoke key %s: %w", id, fs.ErrNotExist)
	}
	return err
}

// KeyUsed implements activities.Keys.
func (r *records) KeyUsed(ctx context.Context, id string) error {
	_, err := r.exec(ctx, "note the use of key "+id, r.sql.keyUsed, word(id))
	return err
}

func scanKey(row pgx.CollectableRow) (activities.APIKey, error) {
	var k activities.APIKey
	var groups, roles string
	var expires, revoked, used *time.Time
	if err := row.Scan(&k.ID, &k.Name, &k.Hash, &k.Subject, &groups, &roles, &k.Org, &k.MadeBy, &k.MadeAt, &expires, &revoked, &used); err != nil {
		return k, err
	}
	for _, s := range []*string{&k.ID, &k.Name, &k.Hash, &k.Subject, &k.Org, &k.MadeBy} {
		*s = unword(*s)
	}
	k.MadeAt, k.Expires, k.Revoked, k.UsedAt = k.MadeAt.UTC(), utc(expires), utc(revoked), utc(used)
	return k, errors.Join(json.Unmarshal([]byte(groups), &k.Groups), json.Unmarshal([]byte(roles), &k.Roles))
}

// PutSession implements activities.Sessions.
func (r *records) PutSession(ctx context.Context, s activities.Session) error {
	doc, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode session: %w", err)
	}
	_, err = r.exec(ctx, "keep session", r.sql.putSession, word(s.ID), word(s.Identity.Subject), doc, s.Expires)
	return err
}

// Session implements activities.Sessions.
func (r *records) Session(ctx context.Context, id string) (activities.Session, error) {
	return one(ctx, r, "read session", scanDoc[activities.Session], r.sql.session, word(id))
}

// DropSession implements activities.Sessions.
func (r *records) DropSession(ctx context.Context, id string) error {
	_, err := r.exec(ctx, "end session", r.sql.dropSession, word(id))
	return err
}

// DropSessions implements activities.Sessions.
func (r *records) DropSessions(ctx context.Context, subject string) error {
	_, err := r.exec(ctx, "end sessions of "+subject, r.sql.dropSessions, word(subject))
	return err
}
