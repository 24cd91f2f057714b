package memory

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestCache(t *testing.T) {
	storetest.TestCache(t, func(t *testing.T) activities.Cache { return open(t, Config{}) })
}

func put(t *testing.T, c *Cache, key string, size int) {
	t.Helper()
	if err := c.Put(t.Context(), key, []byte(strings.Repeat("x", size)), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// present lists those of the keys that are in the cache, without using them.
func present(c *Cache, keys ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := ""
	for _, key := range keys {
		if _, ok := c.entries[key]; ok {
			found += key
		}
	}
	return found
}

func TestDropsWhatWasNotUsedForLongest(t *testing.T) {
	c := open(t, Config{MaxEntries: 3})
	for _, key := range []string{"a", "b", "c"} {
		put(t, c, key, 1)
	}
	if _, ok, err := c.Get(t.Context(), "a"); !ok || err != nil {
		t.Fatalf("a: %v, %v", ok, err)
	}
	put(t, c, "d", 1)
	if got := present(c, "a", "b", "c", "d"); got != "acd" {
		t.Errorf("kept %s, want acd", got)
	}
}

func TestStaysWithinItsBytes(t *testing.T) {
	c := open(t, Config{MaxBytes: 3 * (overhead + 101)})
	for i := range 100 {
		put(t, c, fmt.Sprint(i%7), 100)
		if c.bytes > c.cfg.MaxBytes || len(c.entries) > 3 {
			t.Fatalf("%d bytes in %d entries", c.bytes, len(c.entries))
		}
	}
	put(t, c, "8", 2*overhead)
	if got := present(c, "8"); got != "8" || c.bytes > c.cfg.MaxBytes {
		t.Errorf("kept %q with %d bytes", got, c.bytes)
	}
	put(t, c, "8", int(c.cfg.MaxBytes))
	if got := present(c, "8"); got != "" {
		t.Error("a value that is too large is kept, or the one that it replaces")
	}
	var sum int64
	for e := c.recent.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*entry).size()
	}
	if sum != c.bytes || c.recent.Len() != len(c.entries) {
		t.Errorf("%d bytes counted of %d; %d entries of %d", c.bytes, sum, c.recent.Len(), len(c.entries))
	}
}

// TestForgetsDeadLocks is workers that died, one after the other, each with a
// lock that nobody asks for again.
func TestForgetsDeadLocks(t *testing.T) {
	c := open(t, Config{})
	for i := range 20 * minSweep {
		if _, ok, err := c.Lock(t.Context(), fmt.Sprint(i), time.Nanosecond); !ok || err != nil {
			t.Fatalf("lock %d: %v, %v", i, ok, err)
		}
	}
	if n := len(c.locks); n > 2*minSweep {
		t.Errorf("%d locks are remembered", n)
	}
}

func TestRefusesNegativeBounds(t *testing.T) {
	for _, cfg := range []Config{{MaxBytes: -1}, {MaxEntries: -1}} {
		if _, err := New(cfg); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("%+v gave %v", cfg, err)
		}
	}
}
