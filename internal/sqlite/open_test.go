package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

var reservation = wflo.Reservation{Key: "k", Attempt: 1, Amount: 5, Budgets: []wflo.BudgetLine{{ID: "x", Limit: 10}}}

func TestOpenRefusesForeignFiles(t *testing.T) {
	for name, c := range map[string]struct {
		write func(t *testing.T, path string)
		says  string
	}{
		"text":            {func(t *testing.T, path string) { writeFile(t, path, strings.Repeat("dear diary\n", 1000)) }, "is not a SQLite database"},
		"short text":      {func(t *testing.T, path string) { writeFile(t, path, "dear") }, "is not a SQLite database"},
		"only the header": {func(t *testing.T, path string) { writeFile(t, path, fileHeader+strings.Repeat("x", 8000)) }, "is damaged"},
		"directory":       {func(t *testing.T, path string) { mkdir(t, path) }, "cannot be used"},
		"other program": {func(t *testing.T, path string) { execute(t, path, "CREATE TABLE notes (text TEXT)") },
			"another program"},
		"other program's mark": {func(t *testing.T, path string) { execute(t, path, "PRAGMA application_id = 7") }, "another program"},
		"newer wflo": {func(t *testing.T, path string) {
			closeLedger(t, mustOpenFile(t, path))
			execute(t, path, "INSERT INTO migrations (version_id, is_applied) VALUES (999, 1)")
		}, "schema version 999"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger.db")
			c.write(t, path)
			before, _ := os.ReadFile(path) // a directory has no content
			l, err := Open(t.Context(), Config{Path: path})
			if err == nil {
				closeLedger(t, l)
			}
			if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
				t.Fatalf("error is %v, want an invalid configuration with a hint", err)
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not say %q and %s", err, c.says, path)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpenRefusesUnusablePath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "x")
	_, err := Open(t.Context(), Config{Path: filepath.Join(file, "ledger.db")})
	if wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
		t.Errorf("error is %v", err)
	}
}

func TestFileIsPrivateDurableAndKept(t *testing.T) {
	// Every character that a URI or SQLite could take for something else.
	path := filepath.Join(t.TempDir(), "new dir", "a?b#c%20d&e=f'g\"h;:i☃", "ledger.db")
	l := mustOpenFile(t, path)
	if _, err := l.Reserve(t.Context(), reservation); err != nil {
		t.Fatal(err)
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := l.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", pragma, got, err, want)
		}
	}
	if _, err := l.read.Exec("DELETE FROM holds"); err == nil {
		t.Error("a reader can write")
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("ledger.db%s: %v, %v", suffix, info, err)
		}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
	closeLedger(t, l)
	l = mustOpenFile(t, path)
	defer closeLedger(t, l)
	if got, err := l.Spend(t.Context(), "x"); err != nil || got.Reserved != 5 {
		t.Errorf("after reopening: %+v, %v", got, err)
	}
}

func TestMemoryIsPrivate(t *testing.T) {
	one, two := mustOpen(t, Config{}), mustOpen(t, Config{Path: ":memory:"})
	if _, err := one.Reserve(t.Context(), reservation); err != nil {
		t.Fatal(err)
	}
	if got, err := two.Spend(t.Context(), "x"); err != nil || got != (wflo.Spend{Budget: "x"}) {
		t.Errorf("the other ledger has %+v, %v", got, err)
	}
}

func TestTwoLedgersShareOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	ledgers := make([]*Ledger, 6)
	var wg sync.WaitGroup
	for i := range ledgers {
		wg.Go(func() { // all make the file and migrate it
			var err error
			if ledgers[i], err = Open(t.Context(), Config{Path: path}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	const rounds = 20
	for i, l := range ledgers {
		defer closeLedger(t, l)
		wg.Go(func() {
			for n := range rounds {
				r := wflo.Reservation{Key: wflo.EffectKey(rune('a' + i)), Attempt: n + 1, Amount: 1, Budgets: []wflo.BudgetLine{{ID: "x"}}}
				if _, err := l.Reserve(t.Context(), r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := wflo.Spend{Budget: "x", Spent: 6 * (rounds - 1), Reserved: 6, Unknown: 6 * (rounds - 1)}
	if got, err := ledgers[0].Spend(t.Context(), "x"); err != nil || got != want {
		t.Errorf("budget is %+v, %v; want %+v", got, err, want)
	}
}

func TestContextEndsTheWaitForAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, other := mustOpen(t, Config{Path: path}), mustOpen(t, Config{Path: path})
	held, err := other.write.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := l.Reserve(ctx, reservation); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reserved while another process writes: %v", err)
	}
	if waited := time.Since(start); waited > busyTimeout/2 {
		t.Errorf("waited %s", waited)
	}
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Reserve(t.Context(), reservation); err != nil {
		t.Error(err)
	}
}

func TestEntriesAreAppendOnlyAndUseTheClock(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 7, time.FixedZone("", 3600))
	l := mustOpen(t, Config{Now: func() time.Time { return at }})
	if _, err := l.Reserve(t.Context(), reservation); err != nil {
		t.Fatal(err)
	}
	if err := l.MarkUnknown(t.Context(), "k", 1); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"UPDATE entries SET amount_nano = 0", "DELETE FROM entries"} {
		if _, err := l.write.Exec(change); err == nil || !strings.Contains(err.Error(), "only ever added") {
			t.Errorf("%s gave %v", change, err)
		}
	}
	if _, err := l.write.Exec("UPDATE accounts SET reserved_nano = -1"); err == nil {
		t.Error("a budget can be negative")
	}
	got, err := l.Entries(t.Context(), "/")
	if err != nil || len(got) != 1 || !got[0].At.Equal(at) {
		t.Errorf("entries are %+v, %v", got, err)
	}
}

func mustOpenFile(t *testing.T, path string) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLedger(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// execute changes a file behind the ledger's back.
func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRulesOfAnotherProcess has two ledgers that remember rules and accounts see
// what the other one changes.
func TestRulesOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	one, two := mustOpen(t, Config{Path: path}), mustOpen(t, Config{Path: path})
	ask := func(l *Ledger, key string, amount wflo.Money) error {
		_, err := l.Reserve(t.Context(), wflo.Reservation{Key: wflo.EffectKey(key), Attempt: 1, Amount: amount, Scopes: []string{"user:ann"}})
		return err
	}
	if err := ask(one, "free", 100); err != nil { // no rule yet
		t.Fatal(err)
	}
	if err := two.SetBudget(t.Context(), wflo.Budget{Scope: wflo.ScopeUser, Name: "ann", Limit: 150, Period: wflo.PeriodMonthly}, "ops"); err != nil {
		t.Fatal(err)
	}
	if err := ask(one, "large", 60); !errors.Is(err, wflo.ErrBudgetExceeded) {
		t.Errorf("a rule of the other process gave %v", err)
	}
	for i, l := range []*Ledger{one, two, one, two, one} {
		if err := ask(l, string(rune('a'+i)), 10); err != nil {
			t.Error(err)
		}
	}
	if err := ask(two, "last", 1); !errors.Is(err, wflo.ErrBudgetExceeded) {
		t.Errorf("what both reserved together gave %v", err)
	}
	if _, err := one.TopUp(t.Context(), wflo.TopUp{Key: "t", Budget: "user:ann", Amount: 1}); err != nil {
		t.Error(err)
	}
	if err := ask(two, "last", 1); err != nil {
		t.Error(err)
	}
}
