// Package memory keeps answers in the memory of one worker, for those who run a
// single one and for tests.
//
// New makes a [Cache] that holds a bounded number of bytes. What was not used
// for longest goes first, what is older than its time is never returned, and
// nothing outlives the process. Several workers that shall share answers, and
// not ask the same at the same time, need a cache that all of them reach.
package memory

import (
	"container/list"
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Bounds where a Config does not say.
const (
	DefaultMaxBytes   = 64 << 20
	DefaultMaxEntries = 10_000
)

// overhead is about what an entry takes besides its key and value, in bytes.
const overhead = 256

// Config bounds a Cache.
type Config struct {
	// MaxBytes is the most memory that keys and values take; zero means
	// DefaultMaxBytes. A value that alone takes more is not kept.
	MaxBytes int64
	// MaxEntries is the most values; zero means DefaultMaxEntries.
	MaxEntries int
}

// Cache implements activities.Cache. Make it with New.
type Cache struct {
	cfg Config

	mu      sync.Mutex
	entries map[string]*list.Element // of *entry
	recent  *list.List               // the latest use in front
	bytes   int64
	locks   map[string]*lock
	sweepAt int // how many locks are worth looking for dead ones
}

type entry struct {
	key   string
	value []byte
	until time.Time
}

func (e *entry) size() int64 { return int64(len(e.key)+len(e.value)) + overhead }

// lock is one owner's lease. It is compared by its address: that of another owner
// is another lock.
type lock struct {
	cache *Cache
	key   string
	until time.Time
}

// New makes an empty cache.
func New(cfg Config) (*Cache, error) {
	if cfg.MaxBytes < 0 || cfg.MaxEntries < 0 {
		return nil, wflo.Invalid("cache", "has a negative bound", "use a positive number, or 0 for the default")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = DefaultMaxEntries
	}
	return &Cache{cfg: cfg, entries: map[string]*list.Element{}, recent: list.New(), locks: map[string]*lock{}, sweepAt: minSweep}, nil
}

// Get reads a value that has not expired.
func (c *Cache) Get(ctx context.Context, key string) ([]byte, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.entries[key]
	if !ok {
		return nil, false, nil
	}
	e := found.Value.(*entry)
	if !time.Now().Before(e.until) {
		c.drop(found)
		return nil, false, nil
	}
	c.recent.MoveToFront(found)
	return slices.Clone(e.value), true, nil
}

// Put keeps a copy of the value.
func (c *Cache) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl <= 0 {
		return wflo.Invalid("cache.ttl", "is "+ttl.String(), "use a positive time")
	}
	e := &entry{key: strings.Clone(key), value: slices.Clone(value), until: after(ttl)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries[key]; ok {
		c.drop(old)
	}
	if e.size() > c.cfg.MaxBytes {
		return nil
	}
	c.entries[e.key] = c.recent.PushFront(e)
	c.bytes += e.size()
	for c.bytes > c.cfg.MaxBytes || len(c.entries) > c.cfg.MaxEntries {
		c.drop(c.recent.Back())
	}
	return nil
}

// after is the moment in d, or the latest one that there is.
func after(d time.Duration) time.Time {
	now := time.Now()
	if t := now.Add(d); t.After(now) {
		return t
	}
	return time.Unix(math.MaxInt32, 0)
}

// drop removes an entry. The caller has the mutex.
func (c *Cache) drop(at *list.Element) {
	e := at.Value.(*entry)
	c.recent.Remove(at)
	delete(c.entries, e.key)
	c.bytes -= e.size()
}

// minSweep is how many locks are kept without looking for dead ones.
const minSweep = 1024

// Lock makes the caller the only one to work on a key.
func (c *Cache) Lock(ctx context.Context, key string, d time.Duration) (activities.Lease, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if d <= 0 {
		return nil, false, badLease(d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.locks[key]; ok && time.Now().Before(held.until) {
		return nil, false, nil
	}
	own := &lock{cache: c, key: strings.Clone(key), until: after(d)}
	c.locks[own.key] = own
	c.sweep()
	return own, true, nil
}

func badLease(d time.Duration) error {
	return wflo.Invalid("cache.lease", "is "+d.String(), "use a positive time")
}

// Extend makes the lease end in d from now on, unless it has ended.
func (l *lock) Extend(ctx context.Context, d time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if d <= 0 {
		return false, badLease(d)
	}
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	if l.cache.locks[l.key] != l || !time.Now().Before(l.until) {
		return false, nil
	}
	l.until = after(d)
	return true, nil
}

// Unlock gives the key back, unless it is another owner's by now.
func (l *lock) Unlock() {
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	if l.cache.locks[l.key] == l {
		delete(l.cache.locks, l.key)
	}
}

// sweep removes locks that nobody gave back, once there are twice as many as
// were alive the last time. The caller has the mutex.
func (c *Cache) sweep() {
	if len(c.locks) < c.sweepAt {
		return
	}
	now := time.Now()
	for key, l := range c.locks {
		if !now.Before(l.until) {
			delete(c.locks, key)
		}
	}
	c.sweepAt = max(minSweep, 2*len(c.locks))
}

// Close forgets everything.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	clear(c.locks)
	c.recent.Init()
	c.bytes = 0
	return nil
}
