package redis

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// server is a redis-server of the test's own: without files, on a loopback port.
type server struct {
	url string
	cmd *exec.Cmd
}

// start runs a server. A missing one is an error and never a reason to skip.
func start(args ...string) (*server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: install the package redis-server", err)
	}
	// A free port may be taken by somebody else before the server has it.
	for range 10 {
		s, err := try(program, args)
		if s != nil || err != nil {
			return s, err
		}
	}
	return nil, fmt.Errorf("no free port in ten tries")
}

// try starts the server on a port that is free at the moment; nil when it is
// not any more.
func try(program string, args []string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(program, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{url: "redis://" + address, cmd: cmd}
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			return s, nil
		}
	}
	s.stop()
	if strings.Contains(strings.Join(said, "\n"), "Address already in use") {
		return nil, nil
	}
	return nil, fmt.Errorf("redis-server ended:\n%s", strings.Join(said, "\n"))
}

func (s *server) stop() {
	// That it is gone already is as good.
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// ours is the server that the tests share, each with a prefix of its own.
var ours *server

func TestMain(m *testing.M) {
	var err error
	if ours, err = start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	ours.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
