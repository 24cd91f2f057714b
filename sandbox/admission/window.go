package admission

import (
	"math"
	"time"
)

// window sums CPU time over the last while. It keeps at most 61 numbers, so
// what ended at nearly the same time stops to count at the same time.
type window struct {
	length, step time.Duration
	spans        []span // in the order of until
	total        time.Duration
}

type span struct{ until, cpu time.Duration }

func newWindow(length time.Duration) window {
	return window{length: length, step: max(length/60, 1)}
}

// add counts CPU time that was used by now.
func (w *window) add(now, cpu time.Duration) {
	w.used(now)
	cpu = min(cpu, math.MaxInt64-w.total)
	if cpu <= 0 {
		return
	}
	until := (now/w.step+1)*w.step + w.length
	if n := len(w.spans); n > 0 && w.spans[n-1].until >= until {
		w.spans[n-1].cpu += cpu
	} else {
		w.spans = append(w.spans, span{until, cpu})
	}
	w.total += cpu
}

// used is the sum now. It forgets what is over, so now must not go back far.
func (w *window) used(now time.Duration) time.Duration {
	gone := 0
	for gone < len(w.spans) && w.spans[gone].until <= now {
		w.total -= w.spans[gone].cpu
		gone++
	}
	w.spans = w.spans[gone:]
	if len(w.spans) == 0 {
		w.spans = nil
	}
	return w.total
}

// below is when the sum is under a limit if nothing is added.
func (w *window) below(limit time.Duration) time.Duration {
	left := w.total
	for _, s := range w.spans {
		if left -= s.cpu; left < limit {
			return s.until
		}
	}
	return 0
}
