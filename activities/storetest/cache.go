package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// TestCache runs the suite for caches. open gives an empty cache that is closed
// when the test it was opened for ends; it is called once for each subtest. What
// a cache drops when it is full is left to its own test.
func TestCache(t *testing.T, open func(t *testing.T) activities.Cache) {
	for _, c := range []struct {
		name string
		test func(*testing.T, activities.Cache)
	}{
		{"RoundTrip", cacheRoundTrip},
		{"NotThere", cacheNotThere},
		{"Replaces", cacheReplaces},
		{"Expires", cacheExpires},
		{"OwnCopies", cacheOwnCopies},
		{"BadTimes", cacheBadTimes},
		{"LockIsExclusive", cacheLock},
		{"LeaseEnds", cacheLease},
		{"LateUnlock", cacheLateUnlock},
		{"LeaseIsExtended", cacheExtend},
		{"LateExtend", cacheLateExtend},
		{"LocksAreNoValues", cacheLockNoValue},
		{"UnlockAfterCancel", cacheUnlockCancelled},
		{"Race", cacheRace},
		{"AtTheSameTime", cacheAtTheSameTime},
		{"Cancelled", cacheCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// long is longer than any test takes, short is over before the next call.
const (
	long  = time.Hour
	short = time.Millisecond
)

func keep(t *testing.T, c activities.Cache, key, value string, ttl time.Duration) {
	t.Helper()
	if err := c.Put(t.Context(), key, []byte(value), ttl); err != nil {
		t.Fatalf("put %.40q: %v", key, err)
	}
}

func wantCached(t *testing.T, c activities.Cache, key, want string) {
	t.Helper()
	got, ok, err := c.Get(t.Context(), key)
	if err != nil || !ok || string(got) != want {
		t.Errorf("%.40q is %.40q, %v, %v; want %.40q", key, got, ok, err, want)
	}
}

func wantLock(t *testing.T, c activities.Cache, key string, lease time.Duration) activities.Lease {
	t.Helper()
	l, ok, err := c.Lock(t.Context(), key, lease)
	if err != nil || !ok {
		t.Fatalf("lock of %q: %v, %v", key, ok, err)
	}
	return l
}

func wantLocked(t *testing.T, c activities.Cache, key string) {
	t.Helper()
	if _, ok, err := c.Lock(t.Context(), key, long); ok || err != nil {
		t.Fatalf("%q can be locked twice: %v, %v", key, ok, err)
	}
}

func cacheRoundTrip(t *testing.T, c activities.Cache) {
	values := map[string]string{
		"empty": "", "text": "hello", "binary": "\xff\x00\r\n", "large": strings.Repeat("large ", 1<<18),
		"": "of no name", "with blanks\r\nand lines": "x", "üñ*?[]{}": "y", strings.Repeat("k", 10_000): "z",
	}
	for key, value := range values {
		keep(t, c, key, value, long)
	}
	for key, value := range values {
		wantCached(t, c, key, value)
	}
}

func cacheNotThere(t *testing.T, c activities.Cache) {
	keep(t, c, "other", "x", long)
	if got, ok, err := c.Get(t.Context(), "key"); ok || err != nil || got != nil {
		t.Errorf("got %q, %v, %v", got, ok, err)
	}
}

func cacheReplaces(t *testing.T, c activities.Cache) {
	keep(t, c, "key", "one", short)
	keep(t, c, "key", "two", long)
	wantCached(t, c, "key", "two")
}

func cacheExpires(t *testing.T, c activities.Cache) {
	keep(t, c, "key", "one", short)
	keep(t, c, "other", "stays", long)
	for {
		_, ok, err := c.Get(t.Context(), "key")
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
	}
	wantCached(t, c, "other", "stays")
	keep(t, c, "key", "again", long)
	wantCached(t, c, "key", "again")
}

func cacheOwnCopies(t *testing.T, c activities.Cache) {
	value := []byte("hello")
	if err := c.Put(t.Context(), "key", value, long); err != nil {
		t.Fatal(err)
	}
	value[0] = 'j'
	got, _, err := c.Get(t.Context(), "key")
	if err != nil || string(got) != "hello" {
		t.Fatalf("the caller's change reached the cache: %q, %v", got, err)
	}
	got[0] = 'c'
	wantCached(t, c, "key", "hello")
}

func cacheBadTimes(t *testing.T, c activities.Cache) {
	for _, d := range []time.Duration{0, -time.Second} {
		if err := c.Put(t.Context(), "key", []byte("x"), d); !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("put for %s gave %v", d, err)
		}
		if _, ok, err := c.Lock(t.Context(), "key", d); ok || !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("lock for %s gave %v, %v", d, ok, err)
		}
	}
	for _, d := range []time.Duration{0, -time.Second} {
		if ok, err := wantLock(t, c, fmt.Sprint("extended by ", d), long).Extend(t.Context(), d); ok || !errors.Is(err, wflo.ErrInvalid) {
			t.Errorf("extend by %s gave %v, %v", d, ok, err)
		}
	}
	keep(t, c, "for ever", "x", 1<<63-1)
	wantCached(t, c, "for ever", "x")
	wantLock(t, c, "for ever", 1<<63-1)
	wantLocked(t, c, "for ever")
}

func cacheLock(t *testing.T, c activities.Cache) {
	first := wantLock(t, c, "key", long)
	wantLocked(t, c, "key")
	wantLock(t, c, "other", long)
	first.Unlock()
	again := wantLock(t, c, "key", long)
	first.Unlock() // for the second time, and the lock is another's
	wantLocked(t, c, "key")
	again.Unlock()
	wantLock(t, c, "key", long)
}

// lockSoon locks a key as soon as that can be done.
func lockSoon(t *testing.T, c activities.Cache, key string) activities.Lease {
	t.Helper()
	for {
		l, ok, err := c.Lock(t.Context(), key, long)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			return l
		}
	}
}

