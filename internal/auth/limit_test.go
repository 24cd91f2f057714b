package auth

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func refuse() (wflo.Identity, error) { return wflo.Identity{}, Refused("") }
func accept() (wflo.Identity, error) { return wflo.Identity{Subject: "ann"}, nil }
func address(i int) string           { return fmt.Sprintf("10.%d.%d.%d:1", i>>16&255, i>>8&255, i&255) }

func wait(err error) time.Duration {
	var limited *LimitedError
	if errors.As(err, &limited) && errors.Is(err, ErrLimited) {
		return limited.RetryAfter
	}
	return 0
}

func TestNameWaitsTwiceAsLongEachTime(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	l := NewLimiter(LimiterConfig{PerName: 3, Now: c.Now})
	n := 0
	try := func(login func() (wflo.Identity, error)) error {
		n++
		_, err := l.Do(address(n), "ann", login)
		return err
	}
	for range 3 {
		if err := try(refuse); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if got := wait(try(accept)); got != want*time.Second {
			t.Fatalf("waits %s, want %ds", got, want)
		}
		c.move(want * time.Second)
		if err := try(refuse); !errors.Is(err, ErrRefused) {
			t.Fatalf("after the wait: %v", err)
		}
	}
	c.move(maxWait)
	if err := try(accept); err != nil {
		t.Fatalf("the owner is kept out: %v", err)
	}
	for range 3 {
		if err := try(refuse); !errors.Is(err, ErrRefused) {
			t.Fatalf("a success did not clear the name: %v", err)
		}
	}
}

func TestSpellingsOfANameAreOne(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	l := NewLimiter(LimiterConfig{PerName: 2, Now: c.Now})
	for i, name := range []string{"ann arbor", "ANN  Arbor"} {
		if _, err := l.Do(address(i), name, refuse); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
	if _, err := l.Do(address(9), " Ann\u00a0arbor", accept); wait(err) == 0 {
		t.Errorf("another spelling is heard: %v", err)
	}
}

func TestAddressIsLimitedWhateverTheName(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	l := NewLimiter(LimiterConfig{PerAddress: 10, Every: time.Second, Now: c.Now})
	called := 0
	for i := range 15 {
		// All of them are one customer's /64.
		_, err := l.Do(fmt.Sprintf("[2001:db8::%x]:9", i), fmt.Sprint("name", i), func() (wflo.Identity, error) { called++; return refuse() })
		if i >= 10 && wait(err) != time.Second {
			t.Errorf("attempt %d: %v", i, err)
		}
	}
	if called != 10 {
		t.Errorf("%d attempts were made, want 10", called)
	}
	if _, err := l.Do("[2001:db8:0:1::1]:9", "x", accept); err != nil {
		t.Errorf("the neighbour is kept out: %v", err)
	}
	c.move(time.Second)
	if _, err := l.Do("[2001:db8::ffff]:9", "x", accept); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// An attempt counts before it is made.
func TestAttemptsAtTheSameTimeAreNoWayAround(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	l := NewLimiter(LimiterConfig{PerName: 5, Now: c.Now})
	var called atomic.Int64
	var all sync.WaitGroup
	hold := make(chan struct{})
	var limited atomic.Int64
	for i := range 200 {
		all.Go(func() {
			_, err := l.Do(address(i), "ann", func() (wflo.Identity, error) {
				called.Add(1)
				<-hold
				return refuse()
			})
			if wait(err) > 0 && limited.Add(1) == 195 {
				close(hold)
			}
		})
	}
	all.Wait()
	if called.Load() != 5 {
		t.Errorf("%d attempts were made, want 5", called.Load())
	}
}

func TestOutageCountsAgainstNobody(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	l := NewLimiter(LimiterConfig{PerName: 2, Now: c.Now})
	for i := range 10 {
		if _, err := l.Do(address(i), "ann", func() (wflo.Identity, error) { return wflo.Identity{}, Unavailable("directory") }); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if _, err := l.Do(address(99), "ann", accept); err != nil {
		t.Error(err)
	}
}

// Names that an attacker brings must not push out the one that is attacked.
func TestFloodForgetsNobody(t *testing.T) {
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	l := NewLimiter(LimiterConfig{PerName: 1, PerAddress: 1 << 20, Now: c.Now})
	if _, err := l.Do("10.0.0.1:1", "ann", refuse); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	for i := range 3 * slots {
		_, _ = l.Do("10.0.0.2:1", fmt.Sprint(i), refuse)
	}
	if _, err := l.Do("10.0.0.3:1", "ann", accept); wait(err) == 0 {
		t.Errorf("a flood of names freed ann: %v", err)
	}
}
