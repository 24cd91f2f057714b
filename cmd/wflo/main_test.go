package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
)

// pay asks before it pays.
func pay(ctx workflow.Context, amount string) (string, error) {
	payload, err := json.Marshal(map[string]string{"amount": amount})
	if err != nil {
		return "", err
	}
	if _, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "payments", Action: "Pay " + amount, Payload: payload}); err != nil {
		return "", err
	}
	return "paid " + amount, nil
}

// testWorker is a worker with the plugin that trusts the dev server's approver.
func testWorker(_ context.Context, info dev.Info) (func(), error) {
	guard, err := plugin.New(plugin.Config{
		DataDir: info.DataDir, Database: "memory", Providers: []plugin.Provider{}, Logger: info.Logger,
		Approvals: wflo.Terms{Keys: map[string]string{info.Approver.Name: info.Approver.Public()}},
	})
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(client.Options{
		HostPort: info.HostPort, Namespace: info.Namespace, Plugins: []client.Plugin{guard}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		guard.Close()
		return nil, err
	}
	w := worker.New(c, cli.DefaultTaskQueue, worker.Options{WorkerStopTimeout: time.Second})
	w.RegisterWorkflowWithOptions(pay, workflow.RegisterOptions{Name: "test.Pay"})
	w.RegisterWorkflowWithOptions(func(workflow.Context) error {
		return wflo.Errorf(wflo.CodeBudgetExceeded, "raise it", "worst case does not fit")
	}, workflow.RegisterOptions{Name: "test.Broke"})
	if err := w.Start(); err != nil {
		c.Close()
		guard.Close()
		return nil, err
	}
	info.Announce("Worker", "test")
	return func() { w.Stop(); c.Close(); guard.Close() }, nil
}

// process is one invocation of the command line.
type process struct {
	*clitest.Command
	stop context.CancelFunc
}

func begin(t *testing.T, line ...string) process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	return process{clitest.Begin(t, "wflo "+strings.Join(line, " "), func(out, errOut io.Writer) int {
		d := deps()
		d.Stdin, d.Stdout, d.Stderr = strings.NewReader(""), out, errOut
		d.Commands = []*cobra.Command{dev.Command(dev.Config{StartWorker: testWorker, Next: "wflo list"})}
		return cli.Main(ctx, d, line)
	}, cancel), cancel}
}

// want waits for the end and checks it.
func (p process) want(t *testing.T, code int, parts ...string) process {
	t.Helper()
	p.Want(t, code, parts...)
	return p
}

// startDev runs `wflo dev` and points the other commands at it.
func startDev(t *testing.T, dir string) process {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready.json")
	p := begin(t, "dev", "--port", "0", "--ui-port", "0", "--api-port", "0", "--data-dir", dir, "--ready-file", ready)
	var info struct{ Address, UI string }
	clitest.Await(t, "wflo dev", func() bool {
		data, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(data, &info) == nil
	})
	t.Setenv("TEMPORAL_ADDRESS", info.Address)
	for _, part := range []string{info.Address, info.UI, "Worker       test", "Next: wflo list"} {
		if !strings.Contains(p.Out.String(), part) {
			t.Errorf("wflo dev does not print %q:\n%s", part, p.Out.String())
		}
	}
	return p
}

func awaitGate(t *testing.T, run string) {
	t.Helper()
	clitest.Await(t, "the gate of "+run, func() bool {
		return strings.Contains(begin(t, "approvals", "-o", "json").want(t, 0).Out.String(), run)
	})
}

