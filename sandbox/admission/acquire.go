package admission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrBusy is what Acquire's error wraps when too many requests wait already. It
// is not an *wflo.Error, because those are not retried and this should be: on
// another worker, or later.
var ErrBusy = errors.New("the worker's queue for sandboxes is full")

// Ticket is the right to run one execution.
type Ticket struct {
	c        *Controller
	tenant   *tenant
	takes    amounts
	waited   time.Duration
	released bool
}

// Acquire waits until the request may begin, and gives a ticket that the caller
// must release. A request that can never fit is an *wflo.Error with
// CodePolicyDenied at once, and one without amounts has CodeInvalid. When ctx
// ends first, the error is ctx.Err() and the request is forgotten. When more
// than Config.Queue requests wait, the last of the tenant that has most of them
// gets ErrBusy: at once if it is this one, later if it is one that waits already.
func (c *Controller) Acquire(ctx context.Context, r Request) (*Ticket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	takes, err := c.request(r)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	now := c.elapsed()
	t := c.host.tenant(r.Tenant, now)
	// Whoever waits has either no room or no quota, and must not be passed here:
	// only the queue knows who may pass whom.
	if c.host.waiting == 0 && t.held(now) == (cause{}) && c.host.lacks(takes) == (cause{}) {
		c.host.take(t, takes)
		c.mu.Unlock()
		return &Ticket{c: c, tenant: t, takes: takes}, nil
	}
	w := &waiter{tenant: t, takes: takes, since: now, wake: make(chan struct{}, 1), watched: r.Waiting != nil}
	c.host.enqueue(w)
	c.host.admit(now)
	if c.host.waiting > c.queue {
		c.host.refuse(t, now)
	}
	granted, refused := w.granted, w.refused
	c.mu.Unlock()
	switch {
	case granted:
		return &Ticket{c: c, tenant: t, takes: takes}, nil
	case refused:
		return nil, c.busy()
	}
	return c.wait(ctx, w, r.Waiting)
}

func (c *Controller) busy() error {
	return fmt.Errorf("%w: %d requests wait (add workers, or raise admission.queue)", ErrBusy, c.queue)
}

// wait ends with a ticket, or with the request out of the queue and its room
// given back, also when report panics.
func (c *Controller) wait(ctx context.Context, w *waiter, report func(State)) (*Ticket, error) {
	done := false
	defer func() {
		if !done {
			c.forget(w)
		}
	}()
	timer := time.NewTimer(math.MaxInt64) // Reset where there is a time to wait for
	defer timer.Stop()
	var told place
	for {
		c.mu.Lock()
		now := c.elapsed()
		at := w.place()
		granted, refused, waited := w.granted, w.refused, w.grantedAt-w.since
		c.mu.Unlock()
		if refused {
			return nil, c.busy()
		}
		if granted {
			done = true
			return &Ticket{c: c, tenant: w.tenant, takes: w.takes, waited: waited}, nil
		}
		if report != nil && at != told {
			told = at
			report(at.state(w.tenant.name, c.now(), now))
		}
		var due <-chan time.Time
		if at.position == 1 && at.why.kind == quotaCPU {
			timer.Reset(max(at.why.until-now, time.Millisecond))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.wake:
		case <-due:
			c.mu.Lock()
			c.host.admit(c.elapsed())
			c.mu.Unlock()
		}
	}
}

// forget takes a request out of the queue. One that was admitted in the same
// moment gives its room back.
func (c *Controller) forget(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.elapsed()
	switch {
	case w.refused: // it is out already
	case w.granted:
		c.host.free(w.tenant, w.takes)
		c.host.admit(now)
	default:
		c.host.remove(w, now)
	}
}

// Release gives back what the ticket holds, and counts the CPU time that the
// execution used against its tenant's window. Only the first call counts.
func (t *Ticket) Release(cpu time.Duration) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.released {
		return
	}
	t.released = true
	now := t.c.elapsed()
	t.c.host.free(t.tenant, t.takes)
	t.tenant.spent.add(now, cpu)
	t.c.host.admit(now)
}

// Waited is how long the request waited.
func (t *Ticket) Waited() time.Duration { return t.waited }

// elapsed is the time since the start, which no change of the wall clock moves.
func (c *Controller) elapsed() time.Duration { return c.now().Sub(c.start) }
