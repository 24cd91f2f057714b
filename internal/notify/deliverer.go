package notify

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const (
	defaultBatch      = 32
	defaultPerChannel = 4
	defaultTimeout    = 20 * time.Second
	defaultLease      = 2 * time.Minute
	defaultEvery      = time.Second
	// waiting is how many notices may wait for a slot of their channel. More stay
	// in the store until their lease is over, and others go first.
	waiting = 32
	// storeTimeout bounds how long writing down an outcome may take.
	storeTimeout = 10 * time.Second
)

// Config says what a Deliverer works with.
type Config struct {
	// Outbox and Audit are where notices come from and dead letters go to. Required.
	Outbox activities.Outbox
	Audit  activities.Audit
	// Channels are those of the configuration, by name. A notice to another one is a
	// dead letter.
	Channels map[string]Channel
	// Fallback names, for a channel, another one that gets what the first could not
	// deliver.
	Fallback map[string]string
	// Observer counts; nil for nobody.
	Observer Observer
	// Batch is how many notices are claimed at once; zero means 32.
	Batch int
	// PerChannel is how many deliveries of one channel go on at the same time; zero
	// means 4.
	PerChannel int
	// Timeout bounds one delivery; zero means 20 s.
	Timeout time.Duration
	// Lease is how long a claimed notice is kept from other workers; zero means two
	// minutes. It must be at least twice Timeout and ten seconds.
	Lease time.Duration
	// Every is how often Run looks for notices; zero means a second.
	Every time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets dead letters and failures of the store; nil for none.
	Logger *slog.Logger
}

// Observer counts what became of deliveries. Its methods may be called at the same
// time.
type Observer interface {
	NoticeDelivered(channel string, kind wflo.NoticeKind, took time.Duration)
	NoticeFailed(channel string, kind wflo.NoticeKind)
	NoticeDead(channel string, kind wflo.NoticeKind)
}

type nobody struct{}

func (nobody) NoticeDelivered(string, wflo.NoticeKind, time.Duration) {}
func (nobody) NoticeFailed(string, wflo.NoticeKind)                   {}
func (nobody) NoticeDead(string, wflo.NoticeKind)                     {}

