//go:build integration

package survive

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// wrongClock is the clock of a PostgreSQL server, which is not that of the machine.
type wrongClock struct {
	t    *testing.T
	file string
}

// giveClock starts the server again with a clock that a test sets.
func (s *servers) giveClock(t *testing.T) *wrongClock {
	t.Helper()
	dir, err := os.MkdirTemp("", "wflo-clock") //nolint:usetesting // the server is another user, who may not look into t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // so that the server reads it
		t.Fatal(err)
	}
	library := filepath.Join(dir, "clock.so")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", library, "testdata/clock.c").CombinedOutput(); err != nil { //nolint:gosec // the words are ours
		t.Fatalf("cc: %v\n%s", err, out)
	}
	c := &wrongClock{t, filepath.Join(dir, "seconds")}
	c.set(0)
	s.postmaster.Env = []string{"LD_PRELOAD=" + library, "WRONG_CLOCK=" + c.file}
	s.postmaster.Kill()
	s.postmaster.Again()
	return c
}

// set has the clock be off by so much from now on, also for what has begun.
func (c *wrongClock) set(by time.Duration) {
	c.t.Helper()
	// It is replaced and not written over, so that nobody reads half of it.
	next := c.file + ".next"
	err := os.WriteFile(next, []byte(strconv.Itoa(int(by/time.Second))), 0o644) //nolint:gosec // the server reads it
	if err == nil {
		err = os.Rename(next, c.file)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// shows checks that the server tells the time that was set.
func (c *wrongClock) shows(url string, by time.Duration) {
	c.t.Helper()
	db, err := pgx.Connect(c.t.Context(), url)
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(c.t.Context()))
	var now time.Time
	if err := db.QueryRow(c.t.Context(), "SELECT clock_timestamp()").Scan(&now); err != nil {
		c.t.Fatal(err)
	}
	if d := time.Until(now) - by; d.Abs() > 10*time.Minute {
		c.t.Errorf("the server's clock is off by %s, want %s", time.Until(now), by)
	}
}

// The clock of the database is an hour ahead of the workers'; then it jumps to an hour
// behind them, and back to the right time, under workers that run: agents end as they
// should, and the auditor, who allows for it where two clocks are compared, finds nothing.
func TestClockOfTheDatabase(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	clock := s.giveClock(t)
	w := newWorld(t, s)
	w.clocks = 2 * time.Hour
	clock.set(time.Hour) // from the first row on
	ctx, cancel := context.WithCancel(t.Context())
	var aside sync.WaitGroup
	aside.Go(func() { w.decide(ctx) })
	aside.Go(func() { w.keepAlive(ctx, nil) })
	await(t, "a worker", func() bool { api, _ := w.addresses(); return api != "" })
	for n, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		t.Run(by.String(), func(t *testing.T) {
			clock.set(by)
			clock.shows(w.database, by)
			var ids []string
			for i, k := range kinds {
				ids = append(ids, w.start(order{Kind: k, Calls: 2}, 2*(3*n+i)))
			}
			for i, id := range ids {
				w.ended(id, kinds[i])
			}
			t.Logf("\n%s", w.settles(w.patience, nil))
		})
	}
	cancel()
	aside.Wait()
}
