//go:build integration

package hosts

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/internal/postgres/pgtest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// database is PostgreSQL of the tests that do not break it.
var database *pgtest.Server

func TestMain(m *testing.M) {
	if queue := os.Getenv(workerQueue); queue != "" {
		fmt.Fprintln(os.Stderr, "worker:", work(queue))
		os.Exit(1)
	}
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if err := os.Unsetenv(name); err != nil { // these tests say for themselves which engine they mean
			panic(err)
		}
	}
	// They wait more than they work.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := 1
	var err error
	if database, err = pgtest.Start(); err == nil {
		code = m.Run()
		err = database.Stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hosts:", err)
		code = 1
	}
	os.Exit(code)
}

// root is the folder of the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// free gives a port that nobody listens on.
func free(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// temporal is a server with a file of its own.
type temporal struct {
	*clitest.Program
	address string
}

func startTemporal(t *testing.T, file string) *temporal {
	t.Helper()
	program := filepath.Join(root(t), "bin", "temporal")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("make bin/temporal builds it: %v", err)
	}
	port := strconv.Itoa(free(t))
	s := &temporal{address: "127.0.0.1:" + port}
	s.Program = clitest.Start(t, clitest.Environment(t.TempDir()), program, "server", "start-dev", "--headless",
		"--ip", "127.0.0.1", "--port", port, "--db-filename", file, "--log-level", "error")
	clitest.Await(t, "Temporal", func() bool {
		select {
		case <-s.Ended():
			t.Fatalf("Temporal ended:\n%s", s.Said())
		default:
		}
		c, err := client.Dial(client.Options{HostPort: s.address})
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return s
}

// dial gives a client with no more than Temporal's own.
func (s *temporal) dial(t *testing.T) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: s.address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// vendor is a stand-in for a provider of models that writes down what it bills.
func vendor(t *testing.T) (*scripted.Server, []string) {
	t.Helper()
	s, env, _ := slowVendor(t)
	return s, env
}

// slowVendor is a vendor who does not answer the first question of the run "hanging",
// and says when that has come.
func slowVendor(t *testing.T) (s *scripted.Server, env []string, hangs <-chan struct{}) {
	t.Helper()
	const key = "sk-hosts"
	came, release := make(chan struct{}), make(chan struct{})
	var asked atomic.Bool
	s, err := scripted.New(scripted.Config{APIKey: key, Script: func(turn scripted.Turn) scripted.Answer {
		text := turn.Messages[0].Text
		if text == "before hanging" && !asked.Swap(true) {
			close(came)
			<-release
		}
		return scripted.Answer{Text: "heard: " + text}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(release)
		_ = s.Close()
	})
	return s, []string{"OPENAI_API_KEY=" + key, "OPENAI_BASE_URL=" + s.BaseURL(scripted.OpenAI)}, came
}

// worker starts this binary as a worker of a queue.
func (s *temporal) worker(t *testing.T, queue, home string, env ...string) *clitest.Program {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := clitest.Environment(home, append([]string{
		"TEMPORAL_ADDRESS=" + s.address, "TEMPORAL_NAMESPACE=default", "WFLO_DATA_DIR=" + home, "WFLO_SANDBOX_POOL=-1",
		"WFLO_SANDBOX_SWEEP=1s", workerQueue + "=" + queue,
	}, env...)...)
	p := clitest.Start(t, all, own)
	p.Match(t, "(worker started)")
	return p
}
