// Package apikey proves who a program is by a key of ours. [Keys.Make] makes one
// and shows it once; [Keys] is an auth.Authenticator that takes it from the header
// Authorization: Bearer.
//
// A key is wflo_<id>_<secret>. The secret has 256 random bits, so its SHA-256 is
// all that is kept, and nothing slower is needed. The package refuses every key
// that is not exactly right in the same way: the reason is in the log, by the id of
// the key, and the key itself is nowhere. [Redact] masks keys in text of others.
package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

// Prefix is what every key begins with, so that scanners find those that leak.
const Prefix = "wflo_"

// Method is what identities by a key say of how they were proved.
const Method = "apikey"

const (
	idBytes     = 10 // 80 bits: 16 characters
	secretBytes = 32 // 256 bits: 52 characters
	// noteEvery is how often the use of a key is written down.
	noteEvery = time.Minute
	// maxNoted bounds the memory of that; a full one is begun anew.
	maxNoted = 10_000
	hint     = "send a key that is not expired or revoked as Authorization: Bearer wflo_...; wflo keys create makes one"
)

// text is base32 in lower case: a double click selects all of it, and no proxy,
// shell or URL changes it.
var text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

var (
	shape  = regexp.MustCompile(`^wflo_([a-z2-7]{16})_[a-z2-7]{52}$`)
	masked = regexp.MustCompile(`wflo_([a-z2-7]{16})_[A-Za-z0-9]+`)
)

