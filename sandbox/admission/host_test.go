package admission

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelled is what the model remembers of a request.
type modelled struct {
	w         *waiter
	tenant    int
	overtaken int // by later ones, while it was first and within its quota
}

// used is CPU time that ended.
type used struct {
	tenant  int
	at, cpu time.Duration
}

// model checks a host against the rules, from a list of all requests.
type model struct {
	h       *host
	limits  []limits
	now     time.Duration
	waiting []*modelled // in the order of arrival
	running []*modelled
	history []used
	window  time.Duration
}

func newModel(t *rapid.T) *model {
	m := &model{window: time.Minute}
	quotas := map[string]limits{}
	for i := range rapid.IntRange(1, 4).Draw(t, "tenants") {
		l := limits{
			concurrent: rapid.IntRange(0, 3).Draw(t, "concurrent"),
			cpu:        rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Second}).Draw(t, "cpu quota"), window: m.window,
		}
		m.limits = append(m.limits, l)
		quotas[fmt.Sprint(i)] = l
	}
	m.h = newHost(amounts{100, 100}, rapid.SampledFrom([]int{0, 3, 8}).Draw(t, "sandboxes"), quotas, limits{window: m.window})
	m.h.passes, m.h.patience = 5, 10*time.Second
	return m
}

func (m *model) arrive(t *rapid.T) {
	i := rapid.IntRange(0, len(m.limits)-1).Draw(t, "tenant")
	takes := amounts{
		rapid.SampledFrom([]int64{1, 10, 30, 90, 100}).Draw(t, "memory"),
		rapid.SampledFrom([]int64{1, 10, 100}).Draw(t, "cpus"),
	}
	w := &waiter{tenant: m.h.tenant(fmt.Sprint(i), m.now), takes: takes, since: m.now, wake: make(chan struct{}, 1)}
	m.waiting = append(m.waiting, &modelled{w: w, tenant: i})
	m.h.enqueue(w)
	m.h.admit(m.now)
}

func (m *model) release(i int, cpu time.Duration) {
	r := m.running[i]
	m.running = slices.Delete(m.running, i, i+1)
	m.h.free(r.w.tenant, r.w.takes)
	r.w.tenant.spent.add(m.now, cpu)
	m.history = append(m.history, used{r.tenant, m.now, cpu})
	m.h.admit(m.now)
}

func (m *model) runningOf(tenant int) int {
	n := 0
	for _, r := range m.running {
		if r.tenant == tenant {
			n++
		}
	}
	return n
}

// spent is what the window must hold at least.
func (m *model) spent(tenant int) time.Duration {
	var sum time.Duration
	for _, u := range m.history {
		if u.tenant == tenant && m.now-u.at < m.window {
			sum += u.cpu
		}
	}
	return sum
}

// first says whether no request of the same tenant came earlier.
func (m *model) first(r *modelled) bool {
	i := slices.IndexFunc(m.waiting, func(other *modelled) bool { return other.tenant == r.tenant })
	return m.waiting[i] == r
}

// settle moves what the host granted to the running ones, and checks each grant
// and everything that still waits.
func (m *model) settle(t *rapid.T) {
	var granted []*modelled
	for _, r := range m.waiting {
		if r.w.granted {
			granted = append(granted, r)
		}
	}
	for _, g := range granted {
		if !m.first(g) {
			t.Fatalf("request %d of tenant %d went before an earlier one of its tenant", g.w.number, g.tenant)
		}
		// A quota may be overrun only by what was running when it was used up.
		if l := m.limits[g.tenant]; l.cpu > 0 && m.spent(g.tenant) >= l.cpu {
			t.Fatalf("tenant %d begins with %s of CPU used", g.tenant, m.spent(g.tenant))
		}
		for _, r := range m.waiting {
			if r.w.number < g.w.number && !r.w.granted && m.first(r) && r.w.tenant.held(m.now) == (cause{}) {
				r.overtaken++
			}
		}
		m.waiting = slices.DeleteFunc(m.waiting, func(r *modelled) bool { return r == g })
		m.running = append(m.running, g)
	}
	m.check(t)
}

