//go:build integration

package hosts

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Variables that make this test binary a worker.
const (
	workerQueue = "WFLO_HOSTS_QUEUE"
	// workerCode says which code the workflow of deploys has: old, new, or broken, which
	// is new code that nobody said the old runs must not get.
	workerCode = "WFLO_HOSTS_CODE"

	movingName = "hosts.Moving"
	askingName = "hosts.Asking"
	deployName = "hosts.Deployed"
	markName   = "hosts.Mark"
)

// moved is what a run that moves tells.
type moved struct {
	Before, After, Moved string   // hosts, and what the last step says of its move
	Log                  string   // the file that every step writes to
	Said                 []string // the model's
}

// moving asks, writes a file, waits, does something that takes its time, and asks
// again.
func moving(ctx workflow.Context) (m moved, err error) {
	if err := say(ctx, &m, "first"); err != nil {
		return m, err
	}
	res, err := shell(ctx, "echo one >> log")
	if err != nil {
		return m, err
	}
	m.Before = res.Host
	if err := workflow.SetQueryHandler(ctx, "host", func() (string, error) { return m.Before, nil }); err != nil {
		return m, err
	}
	var slow bool
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &slow)
	script := "echo half >> log; echo two >> log"
	if slow {
		script = "echo half >> log; sleep 5; echo two >> log"
	}
	if res, err = shell(ctx, script); err != nil {
		return m, err
	}
	m.After, m.Moved = res.Host, res.Moved
	if err := say(ctx, &m, "second"); err != nil {
		return m, err
	}
	workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
	log, err := workflows.ReadFile(ctx, "log", 1000)
	m.Log = string(log)
	return m, err
}

func shell(ctx workflow.Context, script string) (sandbox.Result, error) {
	res, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"sh", "-c", script}})
	if err == nil && !res.OK() {
		err = fmt.Errorf("%s: %s %s", script, res.Outcome, res.Reason)
	}
	return res, err
}

func say(ctx workflow.Context, m *moved, what string) error {
	reply, err := workflows.Ask(ctx, wflo.Prompt{Model: "openai/gpt-4o-mini", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: what}}, MaxTokens: 100})
	m.Said = append(m.Said, reply.Text)
	return err
}

// asking asks, is saved, and asks again when it is let go.
func asking(ctx workflow.Context, name string) (said []string, err error) {
	var m moved
	if err := say(ctx, &m, "before "+name); err != nil {
		return nil, err
	}
	if _, err := workflows.TakeSnapshot(ctx, "base"); err != nil {
		return nil, err
	}
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	err = say(ctx, &m, "after "+name)
	return m.Said, err
}

// deployed is what the code of deploys does: the new one has a step more at its begin,
// so that it cannot go on with what the old one has begun.
func deployed(ctx workflow.Context) (string, error) {
	code := os.Getenv(workerCode)
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	if code != "old" {
		if err := workflow.ExecuteActivity(ctx, markName+"Again", code).Get(ctx, nil); err != nil {
			return "", err
		}
	}
	if err := workflow.ExecuteActivity(ctx, markName, code).Get(ctx, nil); err != nil {
		return "", err
	}
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	return code, nil
}

func mark(_ context.Context, code string) (string, error) { return code, nil }

// work is a worker until it is killed.
func work(queue string) error {
	cfg, err := plugin.FromEnv()
	if err != nil {
		return err
	}
	cfg.NoSearchAttributes, cfg.Logger = true, slog.New(slog.NewTextHandler(os.Stderr, nil))
	guard, err := plugin.New(cfg)
	if err != nil {
		return err
	}
	opts, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	opts.Plugins = append(opts.Plugins, guard)
	c, err := client.Dial(opts)
	if err != nil {
		return err
	}
	worker.SetStickyWorkflowCacheSize(0) // tasks of a dead worker's cache would wait for it
	deployment, err := plugin.DeploymentFromEnv()
	if err != nil {
		return err
	}
	w := worker.New(c, queue, worker.Options{DeploymentOptions: deployment})
	w.RegisterWorkflowWithOptions(moving, workflow.RegisterOptions{Name: movingName})
	w.RegisterWorkflowWithOptions(asking, workflow.RegisterOptions{Name: askingName})
	w.RegisterWorkflowWithOptions(deployed, workflow.RegisterOptions{Name: deployName})
	w.RegisterActivityWithOptions(mark, activity.RegisterOptions{Name: markName})
	w.RegisterActivityWithOptions(mark, activity.RegisterOptions{Name: markName + "Again"})
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("worker started")
	select {} // until it is killed
}
