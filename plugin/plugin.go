// Package plugin is the door: the one package that a worker adds to be governed
// by wflo. [New] opens the stores, sets up the providers and the sandbox, and
// returns a plugin for Temporal's client:
//
//	guard, err := plugin.New(plugin.Config{})
//	...
//	defer guard.Close()
//	c, err := client.Dial(client.Options{Plugins: []client.Plugin{guard}})
//	w := worker.New(c, "agents", worker.Options{})
//
// Every worker made from such a client has wflo's workflows and activities, and
// each of its activities is governed: identity, budgets, metering, halts, size
// limits, logs, metrics and traces. Nothing is opt-in per activity.
//
// The plugin belongs to the client, because headers, the payload store and
// metrics are the client's: a worker that gets it without its client refuses to
// start.
package plugin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/internal/collect"
	"github.com/wflo-ai/wflo-go/internal/notify"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Name is the plugin's name in Temporal.
const Name = "wflo"

// Plugin is a client plugin and a worker plugin of Temporal's SDK. It may serve
// several clients and workers; Close it after the last worker has stopped.
type Plugin struct {
	*temporal.SimplePlugin
	cfg     Config
	logs    logging
	metrics *telemetry.Metrics
	spans   *telemetry.Spans
	parts   parts
	// envelope seals what the client sends and opens what it gets.
	envelope *envelope.Codec
	gateway  *counted // nil without keys
	// policies govern runs that begin, and emergency those that go on; stops is the
	// check of the latter, nil where there are none.
	policies, emergency *governance
	stops               func(ctx context.Context, f wflo.Facts) error
	refusals            *refusals
	notices             *notify.Deliverer   // nil without channels
	checkpoints         *audit.Checkpointer // nil without a place for them
	closers             []func() error
	// retention is what the collector of snapshots works with.
	retention *collect.Config
	// estimator is shared by all that calls models, so that each learns from all;
	// nil where Config.Strict is set.
	estimator *activities.Estimator
	// reach is how restores reach runs, once there is a client.
	reach reach

	mu      sync.Mutex
	options *client.Options               // of the client, once there is one
	queues  map[string]string             // task queues by worker
	rounds  map[string]context.CancelFunc // background work by worker
	running sync.WaitGroup
}

// parts are what the activities work with.
type parts struct {
	llm      *activities.LLM
	sandbox  *activities.Sandbox
	approval *activities.Approval
	budget   *activities.Budget
	policy   *activities.Policy
	undo     *undo
	snapshot *activities.Snapshot
	restore  *activities.Restoring
	blobs    activities.Blobs
	ledger   activities.Ledger
	records  activities.Records
}

