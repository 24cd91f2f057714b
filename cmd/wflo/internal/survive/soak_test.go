//go:build integration && soak

package survive

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/survive/invariant"
)

// Variables of the soak, of which one of the first two is set.
const (
	soakMinutes = "WFLO_SOAK_MINUTES" // how long it takes, its quiet end included
	soakAgents  = "WFLO_SOAK_AGENTS"  // how many agents work, however long it takes
)

// What puts a process to sleep and wakes it up.
const (
	stop = syscall.SIGSTOP
	goOn = syscall.SIGCONT
)

const (
	// quietFor is the end of a soak, in which nothing is killed: what dead workers leave on
	// the engine is removed when it is five minutes old.
	quietFor = unclaimed + 30*time.Second
	// winding is the end of it in which no agent begins.
	winding = 2 * time.Minute
	// open is how many agents are at work at the same time where there is a number of them to
	// get through, and openBeside in a soak that runs beside other tests, in which one begins
	// as often as pace says.
	open       = 48
	openBeside = 24
	pace       = 2 * time.Second
)

// mix is what becomes of agents, one after the other: most only talk.
var mix = []order{
	{Kind: talks, Calls: 2, Pause: 2 * time.Second}, {Kind: keeps, Calls: 1}, {Kind: talks, Calls: 3, Pause: time.Second}, {Kind: undoes, Calls: 1},
	{Kind: talks, Calls: 1, Pause: 5 * time.Second}, {Kind: back, Calls: 1}, {Kind: talks, Calls: 2}, {Kind: keeps, Box: true, Long: 1, Calls: 1},
}

// length reads how long the soak is: how many agents begin at most, for how long, and how
// long processes are killed; zero is until all have ended.
func length(t *testing.T) (agents int, begin, chaos time.Duration) {
	t.Helper()
	minutes, agentsText := os.Getenv(soakMinutes), os.Getenv(soakAgents)
	var err error
	switch {
	case agentsText != "":
		agents, err = strconv.Atoi(agentsText)
	case minutes != "":
		var n int
		if n, err = strconv.Atoi(minutes); err == nil && n < 9 {
			t.Fatalf("%s is %d: %s of it are quiet, so take 9 or more", soakMinutes, n, quietFor)
		}
		whole := time.Duration(n) * time.Minute
		agents, begin, chaos = int(whole/pace), whole-winding, whole-quietFor
	}
	if err != nil || agents < 1 {
		t.Fatalf("set %s or %s: %v", soakMinutes, soakAgents, err)
	}
	return agents, begin, chaos
}

// TestSoak has many agents at work while processes are killed as a seed says. In the end
// the auditor looks, and everything is back where it was.
func TestSoak(t *testing.T) {
	agents, begin, chaosFor := length(t)
	chosen := seed(t)
	t.Logf("seed %d: repeat it with %s=%d", chosen, faultsSeed, chosen)
	s := startServers(t)
	w := newWorld(t, s)
	w.patience = 15 * time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	var aside sync.WaitGroup
	aside.Go(func() { w.decide(ctx) })
	aside.Go(func() { w.keepAlive(ctx, nil) })
	await(t, "a worker", func() bool { api, _ := w.addresses(); return api != "" })
	w.warm()
	before := w.counted()
	chaos, calm := context.WithCancel(ctx)
	killed := make(chan int, 1)
	go func() { killed <- w.chaos(chaos, source(chosen)) }()
	if chaosFor > 0 {
		defer time.AfterFunc(chaosFor, calm).Stop()
	}
	started := w.work(agents, begin)
	calm()
	kills := <-killed
	w.grace = 0
	r := w.settles(quietFor+3*time.Minute, func() []invariant.Count { return since(before, w.counted()) })
	t.Logf("seed %d: %d agents, %d outages, %d workers\n%s", chosen, started, kills, len(w.workers), r)
	for _, c := range since(before, w.counted()) {
		t.Logf("%s: %d before, %d now", c.What, c.Before, c.Now)
	}
	cancel()
	aside.Wait()
}

// warm has one agent of each kind work, so that everything has been used once.
func (w *world) warm() {
	for n, k := range kinds {
		w.ended(w.start(order{Kind: k, Box: k == keeps, Calls: 1}, 1_000_000+n), k)
	}
	w.settles(2*time.Minute, nil)
}

