package postgres

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/wflo-ai/wflo-go"
)

// maxAppends bounds the calls of one transaction, and with them how long a chain
// is locked.
const maxAppends = 256

// appender groups the appends of one worker, as batcher does its calls: what arrives
// while one transaction is on its way goes together in the next, so that a chain to
// which everybody adds is not bound by the time of a commit. One transaction at a
// time also keeps the events of one caller in the order of their calls.
type appender struct {
	send func(context.Context, []*appendCall)

	mu      sync.Mutex
	waiting []*appendCall
	flying  bool
	closed  bool
	ended   sync.WaitGroup
}

// appendCall is one call that waits for its transaction.
type appendCall struct {
	events []wflo.AuditEvent
	ctx    context.Context
	group  *batch     // that it is in, once it is taken
	answer chan error // has room for one
}

// do appends in the company of others. A caller whose context ends leaves; the
// events may be recorded all the same, like any whose answer was lost.
func (a *appender) do(ctx context.Context, events []wflo.AuditEvent) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &appendCall{events: events, ctx: ctx, answer: make(chan error, 1)}
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return errClosed
	}
	a.waiting = append(a.waiting, c)
	if !a.flying {
		a.flying = true
		a.ended.Go(a.fly)
	}
	a.mu.Unlock()
	select {
	case err := <-c.answer:
		return err
	case <-ctx.Done():
		a.leave(c)
		return ctx.Err()
	}
}

// leave says that nobody waits for the call any more.
func (a *appender) leave(c *appendCall) {
	a.mu.Lock()
	group := c.group
	a.mu.Unlock()
	if group != nil && group.left.Add(-1) == 0 {
		group.cancel()
	}
}

// fly sends what waits until nothing does.
func (a *appender) fly() {
	for {
		ctx, cancel := context.WithCancel(context.Background())
		calls := a.take(cancel)
		if len(calls) > 0 {
			a.send(ctx, calls)
		}
		cancel()
		if len(calls) == 0 {
			return
		}
	}
}

// take picks the oldest calls. Without any the flight is over.
func (a *appender) take(cancel context.CancelFunc) []*appendCall {
	a.mu.Lock()
	defer a.mu.Unlock()
	group := &batch{cancel: cancel}
	taken := make([]*appendCall, 0, min(len(a.waiting), maxAppends))
	rest := a.waiting[:0]
	for _, c := range a.waiting {
		switch {
		case c.ctx.Err() != nil: // it has left
		case len(taken) == maxAppends:
			rest = append(rest, c)
		default:
			c.group = group
			taken = append(taken, c)
		}
	}
	clear(a.waiting[len(rest):])
	a.waiting = rest
	group.left.Store(int64(len(taken)))
	a.flying = len(taken) > 0
	return taken
}

// close waits for all calls.
func (a *appender) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.ended.Wait()
}

// sendAppends makes the calls and answers them. What the database refuses is sent
// call by call, because the fault of one must not be that of the others.
func (r *records) sendAppends(ctx context.Context, calls []*appendCall) {
	var refusals []error
	err := r.l.call(ctx, func() (err error) {
		refusals, err = r.appendAll(ctx, calls)
		return err
	})
	var refused *pgconn.PgError
	if len(calls) > 1 && errors.As(err, &refused) && ctx.Err() == nil {
		for _, c := range calls {
			r.sendAppends(ctx, []*appendCall{c})
		}
		return
	}
	for i, c := range calls {
		if err != nil {
			c.answer <- err
		} else {
			c.answer <- refusals[i]
		}
	}
}
