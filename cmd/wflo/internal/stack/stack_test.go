//go:build integration

package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// TestStack starts docker-compose.yml with everything, and an agent runs through it: it
// uses a sandbox, asks a person, loses the worker that it was on, and finishes on the
// other one. What it did is in the traces and the metrics.
func TestStack(t *testing.T) {
	c := newCompose(t, "full")
	t.Cleanup(c.down)
	// No package and no module has Grafana: its files are checked by TestGrafana.
	c.do("up", "--detach")
	c.healthy()
	key := c.in("console", "/usr/local/bin/wflo", "console", "key", "--subject", "ann", "--role", "approver", "--role", "operator", "--group", "ops")

	const id = "stack-agent"
	c.in("console", "/usr/local/bin/wflo", "run", "agent", "--id", id, "--model", "gpt-5.4-mini", "--prompt", "Compute, then ask.", "--tools", "run_python,ask_human",
		"--budget", "1.00", "--user", "bob", "--detach")
	gate := c.gate(key, id)
	c.kill(c.lastAsked())
	c.respond(key, gate, "blue")
	eventually(t, "the run ends on the other worker", 2*time.Minute, func() error {
		var run struct{ State, Spent string }
		if err := json.Unmarshal([]byte(c.in("console", "/usr/local/bin/wflo", "status", id, "-o", "json")), &run); err != nil || run.State != "completed" {
			return fmt.Errorf("%+v (%v)", run, err)
		}
		return nil
	})
	// What the model was told in the end is what the sandbox and the person said.
	said := c.do("logs", "--no-log-prefix", "model")
	if !strings.Contains(said, "squares 328350 reached [] socket False") || !strings.Contains(said, "blue") {
		t.Errorf("the sandbox reaches what it should not, or did not run: %s", said)
	}
	c.traced(id)
	c.measured()
	c.again()
}

// healthy waits until every service with a health check is well and every job has ended
// well, which docker compose up --wait does not tell apart.
func (c *compose) healthy() {
	c.t.Helper()
	type container struct {
		Service, State, Health string
		ExitCode               int
	}
	eventually(c.t, "the stack is up", 4*time.Minute, func() error {
		var waits []string
		out := c.do("ps", "--all", "--format", "json")
		for line := range strings.Lines(out) {
			var s container
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				return fmt.Errorf("%w in %s", err, line)
			}
			if s.State == "exited" && s.ExitCode == 0 || s.State == "running" && (s.Health == "healthy" || s.Health == "") {
				continue
			}
			waits = append(waits, fmt.Sprintf("%s is %s %s %d", s.Service, s.State, s.Health, s.ExitCode))
		}
		if len(waits) > 0 || strings.Count(out, "\n") < 10 {
			return errors.New(strings.Join(waits, ", "))
		}
		return nil
	})
	if workers := c.containers("worker"); len(workers) != 2 {
		c.t.Fatalf("%d workers", len(workers))
	}
}

// gate is the run's open gate as the console's API shows it.
func (c *compose) gate(key, run string) (g wflo.Gate) {
	c.t.Helper()
	eventually(c.t, "the agent asks", 2*time.Minute, func() error {
		var open []wflo.Gate
		if err := api(http.MethodGet, c.port("console", "7244")+"/api/v1/approvals?workflow="+run, key, nil, &open); err != nil {
			return err
		}
		if len(open) != 1 {
			return fmt.Errorf("%d gates; %s", len(open), c.in("console", "/usr/local/bin/wflo", "status", run))
		}
		g = open[0]
		return nil
	})
	return g
}

// respond answers a gate as somebody does who has its page before them.
func (c *compose) respond(key string, g wflo.Gate, text string) {
	c.t.Helper()
	at := c.port("console", "7244") + "/api/v1/approvals/" + g.Nonce
	if err := api(http.MethodPost, at+"/decisions", "", map[string]string{"verdict": "respond", "digest": g.Digest, "text": text}, nil); err == nil {
		c.t.Error("somebody without a key decides")
	}
	eventually(c.t, "the answer counts", 2*time.Minute, func() error {
		return api(http.MethodPost, at+"/decisions", key, map[string]string{"verdict": "respond", "digest": g.Digest, "text": text, "id": "the-answer"}, nil)
	})
}

// lastAsked is the container of the worker that asked the model last.
func (c *compose) lastAsked() string {
	c.t.Helper()
	turns := regexp.MustCompile(`turn 1 of ([0-9.]+)`).FindAllStringSubmatch(c.do("logs", "--no-log-prefix", "model"), -1)
	if len(turns) == 0 {
		c.t.Fatal("the model was not asked")
	}
	address := turns[len(turns)-1][1]
	for _, id := range c.containers("worker") {
		if strings.Contains(c.must("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", id), address+" ") {
			return id
		}
	}
	c.t.Fatalf("no worker has the address %s", address)
	return ""
}

// kill ends a worker as a machine does that goes away.
func (c *compose) kill(id string) {
	c.t.Helper()
	c.must("docker", "kill", id)
	if state := c.must("docker", "inspect", "--format", "{{.State.Running}}", id); state != "false" {
		c.t.Fatalf("the worker is running: %s", state)
	}
}

// traced finds the run's spans behind the collector.
func (c *compose) traced(run string) {
	c.t.Helper()
	eventually(c.t, "the traces arrive", 2*time.Minute, func() error {
		said := c.do("logs", "--no-log-prefix", "jaeger")
		for _, want := range []string{run, "gpt-5.4-mini", "service.name: Str(wflo)"} {
			if !strings.Contains(said, want) {
				return fmt.Errorf("no %q among %d bytes of spans", want, len(said))
			}
		}
		return nil
	})
}

// measured finds the run in Prometheus, and our rules.
func (c *compose) measured() {
	c.t.Helper()
	at := c.port("prometheus", "9090") + "/api/v1/"
	value := func(query string) (string, error) {
		var out struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		err := api(http.MethodGet, at+"query?query="+url.QueryEscape(query), "", nil, &out)
		if err != nil || len(out.Data.Result) == 0 {
			return "nothing", err
		}
		return fmt.Sprint(out.Data.Result[0].Value[1]), nil
	}
	for query, want := range map[string]string{
		`count(wflo_build_info)`: "1", `count(up{job="temporal"} == 1)`: "1", `sum(wflo_workflow_executions_total{status="completed"})`: "1",
	} {
		eventually(c.t, "Prometheus counts", 2*time.Minute, func() error {
			if got, err := value(query); err != nil || got != want {
				return fmt.Errorf("%s is %s, want %s (%v)", query, got, want, err)
			}
			return nil
		})
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health string }
			}
		}
	}
	if err := api(http.MethodGet, at+"rules", "", nil, &rules); err != nil {
		c.t.Fatal(err)
	}
	names := fmt.Sprint(rules.Data.Groups)
	if !strings.Contains(names, "WfloNoWorker") || !strings.Contains(names, "wflo:runs_failed:ratio30m") {
		c.t.Errorf("the rules of deploy/prometheus are not there: %s", names)
	}
}

// again starts the stack a second time, as an upgrade does: the jobs have nothing to do,
// and the worker that was killed comes back.
func (c *compose) again() {
	c.t.Helper()
	c.do("up", "--detach")
	c.healthy()
	out := c.do("logs", "--no-log-prefix", "migrate")
	if strings.Count(out, "the database is up to date (PostgreSQL)") < 2 {
		c.t.Errorf("the migrations ran once only: %s", out)
	}
}
