package plugin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// moved counts a box that went to another host, and puts it on record: in the chain of the
// run's tenant where an activity of the run moved it, else in the main one.
func (p *Plugin) moved(ctx context.Context, place sandbox.Place) error {
	e, err := moveEvent(ctx, place)
	if err != nil {
		return err
	}
	if err := p.parts.records.Append(ctx, e); err != nil {
		return fmt.Errorf("record that box %s moved: %w", place.Box, err)
	}
	p.metrics.Sandboxes().Moved()
	return nil
}

// moveEvent is the record of a move. Each move of a box has one, however often it is told.
func moveEvent(ctx context.Context, place sandbox.Place) (wflo.AuditEvent, error) {
	move := wflo.AuditMove{Box: place.Box, From: place.From, To: place.Host}
	if place.Part != nil {
		move.SavedAt = place.SavedAt
	}
	data, err := json.Marshal(move)
	if err != nil {
		return wflo.AuditEvent{}, fmt.Errorf("encode the record of a move: %w", err)
	}
	run := runOf(place.Box)
	if now, ok := wflo.RunFrom(ctx); ok && now.ID() == place.Box {
		run = now
	}
	return wflo.AuditEvent{
		ID: fmt.Sprintf("sandbox.moved:%s:%d", place.Box, place.Moves), Chain: run.AuditChain(), At: place.Moved, Type: wflo.AuditBoxMoved,
		Severity: wflo.SeverityWarning, Actor: "worker", WorkflowID: run.WorkflowID, FirstRunID: run.FirstRunID, Data: data,
	}, nil
}
