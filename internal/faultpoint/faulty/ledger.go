package faulty

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Database is a ledger with the other stores that are in the same database.
type Database interface {
	activities.Ledger
	Recovery() activities.Recovery
	Logs() activities.Logs
	Places() sandbox.Places
}

// Ledger puts points around the ledger, and around the log lines and the places of boxes
// that are kept beside it. The store of going back, which it passes on, has [Recovery] of its own.
func Ledger(l activities.Ledger) activities.Ledger {
	whole, ok := l.(Database)
	if !faultpoint.Armed() || !ok {
		return l
	}
	return &ledger{whole}
}

type ledger struct{ Database }

func (l *ledger) Reserve(ctx context.Context, r wflo.Reservation) (wflo.Hold, error) {
	return around("ledger.Reserve", func() (wflo.Hold, error) { return l.Database.Reserve(ctx, r) })
}

func (l *ledger) Settle(ctx context.Context, s wflo.Settlement) error {
	return alone("ledger.Settle", func() error { return l.Database.Settle(ctx, s) })
}

func (l *ledger) Release(ctx context.Context, key wflo.EffectKey, attempt int) error {
	return alone("ledger.Release", func() error { return l.Database.Release(ctx, key, attempt) })
}

func (l *ledger) MarkUnknown(ctx context.Context, key wflo.EffectKey, attempt int) error {
	return alone("ledger.MarkUnknown", func() error { return l.Database.MarkUnknown(ctx, key, attempt) })
}

func (l *ledger) Save(ctx context.Context, s wflo.Saving) error {
	return alone("ledger.Save", func() error { return l.Database.Save(ctx, s) })
}

func (l *ledger) OpenHolds(ctx context.Context, age time.Duration, n int) ([]wflo.Hold, error) {
	return around("ledger.OpenHolds", func() ([]wflo.Hold, error) { return l.Database.OpenHolds(ctx, age, n) })
}

func (l *ledger) ClaimAlerts(ctx context.Context, n int, lease time.Duration) ([]wflo.BudgetAlert, error) {
	return around("ledger.ClaimAlerts", func() ([]wflo.BudgetAlert, error) { return l.Database.ClaimAlerts(ctx, n, lease) })
}

func (l *ledger) AlertDone(ctx context.Context, id string) error {
	return alone("ledger.AlertDone", func() error { return l.Database.AlertDone(ctx, id) })
}

// Places gives where boxes are, which is kept beside the money.
func (l *ledger) Places() sandbox.Places { return &places{l.Database.Places()} }

func (l *ledger) Logs() activities.Logs { return &logs{l.Database.Logs()} }

type logs struct{ activities.Logs }

func (l *logs) AppendLogs(ctx context.Context, most int, lines ...wflo.LogLine) error {
	return alone("logs.Append", func() error { return l.Logs.AppendLogs(ctx, most, lines...) })
}

func (l *logs) PurgeLogs(ctx context.Context, before time.Time) (int, error) {
	return around("logs.Purge", func() (int, error) { return l.Logs.PurgeLogs(ctx, before) })
}

// Cache puts points around a cache of answers; nil stays nil.
func Cache(c activities.Cache) activities.Cache {
	if !faultpoint.Armed() || c == nil {
		return c
	}
	return &cache{c}
}

type cache struct{ activities.Cache }

type cached struct {
	value []byte
	ok    bool
}

func (c *cache) Get(ctx context.Context, key string) ([]byte, bool, error) {
	found, err := around("cache.Get", func() (f cached, err error) {
		f.value, f.ok, err = c.Cache.Get(ctx, key)
		return f, err
	})
	return found.value, found.ok, err
}

func (c *cache) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return alone("cache.Put", func() error { return c.Cache.Put(ctx, key, value, ttl) })
}

type leased struct {
	lease activities.Lease
	ok    bool
}

func (c *cache) Lock(ctx context.Context, key string, d time.Duration) (activities.Lease, bool, error) {
	got, err := around("cache.Lock", func() (l leased, err error) {
		l.lease, l.ok, err = c.Cache.Lock(ctx, key, d)
		return l, err
	})
	return got.lease, got.ok, err
}
