package notify

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

func TestNextAttempt(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	plain := errors.New("down")
	for _, c := range []struct {
		name     string
		attempts int
		age      time.Duration
		err      error
		spread   float64
		delay    time.Duration // zero for dead
	}{
		{name: "first", err: plain, delay: 5 * time.Second},
		{name: "doubles", attempts: 3, err: plain, delay: 40 * time.Second},
		{name: "to ten minutes", attempts: 8, err: plain, delay: 10 * time.Minute},
		{name: "spread takes up to a fifth off", attempts: 3, err: plain, spread: 1, delay: 32 * time.Second},
		{name: "the tenth is the last", attempts: 9, err: plain},
		{name: "refused", err: ErrRefused},
		{name: "the receiver asks for more", err: &Later{After: time.Hour, Err: plain}, delay: time.Hour},
		{name: "the receiver asks for less", attempts: 8, err: &Later{After: time.Second, Err: plain}, delay: 10 * time.Minute},
		{name: "beyond a day", age: 23*time.Hour + 30*time.Minute, err: &Later{After: time.Hour, Err: plain}},
		{name: "a day old", age: 24 * time.Hour, err: plain},
		{name: "a broken count", attempts: -7, err: plain, delay: 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := wflo.NoticeRecord{Notice: wflo.Notice{At: now.Add(-c.age)}, Attempts: c.attempts}
			due, dead := nextAttempt(n, c.err, now, c.spread)
			if dead != (c.delay == 0) || !dead && due.Sub(now) != c.delay {
				t.Errorf("due in %s, dead %v", due.Sub(now), dead)
			}
		})
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "0": 0, "soon": 0, "1e3": 0, "999999999999": 0,
		"4000000000": 24 * time.Hour, "Mon, 23 Nov 2026 09:01:00 GMT": time.Minute, "Mon, 23 Nov 2026 08:01:00 GMT": 0,
	} {
		err := RetryAfter(http.Header{"Retry-After": {text}}, now, ErrRefused)
		var later *Later
		if errors.As(err, &later) != (want > 0) || want > 0 && later.After != want || !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
