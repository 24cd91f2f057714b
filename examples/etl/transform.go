package etl

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/workflows"
)

const (
	// ordersFile and salesFile are in the workspace.
	ordersFile, salesFile = "orders.csv", "sales.csv"
	// maxTries bounds how many programs the model may write.
	maxTries = 3
	// maxSales bounds what is read back, in bytes.
	maxSales = 1 << 20
)

// ErrTypeWrong is the type, on Temporal's wire, of what another program may do better.
const ErrTypeWrong = prefix + "Wrong"

const system = `You write small Python programs that work on files in the current directory. Answer with the program and nothing else.`

const task = `orders.csv has the columns id, customer, cents, status. Write sales.csv with the columns customer, cents: the sum of the paid orders of each customer, sorted by customer. Do not change orders.csv.`

// transform has the model write a program until what that makes of the orders is right.
// What a program did that was wrong is rolled back: rows, files, everything but money.
func (in Input) transform(ctx workflow.Context) (int, error) {
	problem := ""
	for try := 1; ; try++ {
		rows, err := in.tryOnce(ctx, problem)
		var wrong *temporal.ApplicationError
		if err == nil || try == maxTries || !errors.As(err, &wrong) || wrong.Type() != ErrTypeWrong {
			return rows, err
		}
		problem = wrong.Message()
	}
}

// tryOnce is one program. The step has a key of its own, so it may be tried again.
func (in Input) tryOnce(ctx workflow.Context, problem string) (int, error) {
	opts := workflows.StepOptions{
		Key: "transform", Effect: wflo.EffectReversible,
		Compensation: &workflows.Compensation{
			Name: "rows of " + in.Day, Activity: ActivityUnmerge, Input: in.Day, Undoes: ActivityMerge,
		},
		Rollback: &workflows.Rollback{Workspace: true, Tables: in.Tables},
	}
	return workflows.Step(ctx, "transform", opts, func(ctx workflow.Context) (int, error) {
		csv, err := in.program(ctx, problem)
		if err != nil {
			return 0, err
		}
		var rows int
		if err := workflow.ExecuteActivity(ctx, ActivityMerge, Sales{Day: in.Day, CSV: csv}).Get(ctx, &rows); err != nil {
			return 0, err
		}
		var t Totals
		if err := workflow.ExecuteActivity(ctx, ActivityCheck, in.Day).Get(ctx, &t); err != nil {
			return 0, err
		}
		if t.Sales != t.Paid {
			return 0, wrong("the paid orders are %d cents, sales.csv has %d", t.Paid, t.Sales)
		}
		return rows, nil
	})
}

// program asks the model, runs what it wrote, and gives the file that it made.
func (in Input) program(ctx workflow.Context, problem string) (string, error) {
	model, text := in.Model, task
	if model == "" {
		model = DefaultModel
	}
	if problem != "" {
		text += "\n\nAnother program got it wrong: " + problem
	}
	reply, err := workflows.Ask(ctx, wflo.Prompt{
		Model: model, System: system, MaxTokens: 2000, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: text}},
	})
	if err != nil {
		return "", err
	}
	res, err := workflows.RunSandboxed(ctx, sandbox.Spec{Language: sandbox.Python, Source: reply.Text})
	if err != nil {
		return "", err
	}
	if res.Outcome != sandbox.Succeeded {
		return "", wrong("it ended with %s: %.500s", res.Outcome, strings.TrimSpace(res.Stderr))
	}
	csv, err := workflows.ReadFile(ctx, salesFile, maxSales)
	if err != nil {
		return "", wrong("sales.csv cannot be read: %s", err.Error())
	}
	return string(csv), nil
}

// wrong is an error that is kept by its type when the run is restored.
func wrong(format string, args ...any) error {
	return temporal.NewApplicationError(fmt.Sprintf(format, args...), ErrTypeWrong)
}
