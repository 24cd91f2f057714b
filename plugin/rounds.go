package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/faultpoint/faulty"
)

// background does, for as long as the worker runs, what is nobody's activity:
// it removes sandboxes of runs that are over, decides about holds that nobody
// closed, hands alerts over, delivers notices, signs how far the trail has come,
// closes gates of runs that are over, has undone what runs left, and cleans up after
// snapshots. It closes c.
func (p *Plugin) background(instance, queue, namespace string, c client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.rounds[instance] = cancel
	p.mu.Unlock()
	swept := &holds{
		ledger: p.parts.ledger, runs: service{c.WorkflowService()}, count: p.metrics.HoldSwept, logger: p.cfg.Logger,
		age: holdPatience * p.cfg.HoldSweepEvery,
	}
	gates := &gates{&desk.Desk{Client: c, Namespace: namespace, Records: p.parts.records, Logger: p.cfg.Logger}}
	sent := &alerts{ledger: p.parts.ledger, starts: c, queue: queue}
	p.running.Go(func() {
		defer c.Close()
		var all sync.WaitGroup
		all.Go(func() {
			p.every(ctx, p.cfg.SweepEvery, "sweep sandboxes", func(ctx context.Context) error { return p.sweepOnce(ctx, c) })
		})
		all.Go(func() { p.every(ctx, p.cfg.HoldSweepEvery, "sweep holds", swept.sweep) })
		all.Go(func() {
			p.every(ctx, countEvery, "count what waits", func(ctx context.Context) error { return p.countWaiting(ctx, c, namespace, queue) })
		})
		all.Go(func() { p.every(ctx, p.cfg.AlertEvery, "hand over budget alerts", sent.handOver) })
		all.Go(func() { p.every(ctx, p.cfg.SweepEvery, "close gates of runs that are over", gates.sweep) })
		if left := p.unfinished(c, namespace, queue); left != nil {
			all.Go(func() { p.every(ctx, p.cfg.SweepEvery, "undo what runs left", left.sweep) })
		}
		if snapshots, err := p.collector(namespace, c); err != nil {
			p.cfg.Logger.Warn("collect snapshots", "error", err.Error())
		} else {
			all.Go(func() {
				p.every(ctx, p.cfg.Snapshots.CollectEvery, "collect snapshots", func(ctx context.Context) error { return p.collected(ctx, snapshots) })
			})
		}
		if p.notices != nil {
			all.Go(func() { p.notices.Run(ctx) })
		}
		if p.checkpoints != nil {
			all.Go(func() { p.every(ctx, checkpointEvery, "sign checkpoints", p.checkpoint) })
		}
		all.Wait()
	})
}

// every runs round at once and then in intervals, until ctx ends. What goes
// wrong is logged and tried again in the next round.
func (p *Plugin) every(ctx context.Context, interval time.Duration, what string, round func(context.Context) error) {
	round = faulty.Round(what, round)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		start := time.Now()
		err := round(ctx)
		if ctx.Err() == nil {
			p.metrics.Round(what, err, time.Since(start))
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, wflo.ErrSandboxUnavailable) {
			p.cfg.Logger.Warn(what, "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gates closes, in the index, those whose run ended before them.
type gates struct{ desk *desk.Desk }

func (g *gates) sweep(ctx context.Context) error {
	_, err := g.desk.Reconcile(ctx)
	return err
}

// recordRefusals writes down what runs refuse until the plugin is closed.
func (p *Plugin) recordRefusals() {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.rounds["refusals"] = cancel
	p.mu.Unlock()
	p.running.Go(func() { p.refusals.run(ctx) })
}
