// Package session keeps who is logged in to the console. [New] makes [Sessions]:
// Begin gives a browser its cookie after a login, Authenticate, as an
// auth.Authenticator, knows it again, and CheckForm holds that a change was asked
// for by a page of ours.
//
// What the browser holds is 256 random bits, of which the store has the SHA-256. A
// session ends after twelve hours, after one hour without a request, when its owner
// logs out, and when [Sessions.EndAll] takes it from its owner. The package refuses
// to begin without TLS, the loopback interface apart, and never takes a name for a
// session from a browser: each login makes a new one.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

const (
	// cookieName has the prefix by which browsers refuse it from other hosts, other
	// paths and without TLS; plainName is for the loopback interface without TLS.
	cookieName = "__Host-wflo_session"
	plainName  = "wflo_session"
	// FormField is where a form repeats what [Sessions.Form] gave.
	FormField = "csrf"
	// Header is where a script does.
	Header = "X-Wflo-Csrf"

	secretBytes = 32
	// moveEvery is how often the end of an idle session is moved: a store is not
	// written to at each request.
	moveEvery = time.Minute
	hint      = "log in again"
)

// Config says how long a login lasts.
type Config struct {
	// Store keeps sessions. Required.
	Store activities.Sessions
	// Plain sends cookies without TLS. Begin then refuses every address but those of
	// the loopback interface.
	Plain bool
	// Lifetime is the longest that a login lasts; zero means 12 hours.
	Lifetime time.Duration
	// Idle is how long it lasts without a request; zero means one hour.
	Idle time.Duration
	// Logger gets failures of the store; nil means slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Sessions keeps who is logged in. Its methods may be called at the same time.
type Sessions struct {
	cfg Config
	// compare is subtle.ConstantTimeCompare; tests count it.
	compare func(a, b []byte) int
}

var _ auth.Authenticator = (*Sessions)(nil)

// New makes Sessions.
func New(cfg Config) (*Sessions, error) {
	switch {
	case cfg.Store == nil:
		return nil, wflo.Invalid("sessions", "have no store", "set Config.Store")
	case cfg.Lifetime < 0 || cfg.Idle < 0:
		return nil, wflo.Invalid("sessions: lifetime", "or idle time is negative", "use 0 for 12h and 1h")
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 12 * time.Hour
	}
	if cfg.Idle == 0 {
		cfg.Idle = time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sessions{cfg: cfg, compare: subtle.ConstantTimeCompare}, nil
}

// A login is two records. The first has the identity and the end that never moves.
// The second says that the browser was there in the last hour, and is put again as
// the browser comes back. If one record were put again, a request under way could
// put back a session that a logout has just dropped; the second alone opens nothing.
func login(secret string) string { return digest("login " + secret) }
func seen(secret string) string  { return digest("seen " + secret) }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func random() string {
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // it never fails: the program ends before
	return base64.RawURLEncoding.EncodeToString(b)
}

// Begin logs somebody in: it ends the session that the browser may have had, and
// gives it a new one. Without TLS it is an *wflo.Error with CodeInvalid, unless
// Config.Plain is set and the address is of the loopback interface.
func (s *Sessions) Begin(w http.ResponseWriter, r *http.Request, id wflo.Identity) error {
	if id.Subject == "" || len(id.Roles) == 0 {
		return auth.Refused(hint)
	}
	if s.cfg.Plain && !loopback(r.Host) {
		return wflo.Invalid("the console", "is reached without TLS", "give it a certificate, or put a proxy with one in front")
	}
	ctx := r.Context()
	if err := s.drop(ctx, r); err != nil {
		return err
	}
	secret := random()
	now := s.cfg.Now()
	end := now.Add(s.cfg.Lifetime)
	csrf := random()
	for _, record := range []activities.Session{
		{ID: login(secret), Identity: id, CSRF: csrf, Expires: end},
		s.seenRecord(secret, id.Subject, now, end),
	} {
		if err := s.cfg.Store.PutSession(ctx, record); err != nil {
			return s.unavailable(ctx, "begin a session", err)
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, s.cookie(secret, int(s.cfg.Lifetime/time.Second)))
	return nil
}

func (s *Sessions) seenRecord(secret, subject string, now, end time.Time) activities.Session {
	until := now.Add(s.cfg.Idle)
	if until.After(end) {
		until = end
	}
	// The subject is there so that EndAll drops this record too.
	return activities.Session{ID: seen(secret), Identity: wflo.Identity{Subject: subject}, Expires: until}
}

// Authenticate implements auth.Authenticator. A browser without a session, or whose
// session has ended, is auth.ErrNone: it may carry a credential of another kind.
func (s *Sessions) Authenticate(r *http.Request) (wflo.Identity, error) {
	record, err := s.record(r)
	if err != nil {
		return wflo.Identity{}, err
	}
	return record.Identity, nil
}

// record finds the session of a request, and moves the end of its idle time.
func (s *Sessions) record(r *http.Request) (activities.Session, error) {
	ctx := r.Context()
	secret, ok := s.secret(r)
	if !ok {
		return activities.Session{}, auth.ErrNone
	}
	now := s.cfg.Now()
	record, err := s.read(ctx, login(secret), now)
	if err != nil {
		return activities.Session{}, err
	}
	last, err := s.read(ctx, seen(secret), now)
	if err != nil {
		return activities.Session{}, err
	}
	moved := s.seenRecord(secret, record.Identity.Subject, now, record.Expires)
	if moved.Expires.Sub(last.Expires) >= moveEvery {
		if err := s.cfg.Store.PutSession(ctx, moved); err != nil {
			return activities.Session{}, s.unavailable(ctx, "keep a session", err)
		}
	}
	return record, nil
}

// read looks at the clock itself too: a store may keep what has ended for a while.
func (s *Sessions) read(ctx context.Context, id string, now time.Time) (activities.Session, error) {
	record, err := s.cfg.Store.Session(ctx, id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return activities.Session{}, auth.ErrNone
	case err != nil:
		return activities.Session{}, s.unavailable(ctx, "read a session", err)
	case !now.Before(record.Expires) || s.compare([]byte(record.ID), []byte(id)) != 1:
		return activities.Session{}, auth.ErrNone
	}
	return record, nil
}

// Form gives what forms of a session repeat in [FormField], and scripts in
// [Header]. A browser without a session is auth.ErrNone.
func (s *Sessions) Form(r *http.Request) (string, error) {
	record, err := s.record(r)
	if err != nil {
		return "", err
	}
	return record.CSRF, nil
}

// CheckForm refuses a change that no page of this session asked for. A browser
// without a session is auth.ErrNone; what a request without one carries, such as an
// API key, no other site can make a browser send.
func (s *Sessions) CheckForm(r *http.Request) error {
	record, err := s.record(r)
	if err != nil {
		return err
	}
	said := r.Header.Get(Header)
	if said == "" {
		said = r.PostFormValue(FormField)
	}
	if record.CSRF == "" || s.compare([]byte(said), []byte(record.CSRF)) != 1 {
		return &wflo.Error{Code: wflo.CodePolicyDenied, Message: "the form is not of this login", Hint: "load the page again", Err: auth.ErrRefused}
	}
	return nil
}

// End logs the browser out. It takes the cookie in any case.
func (s *Sessions) End(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, s.cookie("", -1))
	return s.drop(r.Context(), r)
}

// EndAll logs a person out everywhere.
func (s *Sessions) EndAll(ctx context.Context, subject string) error {
	if err := s.cfg.Store.DropSessions(ctx, subject); err != nil {
		return fmt.Errorf("end the sessions of %s: %w", subject, err)
	}
	return nil
}

func (s *Sessions) drop(ctx context.Context, r *http.Request) error {
	secret, ok := s.secret(r)
	if !ok {
		return nil
	}
	if err := errors.Join(s.cfg.Store.DropSession(ctx, login(secret)), s.cfg.Store.DropSession(ctx, seen(secret))); err != nil {
		return s.unavailable(ctx, "end a session", err)
	}
	return nil
}

// secret reads the cookie. Of two, which a neighbouring host might have set, none
// counts.
func (s *Sessions) secret(r *http.Request) (string, bool) {
	cookies := r.CookiesNamed(s.name())
	if len(cookies) != 1 {
		return "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	return cookies[0].Value, err == nil && len(b) == secretBytes
}

func (s *Sessions) name() string {
	if s.cfg.Plain {
		return plainName
	}
	return cookieName
}

// cookie is Lax and not Strict, because people come to a gate by a link in a notice.
func (s *Sessions) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: s.name(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: !s.cfg.Plain, SameSite: http.SameSiteLaxMode} //nolint:gosec // without TLS on the loopback interface only
}

func (s *Sessions) unavailable(ctx context.Context, doing string, err error) error {
	s.cfg.Logger.ErrorContext(ctx, doing, "error", err.Error())
	return auth.Unavailable("session")
}

func loopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
