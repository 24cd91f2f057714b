package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/faultpoint/faulty"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/policy"
)

const (
	// noticesEvery is how often notices are looked for where the configuration does
	// not say.
	noticesEvery = time.Second
	// checkpointEvery is how often the trail is looked at; how often that makes a
	// checkpoint is the checkpointer's business.
	checkpointEvery = 5 * time.Second
)

// Channel delivers notices to one place, such as a channel in Slack. Its methods may
// be called at the same time. Errors must not hold secrets: they are kept and shown.
type Channel interface {
	// Deliver sends a notice, or changes what an earlier one of its thread sent. The
	// receipt, if not empty, comes with the later notices of the thread. A notice may
	// come again with the same ID. What fails is tried again, unless the error matches
	// ErrChannelRefused; see also RetryAfter.
	Deliver(ctx context.Context, n wflo.NoticeRecord) (receipt string, err error)
}

// ErrChannelRefused says that the receiver will never take a notice, so that it is a
// dead letter at once.
var ErrChannelRefused = notify.ErrRefused

// RetryAfter is the error of a receiver that says when to try again.
func RetryAfter(after time.Duration, err error) error { return &notify.Later{After: after, Err: err} }

// Checkpoints says where signed checkpoints of the audit trail are kept. They prove
// that its end was not cut off, if whoever can write the database can write neither
// the directory nor the key; so the console is the better place to make them.
type Checkpoints struct {
	// Dir is a directory on another disk or host than the database. Empty means that
	// this worker makes no checkpoints.
	Dir string
	// KeyFile is the file of the Ed25519 key that signs them, as wflo keygen makes it.
	// Where it does not exist, this worker makes none, and says so.
	KeyFile string
}

// fileChannel is a channel of the configuration file. It is opened again with the
// worker's logger.
type fileChannel struct {
	Channel
	name, console string
	config        config.Channel
}

func (c *fileChannel) open(logger *slog.Logger) (err error) {
	if c.Channel, err = c.config.Open(c.console, logger); err != nil {
		return fmt.Errorf("channel %s: %w", c.name, err)
	}
	return nil
}

// channelsOf opens the channels of a file, so that a secret that is not there is known
// at the start.
func channelsOf(f config.File) (map[string]Channel, map[string]string, error) {
	if len(f.Channels) == 0 {
		return nil, nil, nil
	}
	channels, fallback := map[string]Channel{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(f.Channels)) {
		c := &fileChannel{name: name, console: f.Console.URL, config: f.Channels[name]}
		if err := c.open(slog.Default()); err != nil {
			return nil, nil, err
		}
		channels[name] = c
		if to := c.config.Fallback; to != "" {
			fallback[name] = to
		}
	}
	return channels, fallback, nil
}

// openChannels makes what delivers notices. Without channels there is nothing to
// deliver with, and notices wait for a worker that has some.
func (p *Plugin) openChannels() error {
	if len(p.cfg.Channels) == 0 {
		return nil
	}
	channels := map[string]notify.Channel{}
	for name, c := range p.cfg.Channels {
		if c == nil {
			return wflo.Invalid("plugin.Config.Channels", fmt.Sprintf("has nothing for %q", name), "leave it out")
		}
		if own, ok := c.(*fileChannel); ok {
			again := *own
			if err := again.open(p.cfg.Logger); err != nil {
				return err
			}
			c = again.Channel
		}
		channels[name] = faulty.Channel(c)
	}
	var err error
	p.notices, err = notify.New(notify.Config{
		Outbox: p.parts.records, Audit: p.parts.records, Channels: channels, Fallback: p.cfg.ChannelFallback,
		Observer: p.metrics, Every: p.cfg.NoticesEvery, Logger: p.cfg.Logger,
	})
	return err
}

// openCheckpoints makes what signs how far the trail has come.
func (p *Plugin) openCheckpoints() error {
	c := p.cfg.Checkpoints
	if c.Dir == "" && c.KeyFile == "" {
		return nil
	}
	if c.Dir == "" || c.KeyFile == "" {
		return wflo.Invalid("plugin.Config.Checkpoints", "needs both Dir and KeyFile", "set both, or none")
	}
	name, key, err := config.ReadKey(c.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		p.cfg.Logger.Info("this worker makes no checkpoints of the audit trail: their key is not here", "key", c.KeyFile)
		return nil
	}
	if err != nil {
		return fmt.Errorf("checkpoints: %w", err)
	}
	p.checkpoints = &audit.Checkpointer{
		Audit: p.parts.records, Store: &audit.Directory{Path: c.Dir},
		Sign: func(c wflo.Checkpoint) wflo.Checkpoint { return c.Sign(name, key) },
	}
	return nil
}

// checkpoint is one round.
func (p *Plugin) checkpoint(ctx context.Context) error {
	made, err := p.checkpoints.Round(ctx)
	if ctx.Err() == nil {
		p.metrics.Checkpointed(made, err != nil)
	}
	return err
}

// warnOfUnknown tells of channels that gates and policies name and that this worker
// does not have: what goes there will be a dead letter.
func (p *Plugin) warnOfUnknown() {
	named := map[string]string{}
	note := func(who string, names []string) {
		for _, name := range names {
			if _, known := p.cfg.Channels[name]; !known {
				named[name] = who
			}
		}
	}
	if set := p.policies.set.Load(); set != nil {
		noteRules(set.Rules(), note)
	}
	note("approvals.notify", p.cfg.ApprovalDefaults.Notify)
	for _, name := range slices.Sorted(maps.Keys(named)) {
		p.cfg.Logger.Warn("a channel is named that is not configured; notices to it will not arrive", "channel", name, "named_by", named[name])
	}
}

// noteRules gives note the channels of every rule.
func noteRules(r policy.Rules, note func(who string, names []string)) {
	approval := func(who string, a *wflo.Approval) {
		if a == nil {
			return
		}
		note(who, a.Notify)
		for _, level := range a.Escalation {
			note(who, level.Notify)
		}
	}
	for _, rule := range r.Policies {
		note("policy "+rule.Name, rule.Notify)
		approval("policy "+rule.Name, rule.Approval)
	}
	for _, rule := range r.Risk {
		note("risk rule "+rule.Name, rule.Notify)
		approval("risk rule "+rule.Name, rule.Approval)
	}
}
