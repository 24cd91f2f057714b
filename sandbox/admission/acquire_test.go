package admission

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// request is one core and so many GiB.
func request(tenant string, memory int64) Request {
	return Request{Tenant: tenant, Memory: memory * sandbox.GiB, CPUs: 1}
}

// acquired is what became of an Acquire in the background.
type acquired struct {
	mu     sync.Mutex
	ticket *Ticket
	err    error
	states []State
	done   bool
	stop   context.CancelFunc
}

// acquire begins in the background and comes back when it waits or has ended.
func acquire(ctx context.Context, c *Controller, r Request) *acquired {
	a := &acquired{}
	ctx, a.stop = context.WithCancel(ctx)
	r.Waiting = func(s State) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.states = append(a.states, s)
	}
	go func() {
		ticket, err := c.Acquire(ctx, r)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ticket, a.err, a.done = ticket, err, true
	}()
	synctest.Wait()
	return a
}

// pass lets the bubble's time go by, and everything happen that is due then.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (a *acquired) wantTicket(t *testing.T, what string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.done || a.ticket == nil || a.err != nil {
		t.Fatalf("%s: done %v, %v, %v, want a ticket", what, a.done, a.ticket, a.err)
	}
}

func (a *acquired) wantWaiting(t *testing.T, what string, states ...State) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		t.Fatalf("%s: %v, %v, want it to wait", what, a.ticket, a.err)
	}
	if diff := cmp.Diff(states, a.states); diff != "" {
		t.Errorf("%s, states (-want +got):\n%s", what, diff)
	}
}

func wantEmpty(t *testing.T, c *Controller) {
	t.Helper()
	if u := c.Snapshot(); u.Running != 0 || u.Waiting != 0 || u.Memory != 0 || u.CPUs != 0 {
		t.Errorf("left behind: %+v", u)
	}
}

func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := small
		config.Tenants = map[string]Quota{"payments": {Concurrent: 2}}
		c := open(t, config)
		ctx := t.Context()
		one, two := acquire(ctx, c, request("payments", 1)), acquire(ctx, c, request("payments", 1))
		one.wantTicket(t, "one")
		two.wantTicket(t, "two")
		full := State{1, "tenant payments: 2 of 2 running"}
		three, four := acquire(ctx, c, request("payments", 9)), acquire(ctx, c, request("payments", 1))
		three.wantWaiting(t, "three", full)
		four.wantWaiting(t, "four", State{2, full.Reason})
		// Nobody else waits for what holds the tenant back.
		other := acquire(ctx, c, request("", 8))
		other.wantTicket(t, "other")
		if n := len(other.states); n > 0 {
			t.Errorf("other was told %d times that it waits", n)
		}
		pass(time.Second)
		one.ticket.Release(0)
		three.wantWaiting(t, "three", full, State{1, "memory of the host"})
		four.wantWaiting(t, "four", State{2, full.Reason}, State{2, "memory of the host"})
		u := c.Snapshot()
		if u.Waiting != 2 || u.Longest != time.Second || u.Tenants[1].Reason != "memory of the host" {
			t.Errorf("Snapshot = %+v", u)
		}
		other.ticket.Release(0)
		three.wantTicket(t, "three")
		if got := three.ticket.Waited(); got != time.Second {
			t.Errorf("three waited %s", got)
		}
		four.wantWaiting(t, "four", State{2, full.Reason}, State{2, "memory of the host"}, full)
		two.ticket.Release(0)
		four.wantTicket(t, "four")
		three.ticket.Release(0)
		four.ticket.Release(0)
		four.ticket.Release(0) // again
		wantEmpty(t, c)
	})
}

func TestCPUQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := small
		config.Default = Quota{CPUSeconds: 60, Window: time.Hour}
		c := open(t, config)
		begin := time.Now() // 2000-01-01 at midnight
		use := func(cpu time.Duration) {
			a := acquire(t.Context(), c, request("x", 1))
			a.wantTicket(t, "use")
			a.ticket.Release(cpu)
		}
		use(59 * time.Second)
		pass(30 * time.Minute)
		use(2 * time.Second)
		head, gone := acquire(t.Context(), c, request("x", 1)), acquire(t.Context(), c, request("x", 1))
		until := "tenant x: CPU quota used up until 01:01Z"
		head.wantWaiting(t, "head", State{1, until})
		acquire(t.Context(), c, request("y", 1)).wantTicket(t, "another tenant")
		// The timer is the first one's, and it goes over to the next.
		head.stop()
		synctest.Wait()
		if !errors.Is(head.err, context.Canceled) {
			t.Fatalf("head: %v", head.err)
		}
		gone.wantWaiting(t, "next", State{2, until}, State{1, until})
		pass(time.Until(begin.Add(time.Hour + time.Minute - time.Nanosecond)))
		gone.wantWaiting(t, "next, just before", State{2, until}, State{1, until})
		pass(time.Nanosecond)
		gone.wantTicket(t, "next")
		if got := gone.ticket.Waited(); got != 31*time.Minute {
			t.Errorf("next waited %s", got)
		}
	})
}

// TestTimerGoesOver lets the first of a queue give up, whose timer the next one
// must set, though nobody wants to know what it waits for.
func TestTimerGoesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := small
		config.Default = Quota{CPUSeconds: 1, Window: time.Minute}
		c := open(t, config)
		ticket, err := c.Acquire(t.Context(), request("", 1))
		if err != nil {
			t.Fatal(err)
		}
		ticket.Release(time.Second)
		first, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := c.Acquire(first, request("", 1)); !errors.Is(err, context.Canceled) {
				t.Errorf("first: %v", err)
			}
		})
		synctest.Wait()
		group.Go(func() {
			ticket, err := c.Acquire(t.Context(), request("", 1))
			if err != nil {
				t.Errorf("second: %v", err)
				return
			}
			ticket.Release(0)
		})
		synctest.Wait()
		cancel()
		group.Wait()
		wantEmpty(t, c)
	})
}

// TestClock uses a clock that jumps without telling timers: whoever comes next
// finds out.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		config := small
		config.Default = Quota{CPUSeconds: 1, Window: time.Minute}
		config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		c := open(t, config)
		first := acquire(t.Context(), c, request("x", 1))
		first.wantTicket(t, "first")
		first.ticket.Release(time.Second)
		second := acquire(t.Context(), c, request("x", 1))
		second.wantWaiting(t, "second", State{1, "tenant x: CPU quota used up until 00:01:01Z"})
		ahead.Store(int64(-time.Hour))
		pass(2 * time.Minute)
		second.wantWaiting(t, "second, with the clock put back", State{1, "tenant x: CPU quota used up until 00:01:01Z"})
		ahead.Store(int64(time.Hour))
		acquire(t.Context(), c, request("y", 1)).wantTicket(t, "other")
		second.wantTicket(t, "second")
	})
}

func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, small)
		running := acquire(t.Context(), c, request("a", 10))
		running.wantTicket(t, "running")
		limited, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first, second, third := acquire(limited, c, request("b", 1)), acquire(t.Context(), c, request("b", 2)), acquire(t.Context(), c, request("b", 3))
		pass(time.Minute)
		synctest.Wait()
		if !errors.Is(first.err, context.DeadlineExceeded) {
			t.Fatalf("first: %v", first.err)
		}
		const why = "memory of the host"
		third.wantWaiting(t, "third", State{3, why}, State{2, why})
		second.stop()
		third.wantWaiting(t, "third", State{3, why}, State{2, why}, State{1, why})
		// Both at once: the room goes to whoever wants it.
		third.stop()
		running.ticket.Release(0)
		synctest.Wait()
		if third.ticket != nil {
			third.ticket.Release(0)
		}
		wantEmpty(t, c)
	})
}

// TestOwedGivesUp lets those go on that waited for one that was owed.
func TestOwedGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, small)
		long := acquire(t.Context(), c, request("long", 5))
		large := acquire(t.Context(), c, request("large", 10))
		pass(Patience)
		held := acquire(t.Context(), c, request("little", 1))
		held.wantWaiting(t, "little", State{1, "room of the host: a larger request has waited too long and goes first"})
		large.stop()
		held.wantTicket(t, "little")
		long.ticket.Release(0)
		held.ticket.Release(0)
		wantEmpty(t, c)
	})
}