// New opens what the configuration names. Errors are *wflo.Error where the
// operator can do something about them.
func New(cfg Config) (*Plugin, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Plugin{cfg: cfg, queues: map[string]string{}, rounds: map[string]context.CancelFunc{}}
	if err := p.open(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Plugin) open() error {
	ctx := context.Background()
	p.metrics = telemetry.NewMetrics(telemetry.Config{
		Registry: p.cfg.Registry, RunFromContext: wflo.RunFrom, Logger: p.cfg.Logger,
	})
	spans, stopTracing, err := p.tracing(ctx)
	if err != nil {
		return err
	}
	p.spans = spans
	if p.envelope, err = p.cfg.Payloads.codec(p.cfg.Logger); err != nil {
		return err
	}
	p.closers = append(p.closers, func() error { return stopTracing(context.Background()) })
	if err := p.stores(ctx); err != nil {
		return err
	}
	if err := p.openLogs(); err != nil {
		return err
	}
	p.refusals = newRefusals(p.parts.records, p.metrics, p.cfg.Logger.Warn)
	if err := p.declare(ctx); err != nil {
		return err
	}
	if err := p.openPolicies(ctx); err != nil {
		return err
	}
	if err := p.activities(ctx); err != nil {
		return err
	}
	if err := p.openGateway(); err != nil {
		return err
	}
	if err := p.openChannels(); err != nil {
		return err
	}
	if err := p.openCheckpoints(); err != nil {
		return err
	}
	p.warnOfUnknown()
	p.watchPolicies()
	p.recordRefusals()
	p.SimplePlugin, err = temporal.NewSimplePlugin(temporal.SimplePluginOptions{
		Name:               Name,
		ClientInterceptors: []interceptor.ClientInterceptor{spans, newClientInterceptor(!p.cfg.NoSearchAttributes)},
		WorkerInterceptors: p.Interceptors(),
		ConfigureClient:    p.configureClient,
		ConfigureWorker:    p.configureWorker,
		RunContextBefore:   p.start,
		RunContextAfter:    p.stop,
		ConfigureWorkflowReplayer: func(_ context.Context, o worker.PluginConfigureWorkflowReplayerOptions) error {
			return p.configureReplayer(o.WorkflowReplayerOptions)
		},
	})
	return err
}

// Interceptors are both halves of what governs a worker, for environments that
// plugins do not reach; see [Register].
func (p *Plugin) Interceptors() []interceptor.WorkerInterceptor {
	return []interceptor.WorkerInterceptor{
		workflows.NewInterceptor(workflows.InterceptorConfig{
			Observer: observer{p.metrics, p.refusals}, SearchAttributes: !p.cfg.NoSearchAttributes, Policies: p.governed(), Snapshots: true,
			Tracer: p.spans, Begun: p.logs.know, Converter: p.envelope.Converter(nil),
		}),
		activities.NewInterceptor(activities.InterceptorConfig{
			Logger: p.cfg.Logger, Observer: p.metrics, MaxResult: p.cfg.MaxResult,
			Records: p.parts.records, Terms: func() wflo.Terms { return p.cfg.Approvals }, Emergency: p.stops,
			RequireApproval: p.cfg.RequireApproval, Recovery: p.recovery(), OnFailure: p.logs.failed, OnResult: p.counted,
		}),
		&logInterceptor{logs: &p.logs},
	}
}

// configureClient sets what the user did not set.
func (p *Plugin) configureClient(_ context.Context, o client.PluginConfigureClientOptions) error {
	opts := o.ClientOptions
	opts.Logger = p.clientLogger(opts.Logger)
	if opts.MetricsHandler == nil {
		opts.MetricsHandler = p.metrics.TemporalHandler()
	}
	if len(opts.ExternalStorage.Drivers) == 0 {
		opts.ExternalStorage = p.external()
	}
	p.envelope.Configure(opts)
	p.mu.Lock()
	defer p.mu.Unlock()
	own := *opts
	own.Plugins, own.Interceptors = nil, nil
	p.options = &own
	return nil
}

// stopTime is how long a stopping worker waits for its activities. Sandboxed
// ones end their programs in that time, so that nothing outlives the worker.
const stopTime = 10 * time.Second

// configureWorker lets heartbeats through as often as activities make them: the
// SDK would hold them back for most of the heartbeat timeout, and cancellation
// comes with the answer to a heartbeat.
func (p *Plugin) configureWorker(_ context.Context, o worker.PluginConfigureWorkerOptions) error {
	if o.WorkerOptions.MaxHeartbeatThrottleInterval == 0 {
		o.WorkerOptions.MaxHeartbeatThrottleInterval = time.Second
	}
	if o.WorkerOptions.WorkerStopTimeout == 0 {
		o.WorkerOptions.WorkerStopTimeout = stopTime
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queues[o.WorkerInstanceKey] = o.TaskQueue
	return nil
}

// Metrics serves the worker's metrics to Prometheus.
func (p *Plugin) Metrics() http.Handler { return p.metrics.Handler() }

// Ledger is where the money is accounted for.
func (p *Plugin) Ledger() activities.Ledger { return p.parts.ledger }

// Records is what governance is written down in: gates, trail, outbox, policies.
func (p *Plugin) Records() activities.Records { return p.parts.records }

// Boxes lists the sandboxes of this installation that still exist, by run.
func (p *Plugin) Boxes(ctx context.Context) ([]string, error) {
	return p.parts.sandbox.Runner.Boxes(ctx)
}

// Close releases databases and connections. It waits for the plugin's own
// goroutines, so workers must have stopped.
func (p *Plugin) Close() {
	p.mu.Lock()
	for _, cancel := range p.rounds {
		cancel()
	}
	p.mu.Unlock()
	p.running.Wait()
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.cfg.Logger.Warn("close", "error", err.Error())
		}
	}
	p.closers = nil
}

// start registers wflo's half of the worker before it polls.
func (p *Plugin) start(ctx context.Context, o temporal.SimplePluginRunContextBeforeOptions) error {
	if o.WorkflowReplayer {
		Register(o.Registry, p)
		return nil
	}
	p.mu.Lock()
	opts, queue := p.options, p.queues[o.InstanceKey]
	p.mu.Unlock()
	if opts == nil {
		return wflo.Errorf(wflo.CodeInvalid, "pass the plugin to client.Options.Plugins; its workers get it from there",
			"the worker has wflo's plugin, its client has not")
	}
	Register(o.Registry, p)
	c, err := client.DialContext(ctx, *opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	if !p.cfg.NoSearchAttributes {
		if err := ensureAttributes(ctx, c, namespaceOf(opts)); err != nil {
			c.Close()
			return err
		}
	}
	if err := p.reachRuns(ctx, *opts); err != nil {
		c.Close()
		return err
	}
	p.background(o.InstanceKey, queue, namespaceOf(opts), c)
	return nil
}

// stop ends what start began for one worker.
func (p *Plugin) stop(_ context.Context, o temporal.SimplePluginRunContextAfterOptions) {
	p.mu.Lock()
	cancel := p.rounds[o.InstanceKey]
	delete(p.rounds, o.InstanceKey)
	delete(p.queues, o.InstanceKey)
	p.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func namespaceOf(o *client.Options) string {
	if o.Namespace == "" {
		return client.DefaultNamespace
	}
	return o.Namespace
}