func (m *model) check(t *rapid.T) {
	var sum amounts
	for _, r := range m.running {
		sum.memory += r.w.takes.memory
		sum.cpus += r.w.takes.cpus
	}
	if sum != m.h.used || sum.memory > 100 || sum.cpus > 100 || m.h.running != len(m.running) || m.h.waiting != len(m.waiting) {
		t.Fatalf("%d running use %+v and %d wait; the host counts %d, %+v and %d", len(m.running), sum, len(m.waiting), m.h.running, m.h.used, m.h.waiting)
	}
	if m.h.sandboxes > 0 && len(m.running) > m.h.sandboxes {
		t.Fatalf("%d run, more than %d", len(m.running), m.h.sandboxes)
	}
	owed := m.h.owed(m.now) != nil
	positions := map[int]int{}
	for _, r := range m.waiting {
		positions[r.tenant]++
		if r.w.position != positions[r.tenant] {
			t.Fatalf("request %d has position %d, want %d", r.w.number, r.w.position, positions[r.tenant])
		}
		if most := m.h.passes + 2*len(m.limits); r.overtaken > most {
			t.Fatalf("request %d was overtaken %d times", r.w.number, r.overtaken)
		}
		fits := r.w.takes.memory <= 100-sum.memory && r.w.takes.cpus <= 100-sum.cpus && (m.h.sandboxes == 0 || len(m.running) < m.h.sandboxes)
		if m.first(r) && fits && !owed && r.w.tenant.held(m.now) == (cause{}) {
			t.Fatalf("request %d waits, though it fits", r.w.number)
		}
	}
	for i, l := range m.limits {
		if l.concurrent > 0 && m.runningOf(i) > l.concurrent {
			t.Fatalf("%d of tenant %d run, more than %d", m.runningOf(i), i, l.concurrent)
		}
	}
}

// TestHost does everything that can happen in any order, and then lets all end:
// no request may be lost.
func TestHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"":       m.settle,
			"arrive": m.arrive,
			"storm": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "of") {
					m.arrive(t)
					m.settle(t)
				}
			},
			"release": func(t *rapid.T) {
				if len(m.running) == 0 {
					return
				}
				m.release(rapid.IntRange(0, len(m.running)-1).Draw(t, "which"), time.Duration(rapid.IntRange(0, 15).Draw(t, "cpu"))*time.Second)
			},
			"cancel": func(t *rapid.T) {
				if len(m.waiting) == 0 {
					return
				}
				i := rapid.IntRange(0, len(m.waiting)-1).Draw(t, "which")
				r := m.waiting[i]
				m.waiting = slices.Delete(m.waiting, i, i+1)
				m.h.remove(r.w, m.now)
			},
			"refuse": func(t *rapid.T) {
				if len(m.waiting) == 0 {
					return
				}
				m.h.refuse(m.waiting[len(m.waiting)-1].w.tenant, m.now)
				if n := len(m.waiting); n == m.h.waiting {
					t.Fatalf("none of %d was refused", n)
				}
				m.waiting = slices.DeleteFunc(m.waiting, func(r *modelled) bool { return r.w.refused })
			},
			"later": func(t *rapid.T) {
				m.now += time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second
				m.h.admit(m.now)
			},
		})
		for rounds := 0; len(m.waiting)+len(m.running) > 0; rounds++ {
			if rounds > 10_000 {
				t.Fatalf("%d requests wait for ever", len(m.waiting))
			}
			if len(m.running) > 0 {
				m.release(0, time.Second)
			} else {
				m.now += m.window
				m.h.admit(m.now)
			}
			m.settle(t)
		}
		if len(m.h.turns) > 0 || m.h.used != (amounts{}) {
			t.Fatalf("in the end %d tenants have turns and %+v is in use", len(m.h.turns), m.h.used)
		}
	})
}

