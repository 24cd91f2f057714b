package admission

import (
	"slices"
	"time"
)

// amounts are bytes and billionths of a core.
type amounts struct{ memory, cpus int64 }

// host is the decision who runs: no clock, no lock, no goroutine. Times are
// since the Controller's start.
type host struct {
	total, used amounts
	sandboxes   int // zero is no bound
	running     int
	waiting     int
	quotas      map[string]limits
	others      limits
	passes      int
	patience    time.Duration

	tenants map[string]*tenant
	sweepAt int // how many tenants it takes to look for those to forget
	// turns are the tenants with waiting requests, next turn first.
	turns []*tenant
	last  uint64
}

// limits is a Quota with its defaults filled in.
type limits struct {
	concurrent  int
	cpu, window time.Duration
}

type tenant struct {
	name    string
	limits  limits
	running int
	queue   []*waiter
	spent   window
	why     cause // what the first of the queue waits for
}

// waiter is a request that waits.
type waiter struct {
	tenant    *tenant
	takes     amounts
	number    uint64 // in the order of arrival
	position  int    // in the tenant's queue, from 1
	since     time.Duration
	watched   bool // somebody wants to know position and cause
	wake      chan struct{}
	granted   bool
	grantedAt time.Duration
	refused   bool // the queue got too long
	// blocked says that it was first of its tenant, within the quota, and could
	// still not begin, since blockedAt; passed counts later requests that went
	// first since.
	blocked   bool
	blockedAt time.Duration
	passed    int
}

const fewTenants = 64

func newHost(total amounts, sandboxes int, quotas map[string]limits, others limits) *host {
	return &host{
		total: total, sandboxes: sandboxes, quotas: quotas, others: others, passes: MaxPassed, patience: Patience,
		tenants: map[string]*tenant{}, sweepAt: fewTenants,
	}
}

// tenant finds or makes the tenant's state. Those that have nothing running,
// waiting or counted are forgotten now and then.
func (h *host) tenant(name string, now time.Duration) *tenant {
	if t := h.tenants[name]; t != nil {
		return t
	}
	if len(h.tenants) >= h.sweepAt {
		for name, t := range h.tenants {
			if t.idle(now) {
				delete(h.tenants, name)
			}
		}
		h.sweepAt = max(fewTenants, 2*len(h.tenants))
	}
	l, ok := h.quotas[name]
	if !ok || name == "" {
		l = h.others
	}
	t := &tenant{name: name, limits: l, spent: newWindow(l.window)}
	h.tenants[name] = t
	return t
}

func (t *tenant) idle(now time.Duration) bool {
	return t.running == 0 && len(t.queue) == 0 && t.spent.used(now) == 0
}

// held says what of the tenant's own quota holds its next request back.
func (t *tenant) held(now time.Duration) cause {
	if t.limits.concurrent > 0 && t.running >= t.limits.concurrent {
		return cause{kind: quotaConcurrent, n: t.running, of: t.limits.concurrent}
	}
	if t.limits.cpu > 0 && t.spent.used(now) >= t.limits.cpu {
		return cause{kind: quotaCPU, until: t.spent.below(t.limits.cpu)}
	}
	return cause{}
}

// lacks says what of the host is missing for a request.
func (h *host) lacks(a amounts) cause {
	switch {
	case h.sandboxes > 0 && h.running >= h.sandboxes:
		return cause{kind: hostSandboxes, n: h.running, of: h.sandboxes}
	case h.used.memory > h.total.memory-a.memory:
		return cause{kind: hostMemory}
	case h.used.cpus > h.total.cpus-a.cpus:
		return cause{kind: hostCPUs}
	}
	return cause{}
}

func (h *host) take(t *tenant, a amounts) {
	h.used.memory += a.memory
	h.used.cpus += a.cpus
	h.running++
	t.running++
}

func (h *host) free(t *tenant, a amounts) {
	h.used.memory -= a.memory
	h.used.cpus -= a.cpus
	h.running--
	t.running--
}

// enqueue puts a request behind those of its tenant; admit must follow.
func (h *host) enqueue(w *waiter) {
	h.last++
	t := w.tenant
	w.number = h.last
	t.queue = append(t.queue, w)
	w.position = len(t.queue)
	if w.position == 1 {
		t.why = cause{}
		h.turns = append(h.turns, t)
	}
	h.waiting++
}