// work has so many agents work, a few at a time, until all have ended. Those that are not
// begun until the time is over are not.
func (w *world) work(agents int, begin time.Duration) (started int) {
	most := open
	if begin > 0 {
		most = openBeside
	}
	places := make(chan struct{}, most)
	var all sync.WaitGroup
	began := time.Now()
	end := time.Now().Add(begin)
	for n := range agents {
		if begin > 0 {
			if time.Now().After(end) {
				break
			}
			<-time.After(pace)
		}
		places <- struct{}{}
		if started++; started%100 == 0 {
			w.t.Logf("%d agents have begun after %s", started, time.Since(began).Round(time.Second))
		}
		o := mix[n%len(mix)]
		all.Go(func() {
			defer func() { <-places }()
			w.ended(w.start(o, n), o.Kind)
		})
	}
	all.Wait()
	w.t.Logf("%d agents took %s", started, time.Since(began).Round(time.Second))
	return started
}

// chaos kills and stops processes until ctx ends, and gives how often. Every process that
// it took away is back then.
func (w *world) chaos(ctx context.Context, from *rand.Rand) (n int) {
	for {
		// Something happens every 5 to 25 seconds, most often to the worker.
		select {
		case <-ctx.Done():
			return n
		case <-time.After(5*time.Second + time.Duration(from.IntN(20_000))*time.Millisecond):
		}
		n++
		choice := from.IntN(10)
		switch p := w.last(); {
		case choice < 5:
			p.Kill()
		case choice == 5:
			down(w.redis.kill, w.redis.again)
		case choice == 6:
			down(w.minio.kill, w.minio.again)
		case choice == 7:
			down(w.postmaster.Kill, w.postmaster.Again)
		case choice == 8:
			down(w.temporal.kill, w.temporal.again)
		default:
			p.Signal(stop)
			<-time.After(15 * time.Second)
			p.Signal(goOn)
		}
	}
}

// counted counts what must come back to where it was. What cannot be counted at the
// moment is -1.
func (w *world) counted() map[string]int {
	all := map[string]int{"goroutines of the worker": -1, "descriptors of the worker": -1, "connections to the database": -1}
	if _, page := w.addresses(); page != "" {
		if resp, err := http.Get(page); err == nil { //nolint:gosec // it is our worker's
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if n, err := strconv.Atoi(string(text)); err == nil {
				all["goroutines of the worker"] = n
			}
		}
	}
	if list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.last().Cmd.Process.Pid)); err == nil {
		all["descriptors of the worker"] = len(list)
	}
	if db, err := pgx.Connect(context.Background(), w.database); err == nil {
		var n int
		if err := db.QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n); err == nil {
			all["connections to the database"] = n
		}
		for what, query := range map[string]string{
			"alerts that wait":       `SELECT count(*) FROM wflo.alerts WHERE done_at IS NULL`,
			"reservations":           `SELECT count(*) FROM wflo.holds WHERE state = 'open'`,
			"restores under way":     `SELECT count(*) FROM wflo.restores WHERE open`,
			"compensations to undo":  `SELECT count(*) FROM wflo.compensations WHERE state NOT IN ('kept', 'compensated', 'dead_letter', 'skipped')`,
			"transactions prepared":  `SELECT count(*) FROM pg_prepared_xacts`,
			"locks held by sessions": `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`,
		} {
			if err := db.QueryRow(context.Background(), query).Scan(&n); err == nil {
				all[what] = n
			}
		}
		_ = db.Close(context.Background())
	}
	all["temporary files"] = temporary(w.dir)
	return all
}

// temporary counts files of the worker that have no name for good.
func temporary(dir string) (n int) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (filepath.Base(filepath.Dir(path)) == "tmp" || filepath.Ext(path) == ".tmp") {
			n++
		}
		return nil
	})
	return n
}

// since compares two counts. Connections and pollers come and go by a few.
func since(before, now map[string]int) []invariant.Count {
	var all []invariant.Count
	for what, n := range now {
		c := invariant.Count{What: what, Before: before[what], Now: n}
		switch what {
		case "goroutines of the worker":
			c.MayBeHigher, c.MayBeBecause = 25, "the SDK's pollers and connections come and go"
		case "descriptors of the worker", "connections to the database":
			c.MayBeHigher, c.MayBeBecause = 10, "pools open connections when they are needed and close them later"
		}
		all = append(all, c)
	}
	return all
}
