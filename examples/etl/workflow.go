package etl

import (
	"encoding/json"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Names on the wire.
const (
	Name              = "example.Load" // the workflow
	ActivityExtract   = "example.etl.Extract"
	ActivityMerge     = "example.etl.Merge"
	ActivityUnmerge   = "example.etl.Unmerge"
	ActivityCheck     = "example.etl.Check"
	ActivityPublish   = "example.etl.Publish"
	ActivityUnpublish = "example.etl.Unpublish"
	TaskQueue         = "etl"
	prefix            = "example.etl."
)

// The names of the snapshots.
const (
	BeforeLoad    = "before-load"
	BeforePublish = "before-publish"
)

// Gate is where people approve the figures.
const Gate = "publish"

// DefaultModel is used when Input names none.
const DefaultModel = "gpt-5.4-mini"

// DefaultSettle is how long orders may come late when Input does not say.
const DefaultSettle = 2 * time.Hour

// Input is what the workflow works on.
type Input struct {
	// Day is the one that is loaded, such as 2026-11-22. Required.
	Day string `json:"day"`
	// Model writes the program; empty means DefaultModel.
	Model string `json:"model,omitempty"`
	// Settle is how long after publishing the orders are counted again; zero means
	// DefaultSettle.
	Settle time.Duration `json:"settle,omitempty"`
	// Tables are sets of tables in the worker's configuration that snapshots save and
	// rollbacks bring back. Without any, compensations alone take the rows out.
	Tables []string `json:"tables,omitempty"`
}

// Figures are what is published.
type Figures struct {
	Day    string `json:"day"`
	Orders int64  `json:"orders"`
	// Cents are those of paid orders.
	Cents int64 `json:"cents"`
}

// Report is what came of a run.
type Report struct {
	Figures Figures `json:"figures"`
	// Customers is how many rows were loaded.
	Customers int `json:"customers"`
}

// Registry is the part of a worker that Register needs.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

// Register puts the workflow and its activities into a worker.
func Register(r Registry, a *Activities) {
	r.RegisterWorkflowWithOptions(Load, workflow.RegisterOptions{Name: Name})
	r.RegisterActivityWithOptions(a, activity.RegisterOptions{Name: prefix})
}

// Load loads the orders of a day and publishes its figures. When orders came late, the
// run goes back to where it began, and loads them too.
func Load(ctx workflow.Context, in Input) (Report, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 5},
	})
	start, err := workflows.TakeSnapshot(ctx, BeforeLoad, in.parts())
	if err != nil {
		return Report{}, err
	}
	if err := in.extract(ctx); err != nil {
		return Report{}, err
	}
	report := Report{}
	if report.Customers, err = in.transform(ctx); err != nil {
		return Report{}, err
	}
	loaded, err := in.check(ctx)
	if err != nil {
		return Report{}, err
	}
	if _, err := workflows.TakeSnapshot(ctx, BeforePublish, in.parts()); err != nil {
		return Report{}, err
	}
	report.Figures = Figures{Day: in.Day, Orders: loaded.Orders, Cents: loaded.Paid}
	if err := publish(ctx, report.Figures); err != nil {
		return Report{}, err
	}
	late, err := in.late(ctx, loaded.Orders)
	if err != nil {
		return Report{}, err
	}
	if late > 0 {
		workflow.GetLogger(ctx).Info("orders came late; the day is loaded again", "orders", late)
		return Report{}, workflows.Restore(ctx, start.ID)
	}
	return report, nil
}

// parts are what a snapshot of the load has besides the state.
func (in Input) parts() wflo.Parts { return wflo.Parts{Workspace: true, Tables: in.Tables} }

// extract puts the orders of the day into the workspace.
func (in Input) extract(ctx workflow.Context) error {
	_, err := workflows.Step(ctx, "extract", workflows.StepOptions{Key: "extract", Effect: wflo.EffectRead}, func(ctx workflow.Context) (int, error) {
		var csv string
		if err := workflow.ExecuteActivity(ctx, ActivityExtract, in.Day).Get(ctx, &csv); err != nil {
			return 0, fmt.Errorf("extract the orders: %w", err)
		}
		return len(csv), workflows.WriteFiles(ctx, wflo.File{Name: ordersFile, Data: []byte(csv)})
	})
	return err
}

// check compares the orders of the day with what was loaded.
func (in Input) check(ctx workflow.Context) (Totals, error) {
	return workflows.Step(ctx, "check", workflows.StepOptions{Effect: wflo.EffectRead}, func(ctx workflow.Context) (t Totals, err error) {
		err = workflow.ExecuteActivity(ctx, ActivityCheck, in.Day).Get(ctx, &t)
		return t, err
	})
}

// publish asks people about exactly these figures, and publishes them. How to withdraw
// them is on record before that.
func publish(ctx workflow.Context, f Figures) error {
	payload, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	opts := workflows.StepOptions{
		Key: "publish", Effect: wflo.EffectReversible,
		Approval: &wflo.Approval{
			Gate: Gate, Action: fmt.Sprintf("publish the figures of %s: %d orders, %d cents", f.Day, f.Orders, f.Cents),
			Payload: payload, Activity: ActivityPublish,
		},
		Compensation: &workflows.Compensation{
			Name: "published figures of " + f.Day, Activity: ActivityUnpublish, Input: f, Undoes: ActivityPublish, Attempts: 2,
		},
	}
	_, err = workflows.Step(ctx, "publish", opts, func(ctx workflow.Context) (string, error) {
		approved, err := workflows.Approved[Figures](ctx)
		if err != nil {
			return "", err
		}
		var file string
		err = workflow.ExecuteActivity(ctx, ActivityPublish, approved).Get(ctx, &file)
		return file, err
	})
	return err
}

// late waits until the day has settled, and counts the orders that have come since.
func (in Input) late(ctx workflow.Context, had int64) (int64, error) {
	settle := in.Settle
	if settle == 0 {
		settle = DefaultSettle
	}
	if err := workflow.NewTimerWithOptions(ctx, settle, workflow.TimerOptions{Summary: "orders may come late"}).Get(ctx, nil); err != nil {
		return 0, err
	}
	now, err := in.check(ctx)
	return now.Orders - had, err
}