func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := small
		config.Queue, config.Sandboxes = 3, 1
		c := open(t, config)
		running := acquire(t.Context(), c, request("a", 1))
		var storm []*acquired
		for range 3 {
			storm = append(storm, acquire(t.Context(), c, request("a", 1)))
		}
		one := acquire(t.Context(), c, request("a", 1))
		if !errors.Is(one.err, ErrBusy) || wflo.CodeOf(one.err) != "" || len(one.states) > 0 {
			t.Fatalf("one too many: %v, %v", one.err, one.states)
		}
		// Another tenant's takes the place of the storm's last.
		other := acquire(t.Context(), c, request("b", 1))
		other.wantWaiting(t, "other", State{1, "sandboxes of the host: 1 of 1 running"})
		if !errors.Is(storm[2].err, ErrBusy) {
			t.Fatalf("the last of the storm: done %v, %v", storm[2].done, storm[2].err)
		}
		running.ticket.Release(0)
		for i, a := range []*acquired{storm[0], other, storm[1]} {
			a.wantTicket(t, fmt.Sprint(i))
			a.ticket.Release(0)
		}
		wantEmpty(t, c)
	})
}

// TestPanicWhileReporting leaves no request behind that nobody waits for.
func TestPanicWhileReporting(t *testing.T) {
	c := open(t, small)
	running, err := c.Acquire(t.Context(), request("a", 10))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		r := request("b", 1)
		r.Waiting = func(State) { panic("in a heartbeat") }
		_, _ = c.Acquire(t.Context(), r)
	}()
	running.Release(0)
	wantEmpty(t, c)
}

// TestReportsWithoutLock calls back into the Controller from Waiting, and from
// there releases what the request waits for.
func TestReportsWithoutLock(t *testing.T) {
	c := open(t, small)
	running, err := c.Acquire(t.Context(), request("a", 10))
	if err != nil {
		t.Fatal(err)
	}
	r := request("b", 1)
	r.Waiting = func(State) {
		if c.Snapshot().Waiting != 1 {
			t.Error("the waiting request is not counted")
		}
		running.Release(0)
	}
	ticket, err := c.Acquire(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	ticket.Release(0)
	wantEmpty(t, c)
}

// TestStorm has 200 callers of ten tenants at once, some of whom give up, and
// counts for itself what runs.
func TestStorm(t *testing.T) {
	config := small
	config.Sandboxes = 8
	config.Default = Quota{Concurrent: 3}
	c := open(t, config)
	// All wait at first, until one has given up.
	blocker, err := c.Acquire(t.Context(), request("blocker", 10))
	if err != nil {
		t.Fatal(err)
	}
	var memory, cpus, running, granted, gaveUp atomic.Int64
	var perTenant [10]atomic.Int64
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			tenant := i % len(perTenant)
			for range 30 {
				r := request(fmt.Sprint(tenant), 1+random.Int64N(10))
				r.CPUs = float64(1+random.IntN(100)) / 10
				r.Waiting = func(State) {}
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(4) == 0 {
					r.Waiting = func(State) { cancel() }
				}
				ticket, err := c.Acquire(ctx, r)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("Acquire: %v", err)
					}
					gaveUp.Add(1)
					blocker.Release(0)
					cancel()
					continue
				}
				granted.Add(1)
				if m, p, n, own := memory.Add(r.Memory), cpus.Add(nano(r.CPUs)), running.Add(1), perTenant[tenant].Add(1); m > config.Memory || p > nano(config.CPUs) || n > 8 || own > 3 {
					t.Errorf("over a bound: %d bytes, %d nano cores, %d running, %d of the tenant", m, p, n, own)
				}
				memory.Add(-r.Memory)
				cpus.Add(-nano(r.CPUs))
				running.Add(-1)
				perTenant[tenant].Add(-1)
				ticket.Release(time.Microsecond)
				cancel()
			}
		})
	}
	group.Wait()
	t.Logf("%d began, %d gave up", granted.Load(), gaveUp.Load())
	if granted.Load() == 0 || gaveUp.Load() == 0 {
		t.Errorf("%d began and %d gave up: the test does not try both", granted.Load(), gaveUp.Load())
	}
	wantEmpty(t, c)
}
