package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint/faulty"
	"github.com/wflo-ai/wflo-go/internal/objectstore/file"
	"github.com/wflo-ai/wflo-go/internal/objectstore/s3"
	"github.com/wflo-ai/wflo-go/internal/postgres"
	"github.com/wflo-ai/wflo-go/internal/secrets"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Registry is the part of worker.Registry that Register needs.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

// Register puts wflo's workflows and activities into a registry that plugins do
// not reach, such as a test environment's. Workers whose client has the plugin
// are registered already.
func Register(r Registry, p *Plugin) {
	r.RegisterWorkflowWithOptions(wfloAgentWorkflow, workflow.RegisterOptions{Name: wflo.WorkflowAgent})
	r.RegisterWorkflowWithOptions(wfloAlertWorkflow, workflow.RegisterOptions{Name: wflo.WorkflowBudgetAlert})
	r.RegisterActivityWithOptions(p.parts.llm, activity.RegisterOptions{Name: step.PrefixLLM})
	r.RegisterActivityWithOptions(p.parts.sandbox, activity.RegisterOptions{Name: step.PrefixSandbox})
	r.RegisterActivityWithOptions(p.parts.approval, activity.RegisterOptions{Name: step.PrefixApproval})
	r.RegisterActivityWithOptions(p.parts.budget, activity.RegisterOptions{Name: step.PrefixBudget})
	r.RegisterActivityWithOptions(p.parts.policy, activity.RegisterOptions{Name: step.PrefixPolicy})
	registerUndo(r, p)
	registerRecovery(r, p)
}

// wfloAgentWorkflow has a name that no user's function has: the SDK also
// resolves a registered function by its short name, so with RunAgent, or with a
// closure (whose short name is func1), a user's own function of that name would
// silently run ours.
func wfloAgentWorkflow(ctx workflow.Context, t wflo.Task) (wflo.Answer, error) {
	return workflows.RunAgent(ctx, t)
}

// wfloAlertWorkflow: see wfloAgentWorkflow.
func wfloAlertWorkflow(ctx workflow.Context, a wflo.BudgetAlert) error {
	return workflows.RunBudgetAlert(ctx, a)
}

// prove fails to compile when an activity does not have the types under which
// workflow code calls it.
func (p *parts) prove() {
	step.LLMChat.Check(p.llm.Chat)
	step.SandboxRun.Check(p.sandbox.Run)
	step.SandboxRead.Check(p.sandbox.Read)
	step.SandboxWrite.Check(p.sandbox.Write)
	step.SandboxClose.Check(p.sandbox.Close)
	step.ApprovalOpen.Check(p.approval.Open)
	step.ApprovalClose.Check(p.approval.Close)
	step.ApprovalTell.Check(p.approval.Tell)
	step.ApprovalRevoke.Check(p.approval.Revoke)
	step.PolicyPin.Check(p.policy.Pin)
	step.PolicyJudge.Check(p.policy.Judge)
	step.BudgetTopUp.Check(p.budget.TopUp)
	step.BudgetAlert.Check(p.budget.Alert)
	p.undo.prove()
	p.proveRecovery()
}

// stores opens the ledger and the blobs.
func (p *Plugin) stores(ctx context.Context) error {
	ledger, err := openLedger(ctx, p.cfg)
	if err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	p.parts.ledger, p.parts.records = faulty.Ledger(ledger), p.metrics.Audited(faulty.Records(ledger.Records()))
	p.closers = append(p.closers, ledger.Close)
	place := p.cfg.Payloads.place(p.cfg.DataDir)
	if place == p.cfg.Snapshots.place(p.cfg.DataDir) {
		return wflo.Invalid("plugin.Config.Payloads.Store", "is where the snapshots are, whose blobs are collected", "give it a place of its own, such as another prefix")
	}
	blobs, err := openStore(place)
	if err != nil {
		return fmt.Errorf("open blobs: %w", err)
	}
	p.closers = append(p.closers, blobs.Close)
	p.parts.blobs, err = p.cfg.Payloads.sealed(faulty.Payloads(blobs))
	return err
}

// blobStore is what both kinds of place are.
type blobStore interface {
	activities.BlobStore
	Close() error
}

// openStore opens a directory, or s3://BUCKET/PREFIX.
func openStore(place string) (blobStore, error) {
	if strings.HasPrefix(place, "s3://") {
		return s3.Open(context.Background(), s3.Config{URL: place})
	}
	return file.Open(file.Config{Dir: place})
}

// database is what both drivers open: the money, and the records of governance.
type database interface {
	activities.Ledger
	Records() activities.Records
}

