package plugin

import (
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint/faulty"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/workflows"
)

// undo is the worker's part of compensations.
type undo struct{ activities *activities.Undo }

// recovery is what going back is written down in; nil where the database keeps nothing
// of the kind.
func (p *Plugin) recovery() activities.Recovery {
	if l, ok := p.parts.ledger.(interface{ Recovery() activities.Recovery }); ok {
		return faulty.Recovery(l.Recovery())
	}
	return nil
}

// Recovery is what going back is written down in: snapshots, restores, compensations.
// It is nil where the database keeps nothing of the kind.
func (p *Plugin) Recovery() activities.Recovery { return p.recovery() }

func (p *Plugin) undoActivities() {
	a := &activities.Undo{Records: p.parts.records, Logger: p.cfg.Logger}
	if r := p.recovery(); r != nil {
		a.Store = r
	}
	p.parts.undo = &undo{a}
}

func (u *undo) prove() {
	step.UndoNote.Check(u.activities.Note)
	step.UndoList.Check(u.activities.List)
	step.UndoBegin.Check(u.activities.Begin)
}

func registerUndo(r Registry, p *Plugin) {
	r.RegisterWorkflowWithOptions(wfloCompensateWorkflow, workflow.RegisterOptions{Name: wflo.WorkflowCompensate})
	r.RegisterActivityWithOptions(p.parts.undo.activities, activity.RegisterOptions{Name: step.PrefixUndo})
}

// wfloCompensateWorkflow: see wfloAgentWorkflow.
func wfloCompensateWorkflow(ctx workflow.Context, o wflo.CompensationOrder) ([]wflo.CompensationRecord, error) {
	return workflows.RunCompensate(ctx, o)
}

// unfinished is what looks for compensations of runs that are over; nil where none are
// kept.
func (p *Plugin) unfinished(c client.Client, namespace, queue string) *unfinished {
	store := p.recovery()
	if store == nil {
		return nil
	}
	return &unfinished{client: c, namespace: namespace, queue: queue, store: store, records: p.parts.records, logger: p.cfg.Logger, quiet: p.cfg.SweepEvery}
}
