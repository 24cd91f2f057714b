//go:build integration

package e2e

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
)

// moments are where a server is killed: the worker is held there meanwhile. Before a
// call, it then meets a server that is away; after it, the server has answered and
// forgets what it has not written down.
var moments = []struct {
	phase string
	at    breaking
}{
	{"accepted", breaking{"store.BeginRestore:after", 1, "wait"}},
	{"stopped", breaking{"store.NoteRestore.compensating:after", 1, "wait"}},
	{"saving what is given up", breaking{"part.workspace.Save:before", 2, "wait"}},
	{"undoing", breaking{"store.BeginUndo:after", 1, "wait"}},
	{"undone", breaking{"store.NoteCompensations.compensated:before", 1, "wait"}},
	{"handing back", breaking{"store.NoteRestore.restoring:after", 1, "wait"}},
	{"bringing files back", breaking{"part.workspace.Restore:after", 1, "wait"}},
	{"bringing tables back", breaking{"part.tables.Restore:before", 1, "wait"}},
	{"first new step", breaking{"store.BeginEffect:before", 3, "wait"}},
	{"undoing at the end", breaking{"store.BeginUndo:after", 3, "wait"}},
	{"closing", breaking{"store.NoteCompensations.closed:before", 1, "wait"}},
}

// The Temporal server is killed at each phase of a restore and of an undoing, and comes
// back with what it has on disk.
func TestTemporalOutages(t *testing.T) {
	t.Parallel()
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	owner := unique("outage")
	t.Cleanup(func() { removeAll(t, owner) })
	d := startDev(t, t.TempDir(), "WFLO_OWNER="+owner, "WFLO_SANDBOX_POOL=-1")
	outages(t, d, pg.Database, func() { d.kill() }, func() { d.again(t) })
}

// again starts a server that was killed, with what it had and where it was.
func (d *dev) again(t *testing.T) {
	t.Helper()
	_, port, err := net.SplitHostPort(d.Address)
	if err != nil {
		t.Fatal(err)
	}
	env, home := d.cmd.Env, d.home
	d.program = start(t, env, bin.wflo, "dev", "--data-dir", filepath.Join(home, "wflo"), "--port", port, "--ui-port", "0", "--api-port", "0")
	d.find(t, `(Next: )`)
}

// PostgreSQL, with the store and the user's tables, is killed at each phase of a restore
// and of an undoing, and recovers from its log.
func TestPostgresOutages(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir())
	pg, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	var p *clitest.Postmaster
	t.Cleanup(func() { p.Stop() }) // after the database below was dropped
	p = clitest.FindPostmaster(t, pg.Database(t))
	outages(t, d, pg.Database, p.Kill, p.Again)
}

// outages plays the story once for each moment, with an outage then.
func outages(t *testing.T, d *dev, database func(testing.TB) string, kill, again func()) {
	for _, m := range moments {
		t.Run(m.phase, func(t *testing.T) {
			s := newScene(t, d, database, story{wflo.RestoreInPlace, true})
			back := make(chan struct{})
			go func() {
				defer close(back)
				select {
				case <-s.till.holds:
				case <-t.Context().Done():
					return
				}
				kill()
				close(s.till.letsGo)
				again()
			}()
			s.play(m.at)
			<-back
			s.check()
		})
	}
}
