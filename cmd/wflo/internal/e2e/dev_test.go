//go:build integration

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// modelName has a price; the scripted vendor plays it.
const modelName = "gpt-5.4-mini"

// apiKey is what programs present to the scripted vendor.
const apiKey = "sk-e2e-0123456789"

// vendor starts a scripted vendor of models, and gives the variables that lead
// programs to it.
func vendor(t *testing.T, script scripted.Script) (*scripted.Server, []string) {
	t.Helper()
	s, err := scripted.New(scripted.Config{Script: script, APIKey: apiKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, []string{"OPENAI_API_KEY=" + apiKey, "OPENAI_BASE_URL=" + s.BaseURL(scripted.OpenAI)}
}

// dev is a running `wflo dev`.
type dev struct {
	*program
	home string
	// From the ready file.
	Address, UI, Database string
	PID                   int
	More                  []struct{ Name, Value string }
	api                   string
}

// startDev starts `wflo dev` in a home, which may have been used before.
func startDev(t *testing.T, home string, env ...string) *dev {
	t.Helper()
	d := &dev{home: home}
	ready := filepath.Join(home, "ready.json")
	d.program = start(t, environment(home, env...), bin.wflo, "dev",
		"--data-dir", filepath.Join(home, "wflo"), "--port", "0", "--ui-port", "0", "--api-port", "0", "--ready-file", ready)
	await(t, "wflo dev", func() bool {
		select {
		case <-d.ended:
			t.Fatalf("wflo dev ended:\n%s", d.said())
		default:
		}
		data, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(data, d) == nil && d.PID == d.cmd.Process.Pid
	})
	for _, m := range d.More {
		if m.Name == "API" {
			d.api = strings.TrimSuffix(m.Value, "/api/v1/runs")
		}
	}
	return d
}

// stop ends it as Ctrl-C does.
func (d *dev) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.want(t, 0, "stopping")
}

// env leads a program to this server.
func (d *dev) env(more ...string) []string {
	return environment(d.home, append(more, "TEMPORAL_ADDRESS="+d.Address)...)
}

// wflo runs the command line to its end.
func (d *dev) wflo(t *testing.T, args ...string) *program {
	t.Helper()
	return d.begin(t, args...).wait(t)
}

// begin starts the command line.
func (d *dev) begin(t *testing.T, args ...string) *program {
	t.Helper()
	return start(t, d.env(), append([]string{bin.wflo}, args...)...)
}

// temporal runs Temporal's command line to its end.
func (d *dev) temporal(t *testing.T, args ...string) *program {
	t.Helper()
	return start(t, d.env(), append([]string{bin.temporal}, args...)...).wait(t)
}

// client is a Temporal client that knows nothing of wflo.
func (d *dev) client(t *testing.T) client.Client {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{HostPort: d.Address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// status asks a run what it is doing; ok says that it answered.
func status(t *testing.T, c client.Client, id string) (s wflo.Status, ok bool) {
	t.Helper()
	v, err := c.QueryWorkflow(t.Context(), id, "", wflo.QueryStatus)
	return s, err == nil && v.Get(&s) == nil
}

// awaitGate waits until the run has one open gate.
func awaitGate(t *testing.T, c client.Client, id string) wflo.Gate {
	t.Helper()
	var s wflo.Status
	await(t, "the gate of "+id, func() bool {
		s, _ = status(t, c, id)
		return s.State == wflo.StateWaiting && len(s.Gates) > 0
	})
	return s.Gates[len(s.Gates)-1]
}

// answer waits for the end of an agent's run that must succeed.
func answer(t *testing.T, c client.Client, id string) wflo.Answer {
	t.Helper()
	var a wflo.Answer
	if err := c.GetWorkflow(t.Context(), id, "").Get(t.Context(), &a); err != nil {
		t.Fatalf("run %s: %v", id, err)
	}
	return a
}

// get asks a worker's API.
func get(t *testing.T, url string, out any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
}

// books reads what a run paid and what its budget says.
func books(t *testing.T, api, id string) ([]wflo.Entry, wflo.Spend) {
	t.Helper()
	var entries []wflo.Entry
	var detail console.RunDetail
	get(t, api+"/api/v1/runs/"+id+"/ledger", &entries)
	get(t, api+"/api/v1/runs/"+id, &detail)
	return entries, detail.Spend
}

// invoice is one line of the vendor's books, and of ours.
type invoice struct {
	ResponseID string
	Usage      wflo.Usage
}

// checkInvoices compares what the vendor billed with what the ledger settled:
// line by line, each once. Every budget must be settled to the end.
func checkInvoices(t *testing.T, calls []scripted.Call, entries []wflo.Entry, spend wflo.Spend) {
	t.Helper()
	var billed, settled []invoice
	for _, c := range calls {
		if c.Completed && c.Status == http.StatusOK {
			billed = append(billed, invoice{c.ResponseID, c.Usage})
		}
	}
	seen := map[wflo.EffectKey]bool{}
	var sum wflo.Money
	for _, e := range entries {
		sum += e.Amount
		if e.State != wflo.HoldSettled {
			continue
		}
		if seen[e.Key] {
			t.Errorf("the effect %s is settled twice", e.Key)
		}
		seen[e.Key] = true
		settled = append(settled, invoice{e.ResponseID, e.Usage})
	}
	if diff := cmp.Diff(billed, settled); diff != "" || len(billed) == 0 {
		t.Errorf("%d invoices; vendor and ledger differ (-billed +settled):\n%s", len(billed), diff)
	}
	if spend.Reserved != 0 || spend.Spent != sum || sum == 0 || (spend.Limit > 0 && spend.Spent > spend.Limit) {
		t.Errorf("the entries sum to %s, the budget says %+v", sum, spend)
	}
}

// engine runs the engine's command line; ok says that it succeeded.
func engine(t *testing.T, args ...string) (out string, ok bool) {
	t.Helper()
	data, err := exec.CommandContext(t.Context(), "docker", args...).Output()
	return strings.TrimSpace(string(data)), err == nil
}

// box is a container that was seen at work, for which installation and run.
type box struct{ id, owner, run string }

// sandboxes lists what every installation has on the engine.
func sandboxes(t *testing.T) []docker.Sandbox {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin.wflo, "sandbox", "ls", "--all-owners", "--all", "-o", "json").Output()
	var list []docker.Sandbox
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		t.Fatalf("wflo sandbox ls: %v: %s", err, out)
	}
	return list
}

// awaitPause waits until a program that begins with pause is in the middle of its
// work for the run, or for the installation.
func awaitPause(t *testing.T, runOrOwner string) box {
	t.Helper()
	var b box
	await(t, "a paused program of "+runOrOwner, func() bool {
		for _, s := range sandboxes(t) {
			if s.State == "running" && s.Key != "" && (s.Owner == runOrOwner || strings.HasPrefix(s.Box, runOrOwner+"/")) {
				b = box{s.ID, s.Owner, s.Box}
				if _, ok := engine(t, "exec", b.id, "test", "-e", "/workspace/"+marker); ok {
					return true
				}
			}
		}
		return false
	})
	t.Cleanup(func() { b.remove(t) })
	return b
}

// resume lets a paused program go on, whoever watches it by now.
func (b box) resume(t *testing.T) {
	t.Helper()
	if _, ok := engine(t, "exec", b.id, "touch", "/workspace/"+goOn); !ok {
		t.Errorf("the program of %s is gone: nobody can adopt it", b.run)
	}
}

// remove leaves nothing of the run on the engine, however the test ended: what
// was killed cannot tidy up, and no later program will do it.
func (b box) remove(t *testing.T) {
	t.Helper()
	format := `{{.Name}} {{index .Labels "wflo.workspace"}}`
	_ = exec.Command("docker", "rm", "-f", b.id).Run() // it may be gone
	out, err := exec.Command("docker", "volume", "ls", "-q", "--filter", "label=wflo.box="+b.run).Output()
	if err != nil {
		t.Errorf("list volumes of %s: %v", b.run, err)
	}
	for _, name := range strings.Fields(string(out)) {
		if of, err := exec.Command("docker", "volume", "inspect", "-f", format, name).Output(); err == nil {
			_ = exec.Command("docker", append([]string{"volume", "rm", "-f"}, strings.Fields(string(of))...)...).Run()
		}
	}
}

// removeAll leaves nothing of an installation on the engine.
func removeAll(t *testing.T, owner string) {
	t.Helper()
	clitest.RemoveLabelled(t, "wflo.owner="+owner)
}

// running says whether the program is still at work: whether anything but PID 1
// is in its container.
func (b box) running(t *testing.T) bool {
	t.Helper()
	out, ok := engine(t, "top", b.id, "-o", "pid")
	return ok && len(strings.Fields(out)) > 2 // a heading, and PID 1
}

// wantGone checks that the installation that the box belongs to has nothing on
// the engine but sandboxes that wait in its pool.
func (b box) wantGone(t *testing.T) {
	t.Helper()
	await(t, "an engine without sandboxes of "+b.owner, func() bool {
		for _, s := range sandboxes(t) {
			if s.Owner == b.owner && s.State != "idle" && s.State != "created" {
				return false
			}
		}
		for _, kind := range []string{"box", "lease"} {
			out, ok := engine(t, "volume", "ls", "-q", "--filter", "label=wflo.owner="+b.owner, "--filter", "label=wflo.kind="+kind)
			if !ok || out != "" || b.owner == "" {
				return false
			}
		}
		return true
	})
}

// marker is the file by which a paused program is known to be at work, and goOn
// the one that it waits for.
const marker, goOn = "at-work", "go-on"

// pause is Python that stops where the test can see it, the first time; one that
// is begun again goes on, because it finds the file in the workspace.
const pause = `import os, time
if not os.path.exists("` + marker + `"):
    open("` + marker + `", "w").close()
    for _ in range(3000):
        if os.path.exists("` + goOn + `"): break
        time.sleep(0.1)
`

// unique makes a run's id that no other test run has.
func unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:8]) }
