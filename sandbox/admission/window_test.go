package admission

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWindow compares the window with the list of everything that was added.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "length"))
		w := newWindow(length)
		var all []span // until is when it was added
		now := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "adds") {
			now += time.Duration(rapid.Int64Range(0, int64(length/20)).Draw(t, "later"))
			cpu := time.Duration(rapid.Int64Range(-5, 1000).Draw(t, "cpu"))
			w.add(now, cpu)
			all = append(all, span{now, max(cpu, 0)})
			least, most := time.Duration(0), time.Duration(0)
			for _, s := range all {
				if now-s.until < length {
					least += s.cpu
				}
				if now-s.until < length+length/60+time.Nanosecond {
					most += s.cpu
				}
			}
			if got := w.used(now); got < least || got > most {
				t.Fatalf("used at %s is %d, want %d to %d", now, got, least, most)
			}
			if len(w.spans) > 62 {
				t.Fatalf("there are %d spans", len(w.spans))
			}
			if limit := rapid.SampledFrom([]time.Duration{1, w.total/2 + 1, w.total}).Draw(t, "limit"); limit > 0 && w.total >= limit {
				at, again := w.below(limit), w
				if at <= now || at > now+length+length/60 {
					t.Fatalf("below is %s at %s", at, now)
				}
				if again.used(at-1) < limit {
					t.Fatalf("the sum is below %d before %s", limit, at)
				}
				if again.used(at) >= limit {
					t.Fatalf("the sum is not below %d at %s", limit, at)
				}
			}
		}
	})
}

func TestWindowDoesNotOverflow(t *testing.T) {
	w := newWindow(time.Hour)
	w.add(0, math.MaxInt64)
	w.add(1, math.MaxInt64)
	if got := w.used(1); got != math.MaxInt64 {
		t.Errorf("used = %d", got)
	}
	if got := w.used(2 * time.Hour); got != 0 {
		t.Errorf("used afterwards = %d", got)
	}
}