// TestTwoLargeOnesDoNotStarveASmallOne is the pattern in which one that is owed
// follows another for ever: two tenants whose requests never fit together, and
// a third whose request would fit beside each of them.
func TestTwoLargeOnesDoNotStarveASmallOne(t *testing.T) {
	h := newHost(amounts{10, 10}, 0, nil, limits{window: time.Hour})
	now := time.Duration(0)
	add := func(tenant string, memory int64) *waiter {
		w := &waiter{tenant: h.tenant(tenant, now), takes: amounts{memory, 1}, since: now, wake: make(chan struct{}, 1)}
		h.enqueue(w)
		h.admit(now)
		return w
	}
	large := []*waiter{add("a", 8), add("b", 8)}
	now += h.patience // b is owed from now on
	small := add("c", 2)
	for turn := 0; !small.granted; turn++ {
		if turn == 10 {
			t.Fatal("the small request waits for ever")
		}
		i := turn % 2
		if !large[i].granted {
			t.Fatalf("turn %d: the large request does not run", turn)
		}
		next := add([]string{"a", "b"}[i], 8)
		now += 10 * h.patience
		h.free(large[i].tenant, large[i].takes)
		h.admit(now)
		large[i] = next
	}
}

// TestTurns is a storm of one tenant, into which another comes.
func TestTurns(t *testing.T) {
	for name, wait := range map[string]time.Duration{"at once": 0, "when all are owed": 2 * Patience} {
		t.Run(name, func(t *testing.T) {
			h := newHost(amounts{100, 100}, 1, nil, limits{window: time.Hour})
			now := time.Duration(0)
			var all []*waiter
			add := func(tenant string) {
				w := &waiter{tenant: h.tenant(tenant, now), takes: amounts{1, 1}, since: now, wake: make(chan struct{}, 1)}
				h.enqueue(w)
				h.admit(now)
				all = append(all, w)
			}
			for range 50 {
				add("storm")
			}
			now += wait
			add("other")
			add("third")
			running, order := all[0], ""
			for range 5 {
				now += wait
				h.free(running.tenant, running.takes)
				h.admit(now)
				all = slices.DeleteFunc(all, func(w *waiter) bool { return w == running })
				running = all[slices.IndexFunc(all, func(w *waiter) bool { return w.granted })]
				order += running.tenant.name + " "
			}
			if want := "storm other third storm storm "; order != want {
				t.Errorf("turns: %s, want %s", order, want)
			}
		})
	}
}

// TestOwed lets small requests pass a large one until it is owed.
func TestOwed(t *testing.T) {
	for name, tt := range map[string]struct {
		every time.Duration // a small request comes
		want  int           // so many pass
	}{
		"many in no time":        {0, MaxPassed},
		"few in a long time":     {Patience / 10, 9},
		"many in nearly no time": {Patience / 1000, MaxPassed},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(amounts{10, 10}, 0, nil, limits{window: time.Hour})
			now, passed := time.Duration(0), 0
			add := func(tenant string, memory int64) *waiter {
				w := &waiter{tenant: h.tenant(tenant, now), takes: amounts{memory, 1}, since: now, wake: make(chan struct{}, 1)}
				h.enqueue(w)
				h.admit(now)
				return w
			}
			long, large := add("long", 5), add("large", 10)
			for passed <= tt.want {
				now += tt.every
				small := add("small", 5)
				if !small.granted {
					break
				}
				passed++
				h.free(small.tenant, small.takes)
				h.admit(now)
			}
			if passed != tt.want {
				t.Errorf("%d passed, want %d", passed, tt.want)
			}
			h.free(long.tenant, long.takes)
			h.admit(now)
			if !large.granted {
				t.Error("the large request does not have the room that it waited for")
			}
		})
	}
}

// BenchmarkFullQueue is one execution that ends and one that comes, while 1000
// requests of 100 tenants wait.
func BenchmarkFullQueue(b *testing.B) {
	h := newHost(amounts{10, 10}, 0, nil, limits{concurrent: 100, cpu: time.Hour, window: time.Hour})
	now := time.Duration(0)
	var last []*waiter
	add := func(i int) {
		w := &waiter{tenant: h.tenant(fmt.Sprint(i%100), now), takes: amounts{1, 1}, since: now, wake: make(chan struct{}, 1), watched: true}
		last = append(last, w)
		h.enqueue(w)
		h.admit(now)
	}
	for i := range 1010 {
		add(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now += time.Millisecond
		at := slices.IndexFunc(last, func(w *waiter) bool { return w.granted })
		w := last[at]
		last = slices.Delete(last, at, at+1)
		h.free(w.tenant, w.takes)
		w.tenant.spent.add(now, time.Microsecond)
		h.admit(now)
		add(i)
	}
}
