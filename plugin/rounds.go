package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
)

// background does, for as long as the worker runs, what is nobody's activity:
// it removes sandboxes of runs that are over, decides about holds that nobody
// closed, and hands alerts over. It closes c.
func (p *Plugin) background(instance, queue string, c client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.rounds[instance] = cancel
	p.mu.Unlock()
	swept := &holds{
		ledger: p.parts.ledger, runs: service{c.WorkflowService()}, count: p.metrics.HoldSwept, logger: p.cfg.Logger,
		age: holdPatience * p.cfg.HoldSweepEvery,
	}
	sent := &alerts{ledger: p.parts.ledger, starts: c, queue: queue}
	p.running.Go(func() {
		defer c.Close()
		var all sync.WaitGroup
		all.Go(func() {
			p.every(ctx, p.cfg.SweepEvery, "sweep sandboxes", func(ctx context.Context) error { return p.sweepOnce(ctx, c) })
		})
		all.Go(func() { p.every(ctx, p.cfg.HoldSweepEvery, "sweep holds", swept.sweep) })
		all.Go(func() { p.every(ctx, p.cfg.AlertEvery, "hand over budget alerts", sent.handOver) })
		all.Wait()
	})
}

// every runs round at once and then in intervals, until ctx ends. What goes
// wrong is logged and tried again in the next round.
func (p *Plugin) every(ctx context.Context, interval time.Duration, what string, round func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := round(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, wflo.ErrSandboxUnavailable) {
			p.cfg.Logger.Warn(what, "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
