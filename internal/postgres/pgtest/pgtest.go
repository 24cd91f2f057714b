// Package pgtest gives tests a real PostgreSQL. [Start], called from TestMain,
// runs a private server from the binaries that the operating system installed:
// its data is in a temporary directory, it listens on a unix socket only, it
// flushes to disk as a production server does, and it is gone after
// [Server.Stop]. [Server.Database] gives each test a database of its own.
//
// When the variable WFLO_TEST_POSTGRES_URL is set, that server is used instead;
// its user must be allowed to create databases.
//
// A missing PostgreSQL is an error and never a reason to skip: a suite that did
// not run must not look like one that passed.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvURL names the variable that points to a running server.
const EnvURL = "WFLO_TEST_POSTGRES_URL"

// debianBinaries is where Debian's packages put each major version.
const debianBinaries = "/usr/lib/postgresql/*/bin/initdb"

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// Server is a PostgreSQL server for one test binary.
type Server struct {
	admin     string // URL of the database "postgres"
	dir       string // empty for a server that is not ours
	cmd       *exec.Cmd
	exited    chan error
	databases atomic.Int64
}

// Start starts a server, or finds the one of WFLO_TEST_POSTGRES_URL. The caller
// stops it.
func Start() (*Server, error) {
	if u := os.Getenv(EnvURL); u != "" {
		return &Server{admin: u}, nil
	}
	bin, err := findBinaries(debianBinaries)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wflo-pg-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for PostgreSQL: %w", err)
	}
	s := &Server{dir: dir}
	if err := s.start(bin); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(bin string) error {
	who, err := unprivileged()
	if err != nil {
		return err
	}
	if err := who.own(s.dir); err != nil {
		return fmt.Errorf("give PostgreSQL its directory: %w", err)
	}
	data := filepath.Join(s.dir, "data")
	// Only the initial files go unflushed; the server itself runs with fsync on.
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata="+data, "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = s.dir, who.attributes()
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return s.serve(bin, data, who)
}

func (s *Server) serve(bin, data string, who account) error {
	logPath := filepath.Join(s.dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("make PostgreSQL's log: %w", err)
	}
	defer log.Close() // the child has its own descriptor
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "max_connections=100")
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, who.attributes()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	s.admin = "postgres:///postgres?" + url.Values{"host": {s.dir}, "user": {"postgres"}}.Encode()
	if err := s.await(); err != nil {
		said, _ := os.ReadFile(logPath)
		return fmt.Errorf("%w; its log ends: %s", err, said[max(0, len(said)-2000):])
	}
	return nil
}

// await polls until the server answers, because PostgreSQL has no other signal
// for the parent of its process.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.admin)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case ended := <-s.exited:
			s.exited <- ended // for Stop
			return fmt.Errorf("PostgreSQL ended at once: %v", ended)
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL did not answer in %s: %w", startTimeout, err)
		}
	}
}

// Stop ends the server and removes its data. A server that is not ours stays.
func (s *Server) Stop() error {
	if s.dir == "" {
		return nil
	}
	var err error
	if s.cmd != nil {
		err = s.shutDown()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) shutDown() error {
	// Interrupt is PostgreSQL's fast shutdown: it ends the sessions.
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(stopTimeout):
		err := s.cmd.Process.Kill()
		<-s.exited
		return errors.Join(fmt.Errorf("PostgreSQL did not stop in %s", stopTimeout), err)
	}
}

// Database makes an empty database, which is dropped when the test ends, and
// returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := "wflo_test_" + strconv.Itoa(os.Getpid()) + "_" + strconv.FormatInt(s.databases.Add(1), 10)
	if err := s.Exec(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("make a database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	u, err := url.Parse(s.admin)
	if err != nil {
		t.Fatalf("%s is not a URL", EnvURL)
	}
	u.Path = "/" + name
	return u.String()
}

// Exec runs one statement as the server's administrator.
func (s *Server) Exec(ctx context.Context, statement string, args ...any) error {
	conn, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		return fmt.Errorf("connect to the test server: %w", err)
	}
	_, err = conn.Exec(ctx, statement, args...)
	return errors.Join(err, conn.Close(ctx))
}

// findBinaries looks for the newest server of Debian's packages, then on PATH.
func findBinaries(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("look for PostgreSQL: %w", err)
	}
	newest, dir := 0, ""
	for _, path := range found {
		bin := filepath.Dir(path)
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
		if err == nil && version > newest {
			newest, dir = version, bin
		}
	}
	if dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", fmt.Errorf("no PostgreSQL server at %s or on PATH: run apt-get install postgresql, or set %s", pattern, EnvURL)
}
