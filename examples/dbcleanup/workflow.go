package dbcleanup

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Names on the wire.
const (
	Name           = "example.Cleanup" // the workflow
	ActivityIdle   = "example.dbcleanup.Idle"
	ActivityDelete = "example.dbcleanup.Delete"
	TaskQueue      = "dbcleanup"
	prefix         = "example.dbcleanup."
)

// DefaultModel is used when Input names none.
const DefaultModel = "gpt-5.4-mini"

// Input is what the workflow works on.
type Input struct {
	// Before is a day such as 2025-01-01: customers without an order since then are
	// looked at. Required.
	Before string `json:"before"`
	// Model is the language model; empty means DefaultModel.
	Model string `json:"model,omitempty"`
}

// Customer is what the model sees of one.
type Customer struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	// LastOrder is a day.
	LastOrder string `json:"last_order"`
	// Note is what the staff wrote.
	Note string `json:"note,omitempty"`
}

// Deletion is what the model proposes, people approve and the activity does: the same
// value all the way.
type Deletion struct {
	Table string  `json:"table"`
	IDs   []int64 `json:"ids"`
	// Reason is the model's own words. It is shown, never acted on.
	Reason string `json:"reason"`
}

// Report is what came of a run.
type Report struct {
	Looked  int   `json:"looked"`
	Deleted int64 `json:"deleted"`
}

// Registry is the part of a worker that Register needs.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

// Register puts the workflow and its activities into a worker.
func Register(r Registry, a *Activities) {
	r.RegisterWorkflowWithOptions(Cleanup, workflow.RegisterOptions{Name: Name})
	r.RegisterActivityWithOptions(a, activity.RegisterOptions{Name: prefix})
}

const system = `You tidy up a database of customers. You are given those without a recent order, as JSON.
Answer with one JSON object and nothing else: {"ids": [of those to delete], "reason": "one sentence"}.`

// Cleanup has a model propose whom to delete, and deletes them. Where the worker has
// this example's policies, that waits for people; a rejection is an error that matches
// wflo.ErrApprovalRejected.
func Cleanup(ctx workflow.Context, in Input) (Report, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 5},
	})
	var idle []Customer
	if err := workflow.ExecuteActivity(ctx, ActivityIdle, in.Before).Get(ctx, &idle); err != nil {
		return Report{}, fmt.Errorf("look for idle customers: %w", err)
	}
	report := Report{Looked: len(idle)}
	if len(idle) == 0 {
		return report, nil
	}
	d, err := propose(ctx, in.Model, idle)
	if err != nil || len(d.IDs) == 0 {
		return report, err
	}
	opts := workflows.StepOptions{Operation: "delete", Effect: wflo.EffectIrreversible}
	report.Deleted, err = workflows.Step(ctx, "delete", opts, func(ctx workflow.Context) (n int64, err error) {
		err = workflow.ExecuteActivity(ctx, ActivityDelete, d).Get(ctx, &n)
		return n, err
	})
	return report, err
}

// propose asks the model, and refuses an answer with anybody who was not on the list.
func propose(ctx workflow.Context, model string, idle []Customer) (Deletion, error) {
	list, err := json.Marshal(idle)
	if err != nil {
		return Deletion{}, fmt.Errorf("encode customers: %w", err)
	}
	if model == "" {
		model = DefaultModel
	}
	reply, err := workflows.Ask(ctx, wflo.Prompt{
		Model: model, System: system, MaxTokens: 2000,
		Messages: []wflo.Message{{Role: wflo.RoleUser, Text: string(list)}},
	})
	if err != nil {
		return Deletion{}, err
	}
	d := Deletion{Table: Table}
	dec := json.NewDecoder(strings.NewReader(reply.Text))
	dec.DisallowUnknownFields()
	answer := struct {
		IDs    []int64 `json:"ids"`
		Reason string  `json:"reason"`
	}{}
	if err := dec.Decode(&answer); err != nil {
		return d, wflo.Invalid("the model's answer", fmt.Sprintf("is not the JSON that was asked for: %v", err), "look at the run, or try another model")
	}
	known := map[int64]bool{}
	for _, c := range idle {
		known[c.ID] = true
	}
	for _, id := range answer.IDs {
		if !known[id] {
			return d, wflo.Invalid("the model's answer", fmt.Sprintf("names customer %d, who was not on the list or is there twice", id), "look at the run, or try another model")
		}
		known[id] = false
	}
	d.IDs, d.Reason = answer.IDs, answer.Reason
	return d, nil
}
