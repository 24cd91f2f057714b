package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

const (
	// refusalQueue is how many refused decisions wait to be written down. They cost
	// their sender nothing, so more are counted and forgotten.
	refusalQueue = 256
	// refusalBatch is how many are written at once.
	refusalBatch = 32
	// refusalTime bounds one attempt to write, and refusalPause is the time to the next.
	refusalTime  = 5 * time.Second
	refusalPause = time.Second
)

// observer hears runs: it counts, and has refused decisions written down.
type observer struct {
	*telemetry.Metrics
	refusals *refusals
}

// DecisionRefused is called from workflow code, so it never waits.
func (o observer) DecisionRefused(g wflo.Gate, d wflo.Decision, reason string) {
	o.refusals.add(g, d, reason)
}

// refusals writes down decisions that runs refused: a validator may do nothing, and
// leaves no trace in history.
type refusals struct {
	trail   activities.Audit
	metrics *telemetry.Metrics
	log     func(msg string, args ...any)
	queue   chan wflo.AuditEvent
}

func newRefusals(trail activities.Audit, m *telemetry.Metrics, log func(msg string, args ...any)) *refusals {
	return &refusals{trail: trail, metrics: m, log: log, queue: make(chan wflo.AuditEvent, refusalQueue)}
}

func (r *refusals) add(g wflo.Gate, d wflo.Decision, reason string) {
	e, err := refusalEvent(g, d, reason, time.Now())
	if err != nil {
		r.lost(1, err)
		return
	}
	select {
	case r.queue <- e:
	default:
		r.metrics.RefusalsLost(1)
	}
}

// refusalEvent is the record of a refusal. The same decision that is refused for the
// same reason is one, however often it is sent.
func refusalEvent(g wflo.Gate, d wflo.Decision, reason string, at time.Time) (wflo.AuditEvent, error) {
	d = desk.Recordable(d)
	data, err := json.Marshal(wflo.AuditDecision{Gate: g.Nonce, Digest: g.Digest, Decision: d, Error: reason, Channel: "temporal"})
	if err != nil {
		return wflo.AuditEvent{}, err
	}
	h := sha256.New()
	for _, part := range []string{g.Namespace, g.WorkflowID, g.FirstRunID, string(data)} {
		sum := sha256.Sum256([]byte(part))
		h.Write(sum[:])
	}
	// What is claimed and was not proved is no actor.
	return wflo.AuditEvent{
		ID: "refused/run/" + hex.EncodeToString(h.Sum(nil)), Chain: g.AuditChain(), At: at, Type: wflo.AuditGateRefused, Severity: wflo.SeverityWarning,
		Actor: "worker", Namespace: g.Namespace, WorkflowID: g.WorkflowID, FirstRunID: g.FirstRunID, Step: g.Step,
		Gate: desk.Recordable(wflo.Decision{Gate: g.ID}).Gate, Data: data,
	}, nil
}

// run writes until ctx ends, and then what is left.
func (r *refusals) run(ctx context.Context) {
	for {
		select {
		case e := <-r.queue:
			r.write(ctx, r.more(e))
		case <-ctx.Done():
			for {
				select {
				case e := <-r.queue:
					r.write(ctx, r.more(e))
				default:
					return
				}
			}
		}
	}
}

// more is a batch that begins with e.
func (r *refusals) more(e wflo.AuditEvent) []wflo.AuditEvent {
	batch := []wflo.AuditEvent{e}
	for len(batch) < refusalBatch {
		select {
		case e := <-r.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// write appends a batch, and tries again while the store is away, once more after ctx
// has ended. One event that cannot be recorded does not take the others with it.
func (r *refusals) write(ctx context.Context, batch []wflo.AuditEvent) {
	for {
		last := ctx.Err() != nil
		err := r.append(ctx, batch)
		switch {
		case err == nil:
			r.metrics.RefusalsRecorded(len(batch))
			return
		case wflo.CodeOf(err) == wflo.CodeInvalid && len(batch) > 1:
			for _, e := range batch {
				r.write(ctx, []wflo.AuditEvent{e})
			}
			return
		case wflo.CodeOf(err) == wflo.CodeInvalid, last:
			r.lost(len(batch), err)
			return
		}
		r.log("refused decisions are not recorded yet", "decisions", len(batch), "error", err.Error())
		wait := time.NewTimer(refusalPause)
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
}

func (r *refusals) append(ctx context.Context, batch []wflo.AuditEvent) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalTime)
	defer cancel()
	return r.trail.Append(ctx, batch...)
}

func (r *refusals) lost(n int, err error) {
	r.metrics.RefusalsLost(n)
	r.log("refused decisions cannot be recorded", "decisions", n, "error", err.Error())
}
