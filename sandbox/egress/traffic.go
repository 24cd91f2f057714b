package egress

import (
	"cmp"
	"log/slog"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxDistinct is how many flows, and how many refusals, are told apart; the rest
// is counted as otherKey. A program chooses what it tries, so this must be bounded.
const (
	maxDistinct = 1000
	otherKey    = "other"
)

type flow struct {
	connections    atomic.Int64
	sent, received atomic.Int64
}

type attempt struct{ to, reason string }

type traffic struct {
	mu      sync.Mutex
	flows   map[string]*flow
	refused map[attempt]int
}

func (t *traffic) flow(to string) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flows[to]
	if f == nil && len(t.flows) >= maxDistinct {
		to = otherKey
		f = t.flows[to]
	}
	if f == nil {
		f = new(flow)
		if t.flows == nil {
			t.flows = map[string]*flow{}
		}
		t.flows[to] = f
	}
	return f
}

// refuse counts a refusal and logs it: the first of its kind, then the second,
// the fourth and so on with their number, so that a program in a loop cannot fill
// the disk of whoever keeps logs.
func (t *traffic) refuse(log *slog.Logger, r *refusal) {
	key := attempt{r.to, r.reason}
	t.mu.Lock()
	if _, known := t.refused[key]; !known && len(t.refused) >= maxDistinct {
		key = attempt{otherKey, otherKey}
	}
	if t.refused == nil {
		t.refused = map[attempt]int{}
	}
	t.refused[key]++
	count := t.refused[key]
	t.mu.Unlock()
	if bits.OnesCount(uint(count)) == 1 {
		log.Info("refused a destination", "to", r.to, "reason", r.reason, "count", count)
	}
}

func (t *traffic) snapshot() *sandbox.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := new(sandbox.Traffic)
	for to, f := range t.flows {
		all.Flows = append(all.Flows, sandbox.Flow{
			To: to, Connections: int(f.connections.Load()), Sent: f.sent.Load(), Received: f.received.Load(),
		})
	}
	for key, count := range t.refused {
		all.Refused = append(all.Refused, sandbox.Refusal{To: key.to, Reason: key.reason, Count: count})
	}
	slices.SortFunc(all.Flows, func(a, b sandbox.Flow) int { return cmp.Compare(a.To, b.To) })
	slices.SortFunc(all.Refused, func(a, b sandbox.Refusal) int {
		return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}