// OpenDatabase opens what New opens for cfg, of which DataDir, Database and Logger
// count: for programs that run nothing, such as a console. Close the ledger in the end.
func OpenDatabase(ctx context.Context, cfg Config) (activities.Ledger, activities.Records, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.DataDir == "" {
		dir, err := defaultDataDir()
		if err != nil {
			return nil, nil, err
		}
		cfg.DataDir = dir
	}
	ledger, err := openLedger(ctx, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("open database: %w", err)
	}
	return ledger, ledger.Records(), nil
}

func openLedger(ctx context.Context, cfg Config) (database, error) {
	switch {
	case cfg.Database == "":
		return sqlite.Open(ctx, sqlite.Config{Path: filepath.Join(cfg.DataDir, "wflo.db"), Logger: cfg.Logger})
	case cfg.Database == "memory":
		return sqlite.Open(ctx, sqlite.Config{Logger: cfg.Logger})
	case strings.HasPrefix(cfg.Database, "postgres://"), strings.HasPrefix(cfg.Database, "postgresql://"):
		return postgres.Open(ctx, postgres.Config{URL: cfg.Database, Logger: cfg.Logger})
	}
	// The value may hold a password: it is not repeated.
	return nil, wflo.Invalid("plugin.Config.Database", "is neither empty, nor \"memory\", nor a postgres URL", "use postgres://USER@HOST/DATABASE")
}

// activities makes the activity structs.
func (p *Plugin) activities(ctx context.Context) error {
	providers, err := buildProviders(p.cfg.Providers)
	if err != nil {
		return err
	}
	runner, err := p.runner()
	if err != nil {
		return err
	}
	cache, err := p.cache(ctx)
	if err != nil {
		return err
	}
	if !p.cfg.Strict {
		p.estimator = &activities.Estimator{}
	}
	p.parts.llm = &activities.LLM{
		Providers: providers, Prices: p.cfg.Prices, Ledger: p.parts.ledger, Observer: p.metrics, MaxTokens: p.cfg.MaxTokens,
		Strict: p.cfg.Strict, Estimator: p.estimator, Routes: p.cfg.Routes, Cache: faulty.Cache(cache), CacheTTL: p.cfg.CacheTTL, Logger: p.cfg.Logger,
		CaptureContent: p.cfg.CaptureContent, Conversations: &conversations{p.parts.blobs},
	}
	p.parts.sandbox = &activities.Sandbox{Runner: runner, Observer: p.metrics, MaxResult: p.cfg.MaxResult}
	p.parts.approval = &activities.Approval{
		Terms: p.cfg.Approvals, Defaults: p.cfg.ApprovalDefaults, Records: p.parts.records, Logger: p.cfg.Logger, Observer: p.metrics,
	}
	p.parts.budget = &activities.Budget{
		Ledger: p.parts.ledger, OnAlert: p.cfg.OnBudgetAlert, OnExceeded: p.cfg.OnBudgetExceeded,
		Logger: p.cfg.Logger, Observer: p.metrics,
	}
	p.policyActivities()
	p.undoActivities()
	if err := p.recoveryActivities(); err != nil {
		return err
	}
	p.parts.prove()
	return nil
}

// runner is what runs untrusted code.
func (p *Plugin) runner() (sandbox.Runner, error) {
	if p.cfg.Sandbox != nil {
		return p.cfg.Sandbox, nil
	}
	cfg := p.cfg.Docker
	if cfg.Secrets == nil {
		store, err := secrets.New(secrets.Config{Dir: p.cfg.SecretsDir})
		if err != nil {
			return nil, err
		}
		p.closers = append(p.closers, store.Close)
		cfg.Secrets = store
	}
	cfg.Secrets = p.learning(cfg.Secrets)
	if cfg.Observer == nil {
		cfg.Observer = p.metrics.Sandboxes()
	}
	if cfg.Logger == nil {
		cfg.Logger = p.cfg.Logger
	}
	if len(cfg.Hosts) > 0 {
		return p.hosts(cfg)
	}
	if err := tryConfig(cfg); err != nil {
		return nil, fmt.Errorf("plugin.Config.Docker: %w", err)
	}
	engine := newEngine(cfg, p.owner)
	p.closers = append(p.closers, engine.shut)
	return engine, nil
}

// owner names the installation in the labels of its sandboxes.
func (p *Plugin) owner() string {
	if p.cfg.Owner != "" {
		return p.cfg.Owner
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.options == nil {
		return "wflo"
	}
	return p.options.HostPort + "/" + namespaceOf(p.options)
}
