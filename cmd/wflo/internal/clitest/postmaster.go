package clitest

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Postmaster is a PostgreSQL server of pgtest's that can be killed and started again.
type Postmaster struct {
	// Env is added to the environment of a server that Again starts.
	Env []string

	t            testing.TB
	dir, program string
	pid          int
	as           *syscall.Credential
	url          string
	ended        chan struct{} // closed when the one that was started here has ended
	said         Buffer
}

// FindPostmaster finds the server of a database.
func FindPostmaster(t testing.TB, at string) *Postmaster {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal("the address of the database is no URL")
	}
	p := &Postmaster{t: t, dir: u.Query().Get("host"), url: at}
	file, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatalf("this test kills its PostgreSQL, so it needs one of its own (unset %s): %v", "WFLO_TEST_POSTGRES_URL", err)
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

// Kill is SIGKILL to the server and all of its processes.
func (p *Postmaster) Kill() {
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

// Again starts the server over the files that it left. It may refuse at first: a process
// of the one before still has to end.
func (p *Postmaster) Again() {
	p.begin()
	Await(p.t, "PostgreSQL", func() bool {
		select {
		case <-p.ended:
			p.begin()
		default:
		}
		conn, err := pgx.Connect(p.t.Context(), p.url)
		return err == nil && conn.Close(p.t.Context()) == nil
	})
}

func (p *Postmaster) begin() {
	cmd := exec.Command(p.program, "-D", filepath.Join(p.dir, "data"), "-k", p.dir,
		"-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=100")
	cmd.Env = append(os.Environ(), p.Env...)
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

// Stop ends a server that was started here, before pgtest removes its files.
func (p *Postmaster) Stop() {
	if p == nil || p.ended == nil {
		return
	}
	_ = syscall.Kill(p.pid, syscall.SIGINT) // the fast shutdown
	<-p.ended
	if p.t.Failed() {
		p.t.Log(p.said.String())
	}
}
