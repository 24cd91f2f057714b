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
	"strings"
	"syscall"
	"time"
)

// errNotOurs is what outages say of a server that others may need.
var errNotOurs = errors.New("the server of " + EnvURL + " is not broken on purpose: unset the variable, and a test has one of its own")

// Kill ends the server and all of its processes with SIGKILL, as a power cut does:
// what is not on disk is lost.
func (s *Server) Kill() error {
	if s.dir == "" {
		return errNotOurs
	}
	pid := s.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // it begins no others meanwhile
	for _, child := range children(pid) {
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	<-s.exited
	s.cmd = nil
	return nil
}

// children are the processes that a process began.
func children(of int) []int {
	var all []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(of) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all
}

// Again starts a server that was killed, over the files that it left.
func (s *Server) Again() error {
	if s.dir == "" {
		return errNotOurs
	}
	bin, err := findBinaries(debianBinaries)
	if err != nil {
		return err
	}
	who, err := unprivileged()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); ; {
		err := s.serve(bin, filepath.Join(s.dir, "data"), who)
		// Processes of a server that was killed hold its memory until they notice.
		if err == nil || !strings.Contains(err.Error(), "pre-existing shared memory block") || time.Now().After(deadline) {
			return err
		}
	}
}

// Standby starts a second server that follows this one and answers questions only,
// until Promote. The caller stops it.
func (s *Server) Standby() (*Server, error) {
	if s.dir == "" {
		return nil, errNotOurs
	}
	bin, err := findBinaries(debianBinaries)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wflo-pg-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the standby: %w", err)
	}
	standby := &Server{dir: dir}
	if err := standby.follow(s, bin); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

func (s *Server) follow(primary *Server, bin string) error {
	who, err := unprivileged()
	if err != nil {
		return err
	}
	if err := who.own(s.dir); err != nil {
		return fmt.Errorf("give the standby its directory: %w", err)
	}
	data := filepath.Join(s.dir, "data")
	backup := exec.Command(filepath.Join(bin, "pg_basebackup"), "--pgdata="+data, "--host="+primary.dir, "--username=postgres",
		"--checkpoint=fast", "--write-recovery-conf", "--no-sync")
	backup.Dir, backup.SysProcAttr = s.dir, who.attributes()
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, bytes.TrimSpace(out))
	}
	return s.serve(bin, data, who)
}

// Promote makes a standby the server that takes writes.
func (s *Server) Promote(ctx context.Context) error {
	return s.Exec(ctx, "SELECT pg_promote(true, 60)")
}

// Either gives the address of a database of this server for programs that also know
// another one, as they are told of all servers of a cluster. This one is tried first.
func (s *Server) Either(database string, other *Server) (string, error) {
	u, err := url.Parse(database)
	if err != nil {
		return "", errors.New("the address of the database is no URL")
	}
	q := u.Query()
	q.Set("host", s.dir+","+other.dir)
	u.RawQuery = q.Encode()
	return u.String(), nil
}