// One person's way through the command line, against a real server and worker.
func TestFromDevToDecision(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // no key is found by accident
	t.Setenv("WFLO_USER", "ann")
	server := startDev(t, dir)
	key := filepath.Join(dir, "approver.key")

	run := begin(t, "run", "test.Pay", "--id", "p1", "--input", `"12 USD"`, "--team", "billing", "--budget", "5.00")
	awaitGate(t, "p1")
	begin(t, "approve", "payments", "--yes").want(t, cli.ExitAuth, "decision.signature is missing")
	begin(t, "approve", "payments", "--yes", "--key", key).want(t, 0, "Pay 12 USD", "payments approved by ann")
	begin(t, "approve", "p1", "--yes", "--key", key).want(t, cli.ExitLate, "hint: ")
	run.want(t, 0, "wflo approve payments --run p1", "paid 12 USD\n", "completed in")
	begin(t, "status", "p1").want(t, 0, "completed", "billing", "of $5.00", "payments approved by ann")

	rejected := begin(t, "run", "test.Pay", "--id", "p2", "--input", `"13 USD"`, "-o", "json")
	awaitGate(t, "p2")
	begin(t, "reject", "p2", "--reason", "too much", "--key", key).want(t, 0, "payments rejected by ann: too much")
	rejected.want(t, cli.ExitDenied, `"code": "wflo.ApprovalRejected"`)

	halted := begin(t, "run", "test.Pay", "--id", "p3", "--input", `"14 USD"`)
	awaitGate(t, "p3")
	begin(t, "halt", "p3", "--reason", "stop it").want(t, 0, "halting p3")
	halted.want(t, cli.ExitDenied, "p3")

	begin(t, "run", "test.Broke").want(t, cli.ExitBudget, "worst case does not fit", "hint: raise it")
	begin(t, "run", "test.Unknown", "--id", "p4").want(t, cli.ExitUsage, "no workflow is called test.Unknown", "knows: ", "test.Pay")
	begin(t, "run", "test.Pay", "--id", "p5", "--task-queue", "nobody", "-d").want(t, 0, "p5")
	begin(t, "cancel", "p5").want(t, 0, "cancelling p5")
	clitest.Await(t, "the list", func() bool {
		out := begin(t, "list", "--state", "failed", "-o", "jsonl").want(t, 0).Out.String()
		return strings.Contains(out, `"id":"p4"`) && strings.Contains(out, `"id":"p2"`)
	})

	server.stop()
	server.want(t, 0, "stopping")
	begin(t, "list").want(t, cli.ExitError, "no Temporal server answers", "hint: start one with `wflo dev`")
	server = startDev(t, dir)
	begin(t, "list", "--state", "completed").want(t, 0, "p1", "test.Pay")
	server.stop()
	server.want(t, 0)
}

func TestWaitsForWorker(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	server := startDev(t, t.TempDir())
	run := begin(t, "run", "test.Pay", "--id", "p1", "--task-queue", "nobody")
	clitest.Await(t, "the warning", func() bool {
		return strings.Contains(run.Err.String(), "no worker takes work from task queue nobody")
	})
	run.stop()
	run.want(t, cli.ExitInterrupted, "the run goes on; see: wflo status p1")
	server.stop()
	server.want(t, 0)
}

func TestDevRefuses(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	begin(t, "dev", "now").want(t, cli.ExitUsage, "takes no argument")
	begin(t, "dev", "--log-level", "loud").want(t, cli.ExitUsage, `--log-level is "loud"`, "hint: ")
	begin(t, "dev", "--port", "99999").want(t, cli.ExitError, "--port is 99999", "hint: ")
}

var update = flag.Bool("update", false, "write what commands say of themselves to testdata")

// TestHelp holds what the commands say of themselves that this program adds; those of
// package cli have the same test there.
func TestHelp(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/home/ann/.local/share")
	for _, cmd := range deps().Commands {
		testHelp(t, cmd, cmd.Name())
	}
}

func testHelp(t *testing.T, cmd *cobra.Command, line ...string) {
	t.Run(strings.Join(line, " "), func(t *testing.T) {
		if cmd.Short == "" || cmd.Example == "" && cmd.Long == "" {
			t.Error("lacks Short, or Example and Long")
		}
		var out, errOut strings.Builder
		d := deps()
		d.Stdout, d.Stderr = &out, &errOut
		if code := cli.Main(t.Context(), d, append(slices.Clone(line), "--help")); code != 0 || errOut.Len() > 0 {
			t.Errorf("exit code %d, stderr %q", code, errOut.String())
		}
		file := filepath.Join("testdata", "help-"+strings.Join(line, "-")+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil { //nolint:gosec // source
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	for _, below := range cmd.Commands() {
		if !below.Hidden {
			testHelp(t, below, append(slices.Clone(line), below.Name())...)
		}
	}
}
