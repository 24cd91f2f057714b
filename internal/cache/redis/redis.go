// Package redis keeps answers in a Redis server, or one that speaks its
// protocol, for all workers that reach it: an answer that one of them paid for
// is everybody's, and only one asks at a time.
//
// Open makes a [Cache] and checks that the server answers. A server that goes
// away later makes the methods fail, and nothing else: a cache is never waited
// for longer than the caller's context says. The server decides when values and
// locks end. Values hold what models answered: the server must be as private as
// the conversations are.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// DefaultPrefix stands before all keys where a Config does not say.
const DefaultPrefix = "wflo:"

// unlockTimeout bounds the release of a lock, which its lease would end anyway.
const unlockTimeout = 2 * time.Second

// Config says which server.
type Config struct {
	// URL is redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS.
	// Required.
	URL string
	// Prefix stands before all keys, so that a server can be shared; empty means
	// DefaultPrefix.
	Prefix string
}

// Cache implements activities.Cache. Make it with Open.
type Cache struct {
	server *client.Client
	prefix string
}

// Open connects. An address that cannot be read is CodeInvalid.
func Open(ctx context.Context, cfg Config) (*Cache, error) {
	options, err := client.ParseURL(cfg.URL)
	if err != nil {
		// The address may hold a password: neither it nor the error, which
		// repeats it, are passed on.
		return nil, wflo.Invalid("cache.url", "is not an address of Redis", "write it as redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	// Neither is needed, and servers that only speak the protocol may not know
	// them.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// A put or a lock may have happened although the answer got lost.
	options.MaxRetries = -1
	options.ContextTimeoutEnabled = true
	c := &Cache{server: client.NewClient(options), prefix: cfg.Prefix}
	if err := c.server.Ping(ctx).Err(); err != nil {
		_ = c.server.Close()
		return nil, fmt.Errorf("connect to redis: %w", err)
	}
	return c, nil
}

func (c *Cache) valueKey(key string) string { return c.prefix + "v:" + key }
func (c *Cache) lockKey(key string) string  { return c.prefix + "l:" + key }

// Get reads a value.
func (c *Cache) Get(ctx context.Context, key string) ([]byte, bool, error) {
	value, err := c.server.Get(ctx, c.valueKey(key)).Bytes()
	switch {
	case errors.Is(err, client.Nil):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read from redis: %w", err)
	}
	return value, true, nil
}

// Put keeps a value. Times below a millisecond are one millisecond.
func (c *Cache) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return wflo.Invalid("cache.ttl", "is "+ttl.String(), "use a positive time")
	}
	if err := c.server.Do(ctx, "SET", c.valueKey(key), value, "PX", millis(ttl)).Err(); err != nil {
		return fmt.Errorf("write to redis: %w", err)
	}
	return nil
}

// maxMillis keeps the server's clock plus a time below what it can count.
const maxMillis = int64(100 * 365 * 24 * time.Hour / time.Millisecond)

func millis(d time.Duration) int64 { return min(maxMillis, max(1, d.Milliseconds())) }

// unlock removes a lock that is still the caller's. Looking and removing are one
// step, because the lease may end in between and the lock be another's.
var unlock = client.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// extend sets the end of a lock that is still the caller's.
var extend = client.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end return 0`)

// lock is one owner's lease; the token says whose.
type lock struct {
	server     *client.Client
	key, token string
	once       sync.Once
}

// Lock makes the caller the only one to work on a key.
func (c *Cache) Lock(ctx context.Context, key string, d time.Duration) (activities.Lease, bool, error) {
	if d <= 0 {
		return nil, false, badLease(d)
	}
	l := &lock{server: c.server, key: c.lockKey(key), token: rand.Text()}
	err := c.server.Do(ctx, "SET", l.key, l.token, "NX", "PX", millis(d)).Err()
	switch {
	case errors.Is(err, client.Nil):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("lock in redis: %w", err)
	}
	return l, true, nil
}

func badLease(d time.Duration) error {
	return wflo.Invalid("cache.lease", "is "+d.String(), "use a positive time")
}

// Extend makes the lease end in d from now on, unless it has ended.
func (l *lock) Extend(ctx context.Context, d time.Duration) (bool, error) {
	if d <= 0 {
		return false, badLease(d)
	}
	n, err := extend.Run(ctx, l.server, []string{l.key}, l.token, millis(d)).Int()
	if err != nil {
		return false, fmt.Errorf("extend in redis: %w", err)
	}
	return n == 1, nil
}

// Unlock gives the key back, unless it is another owner's by now.
func (l *lock) Unlock() {
	l.once.Do(func() {
		// Of nobody's context: who was cancelled gives its lock back.
		ctx, cancel := context.WithTimeout(context.Background(), unlockTimeout)
		defer cancel()
		// When it fails, the lease ends the lock.
		_ = unlock.Run(ctx, l.server, []string{l.key}, l.token).Err()
	})
}

// Close closes the connections.
func (c *Cache) Close() error {
	if err := c.server.Close(); err != nil && !strings.Contains(err.Error(), client.ErrClosed.Error()) {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}
