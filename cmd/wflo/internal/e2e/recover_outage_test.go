//go:build integration

package e2e

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

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
	var p *postmaster
	t.Cleanup(func() { p.stop() }) // after the database below was dropped
	p = findPostmaster(t, pg.Database(t))
	outages(t, d, pg.Database, p.kill, p.again)
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

// postmaster is a PostgreSQL server of pgtest's that can be killed and started again.
type postmaster struct {
	t            *testing.T
	dir, program string
	pid          int
	as           *syscall.Credential
	url          string
	ended        chan struct{} // closed when the one that was started here has ended
	said         clitest.Buffer
}

// findPostmaster finds the server of a database.
func findPostmaster(t *testing.T, at string) *postmaster {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal("the address of the database is no URL")
	}
	p := &postmaster{t: t, dir: u.Query().Get("host"), url: at}
	file, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatalf("this test kills its PostgreSQL, so it needs one of its own (unset %s): %v", pgtest.EnvURL, err)
	}
	first, _, _ := strings.Cut(string(file), "\n")
	if p.pid, err = strconv.Atoi(first); err == nil {
		p.program, err = os.Readlink("/proc/" + first + "/exe")
	}
	if err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(p.dir, "data"), &st); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		p.as = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	}
	return p
}

// kill is SIGKILL to the server and all of its processes.
func (p *postmaster) kill() {
	_ = syscall.Kill(p.pid, syscall.SIGSTOP) // it begins no others meanwhile
	all := []int{p.pid}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(p.pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			all = append(all, pid)
		}
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if p.ended != nil {
		<-p.ended
	}
}

// again starts the server over the files that it left. It may refuse at first: a process
// of the one before still has to end.
func (p *postmaster) again() {
	p.begin()
	await(p.t, "PostgreSQL", func() bool {
		select {
		case <-p.ended:
			p.begin()
		default:
		}
		conn, err := pgx.Connect(p.t.Context(), p.url)
		return err == nil && conn.Close(p.t.Context()) == nil
	})
}

func (p *postmaster) begin() {
	cmd := exec.Command(p.program, "-D", filepath.Join(p.dir, "data"), "-k", p.dir,
		"-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=100")
	cmd.Dir, cmd.SysProcAttr = p.dir, &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: p.as}
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	if err := cmd.Start(); err != nil {
		p.t.Error(err)
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed, or says why it ends
	}()
	p.pid, p.ended = cmd.Process.Pid, ended
}

// stop ends a server that was started here, before pgtest removes its files.
func (p *postmaster) stop() {
	if p == nil || p.ended == nil {
		return
	}
	_ = syscall.Kill(p.pid, syscall.SIGINT) // the fast shutdown
	<-p.ended
	if p.t.Failed() {
		p.t.Log(p.said.String())
	}
}
