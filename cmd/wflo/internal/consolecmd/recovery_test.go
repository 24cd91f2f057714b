package consolecmd

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/workflows"
)

// pay is saved, writes a line that can be taken out again, and waits to be ended.
func pay(ctx workflow.Context, book string) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
	if _, err := workflows.TakeSnapshot(ctx, "before-pay"); err != nil {
		return err
	}
	if _, err := workflows.Step(ctx, "pay", workflows.StepOptions{
		Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: "take the line out", Activity: "unwriteLine", Input: book},
	}, func(ctx workflow.Context) (int, error) {
		return 1, workflow.ExecuteActivity(ctx, "writeLine", book).Get(ctx, nil)
	}); err != nil {
		return err
	}
	workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
	return nil
}

func appendTo(book, line string) error {
	f, err := os.OpenFile(book, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(line); err != nil {
		return err
	}
	return f.Close()
}

func writeLine(book string) error { return appendTo(book, "+") }

// unwriteLine fails as long as the book is closed.
func unwriteLine(book string) error {
	if _, err := os.Stat(book + ".closed"); err == nil {
		return temporal.NewNonRetryableApplicationError("the book is closed", "closed", nil)
	}
	return appendTo(book, "-")
}

// wflo runs a command line against the console, and gives what it printed.
func (o *office) wflo(code int, line ...string) string {
	o.t.Helper()
	var out, errs bytes.Buffer
	if got := cli.Main(o.t.Context(), cli.Deps{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}, line); got != code {
		o.t.Fatalf("%v: exit code %d, want %d:\n%s%s", line, got, code, out.String(), errs.String())
	}
	return out.String()
}

func (o *office) book(t *testing.T, book, want string) {
	t.Helper()
	clitest.Await(t, "the book "+want, func() bool {
		data, err := os.ReadFile(book)
		return err == nil && string(data) == want
	})
}

// TestGoBackInTheConsole: a real run is taken back from the command line and on a page,
// by a console that is no worker; a dead letter is tried again by hand.
func TestGoBackInTheConsole(t *testing.T) {
	o := newOffice(t)
	o.serve()
	w := worker.New(o.temporal, "pays", worker.Options{})
	w.RegisterWorkflowWithOptions(pay, workflow.RegisterOptions{Name: "pay"})
	w.RegisterActivity(writeLine)
	w.RegisterActivity(unwriteLine)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	made := begin(t, "console", "key", "--config", o.config, "--subject", "root", "--role", "admin")
	made.Want(t, 0, "it is not shown again")
	key := strings.TrimSpace(made.Out.String())
	c := begin(t, "console", "--config", o.config, "--listen", "127.0.0.1:0")
	base := c.Find(t, "its address", func(said string) (string, bool) {
		m := address.FindStringSubmatch(said)
		if m == nil {
			return "", false
		}
		return m[1], true
	})
	t.Setenv("WFLO_API", base)
	t.Setenv("WFLO_TOKEN", key)
	book := filepath.Join(o.dir, "book")
	if _, err := o.temporal.ExecuteWorkflow(wflo.WithRun(t.Context(), wflo.Run{User: "eve"}), client.StartWorkflowOptions{ID: "pay-17", TaskQueue: "pays"}, "pay", book); err != nil {
		t.Fatal(err)
	}
	o.book(t, book, "+")
	clitest.Await(t, "the compensation on record", func() bool {
		return strings.Contains(o.wflo(0, "compensations", "list", "--run", "pay-17"), "take the line out")
	})

	plan := o.wflo(0, "restore", "pay-17", "--to", "before-pay", "--dry-run")
	for _, want := range []string{"restore of pay-17, in place", "1. take the line out (unwriteLine", "cannot be undone: nothing", "done again\n  - step g0/pay#1"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan lacks %q:\n%s", want, plan)
		}
	}
	if said := o.wflo(0, "restore", "pay-17", "--to", "before-pay", "--reason", "wrong account", "--yes"); !strings.Contains(said, "went back, and is in epoch 1") {
		t.Errorf("restored: %s", said)
	}
	o.book(t, book, "+-+")
	id := strings.TrimSpace(o.wflo(0, "snapshot", "create", "pay-17", "--name", "by hand", "--parts", "state"))
	if shown := o.wflo(0, "snapshot", "show", id); !strings.Contains(shown, "by hand") {
		t.Errorf("the snapshot: %s", shown)
	}

	root := o.browser(base)
	root.post("/login/key", url.Values{"key": {key}})
	_, page := root.get("/runs/pay-17/recovery")
	if !strings.Contains(page, "by hand") || !strings.Contains(page, "wrong account") {
		t.Errorf("the run's page: %s", page)
	}
	csrf := hidden.FindStringSubmatch(page)[2]
	status, page := root.post("/runs/pay-17/recovery", url.Values{"csrf": {csrf}, "to": {"before-pay"}})
	if status != 200 || !strings.Contains(page, "Nothing has changed") || !strings.Contains(page, "take the line out") {
		t.Fatalf("the plan's page: %d %s", status, page)
	}
	if err := os.WriteFile(book+".closed", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	form := url.Values{"csrf": {csrf}, "real": {"yes"}, "id": {"onpage"}, "to": {"before-pay"}, "mode": {"in-place"}, "reason": {"once more"}}
	if status, page = root.post("/runs/pay-17/recovery", form); status != 200 {
		t.Fatalf("go back: %d %s", status, page)
	}
	var dead []wflo.CompensationRecord
	clitest.Await(t, "the dead letter", func() bool {
		dead = nil
		return json.Unmarshal([]byte(o.wflo(0, "compensations", "list", "--state", "dead_letter", "-o", "json")), &dead) == nil && len(dead) == 1
	})
	if err := os.Remove(book + ".closed"); err != nil {
		t.Fatal(err)
	}
	if said := o.wflo(0, "compensations", "retry", dead[0].ID, "--yes"); !strings.Contains(said, "is compensated") {
		t.Errorf("retried: %s", said)
	}
	if tree := o.wflo(0, "lineage", "pay-17"); strings.Count(tree, "in-place") != 2 {
		t.Errorf("lineage: %s", tree)
	}
}
