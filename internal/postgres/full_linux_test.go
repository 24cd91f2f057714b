package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
)

// small gives a database whose tables are on a disk of its own with a few megabytes.
func small(t *testing.T) string {
	t.Helper()
	address := server.Database(t)
	l := mustOpen(t, Config{URL: address})
	var socket string
	if err := l.pool.QueryRow(t.Context(), "SELECT setting FROM pg_settings WHERE name = 'unix_socket_directories'").Scan(&socket); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(socket, "data"), &st); err != nil {
		t.Fatalf("this test fills a disk of its PostgreSQL, so it needs one of its own: %v", err)
	}
	dir, err := os.MkdirTemp(socket, "small-") //nolint:usetesting // PostgreSQL is another user, who must get there
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("small", dir, "tmpfs", 0, fmt.Sprintf("size=24m,mode=0700,uid=%d,gid=%d", st.Uid, st.Gid)); err != nil {
		t.Fatalf("mount a small disk: %v\nhint: run this test as root, or with CAP_SYS_ADMIN", err)
	}
	name := l.pool.Config().ConnConfig.Database
	t.Cleanup(func() {
		ctx := context.Background()
		err := errors.Join(
			server.Exec(ctx, "ALTER DATABASE "+name+" CONNECTION LIMIT 0"),
			server.Exec(ctx, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", name),
			server.Exec(ctx, "ALTER DATABASE "+name+" SET TABLESPACE pg_default"),
			server.Exec(ctx, "DROP TABLESPACE "+name),
			syscall.Unmount(dir, syscall.MNT_DETACH),
		)
		if err != nil {
			t.Error(err)
		}
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE TABLESPACE " + name + " LOCATION '" + dir + "'",
		"ALTER DATABASE " + name + " SET TABLESPACE " + name,
	} {
		if err := server.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return address
}

// fill leaves no block free on the disk of a database, until the function that it gives.
func fill(t *testing.T, l *Ledger) (free func()) {
	t.Helper()
	if _, err := l.pool.Exec(t.Context(), "CREATE TABLE filler (block text); ALTER TABLE filler ALTER block SET STORAGE PLAIN"); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := l.pool.Exec(t.Context(), "INSERT INTO filler VALUES (repeat('x', 8000))")
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == "53100" {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		if _, err := l.pool.Exec(t.Context(), "DROP TABLE filler"); err != nil {
			t.Fatal(err)
		}
		// The blocks are given back at the next checkpoint.
		if err := server.Exec(t.Context(), "CHECKPOINT"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskIsFull fills the disk of PostgreSQL: what is held stays held, nothing more is
// held, and so nothing more is paid for; what was paid is booked when there is room.
func TestDiskIsFull(t *testing.T) {
	l := mustOpen(t, Config{URL: small(t), MaxConns: 2})
	ctx := t.Context()
	reserve := func(key string) error {
		_, err := l.Reserve(ctx, wflo.Reservation{Key: wflo.EffectKey(key), Attempt: 1, Amount: 5,
			Run: wflo.Run{WorkflowID: strings.Repeat("w", 900)}, Budgets: []wflo.BudgetLine{{ID: "x"}}})
		return err
	}
	if err := reserve("paid"); err != nil {
		t.Fatal(err)
	}
	free := fill(t, l)
	held := wflo.Money(5)
	var full *pgconn.PgError
	for n := 0; full == nil; n++ { // pages that are begun have room for some
		if n == 1000 {
			t.Fatal("the disk is full, and there is room for a thousand holds")
		}
		if err := reserve(fmt.Sprint("more", n)); err == nil {
			held += 5
		} else if !errors.As(err, &full) || full.Code != "53100" || wflo.CodeOf(err) != "" || !strings.Contains(err.Error(), "disk is full") {
			t.Fatalf("error is %v, want one that says so and is worth another try", err)
		}
	}
	spent(t, l, 0, held)
	settle := func(ctx context.Context) error {
		return l.Settle(ctx, wflo.Settlement{Key: "paid", Attempt: 1, Amount: 3, Outcome: []byte(strings.Repeat("answer", 10_000))})
	}
	if err := settle(ctx); !errors.As(err, &full) {
		t.Errorf("settling gave %v, want no room", err)
	}
	if err := l.Records().Append(ctx, wflo.AuditEvent{ID: strings.Repeat("i", 1000), Chain: "x", Type: wflo.AuditLogin, At: time.Unix(1, 0),
		Data: []byte(`"` + strings.Repeat("d", 10_000) + `"`)}); !errors.As(err, &full) {
		t.Errorf("append gave %v, want no room", err)
	}
	spent(t, l, 0, held)
	free()
	if err := settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := reserve("after"); err != nil {
		t.Error(err)
	}
	mustAppend(t, l.Records(), login("x", "a"))
	unbroken(t, l.Records(), "x", 1)
	spent(t, l, 3, held)
}