// Config says where keys are.
type Config struct {
	// Store keeps the keys. Required.
	Store activities.Keys
	// Logger gets why a key was refused; nil means slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Keys makes and checks keys. Its methods may be called at the same time.
type Keys struct {
	cfg Config
	// compare is subtle.ConstantTimeCompare; tests count it.
	compare func(a, b []byte) int
	mu      sync.Mutex
	noted   map[string]time.Time
}

// New makes Keys.
func New(cfg Config) (*Keys, error) {
	if cfg.Store == nil {
		return nil, wflo.Invalid("keys", "have no store", "set Config.Store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keys{cfg: cfg, compare: subtle.ConstantTimeCompare, noted: map[string]time.Time{}}, nil
}

// Spec says what a key is for.
type Spec struct {
	// Name says what it is for, for those who list keys. Required.
	Name string
	// Subject is who its holder is in records and lists of approvers. Required.
	Subject string
	Groups  []string
	// Roles are what it may do; at least one.
	Roles []wflo.AccessRole
	// Org bounds it to a tenant; empty means all of them.
	Org string
	// MadeBy is who makes it. Required.
	MadeBy string
	// Expires is when it ends; zero means never.
	Expires time.Time
}

func (s Spec) validate(now time.Time) error {
	for field, value := range map[string]string{"name": s.Name, "subject": s.Subject, "maker": s.MadeBy} {
		if strings.TrimSpace(value) == "" {
			return wflo.Invalid("key: "+field, "is empty", "say what the key is for, whom it stands for, and who makes it")
		}
	}
	if _, group := wflo.GroupOf(s.Subject); group {
		return wflo.Invalid("key: subject", "is a group", "name one person or program, and give it groups")
	}
	if auth.Reserved(s.Org) {
		return wflo.Invalid("key: org", "is "+s.Org+", as the installation's own trail is called", "give the org another name")
	}
	if len(s.Roles) == 0 {
		return wflo.Invalid("key: roles", "are empty", "give it viewer, operator, approver or admin")
	}
	for _, role := range s.Roles {
		if err := role.Validate(); err != nil {
			return err
		}
	}
	if !s.Expires.IsZero() && !s.Expires.After(now) {
		return wflo.Invalid("key: expiry", "has passed", "give a moment in the future, or none")
	}
	return nil
}

// Make makes a key and keeps what is needed to know it again. plain is the key: it
// is shown once, and nothing can give it back. A specification that is incomplete
// is an *wflo.Error with CodeInvalid. Whether the maker may give those roles is
// for the caller to check.
func (k *Keys) Make(ctx context.Context, spec Spec) (plain string, kept activities.APIKey, err error) {
	now := k.cfg.Now()
	if err := spec.validate(now); err != nil {
		return "", activities.APIKey{}, err
	}
	id := random(idBytes)
	plain = Prefix + id + "_" + random(secretBytes)
	kept = activities.APIKey{
		ID: id, Name: spec.Name, Hash: hash(plain), Subject: spec.Subject, Groups: spec.Groups, Roles: spec.Roles,
		Org: spec.Org, MadeBy: spec.MadeBy, MadeAt: now, Expires: spec.Expires,
	}
	if err := k.cfg.Store.PutKey(ctx, kept); err != nil {
		return "", activities.APIKey{}, err
	}
	return plain, kept, nil
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails: the program ends before
	return text.EncodeToString(b)
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// Authenticate implements auth.Authenticator. A bearer token that does not begin
// like our keys is auth.ErrNone.
func (k *Keys) Authenticate(r *http.Request) (wflo.Identity, error) {
	token, err := auth.BearerToken(r.Header)
	switch {
	case errors.Is(err, auth.ErrNone) || err == nil && !strings.HasPrefix(token, Prefix):
		return wflo.Identity{}, auth.ErrNone
	case err != nil:
		return k.refuse(r.Context(), "", "the header is malformed")
	}
	parts := shape.FindStringSubmatch(token)
	if parts == nil {
		return k.refuse(r.Context(), "", "it is not shaped like a key")
	}
	return k.check(r.Context(), parts[1], token)
}

// Holds says whether a key that opened a session is still good: one that is gone, revoked
// or expired is an error that matches auth.ErrRefused.
func (k *Keys) Holds(ctx context.Context, id string) error {
	kept, err := k.cfg.Store.Key(ctx, id)
	now := k.cfg.Now()
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		k.cfg.Logger.ErrorContext(ctx, "read API key", "key", id, "error", err.Error())
		return auth.Unavailable("API key")
	case err != nil, !kept.Revoked.IsZero(), !kept.Expires.IsZero() && !now.Before(kept.Expires):
		return auth.Refused(hint)
	}
	return nil
}

func (k *Keys) check(ctx context.Context, id, token string) (wflo.Identity, error) {
	kept, err := k.cfg.Store.Key(ctx, id)
	known := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.cfg.Logger.ErrorContext(ctx, "read API key", "key", id, "error", err.Error())
		return wflo.Identity{}, auth.Unavailable("API key")
	}
	if !known {
		// The same work is done for a key that is not there.
		kept.Hash = hash(id)
	}
	matches := k.compare([]byte(hash(token)), []byte(kept.Hash)) == 1
	now := k.cfg.Now()
	switch {
	case !known:
		return k.refuse(ctx, id, "there is none")
	case !matches:
		return k.refuse(ctx, id, "the secret is wrong")
	case !kept.Revoked.IsZero():
		return k.refuse(ctx, id, "it is revoked")
	case !kept.Expires.IsZero() && !now.Before(kept.Expires):
		return k.refuse(ctx, id, "it is expired")
	}
	identity, err := identityOf(kept, now)
	if err != nil {
		k.cfg.Logger.ErrorContext(ctx, "API key is kept with roles that do not exist", "key", id)
		return wflo.Identity{}, auth.Refused(hint)
	}
	k.note(ctx, kept, now)
	return identity, nil
}

// refuse says why to the log, and never to the caller. An id is not secret.
func (k *Keys) refuse(ctx context.Context, id, reason string) (wflo.Identity, error) {
	k.cfg.Logger.WarnContext(ctx, "API key refused", "key", id, "reason", reason)
	return wflo.Identity{}, auth.Refused(hint)
}

func identityOf(k activities.APIKey, now time.Time) (wflo.Identity, error) {
	if len(k.Roles) == 0 || k.Subject == "" {
		return wflo.Identity{}, auth.ErrNoRole
	}
	for _, role := range k.Roles {
		if err := role.Validate(); err != nil {
			return wflo.Identity{}, err
		}
	}
	return wflo.Identity{Subject: k.Subject, Groups: k.Groups, Roles: k.Roles, Org: k.Org, Method: Method, Key: k.ID, At: now}, nil
}

// note writes down that a key was used, at most once a minute. A note that is
// lost keeps nobody out.
func (k *Keys) note(ctx context.Context, kept activities.APIKey, now time.Time) {
	if now.Sub(kept.UsedAt) < noteEvery || !k.noteNow(kept.ID, now) {
		return
	}
	if err := k.cfg.Store.KeyUsed(ctx, kept.ID); err != nil {
		k.cfg.Logger.WarnContext(ctx, "note the use of an API key", "key", kept.ID, "error", err.Error())
	}
}

func (k *Keys) noteNow(id string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.noted[id]) < noteEvery {
		return false
	}
	if len(k.noted) >= maxNoted {
		clear(k.noted)
	}
	k.noted[id] = now
	return true
}

// Redact masks the secrets of everything in a text that looks like a key, cut off
// ones too. The ids stay, because they say which key to revoke.
func Redact(s string) string { return masked.ReplaceAllString(s, Prefix+"${1}_[redacted]") }
