package storetest

import (
	order "cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

func bundles(f *files) {
	_, err := f.Bundle(f.Context(), "h")
	f.missing("a bundle that is not there", err)
	source := []byte("policies:\n\x00\xff binary too\n")
	for range 2 {
		f.ok("put bundle", f.PutBundle(f.Context(), "h", source))
	}
	f.ok("put bundle", f.PutBundle(f.Context(), "empty", nil))
	got, err := f.Bundle(f.Context(), "h")
	f.ok("read bundle", err)
	if diff := cmp.Diff(source, got); diff != "" {
		f.Errorf("bundle (-want +got):\n%s", diff)
	}
	got, err = f.Bundle(f.Context(), "empty")
	f.ok("read bundle", err)
	if len(got) != 0 {
		f.Errorf("an empty bundle came back as %q", got)
	}
}

func key(id string) activities.APIKey {
	return activities.APIKey{ID: id, Name: "ci <&>", Hash: "hash of " + id, Subject: "bot", Groups: []string{"ops", "a\x00b"},
		Roles: []wflo.AccessRole{wflo.RoleViewer, wflo.RoleApprover}, Org: "acme", MadeBy: "ann", MadeAt: noon, Expires: noon.Add(time.Hour)}
}

func (f *files) key(want activities.APIKey) {
	f.Helper()
	got, err := f.Key(f.Context(), want.ID)
	f.ok("read key", err)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		f.Errorf("key (-want +got):\n%s", diff)
	}
}

func keysComeBackAsTheyWere(f *files) {
	_, err := f.Key(f.Context(), "a")
	f.missing("a key that is not there", err)
	bare := activities.APIKey{ID: "b", Hash: "h", MadeAt: noon} // for ever, and for nothing
	f.ok("put key", f.PutKey(f.Context(), key("a")))
	f.ok("put key", f.PutKey(f.Context(), bare))
	f.key(key("a"))
	f.key(bare)
	other := key("a")
	other.Hash = "another"
	f.code("the same ID", f.PutKey(f.Context(), other), wflo.CodeConflict)
	f.code("the same key", f.PutKey(f.Context(), key("a")), wflo.CodeConflict)
	f.key(key("a"))
	all, err := f.ListKeys(f.Context())
	f.ok("list keys", err)
	slices.SortFunc(all, func(a, b activities.APIKey) int { return order.Compare(a.ID, b.ID) })
	if diff := cmp.Diff([]activities.APIKey{key("a"), bare}, all, cmpopts.EquateEmpty()); diff != "" {
		f.Errorf("keys (-want +got):\n%s", diff)
	}
}

func keysRevoked(f *files) {
	f.missing("a key that is not there", f.RevokeKey(f.Context(), "a", "ann"))
	f.ok("put key", f.PutKey(f.Context(), key("a")))
	f.ok("put key", f.PutKey(f.Context(), key("b")))
	before := time.Now().Add(-time.Minute)
	f.ok("revoke", f.RevokeKey(f.Context(), "a", "ann"))
	got, err := f.Key(f.Context(), "a")
	f.ok("read key", err)
	if got.Revoked.Before(before) || got.Revoked.After(time.Now().Add(time.Minute)) || got.Revoked.Location() != time.UTC {
		f.Errorf("the key was revoked at %s", got.Revoked)
	}
	f.ok("revoke again", f.RevokeKey(f.Context(), "a", "bob"))
	f.key(got)
	f.key(key("b"))
}

func keysUsed(f *files) {
	f.ok("put key", f.PutKey(f.Context(), key("a")))
	f.ok("put key", f.PutKey(f.Context(), key("b")))
	before := time.Now().Add(-2 * time.Minute)
	for range 3 {
		f.ok("use key", f.KeyUsed(f.Context(), "a"))
	}
	got, err := f.Key(f.Context(), "a")
	f.ok("read key", err)
	if at := got.UsedAt; at.Before(before) || at.After(time.Now().Add(time.Minute)) || !at.Equal(at.Truncate(time.Minute)) || at.Location() != time.UTC {
		f.Errorf("the key was used at %s", at)
	}
	got.UsedAt = time.Time{}
	if diff := cmp.Diff(key("a"), got); diff != "" {
		f.Errorf("key (-want +got):\n%s", diff)
	}
	f.key(key("b"))
}

func session(id, subject string, expires time.Time) activities.Session {
	return activities.Session{ID: id, CSRF: "csrf", Expires: expires.UTC().Truncate(time.Microsecond), Identity: wflo.Identity{
		Subject: subject, Name: "Zoë \x00<&>", Email: "z@example.com", Groups: []string{"ops"}, Roles: []wflo.AccessRole{wflo.RoleAdmin},
		Org: "acme", Method: "oidc", Key: "k", At: noon,
	}}
}

func (f *files) session(want activities.Session) {
	f.Helper()
	got, err := f.Session(f.Context(), want.ID)
	f.ok("read session "+want.ID, err)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		f.Errorf("session (-want +got):\n%s", diff)
	}
}

func (f *files) noSession(id string) {
	f.Helper()
	_, err := f.Session(f.Context(), id)
	f.missing("session "+id, err)
}

func sessions(f *files) {
	f.noSession("a")
	later := time.Now().Add(time.Hour)
	a, b := session("a", "ann", later), session("b", "ann", later)
	f.ok("put session", f.PutSession(f.Context(), a))
	f.ok("put session", f.PutSession(f.Context(), b))
	f.session(a)
	a.CSRF = "another"
	f.ok("put session again", f.PutSession(f.Context(), a))
	f.session(a)
	for range 2 {
		f.ok("drop session", f.DropSession(f.Context(), "a"))
	}
	f.noSession("a")
	f.session(b)
}

func sessionsExpire(f *files) {
	f.ok("put session", f.PutSession(f.Context(), session("old", "ann", time.Now().Add(-time.Hour))))
	f.noSession("old")
	f.ok("put session", f.PutSession(f.Context(), session("short", "ann", time.Now().Add(200*time.Millisecond))))
	f.until("wait for the end of a session", func(ctx context.Context) (bool, error) {
		_, err := f.Records.Session(ctx, "short")
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	})
}

func sessionsOfASubject(f *files) {
	later := time.Now().Add(time.Hour)
	for _, s := range []activities.Session{session("a", "ann", later), session("b", "ann", later), session("c", "bob", later)} {
		f.ok("put session", f.PutSession(f.Context(), s))
	}
	f.ok("drop sessions", f.DropSessions(f.Context(), "ann"))
	f.noSession("a")
	f.noSession("b")
	f.session(session("c", "bob", later))
}
