package session

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory keeps sessions as long as nobody drops them: a store that is late in
// forgetting must not matter.
type memory struct {
	mu   sync.Mutex
	all  map[string]activities.Session
	puts int
	fail error
	// put is called before a session is kept.
	put func()
}

func (m *memory) PutSession(_ context.Context, s activities.Session) error {
	if m.put != nil {
		m.put()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	m.all[s.ID] = s
	return m.fail
}

func (m *memory) Session(_ context.Context, id string) (activities.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return activities.Session{}, m.fail
	}
	s, ok := m.all[id]
	if !ok {
		return s, fmt.Errorf("session: %w", fs.ErrNotExist)
	}
	return s, nil
}

func (m *memory) DropSession(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, id)
	return m.fail
}

func (m *memory) DropSessions(_ context.Context, subject string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.all {
		if s.Identity.Subject == subject {
			delete(m.all, id)
		}
	}
	return m.fail
}

type bench struct {
	t        *testing.T
	sessions *Sessions
	store    *memory
	log      *bytes.Buffer
	now      time.Time
	compared int
}

func newBench(t *testing.T, plain bool) *bench {
	t.Helper()
	b := &bench{t: t, store: &memory{all: map[string]activities.Session{}}, log: &bytes.Buffer{}, now: time.Unix(1_800_000_000, 0)}
	var err error
	b.sessions, err = New(Config{Store: b.store, Plain: plain, Logger: slog.New(slog.NewJSONHandler(b.log, nil)), Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.sessions.compare = func(x, y []byte) int { b.compared++; return subtle.ConstantTimeCompare(x, y) }
	return b
}

var ann = wflo.Identity{Subject: "ann", Groups: []string{"ops"}, Roles: []wflo.AccessRole{wflo.RoleApprover}, Method: "ldap"}

func request(method string, cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(method, "https://console.example/inbox", nil)
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

// begin logs ann in with what the browser holds, and gives what it holds then.
func (b *bench) begin(held ...*http.Cookie) *http.Cookie {
	b.t.Helper()
	w := httptest.NewRecorder()
	if err := b.sessions.Begin(w, request("POST", held...), ann); err != nil {
		b.t.Fatal(err)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		b.t.Fatalf("%v", cookies)
	}
	return cookies[0]
}

func (b *bench) who(held ...*http.Cookie) (string, error) {
	id, err := b.sessions.Authenticate(request("GET", held...))
	return id.Subject, err
}

func TestSessionIsKnownAgain(t *testing.T) {
	b := newBench(t, false)
	c := b.begin()
	if c.Name != "__Host-wflo_session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Value) != 43 {
		t.Errorf("%v", c)
	}
	id, err := b.sessions.Authenticate(request("GET", c))
	if diff := cmp.Diff(ann, id); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for key, record := range b.store.all {
		if strings.Contains(fmt.Sprintf("%+v", record), c.Value) || key != record.ID || len(key) != 64 {
			t.Errorf("the store could log in: %+v", record)
		}
	}
	for name, held := range map[string][]*http.Cookie{
		"nothing":                nil,
		"another":                {{Name: c.Name, Value: random()}},
		"two":                    {c, {Name: c.Name, Value: random()}},
		"the same twice":         {c, c},
		"the name without TLS":   {{Name: plainName, Value: c.Value}},
		"what the store has":     {{Name: c.Name, Value: login(c.Value)}},
		"what shows it was here": {{Name: c.Name, Value: "seen " + c.Value}},
		"another spelling":       {{Name: c.Name, Value: c.Value + "="}},
		"empty":                  {{Name: c.Name, Value: ""}},
	} {
		if who, err := b.who(held...); !errors.Is(err, auth.ErrNone) || who != "" {
			t.Errorf("%s: %q, %v", name, who, err)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	b := newBench(t, false)
	c := b.begin()
	start := b.now
	// Somebody who comes back every half an hour is logged in for twelve hours.
	for b.now.Sub(start) < 12*time.Hour {
		if who, err := b.who(c); err != nil || who != "ann" {
			t.Fatalf("after %s: %v", b.now.Sub(start), err)
		}
		b.now = b.now.Add(30 * time.Minute)
	}
	if who, err := b.who(c); !errors.Is(err, auth.ErrNone) {
		t.Errorf("after twelve hours: %q, %v", who, err)
	}
	c = b.begin()
	b.now = b.now.Add(time.Hour)
	if who, err := b.who(c); !errors.Is(err, auth.ErrNone) {
		t.Errorf("after an hour without a request: %q, %v", who, err)
	}
}

func TestStoreIsWrittenOnceAMinute(t *testing.T) {
	b := newBench(t, false)
	c := b.begin()
	b.store.puts = 0
	for range 600 {
		if _, err := b.who(c); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(time.Second)
	}
	if b.store.puts != 9 {
		t.Errorf("written %d times in ten minutes, want 9", b.store.puts)
	}
}

// An attacker who gives the victim a session of his must not share what the victim
// logs in to.
func TestLoginMakesANewSession(t *testing.T) {
	b := newBench(t, false)
	for _, planted := range []*http.Cookie{{Name: cookieName, Value: random()}, b.begin()} {
		c := b.begin(planted)
		if c.Value == planted.Value {
			t.Fatal("the browser's own choice became the session")
		}
		if who, err := b.who(planted); !errors.Is(err, auth.ErrNone) {
			t.Errorf("the old session is open: %q, %v", who, err)
		}
		if who, err := b.who(c); err != nil || who != "ann" {
			t.Errorf("%q, %v", who, err)
		}
	}
}

func TestLogout(t *testing.T) {
	b := newBench(t, false)
	c, other := b.begin(), b.begin()
	w := httptest.NewRecorder()
	if err := b.sessions.End(w, request("POST", c)); err != nil {
		t.Fatal(err)
	}
	if gone := w.Result().Cookies(); len(gone) != 1 || gone[0].MaxAge != -1 || gone[0].Value != "" || gone[0].Name != cookieName {
		t.Errorf("%v", gone)
	}
	if _, err := b.who(c); !errors.Is(err, auth.ErrNone) {
		t.Errorf("after logout: %v", err)
	}
	if _, err := b.who(other); err != nil {
		t.Errorf("another browser: %v", err)
	}
	if err := b.sessions.EndAll(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.who(other); !errors.Is(err, auth.ErrNone) || len(b.store.all) != 0 {
		t.Errorf("after the end of all: %v, and %d records", err, len(b.store.all))
	}
}

// A request that is under way while its owner logs out must not bring the session
// back by moving its end.
func TestLogoutWinsOverARequestUnderWay(t *testing.T) {
	b := newBench(t, false)
	c := b.begin()
	b.now = b.now.Add(10 * time.Minute)
	b.store.put = func() {
		b.store.put = nil
		if err := b.sessions.End(httptest.NewRecorder(), request("POST", c)); err != nil {
			t.Error(err)
		}
	}
	if who, err := b.who(c); err != nil || who != "ann" {
		t.Errorf("the request itself began before: %q, %v", who, err)
	}
	if b.store.put != nil {
		t.Fatal("the end was not moved")
	}
	for range 3 {
		if who, err := b.who(c); !errors.Is(err, auth.ErrNone) {
			t.Errorf("after logout: %q, %v", who, err)
		}
	}
}

func TestFormsAreOfTheirSession(t *testing.T) {
	b := newBench(t, false)
	c, other := b.begin(), b.begin()
	mine, err := b.sessions.Form(request("GET", c))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := b.sessions.Form(request("GET", other))
	if err != nil || mine == theirs || len(mine) != 43 || mine == c.Value {
		t.Fatalf("%q and %q, %v", mine, theirs, err)
	}
	post := func(field, header string, held ...*http.Cookie) error {
		r := request("POST", held...)
		r.PostForm = url.Values{}
		if field != "" {
			r.PostForm.Set(FormField, field)
		}
		if header != "" {
			r.Header.Set(Header, header)
		}
		// What is in the address can be in a link.
		r.URL.RawQuery = url.Values{FormField: {mine}}.Encode()
		return b.sessions.CheckForm(r)
	}
	if err := errors.Join(post(mine, "", c), post("", mine, c)); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"nothing": post("", "", c), "of another session": post(theirs, "", c), "half": post(mine[:20], "", c), "longer": post(mine+"a", "", c),
		"a wrong header beside a right field": post(mine, theirs, c), "the cookie": post(c.Value, "", c),
	} {
		if !errors.Is(err, auth.ErrRefused) || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := post(mine, ""); !errors.Is(err, auth.ErrNone) {
		t.Errorf("without a session: %v", err)
	}
	b.compared = 0
	_ = post("x", "", c)
	once := b.compared
	b.compared = 0
	_ = post(mine, "", c)
	if once != b.compared || once != 3 {
		t.Errorf("%d compares for a wrong one, %d for a right one, want 3", once, b.compared)
	}
}

func TestPlainIsForTheLoopbackInterface(t *testing.T) {
	b := newBench(t, true)
	for host, want := range map[string]error{
		"127.0.0.1:7244": nil, "localhost:7244": nil, "localhost": nil, "[::1]:7244": nil,
		"console.example": wflo.ErrInvalid, "10.0.0.1:7244": wflo.ErrInvalid, "localhost.evil.example": wflo.ErrInvalid, "": wflo.ErrInvalid,
	} {
		r := httptest.NewRequest("POST", "/login", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if err := b.sessions.Begin(w, r, ann); !errors.Is(err, want) {
			t.Errorf("%q: %v", host, err)
		}
		if c := w.Result().Cookies(); want == nil && (len(c) != 1 || c[0].Name != "wflo_session" || c[0].Secure || !c[0].HttpOnly) || want != nil && len(c) != 0 {
			t.Errorf("%q: %v", host, c)
		}
	}
}

func TestStoreThatFailsLetsNobodyIn(t *testing.T) {
	b := newBench(t, false)
	c := b.begin()
	b.store.fail = errors.New("connection to 10.0.0.5 refused")
	if who, err := b.who(c); !errors.Is(err, auth.ErrUnavailable) || who != "" || strings.Contains(err.Error(), "10.0.0.5") {
		t.Errorf("%q, %v", who, err)
	}
	if err := b.sessions.CheckForm(request("POST", c)); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	w := httptest.NewRecorder()
	if err := b.sessions.Begin(w, request("POST"), ann); !errors.Is(err, auth.ErrUnavailable) || len(w.Result().Cookies()) != 0 {
		t.Errorf("%v, %v", err, w.Result().Cookies())
	}
	if !strings.Contains(b.log.String(), "10.0.0.5") || strings.Contains(b.log.String(), c.Value) {
		t.Errorf("log: %s", b.log)
	}
	b.store.fail = nil
	for _, nobody := range []wflo.Identity{{}, {Subject: "ann"}, {Roles: ann.Roles}} {
		if err := b.sessions.Begin(w, request("POST"), nobody); !errors.Is(err, auth.ErrRefused) {
			t.Errorf("%+v: %v", nobody, err)
		}
	}
}