func (c Config) withDefaults() Config {
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Batch == 0 {
		c.Batch = defaultBatch
	}
	if c.PerChannel == 0 {
		c.PerChannel = defaultPerChannel
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Lease == 0 {
		c.Lease = max(defaultLease, 3*c.Timeout+storeTimeout)
	}
	if c.Every == 0 {
		c.Every = defaultEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Outbox == nil || c.Audit == nil:
		return wflo.Invalid("notify", "lacks a store", "set Outbox and Audit")
	case c.Batch < 0 || c.PerChannel < 0 || c.Timeout < 0 || c.Every < 0:
		return wflo.Invalid("notify", "has a negative limit", "use 0 for the default")
	case c.Lease < 2*c.Timeout+storeTimeout:
		return wflo.Invalid("notify.lease", fmt.Sprintf("is %s, with a timeout of %s", c.Lease, c.Timeout),
			fmt.Sprintf("make it at least %s, or others send the same notice", 2*c.Timeout+storeTimeout))
	}
	for from, to := range c.Fallback {
		switch {
		case c.Channels[from] == nil:
			return wflo.Invalid("notify.fallback", fmt.Sprintf("of %q, which is no channel", from), "name it under channels")
		case c.Channels[to] == nil:
			return wflo.Invalid("notify.fallback", fmt.Sprintf("of %q is %q, which is no channel", from, to), "name it under channels")
		case from == to:
			return wflo.Invalid("notify.fallback", fmt.Sprintf("of %q is itself", from), "name another channel")
		}
	}
	return nil
}

// Deliverer takes due notices out of the store and hands them to their channels.
// Any number of them may work on one store.
type Deliverer struct {
	config Config
	lanes  map[string]*lane
}

// lane bounds what goes on in one channel.
type lane struct {
	slots chan struct{} // one per delivery that goes on
	queue chan struct{} // one per notice that is claimed and not done
}

// New makes a Deliverer.
func New(c Config) (*Deliverer, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	d := &Deliverer{config: c, lanes: map[string]*lane{}}
	for name := range c.Channels {
		d.lanes[name] = &lane{slots: make(chan struct{}, c.PerChannel), queue: make(chan struct{}, c.PerChannel+waiting)}
	}
	return d, nil
}

// Run delivers until the context ends, and returns when the last delivery has. A
// delivery that takes long holds up its own channel only.
func (d *Deliverer) Run(ctx context.Context) {
	var rounds sync.WaitGroup
	defer rounds.Wait()
	tick := time.NewTicker(d.config.Every)
	defer tick.Stop()
	for {
		if err := d.claim(ctx, &rounds); err != nil && ctx.Err() == nil {
			d.config.Logger.Error("claim notices", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Round delivers what is due now, and returns when all of it was tried.
func (d *Deliverer) Round(ctx context.Context) error {
	var deliveries sync.WaitGroup
	err := d.claim(ctx, &deliveries)
	deliveries.Wait()
	return err
}

// claim begins to deliver what is due.
func (d *Deliverer) claim(ctx context.Context, deliveries *sync.WaitGroup) error {
	for ctx.Err() == nil {
		until := time.Now().Add(d.config.Lease)
		claimed, err := d.config.Outbox.ClaimNotices(ctx, d.config.Batch, d.config.Lease)
		if err != nil {
			return fmt.Errorf("claim notices: %w", err)
		}
		for _, n := range claimed {
			l := d.lanes[n.Channel]
			if l == nil {
				d.unknown(ctx, n)
				continue
			}
			select {
			case l.queue <- struct{}{}:
				deliveries.Go(func() {
					defer func() { <-l.queue }()
					d.deliver(ctx, l, n, until)
				})
			default: // it is due again when its lease is over
			}
		}
		if len(claimed) < d.config.Batch {
			return nil
		}
	}
	return nil
}

// deliver makes one attempt, if its channel has room while the lease lasts.
func (d *Deliverer) deliver(ctx context.Context, l *lane, n wflo.NoticeRecord, until time.Time) {
	last, cancel := context.WithDeadline(ctx, until.Add(-d.config.Timeout-storeTimeout))
	defer cancel()
	select {
	case <-last.Done():
		return
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	}
	if last.Err() != nil { // both were ready, and the lease may be over
		return
	}
	attempt, stop := context.WithTimeout(ctx, d.config.Timeout)
	defer stop()
	begun := time.Now()
	receipt, err := d.config.Channels[n.Channel].Deliver(attempt, n)
	took := time.Since(begun)
	switch {
	case err == nil:
		d.delivered(ctx, n, receipt, took)
	case ctx.Err() != nil: // we stop; the receiver did nothing wrong
	default:
		d.failed(ctx, n, err)
	}
}

// delivered writes down what was sent, also while the worker stops: otherwise
// people get it twice.
func (d *Deliverer) delivered(ctx context.Context, n wflo.NoticeRecord, receipt string, took time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	d.config.Observer.NoticeDelivered(n.Channel, n.Kind, took)
	if err := d.config.Outbox.NoticeDelivered(ctx, n.ID, receipt); err != nil {
		d.config.Logger.Error("record delivered notice", "notice", n.ID, "channel", n.Channel, "error", err)
	}
}

func (d *Deliverer) failed(ctx context.Context, n wflo.NoticeRecord, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	due, dead := nextAttempt(n, err, d.config.Now(), rand.Float64()) //nolint:gosec // spreads load, keeps no secret
	if dead {
		d.bury(ctx, n, reason(err))
		return
	}
	d.config.Observer.NoticeFailed(n.Channel, n.Kind)
	if err := d.config.Outbox.NoticeFailed(ctx, n.ID, reason(err), due); err != nil {
		d.config.Logger.Error("record failed notice", "notice", n.ID, "channel", n.Channel, "error", err)
	}
}

func (d *Deliverer) unknown(ctx context.Context, n wflo.NoticeRecord) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	d.bury(ctx, n, reason(wflo.Invalid("channel", fmt.Sprintf("%q is not configured", n.Channel),
		"name it under channels, or change who names it, and run wflo notify retry")))
}
