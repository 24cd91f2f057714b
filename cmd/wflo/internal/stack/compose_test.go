//go:build integration

package stack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// image is that of wflo in this test; a user's own stays as it is.
const image = "wflo/wflo:stack-test"

// compose is a stack under a name of its own, with settings and secrets of its own.
type compose struct {
	t             *testing.T
	root, project string
	files         []string
	env           []string
}

// newCompose prepares a stack as a user does, with init.sh.
func newCompose(t *testing.T, size string) *compose {
	t.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &compose{t: t, root: root, project: "wflo-test-" + strings.ToLower(rand.Text()[:8])}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(dir, "env")
	c.env = append(os.Environ(), "WFLO_SECRETS="+filepath.Join(dir, "secrets"), "WFLO_ENV="+settings, "WFLO_IMAGE="+image, "WFLO_STACK_PROGRAM="+program,
		"WFLO_CONSOLE_PORT=", "TEMPORAL_UI_PORT=", "PROMETHEUS_PORT=", "JAEGER_PORT=", "GRAFANA_PORT=", // any free ones
		"WFLO_OWNER="+c.project, "OPENAI_BASE_URL=http://model:8000/v1")
	c.must("deploy/compose/init.sh", size)
	if err := os.WriteFile(filepath.Join(dir, "secrets", "openai_api_key"), []byte("sk-of-the-stack\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.files = []string{filepath.Join(root, "bin", "docker-compose"), "--project-name", c.project, "--env-file", settings,
		"-f", filepath.Join(root, "docker-compose.yml"), "-f", filepath.Join(root, "cmd/wflo/internal/stack/testdata/standins.yml")}
	return c
}

// command is one that runs where a user would run it.
func (c *compose) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]) {
		cmd.Path = filepath.Join(c.root, argv[0])
	}
	cmd.Dir, cmd.Env = c.root, c.env
	return cmd
}

// must runs a command to its end and gives its standard output.
func (c *compose) must(argv ...string) string {
	c.t.Helper()
	out, err := c.try(argv...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *compose) try(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := c.command(ctx, argv...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(argv[max(0, len(argv)-4):], " "), err, out.String(), errOut.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// do is docker compose for the stack.
func (c *compose) do(args ...string) string {
	c.t.Helper()
	return c.must(append(append([]string{}, c.files...), args...)...)
}

// in runs a program in a container of a service that runs.
func (c *compose) in(service string, argv ...string) string {
	c.t.Helper()
	return c.do(append([]string{"exec", "-T", service}, argv...)...)
}

// port is where a service's port is on this machine.
func (c *compose) port(service, port string) string {
	c.t.Helper()
	return "http://" + c.do("port", service, port)
}

// containers are the ids of a service's containers.
func (c *compose) containers(service string) []string {
	c.t.Helper()
	return strings.Fields(c.do("ps", "--quiet", service))
}

// down takes everything away, as a user does who wants nothing of it back, and sees that
// nothing is left.
func (c *compose) down() {
	c.t.Helper()
	if c.t.Failed() {
		out, err := c.try(append(append([]string{}, c.files...), "logs", "--no-color", "--tail", "15")...)
		c.t.Logf("logs: %v\n%s", err, out)
	}
	c.do("down", "--volumes", "--remove-orphans")
	// One whose worker was killed ends itself after a minute of silence.
	eventually(c.t, "sandboxes end", 90*time.Second, func() error {
		if left := c.must("docker", "ps", "-q", "--filter", "label=wflo.owner="+c.project); left != "" {
			return errors.New(left)
		}
		return nil
	})
	for what, argv := range map[string][]string{
		"containers": {"docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=" + c.project},
		"volumes":    {"docker", "volume", "ls", "-q", "--filter", "label=com.docker.compose.project=" + c.project},
		"networks":   {"docker", "network", "ls", "-q", "--filter", "label=com.docker.compose.project=" + c.project},
	} {
		if left := c.must(argv...); left != "" {
			c.t.Errorf("%s are left: %s", what, strings.Fields(left))
		}
	}
	// What they leave behind goes with the next worker's first sweep, and here there is none.
	for _, kind := range [][]string{{"docker", "ps", "-aq"}, {"docker", "volume", "ls", "-q"}} {
		remove := []string{"docker", "rm", "-f", "-v"}
		if kind[1] == "volume" {
			remove = []string{"docker", "volume", "rm", "-f"}
		}
		if left := strings.Fields(c.must(append(kind, "--filter", "label=wflo.owner="+c.project)...)); len(left) > 0 {
			c.must(append(remove, left...)...)
		}
	}
}

// eventually asks until the answer is good, and fails with the last one.
func eventually(t *testing.T, what string, within time.Duration, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// api asks an HTTP API with a key, and reads JSON into out.
func api(method, url, key string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + " " + string(data))
	}
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%w in %s", err, data)
	}
	return nil
}
