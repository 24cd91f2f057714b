// Package quickstart is the smallest agent worth having: a model drafts the
// answer to a customer's letter, and a person reads it before it counts.
//
// [Answer] is the whole agent. Its folder worker runs it, its folder starter
// starts it, and its test shows how to test it without a key, Docker or waiting.
package quickstart

import (
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/workflows"
)

// TaskQueue is where the worker listens.
const TaskQueue = "quickstart"

// Answer drafts an answer to the letter and returns it when somebody approved
// it. A rejected draft is an error that matches wflo.ErrApprovalRejected.
func Answer(ctx workflow.Context, letter string) (string, error) {
	draft, err := workflows.Ask(ctx, wflo.Prompt{
		Model:    "gpt-5.4-mini",
		System:   "Answer the customer's letter in three friendly sentences.",
		Messages: []wflo.Message{{Role: wflo.RoleUser, Text: letter}},
	})
	if err != nil {
		return "", err
	}
	_, err = workflows.RequireApproval(ctx, wflo.Approval{Gate: "send", Action: "send this answer", Details: draft.Text})
	if err != nil {
		return "", err
	}
	return draft.Text, nil
}