// remove takes a request that waits out of the queue. It may have kept others
// from passing, so the next are admitted.
func (h *host) remove(w *waiter, now time.Duration) {
	h.unqueue(w)
	h.admit(now)
}

// refuse gives up the last request of the longest queue, so that a tenant's
// storm fills its own part of the queue and not that of the others. Of queues
// that are equally long it is preferred's.
func (h *host) refuse(preferred *tenant, now time.Duration) {
	longest := preferred
	for _, t := range h.turns {
		if len(t.queue) > len(longest.queue) {
			longest = t
		}
	}
	w := longest.queue[len(longest.queue)-1]
	w.refused = true
	w.signal()
	h.remove(w, now)
}

func (h *host) unqueue(w *waiter) {
	t := w.tenant
	i := w.position - 1
	t.queue = slices.Delete(t.queue, i, i+1)
	for ; i < len(t.queue); i++ {
		t.queue[i].position = i + 1
		t.queue[i].notify()
	}
	if len(t.queue) == 0 {
		h.turns = slices.DeleteFunc(h.turns, func(other *tenant) bool { return other == t })
	}
	h.waiting--
}

// admit grants all that may begin now, and tells the others what they wait for.
func (h *host) admit(now time.Duration) {
	if h.waiting == 0 {
		return
	}
	for w := h.next(now); w != nil; w = h.next(now) {
		h.grant(w, now)
	}
	h.explain(now)
}

// next is the request that may begin now, if any does.
func (h *host) next(now time.Duration) *waiter {
	owed := h.owed(now)
	if owed != nil {
		if h.lacks(owed.takes) == (cause{}) {
			return owed
		}
		return nil
	}
	for _, t := range h.turns {
		if first := t.queue[0]; t.held(now) == (cause{}) && h.lacks(first.takes) == (cause{}) {
			return first
		}
	}
	return nil
}

// owed is the request that has waited too long for room, if one has. Among more
// than one it is the one that has been blocked for the longest, and not the one
// that came first: else a tenant with a long queue would have every turn.
func (h *host) owed(now time.Duration) *waiter {
	var owed *waiter
	for _, t := range h.turns {
		w := t.queue[0]
		if t.held(now) != (cause{}) {
			continue
		}
		if h.lacks(w.takes) != (cause{}) {
			w.block(now)
		}
		if w.blocked && (w.passed >= h.passes || now-w.blockedAt >= h.patience) && (owed == nil || w.blockedAt < owed.blockedAt) {
			owed = w
		}
	}
	return owed
}

func (h *host) grant(w *waiter, now time.Duration) {
	t := w.tenant
	for _, other := range h.turns {
		if first := other.queue[0]; first != w && first.blocked && first.number < w.number && other.held(now) == (cause{}) {
			first.passed++
		}
	}
	h.unqueue(w)
	if len(t.queue) > 0 {
		i := slices.Index(h.turns, t)
		h.turns = append(slices.Delete(h.turns, i, i+1), t)
	}
	h.take(t, w.takes)
	w.granted, w.grantedAt = true, now
	w.signal()
}

// explain finds out what each tenant's first request waits for.
func (h *host) explain(now time.Duration) {
	for _, t := range h.turns {
		why := t.held(now)
		if why == (cause{}) {
			// Who fits and waits for one that is owed gets older as well: else two
			// that are owed in turns could keep it waiting for ever.
			t.queue[0].block(now)
			if why = h.lacks(t.queue[0].takes); why == (cause{}) {
				why = cause{kind: hostOwed}
			}
		}
		if why == t.why {
			continue
		}
		t.why = why
		for _, w := range t.queue {
			w.notify()
		}
	}
}

func (w *waiter) block(now time.Duration) {
	if !w.blocked {
		w.blocked, w.blockedAt = true, now
	}
}

// notify wakes a request for which something changed: the first of a queue has
// a timer to set, the others only report.
func (w *waiter) notify() {
	if w.watched || w.position == 1 {
		w.signal()
	}
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it has not looked since the last time
	}
}

func (w *waiter) place() place { return place{w.position, w.tenant.why} }