// cacheLease is a worker that died: nobody gives its lock back.
func cacheLease(t *testing.T, c activities.Cache) {
	wantLock(t, c, "key", short)
	lockSoon(t, c, "key")
	wantLocked(t, c, "key")
}

func cacheLateUnlock(t *testing.T, c activities.Cache) {
	late := wantLock(t, c, "key", short)
	next := lockSoon(t, c, "key")
	late.Unlock()
	wantLocked(t, c, "key")
	next.Unlock()
	wantLock(t, c, "key", long)
}

func wantExtended(t *testing.T, l activities.Lease, d time.Duration, want bool) {
	t.Helper()
	if ok, err := l.Extend(t.Context(), d); ok != want || err != nil {
		t.Errorf("extend gave %v, %v; want %v", ok, err, want)
	}
}

// cacheExtend is an owner who needs longer. A lock with the same lease that was
// made later ends first.
func cacheExtend(t *testing.T, c activities.Cache) {
	for lease := 8 * short; ; lease *= 2 {
		key, other := fmt.Sprint("key ", lease), fmt.Sprint("other ", lease)
		own := wantLock(t, c, key, lease)
		if ok, err := own.Extend(t.Context(), long); err != nil {
			t.Fatal(err)
		} else if !ok {
			continue // it came too late: this machine is busy
		}
		wantLock(t, c, other, lease)
		lockSoon(t, c, other)
		wantLocked(t, c, key)
		// The end counts from now on, also when that is earlier.
		wantExtended(t, own, short, true)
		lockSoon(t, c, key)
		return
	}
}

func cacheLateExtend(t *testing.T, c activities.Cache) {
	late := wantLock(t, c, "key", short)
	next := lockSoon(t, c, "key")
	wantExtended(t, late, long, false)
	late.Unlock()
	wantLocked(t, c, "key")
	wantExtended(t, next, long, true)
	next.Unlock()
	wantExtended(t, next, long, false)
	wantLock(t, c, "key", long)
}

func cacheLockNoValue(t *testing.T, c activities.Cache) {
	own := wantLock(t, c, "key", long)
	if _, ok, err := c.Get(t.Context(), "key"); ok || err != nil {
		t.Errorf("a lock is a value: %v, %v", ok, err)
	}
	keep(t, c, "key", "x", long)
	wantLocked(t, c, "key")
	own.Unlock()
	wantCached(t, c, "key", "x")
}

// cacheUnlockCancelled is an activity that was cancelled while it had the lock.
func cacheUnlockCancelled(t *testing.T, c activities.Cache) {
	ctx, cancel := context.WithCancel(t.Context())
	own, ok, err := c.Lock(ctx, "key", long)
	if err != nil || !ok {
		t.Fatalf("lock: %v, %v", ok, err)
	}
	cancel()
	own.Unlock()
	wantLock(t, c, "key", long)
}

func cacheRace(t *testing.T, c activities.Cache) {
	var wg sync.WaitGroup
	var winners atomic.Int64
	for range 64 {
		wg.Go(func() {
			_, ok, err := c.Lock(t.Context(), "key", long)
			if err != nil {
				t.Error(err)
			}
			if ok {
				winners.Add(1)
			}
		})
	}
	wg.Wait()
	if n := winners.Load(); n != 1 {
		t.Errorf("%d callers have the lock", n)
	}
}

func cacheAtTheSameTime(t *testing.T, c activities.Cache) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 16 {
				// Half of the keys are everybody's, half are this caller's.
				key := fmt.Sprint("key ", n, " ", n%2*i)
				value := bytes.Repeat([]byte(key), 100)
				if err := c.Put(t.Context(), key, value, long); err != nil {
					t.Error(err)
					return
				}
				if got, ok, err := c.Get(t.Context(), key); err != nil || !ok || !bytes.Equal(got, value) {
					t.Errorf("%q has %d bytes, %v, %v", key, len(got), ok, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func cacheCancelled(t *testing.T, c activities.Cache) {
	keep(t, c, "key", "x", long)
	held := wantLock(t, c, "held", long)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, err := held.Extend(ctx, long); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("extend gave %v, %v", ok, err)
	}
	if err := c.Put(ctx, "key", []byte("y"), long); !errors.Is(err, context.Canceled) {
		t.Errorf("put gave %v", err)
	}
	if _, _, err := c.Get(ctx, "key"); !errors.Is(err, context.Canceled) {
		t.Errorf("get gave %v", err)
	}
	if _, ok, err := c.Lock(ctx, "key", long); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("lock gave %v, %v", ok, err)
	}
	wantCached(t, c, "key", "x")
	wantLock(t, c, "key", long)
}
