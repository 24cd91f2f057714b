package apikey

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
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

// memory keeps keys and counts what is asked of it.
type memory struct {
	mu    sync.Mutex
	keys  map[string]activities.APIKey
	reads int
	used  int
	fail  error
}

func (m *memory) PutKey(_ context.Context, k activities.APIKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[k.ID] = k
	return m.fail
}

func (m *memory) Key(_ context.Context, id string) (activities.APIKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.fail != nil {
		return activities.APIKey{}, m.fail
	}
	k, ok := m.keys[id]
	if !ok {
		return k, fmt.Errorf("key: %w", fs.ErrNotExist)
	}
	return k, nil
}

func (m *memory) KeyUsed(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used++
	return nil
}

func (m *memory) change(id string, change func(*activities.APIKey)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keys[id]
	change(&k)
	m.keys[id] = k
}

func (m *memory) ListKeys(context.Context) ([]activities.APIKey, error) { return nil, nil }
func (m *memory) RevokeKey(_ context.Context, _, _ string) error        { return nil }

// bench is Keys with everything that a test looks at.
type bench struct {
	keys     *Keys
	store    *memory
	log      *bytes.Buffer
	now      time.Time
	compared int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{store: &memory{keys: map[string]activities.APIKey{}}, log: &bytes.Buffer{}, now: time.Unix(1_800_000_000, 0)}
	var err error
	b.keys, err = New(Config{Store: b.store, Logger: slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.keys.compare = func(x, y []byte) int {
		b.compared++
		if len(x) != len(y) {
			t.Errorf("compares %d bytes with %d, which ends at once", len(x), len(y))
		}
		return subtle.ConstantTimeCompare(x, y)
	}
	return b
}

func (b *bench) make(t *testing.T) (string, activities.APIKey) {
	t.Helper()
	plain, kept, err := b.keys.Make(t.Context(), Spec{Name: "deploys", Subject: "bot:ci", Groups: []string{"ops"}, Roles: []wflo.AccessRole{wflo.RoleOperator}, Org: "acme", MadeBy: "ann", Expires: b.now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return plain, kept
}

func (b *bench) send(header string) (wflo.Identity, error) {
	r := httptest.NewRequest("GET", "/api/v1/runs", nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	return b.keys.Authenticate(r)
}

func TestKeyOpensUntilItEnds(t *testing.T) {
	b := newBench(t)
	plain, kept := b.make(t)
	id, err := b.send("Bearer " + plain)
	if err != nil {
		t.Fatal(err)
	}
	want := wflo.Identity{Subject: "bot:ci", Groups: []string{"ops"}, Roles: []wflo.AccessRole{wflo.RoleOperator}, Org: "acme", Method: Method, Key: kept.ID, At: b.now}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(*activities.APIKey){
		"expired":        func(k *activities.APIKey) { k.Expires = b.now },
		"revoked":        func(k *activities.APIKey) { k.Revoked = b.now.Add(-time.Second) },
		"without roles":  func(k *activities.APIKey) { k.Roles = nil },
		"unknown role":   func(k *activities.APIKey) { k.Roles = []wflo.AccessRole{"root"} },
		"without a hash": func(k *activities.APIKey) { k.Hash = strings.Repeat("0", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			b.store.change(kept.ID, func(k *activities.APIKey) { *k = kept; change(k) })
			if id, err := b.send("Bearer " + plain); !errors.Is(err, auth.ErrRefused) || id.Subject != "" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

// Whoever tries keys learns nothing: the same error, after the same work.
func TestRefusalsAreAlike(t *testing.T) {
	b := newBench(t)
	plain, kept := b.make(t)
	other, _ := b.make(t)
	secret := plain[len(Prefix)+17:]
	b.log.Reset()
	work := map[string]int{}
	var messages []string
	for name, key := range map[string]string{
		"unknown id":            Prefix + strings.Repeat("a", 16) + "_" + secret,
		"wrong secret":          Prefix + kept.ID + "_" + strings.Repeat("b", 52),
		"secret of another":     Prefix + kept.ID + "_" + other[len(Prefix)+17:],
		"one character changed": plain[:30] + map[bool]string{true: "b", false: "a"}[plain[30] == 'a'] + plain[31:],
	} {
		b.compared, b.store.reads = 0, 0
		_, err := b.send("Bearer " + key)
		if !errors.Is(err, auth.ErrRefused) {
			t.Fatalf("%s: %v", name, err)
		}
		messages = append(messages, err.Error())
		work[fmt.Sprint(b.compared, " compares, ", b.store.reads, " reads")]++
		if strings.Contains(err.Error(), "wflo_"+kept.ID) || strings.Contains(b.log.String(), secret) {
			t.Errorf("%s: the key is in %q or %s", name, err, b.log)
		}
	}
	for _, m := range messages[1:] {
		if m != messages[0] {
			t.Errorf("%q and %q tell cases apart", m, messages[0])
		}
	}
	if len(work) != 1 || work["1 compares, 1 reads"] != 4 {
		t.Errorf("work differs: %v", work)
	}
	for _, reason := range []string{"there is none", "the secret is wrong"} {
		if !strings.Contains(b.log.String(), reason) {
			t.Errorf("the log does not say %q: %s", reason, b.log)
		}
	}
}

func TestWhatIsNoKey(t *testing.T) {
	b := newBench(t)
	plain, _ := b.make(t)
	for header, want := range map[string]error{
		"":                                auth.ErrNone,
		"Basic abc":                       auth.ErrNone,
		"Bearer eyJhbGciOiJub25lIn0.e30.": auth.ErrNone,
		"Bearer wflo_":                    auth.ErrRefused,
		"Bearer " + plain + "a":           auth.ErrRefused,
		"Bearer " + plain[:len(plain)-1]:  auth.ErrRefused,
		"Bearer " + strings.ToUpper(plain[:4]) + plain[4:]: auth.ErrNone,
		"Bearer " + plain + " " + plain:                    auth.ErrRefused,
		"Bearer " + plain + "\n":                           auth.ErrRefused,
	} {
		if id, err := b.send(header); !errors.Is(err, want) || id.Subject != "" {
			t.Errorf("%.20q…: %v, want %v", header, err, want)
		}
	}
	if strings.Contains(b.log.String(), plain[22:30]) {
		t.Errorf("the log has a part of the key: %s", b.log)
	}
}

func TestStoreThatFailsLetsNobodyIn(t *testing.T) {
	b := newBench(t)
	plain, _ := b.make(t)
	b.store.fail = errors.New("connection to 10.0.0.5 refused")
	_, err := b.send("Bearer " + plain)
	if !errors.Is(err, auth.ErrUnavailable) || strings.Contains(err.Error(), "10.0.0.5") {
		t.Errorf("%v", err)
	}
	if _, _, err := b.keys.Make(t.Context(), Spec{Name: "n", Subject: "s", MadeBy: "m", Roles: []wflo.AccessRole{wflo.RoleViewer}}); err == nil {
		t.Error("a key that was not kept is given out")
	}
}

func TestUseIsNotedOnceAMinute(t *testing.T) {
	b := newBench(t)
	plain, _ := b.make(t)
	for range 100 {
		if _, err := b.send("Bearer " + plain); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(time.Second)
	}
	if b.store.used != 2 {
		t.Errorf("noted %d times in 100 s, want 2", b.store.used)
	}
	b.send("Bearer " + plain[:len(plain)-1] + "x")
	b.now = b.now.Add(time.Hour)
	if _, err := b.send("Bearer " + plain); err == nil || b.store.used != 2 {
		t.Errorf("%v; noted %d times", err, b.store.used)
	}
}

func TestMakeKeepsNoSecret(t *testing.T) {
	b := newBench(t)
	seen := map[string]bool{}
	for range 100 {
		plain, kept := b.make(t)
		secret := plain[len(Prefix)+17:]
		if !shape.MatchString(plain) || seen[secret] || seen[kept.ID] {
			t.Fatalf("key of id %s is not one, or not new", kept.ID)
		}
		seen[secret], seen[kept.ID] = true, true
		all, err := json.Marshal(kept)
		if err != nil {
			t.Fatal(err)
		}
		if record := fmt.Sprintf("%s %+v", all, kept); strings.Contains(record, secret) || strings.Contains(string(all), kept.Hash) {
			t.Fatalf("what is kept holds the secret, or its JSON the hash: %s", record)
		}
	}
	if b.log.Len() > 0 {
		t.Errorf("making a key is logged: %s", b.log)
	}
}

func TestMakeRefusesWhatIsIncomplete(t *testing.T) {
	b := newBench(t)
	good := Spec{Name: "n", Subject: "s", MadeBy: "m", Roles: []wflo.AccessRole{wflo.RoleViewer}}
	for name, change := range map[string]func(*Spec){
		"no name":    func(s *Spec) { s.Name = "" },
		"no subject": func(s *Spec) { s.Subject = " " },
		"a group":    func(s *Spec) { s.Subject = "group:ops" },
		"no maker":   func(s *Spec) { s.MadeBy = "" },
		"no role":    func(s *Spec) { s.Roles = nil },
		"wrong role": func(s *Spec) { s.Roles = []wflo.AccessRole{"root"} },
		"expired":    func(s *Spec) { s.Expires = b.now },
		"reserved":   func(s *Spec) { s.Org = "main" },
	} {
		spec := good
		change(&spec)
		if plain, _, err := b.keys.Make(t.Context(), spec); !errors.Is(err, wflo.ErrInvalid) || plain != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedact(t *testing.T) {
	b := newBench(t)
	plain, kept := b.make(t)
	secret := plain[len(Prefix)+17:]
	for _, text := range []string{plain, "Bearer " + plain + ", again " + plain, "https://h/?key=" + plain + "&x=1", `{"k":"` + plain + `"}`, plain[:40], plain + "xyz"} {
		got := Redact(text)
		if strings.Contains(got, secret[:12]) || !strings.Contains(got, kept.ID) {
			t.Errorf("%q", got)
		}
	}
	for _, text := range []string{"", "wflo_cost_usd_total", "WFLO_SECRET_TOKEN", "wflo_approvals_pending_seconds_bucket", "wflo keys"} {
		if got := Redact(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzKeyHeader(f *testing.F) {
	store := &memory{keys: map[string]activities.APIKey{}}
	keys, err := New(Config{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	plain, _, err := keys.Make(f.Context(), Spec{Name: "n", Subject: "s", MadeBy: "m", Roles: []wflo.AccessRole{wflo.RoleViewer}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"Bearer wflo_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 52), "Bearer wflo_", "Basic x", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{header}
		id, err := keys.Authenticate(r)
		if err == nil && !strings.Contains(header, plain) || err != nil && id.Subject != "" {
			t.Fatalf("%q: %+v, %v", header, id, err)
		}
	})
}
