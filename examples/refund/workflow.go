package refund

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Names on the wire.
const (
	Name           = "example.Refund" // the workflow
	ActivityIssue  = "example.refund.Issue"
	ActivityCancel = "example.refund.Cancel"
	prefix         = "example.refund."
)

const (
	// DefaultModel is used when Input names none.
	DefaultModel = "gpt-5.4-mini"
	// TaskQueue is where the example's worker listens.
	TaskQueue = "refund"
	// Gate is the name of the approval gate.
	Gate = "refunds"
	// orders is the CSV's name in the sandbox.
	orders = "orders.csv"
)

// stepKey begins the key of each refund's step; the charge follows.
const stepKey = "refund/"

// Input is what the workflow works on.
type Input struct {
	// CSV is the export of charges; see package data for its columns. Required.
	CSV string `json:"csv"`
	// Model is the language model; empty means DefaultModel.
	Model string `json:"model,omitempty"`
	// Budget limits what the agent may spend on models. A zero limit means the
	// run's own budget.
	Budget wflo.Budget `json:"budget,omitzero"`
	// MaxRepeats is how often the agent may do the same one after the other; zero
	// means wflo.DefaultMaxRepeats.
	MaxRepeats int `json:"max_repeats,omitempty"`
	// Reviewers are the users who may approve; none means whoever the worker
	// admits.
	Reviewers []string `json:"reviewers,omitempty"`
	// Timeout is how long the gate waits; zero means an hour.
	Timeout time.Duration `json:"timeout,omitempty"`
}

// Report is what came of a run that went well.
type Report struct {
	Refunds    []payments.Refund `json:"refunds"`
	Totals     []Total           `json:"totals,omitempty"`
	ApprovedBy string            `json:"approved_by,omitempty"`
	// Turns and Cost are the agent's.
	Turns int        `json:"turns"`
	Cost  wflo.Money `json:"cost"`
}

// Registry is the part of a worker that Register needs.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

// Register puts the workflow and its activities into a worker.
func Register(r Registry, a *Activities) {
	r.RegisterWorkflowWithOptions(Refund, workflow.RegisterOptions{Name: Name})
	r.RegisterActivityWithOptions(a, activity.RegisterOptions{Name: prefix})
}

// Refund finds duplicate charges, asks for approval and refunds them. Nothing is
// refunded unless everything that was proposed has been approved. When a refund
// is refused for good the run fails, and the refunds that were made are taken
// back; [StandingOf] reads from the run's status which.
func Refund(ctx workflow.Context, in Input) (Report, error) {
	charges, err := readCharges(in.CSV)
	if err != nil {
		return Report{}, err
	}
	answer, err := workflows.Agent(ctx, in.task())
	report := Report{Refunds: []payments.Refund{}, Turns: answer.Turns, Cost: answer.Cost}
	if err != nil {
		return report, err
	}
	proposals, err := readProposals(answer.Text)
	if err != nil {
		return report, err
	}
	if err := check(proposals, charges); err != nil {
		return report, err
	}
	if len(proposals) == 0 {
		return report, nil
	}
	report.Totals = totals(proposals)
	if report.ApprovedBy, err = in.approve(ctx, proposals); err != nil {
		return report, err
	}
	for _, p := range proposals {
		made, err := issue(ctx, p)
		if err != nil {
			return report, fmt.Errorf("refund charge %s: %w", p.ChargeID, err)
		}
		report.Refunds = append(report.Refunds, made)
	}
	return report, nil
}

const system = `You are a careful accountant who works with data by writing small Python programs.
Look at a file before you assume anything about it. Never guess a number: compute it.`

const prompt = `The file orders.csv in your working directory is an export of card charges. Find the duplicate charges.

A charge is a duplicate when it is captured and repeats an earlier captured charge of the same customer, card, amount and currency, at most %.0f minutes after it. The earlier charge stays. Charges that were refunded or have failed are never duplicates and never have any.

Answer with a JSON array and nothing else, [] if there are none. One object per duplicate, in the order of time:
{"charge_id": the duplicate, "order_id": its order, "amount_cents": its amount as a whole number of cents, "currency": its currency, "duplicate_of": the charge_id of the earliest charge that it repeats, "reason": one short sentence}`

func (in Input) task() wflo.Task {
	model := in.Model
	if model == "" {
		model = DefaultModel
	}
	return wflo.Task{
		Name: "refund", Model: model, System: system, Prompt: fmt.Sprintf(prompt, Window.Minutes()),
		Tools: []string{wflo.ToolPython, wflo.ToolRead}, Files: []wflo.File{{Name: orders, Data: []byte(in.CSV)}},
		Budget: in.Budget, MaxRepeats: in.MaxRepeats,
	}
}

// approve asks for everything at once: the payload is exactly what issue does.
func (in Input) approve(ctx workflow.Context, proposals []Proposal) (string, error) {
	payload, err := json.Marshal(proposals)
	if err != nil {
		return "", fmt.Errorf("encode proposals: %w", err)
	}
	d, err := workflows.RequireApproval(ctx, wflo.Approval{
		Gate:    Gate,
		Action:  fmt.Sprintf("refund %d duplicate charges, %s in all", len(proposals), totalsText(totals(proposals))),
		Details: markdown(proposals), Payload: payload, Approvers: in.Reviewers, Timeout: in.Timeout,
	})
	return d.By, err
}

// issue makes one refund. How to undo it is on record before it is tried.
func issue(ctx workflow.Context, p Proposal) (payments.Refund, error) {
	opts := workflows.StepOptions{
		Key: stepKey + p.ChargeID, Effect: wflo.EffectReversible,
		Compensation: &workflows.Compensation{Name: stepKey + p.ChargeID, Activity: ActivityCancel, Input: p},
	}
	return workflows.Step(ctx, "refund", opts, func(ctx workflow.Context) (payments.Refund, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: 2 * callTimeout,
			Summary:             fmt.Sprintf("refund %s %s of charge %s", p.Amount, p.Currency, p.ChargeID),
			RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second, MaximumAttempts: 6},
		})
		var made payments.Refund
		err := workflow.ExecuteActivity(ctx, ActivityIssue, p).Get(ctx, &made)
		return made, err
	})
}

// Standing says where the refunds of a run stand, by charge, in the order in
// which they were made.
type Standing struct {
	// Issued were made and stand, Undone were made and taken back, and Stuck
	// were made and could not be taken back: somebody must look at those.
	Issued, Undone, Stuck []string
	// Refused were not made.
	Refused []string
}

// StandingOf reads it from a run's status (query wflo.QueryStatus), which
// answers for runs that are closed as well.
func StandingOf(s wflo.Status) Standing {
	undo := map[string]wflo.CompensationState{}
	for _, c := range s.Compensations {
		undo[c.Name] = c.State
	}
	var out Standing
	for _, step := range s.Steps {
		charge, ok := strings.CutPrefix(step.Key, stepKey)
		switch {
		case !ok:
		case step.Error != "":
			out.Refused = append(out.Refused, charge)
		case undo[step.Key] == wflo.CompensationDone:
			out.Undone = append(out.Undone, charge)
		case undo[step.Key] == wflo.CompensationDead:
			out.Stuck = append(out.Stuck, charge)
		default:
			out.Issued = append(out.Issued, charge)
		}
	}
	return out
}
