package redis

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/activities/storetest"
)

var prefixes atomic.Int64

// ownPrefix is one that no other test uses.
func ownPrefix() string { return fmt.Sprint("test", prefixes.Add(1), ":") }

func open(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := Open(t.Context(), cfg)
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
	storetest.TestCache(t, func(t *testing.T) activities.Cache {
		return open(t, Config{URL: ours.url, Prefix: ownPrefix()})
	})
}

// TestWorkersShare is two workers with one server, and a third that keeps to
// itself.
func TestWorkersShare(t *testing.T) {
	shared := ownPrefix()
	one, two := open(t, Config{URL: ours.url, Prefix: shared}), open(t, Config{URL: ours.url, Prefix: shared})
	other := open(t, Config{URL: ours.url, Prefix: ownPrefix()})
	if err := one.Put(t.Context(), "key", []byte("hello"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := two.Get(t.Context(), "key"); string(got) != "hello" || !ok || err != nil {
		t.Errorf("the other worker got %q, %v, %v", got, ok, err)
	}
	if _, ok, err := other.Get(t.Context(), "key"); ok || err != nil {
		t.Errorf("another prefix has it too: %v, %v", ok, err)
	}
	var winners atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			c := []*Cache{one, two}[i%2]
			if _, ok, err := c.Lock(t.Context(), "key", time.Hour); err != nil {
				t.Error(err)
			} else if ok {
				winners.Add(1)
			}
		})
	}
	wg.Wait()
	if n := winners.Load(); n != 1 {
		t.Errorf("%d callers of two workers have the lock", n)
	}
}

// TestEverythingEnds looks at the server: nothing may stay there for ever.
func TestEverythingEnds(t *testing.T) {
	prefix := ownPrefix()
	c := open(t, Config{URL: ours.url, Prefix: prefix})
	if err := c.Put(t.Context(), "key", []byte("x"), 1<<63-1); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := c.Lock(t.Context(), "key", time.Hour); !ok || err != nil {
		t.Fatalf("lock: %v, %v", ok, err)
	}
	keys, err := c.server.Keys(t.Context(), prefix+"*").Result()
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	for _, key := range keys {
		if left, err := c.server.TTL(t.Context(), key).Result(); err != nil || left <= 0 {
			t.Errorf("%s ends in %s, %v", key, left, err)
		}
	}
}

func TestServerThatGoesAway(t *testing.T) {
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	c := open(t, Config{URL: s.url})
	own, ok, err := c.Lock(t.Context(), "key", time.Hour)
	if !ok || err != nil {
		t.Fatalf("lock: %v, %v", ok, err)
	}
	s.stop()
	if err := c.Put(t.Context(), "key", []byte("x"), time.Hour); err == nil {
		t.Error("put without a server is no error")
	}
	if _, ok, err := c.Get(t.Context(), "key"); ok || err == nil {
		t.Errorf("get without a server: %v, %v", ok, err)
	}
	if _, ok, err := c.Lock(t.Context(), "key", time.Hour); ok || err == nil {
		t.Errorf("lock without a server: %v, %v", ok, err)
	}
	if ok, err := own.Extend(t.Context(), time.Hour); ok || err == nil {
		t.Errorf("extend without a server: %v, %v", ok, err)
	}
	own.Unlock()
	if _, err := Open(t.Context(), Config{URL: s.url}); err == nil {
		t.Error("open without a server is no error")
	}
}

// TestErrorsHoldNoPassword tries addresses that cannot be used.
func TestErrorsHoldNoPassword(t *testing.T) {
	s, err := start("--requirepass", "rightpw")
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	address := strings.TrimPrefix(s.url, "redis://")
	tests := []struct {
		url     string
		invalid bool
	}{
		{"redis://:secretpw@" + address, false},
		{"redis://:secretpw@" + address + "/no-database", true},
		{"http://:secretpw@" + address, true},
		{"redis://u:secretpw@ " + address, true},
		{":secretpw", true},
		{"", true},
	}
	for _, tt := range tests {
		_, err := Open(t.Context(), Config{URL: tt.url})
		if err == nil || strings.Contains(err.Error(), "secretpw") || errors.Is(err, wflo.ErrInvalid) != tt.invalid {
			t.Errorf("%s gave %v", tt.url, err)
		}
	}
	open(t, Config{URL: "redis://:rightpw@" + address})
}

func TestCloseTwice(t *testing.T) {
	c := open(t, Config{URL: ours.url})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(t.Context(), "key"); err == nil {
		t.Error("a closed cache answers")
	}
}
