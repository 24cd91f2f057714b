package redis

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestFlush empties the server under a worker that makes a call for others: what was
// kept is not there any more, and who worked for others learns that it does not.
func TestFlush(t *testing.T) {
	own, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer own.stop()
	c := open(t, Config{URL: own.url})
	if err := c.Put(t.Context(), "key", []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	lease, ok, err := c.Lock(t.Context(), "key", time.Hour)
	if !ok || err != nil {
		t.Fatalf("lock: %v, %v", ok, err)
	}
	address, err := redis.ParseURL(own.url)
	if err != nil {
		t.Fatal(err)
	}
	operator := redis.NewClient(address)
	defer operator.Close()
	if err := operator.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := c.Get(t.Context(), "key"); ok || err != nil {
		t.Errorf("get gave %q, %v, %v; want a miss", got, ok, err)
	}
	if ok, err := lease.Extend(t.Context(), time.Hour); ok || err != nil {
		t.Errorf("extend gave %v, %v; want that the lock is gone", ok, err)
	}
	other, ok, err := c.Lock(t.Context(), "key", time.Hour)
	if !ok || err != nil {
		t.Fatalf("another lock: %v, %v", ok, err)
	}
	lease.Unlock() // which is not its own any more
	if _, ok, err := c.Lock(t.Context(), "key", time.Hour); ok || err != nil {
		t.Errorf("a late unlock freed somebody else's lock: %v, %v", ok, err)
	}
	other.Unlock()
}
