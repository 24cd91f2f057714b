// Package approvals is the code that the guide in docs/approvals.md shows: a payment
// that two people approve, a question with a form, an agent's tool that asks, and the
// way to join wflo to a client. Start with [Pay]; its test shows how to play the
// approvers. The tests here also hold the guide and the README to this code.
package approvals

import (
	"context"
	"encoding/json"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Payment is the same value all the way: what people are shown, what they approve, and
// what the activity gets.
type Payment struct {
	Invoice string `json:"invoice"`
	Account string `json:"account"`
	Cents   int64  `json:"cents"`
}

// Pay pays after two of finance have approved exactly this payment.
func Pay(ctx workflow.Context, p Payment) (string, error) {
	payload, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	ask := wflo.Approval{
		Gate: "pay", Action: "Pay invoice " + p.Invoice, Payload: payload, Activity: "bank.Pay",
		Approvers: []string{"group:finance"}, Quorum: 2, FourEyes: true,
		Answers: []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit},
	}
	opts := workflows.StepOptions{Effect: wflo.EffectIrreversible, Approval: &ask}
	return workflows.Step(ctx, "pay", opts, func(ctx workflow.Context) (receipt string, err error) {
		approved, err := workflows.Approved[Payment](ctx) // as people may have edited it
		if err != nil {
			return "", err
		}
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		err = workflow.ExecuteActivity(ctx, "bank.Pay", approved).Get(ctx, &receipt)
		return receipt, err
	})
}

// Release waits for a person; the workflow itself acts on the answer.
func Release(ctx workflow.Context, version string) error {
	_, err := workflows.RequireApproval(ctx, wflo.Approval{
		Gate: "release", Action: "Release " + version, Risk: wflo.RiskHigh,
		Approvers: []string{"ann", "group:release"}, ReasonRequired: true,
		Timeout: 4 * time.Hour, OnTimeout: wflo.OnTimeoutEscalate,
		Escalation: []wflo.Level{
			{After: time.Hour, Approvers: []string{"group:leads"}, Notify: []string{"slack://leads"}},
			{Approvers: []string{"cto"}, Notify: []string{"pagerduty://cto"}},
		},
		Notify: []string{"slack://releases"},
	})
	return err
}

// Intake asks a question that only a person can answer.
func Intake(ctx workflow.Context, ticket string) (json.RawMessage, error) {
	d, err := workflows.RequireApproval(ctx, wflo.Approval{
		Gate: "intake", Action: "Classify ticket " + ticket,
		Answers: []wflo.Verdict{wflo.VerdictRespond, wflo.VerdictReject},
		Form: json.RawMessage(`{
			"type": "object", "required": ["team"], "additionalProperties": false,
			"properties": {"team": {"enum": ["billing", "support"]}, "urgent": {"type": "boolean"}}
		}`),
	})
	return d.Form, err
}

// Clerk is an agent whose payments each wait for a person.
func Clerk(ctx workflow.Context, task string) (string, error) {
	pay := wflo.ActivityTool{
		Tool: wflo.Tool{
			Name: "pay", Description: "Pay an invoice.",
			Parameters: json.RawMessage(`{"type":"object","properties":{"invoice":{"type":"string"},"account":{"type":"string"},"cents":{"type":"integer"}},"required":["invoice","account","cents"]}`),
		},
		Activity: "bank.Pay",
		Approval: &wflo.Approval{Gate: "pay", Action: "Pay what the agent proposes", Approvers: []string{"group:finance"}},
	}
	answer, err := workflows.Agent(ctx, wflo.Task{
		Name: "clerk", Model: "gpt-5.4-mini", Prompt: task, Activities: []wflo.ActivityTool{pay},
	})
	return answer.Text, err
}

// Start starts a payment in the name of those whom four eyes look at.
func Start(ctx context.Context, c client.Client, p Payment) (client.WorkflowRun, error) {
	ctx = wflo.WithRun(ctx, wflo.Run{User: "uma", Principals: []string{"pia"}, Org: "acme"})
	return c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "pay-" + p.Invoice, TaskQueue: "payments"}, Pay, p)
}

// Connect gives a client whose workers are governed.
func Connect(use func(client.Client) error) error {
	guard, err := plugin.New(plugin.Config{Approvals: wflo.Terms{AllowUnsigned: true}}) // development
	if err != nil {
		return err
	}
	defer guard.Close()
	c, err := client.Dial(client.Options{Plugins: []client.Plugin{guard}})
	if err != nil {
		return err
	}
	defer c.Close()
	return use(c)
}
