package plugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/collect"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/internal/faultpoint/faulty"
	"github.com/wflo-ai/wflo-go/internal/objectstore/sealed"
	"github.com/wflo-ai/wflo-go/internal/pgtables"
	"github.com/wflo-ai/wflo-go/internal/runs"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/tree"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
	"github.com/wflo-ai/wflo-go/workflows"
)

// Snapshots says where snapshots of runs are kept.
type Snapshots struct {
	// Store is where the blobs are that snapshots consist of: a directory, or
	// s3://BUCKET/PREFIX with the parameters region, endpoint, path_style and insecure,
	// whose credentials come from the environment. Empty means "snapshots" in
	// Config.DataDir. Workers that share a database share it, too.
	Store string
	// Keys seal the blobs: ID:BASE64 of 32 bytes each, with commas. The first one seals,
	// all open. Empty means that blobs are stored as they are.
	Keys string
	// AllowPlain reads blobs that are not sealed, too: for as long as the store has some
	// from before it had Keys.
	AllowPlain bool
	// Limits bound the workspace of a snapshot; zero means 1,000,000 entries, 64 GiB and
	// 256 levels. A workspace that has more fails the snapshot.
	Limits sandbox.TreeLimits
	// Exclude leaves names out of workspaces, by the patterns of path.Match: one without a
	// slash is matched with every name, another one with whole paths. What a directory
	// that is left out holds is left out, too.
	Exclude []string
	// Tables are sets of PostgreSQL tables by the names under which snapshots ask for
	// them. Workers of one task queue should agree.
	Tables map[string]TableSet
	// KeepLast is how many snapshots a run keeps, the latest, and MaxAge how long; zero
	// means all and for ever. Pinned ones stay, and what an open run may need. What nothing
	// refers to is deleted a day later.
	KeepLast int
	MaxAge   time.Duration
	// CollectEvery is how often that is looked after; zero means an hour.
	CollectEvery time.Duration
}

// TableSet is tables of one PostgreSQL database that snapshots keep together.
type TableSet struct {
	// URL is the address, such as postgres://USER:PASSWORD@HOST:5432/DATABASE. It is a
	// secret. The role needs SELECT to save; INSERT, UPDATE and DELETE to bring rows back;
	// and owns the sequences that are to be set back.
	URL string
	// Tables are those of the set, in any order, at least one.
	Tables []Table
	// SkipTriggers keeps triggers of users from firing while rows come back. The role must
	// own the tables. False means that they fire.
	SkipTriggers bool
}

// Table is one table of a set.
type Table struct {
	// Name is written as in SQL: orders, sales.orders, "Sales"."Order Lines".
	Name string
	// Where limits the table to rows of which this SQL condition is true, such as
	// tenant = 7. It is not checked. Empty means all rows.
	Where string
}

// recoveryActivities makes what takes snapshots and restores runs.
func (p *Plugin) recoveryActivities() error {
	store := p.recovery()
	if store == nil {
		return wflo.Invalid("plugin.Config.Database", "keeps no snapshots", "use SQLite or PostgreSQL")
	}
	blobs, err := p.openSnapshots()
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	keepers, err := p.keepers(blobs)
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	p.retention = &collect.Config{
		Recovery: store, Blobs: blobs, Parts: map[wflo.PartKind]collect.Refs{},
		Policy: collect.Policy{KeepLast: p.cfg.Snapshots.KeepLast, MaxAge: p.cfg.Snapshots.MaxAge},
	}
	if hosts, ok := p.parts.sandbox.Runner.(*docker.Hosts); ok {
		p.retention.More = kept(hosts)
	}
	for kind, k := range keepers {
		p.retention.Parts[kind] = k
	}
	p.parts.snapshot = &activities.Snapshot{
		Recovery: store, Blobs: faulty.Blobs(blobs), Parts: faulty.Keepers(keepers), Audit: p.parts.records, Logger: p.cfg.Logger,
	}
	p.parts.restore = &activities.Restoring{
		Snapshot: p.parts.snapshot, Runs: faulty.Runs(&p.reach), Ledger: p.parts.ledger, Gates: p.parts.records, Logger: p.cfg.Logger,
	}
	return nil
}

func (p *Plugin) openSnapshots() (activities.BlobStore, error) {
	blobs, err := p.openBlobs()
	if err != nil || p.cfg.Snapshots.Keys == "" {
		return blobs, err
	}
	sealing, err := sealed.ParseKeys(p.cfg.Snapshots.Keys)
	if err != nil {
		return nil, err
	}
	return sealed.Open(sealed.Config{Blobs: blobs, Keys: sealing, AllowPlain: p.cfg.Snapshots.AllowPlain})
}

// place is where the blobs of snapshots are.
func (s Snapshots) place(dataDir string) string {
	return cmp.Or(s.Store, filepath.Join(dataDir, "snapshots"))
}

func (p *Plugin) openBlobs() (activities.BlobStore, error) {
	blobs, err := openStore(p.cfg.Snapshots.place(p.cfg.DataDir))
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, blobs.Close)
	return blobs, nil
}

// keepers keep the parts of snapshots besides the state. A sandbox that cannot save
// workspaces has no keeper of them.
func (p *Plugin) keepers(blobs activities.Blobs) (map[wflo.PartKind]activities.PartKeeper, error) {
	all := map[wflo.PartKind]activities.PartKeeper{}
	open := func(a sandbox.Archiver) (*tree.Workspace, error) {
		return tree.New(tree.Config{Runner: a, Blobs: blobs, Limits: p.cfg.Snapshots.Limits, Exclude: p.cfg.Snapshots.Exclude})
	}
	var err error
	switch runner := p.parts.sandbox.Runner.(type) {
	case *docker.Hosts:
		all[wflo.PartWorkspace], err = newMovable(runner, open)
	case sandbox.Archiver:
		all[wflo.PartWorkspace], err = open(runner)
	}
	if err != nil {
		return nil, err
	}
	// Without a set it still reads what earlier snapshots refer to, for the collector.
	tables, err := pgtables.New(pgtables.Config{Sets: setsOf(p.cfg.Snapshots.Tables), Blobs: blobs})
	if err != nil {
		return nil, err
	}
	all[wflo.PartTables] = tables
	return all, nil
}

func setsOf(tables map[string]TableSet) map[string]pgtables.Set {
	sets := make(map[string]pgtables.Set, len(tables))
	for name, s := range tables {
		set := pgtables.Set{URL: s.URL, SkipTriggers: s.SkipTriggers}
		for _, t := range s.Tables {
			set.Tables = append(set.Tables, pgtables.Table(t))
		}
		sets[name] = set
	}
	return sets
}

// CompareSnapshots says what differs between two snapshots, the older one first, within
// their parts.
func (p *Plugin) CompareSnapshots(ctx context.Context, from, to wflo.Snapshot) ([]wflo.PartDiff, error) {
	return p.parts.snapshot.Compare(ctx, from, to)
}

// collector cleans up after snapshots, as often as the configuration says.
func (p *Plugin) collector(namespace string, c client.Client) (*collect.Collector, error) {
	cfg := *p.retention
	cfg.Open = openIn(namespace, func(ctx context.Context, run string) (bool, error) { return isOpen(ctx, c, run) })
	return collect.New(cfg)
}

// openIn asks about runs of one namespace. Workers of several may share a database, and
// a run of another one, which this one does not know, is not closed for that.
func openIn(namespace string, ask func(ctx context.Context, run string) (bool, error)) func(context.Context, wflo.Run) (bool, error) {
	return func(ctx context.Context, r wflo.Run) (bool, error) {
		if r.Namespace != namespace {
			return false, fmt.Errorf("it is of namespace %q, and this worker knows those of %q", r.Namespace, namespace)
		}
		return ask(ctx, r.ID())
	}
}

// collected makes one pass and tells what went.
func (p *Plugin) collected(ctx context.Context, c *collect.Collector) error {
	report, err := c.Run(ctx)
	p.metrics.SnapshotsCollected(len(report.Dropped), report.Deleted, report.Freed)
	if len(report.Dropped) > 0 || report.Deleted > 0 {
		p.cfg.Logger.Info("snapshots collected", "dropped", len(report.Dropped), "blobs", report.Deleted, "bytes", report.Freed)
	}
	return err
}

// Save implements sandbox.Archiver.
func (e *engine) Save(ctx context.Context, box string, limits sandbox.TreeLimits, s sandbox.TreeSaver) (quiesced, ok bool, err error) {
	r, err := e.connect(ctx)
	if err != nil {
		return false, false, err
	}
	return r.Save(ctx, box, limits, s)
}

// Replace implements sandbox.Archiver.
func (e *engine) Replace(ctx context.Context, box, key string, src sandbox.TreeSource) error {
	r, err := e.connect(ctx)
	if err != nil {
		return err
	}
	return r.Replace(ctx, box, key, src)
}

func (p *parts) proveRecovery() {
	step.SnapshotTake.Check(p.snapshot.Take)
	step.SnapshotFind.Check(p.snapshot.Find)
	step.SnapshotLoad.Check(p.snapshot.Load)
	step.SnapshotBring.Check(p.snapshot.Bring)
	step.RestoreNote.Check(p.snapshot.Note)
	step.RestorePlan.Check(p.restore.Plan)
	step.RestoreBegin.Check(p.restore.Begin)
	step.RestoreAsk.Check(p.restore.Ask)
	step.RestoreClaim.Check(p.restore.Claim)
	step.RestoreStart.Check(p.restore.Start)
	step.RestoreFollow.Check(p.restore.Follow)
	step.RestoreFail.Check(p.restore.Fail)
}

func registerRecovery(r Registry, p *Plugin) {
	r.RegisterWorkflowWithOptions(wfloRestoreWorkflow, workflow.RegisterOptions{Name: wflo.WorkflowRestore})
	r.RegisterActivityWithOptions(p.parts.snapshot, activity.RegisterOptions{Name: step.PrefixSnapshot})
	r.RegisterActivityWithOptions(p.parts.restore, activity.RegisterOptions{Name: step.PrefixRecovery})
}

// wfloRestoreWorkflow: see wfloAgentWorkflow.
func wfloRestoreWorkflow(ctx workflow.Context, r wflo.Restore) (wflo.Restored, error) {
	return workflows.RunRestore(ctx, r)
}

// reach is an activities.Runs over the client that the plugin has dialled for itself,
// with what the user's client proves who it is.
type reach struct{ runs atomic.Pointer[runs.Client] }

var _ activities.Runs = (*reach)(nil)

// reachRuns dials a client that may write the headers of the runs that it starts.
func (p *Plugin) reachRuns(ctx context.Context, opts client.Options) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reach.runs.Load() != nil {
		return nil
	}
	opts.Interceptors = []interceptor.ClientInterceptor{runs.Headers(), newClientInterceptor(!p.cfg.NoSearchAttributes)}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return fmt.Errorf("dial Temporal: %w", err)
	}
	p.closers = append(p.closers, func() error { c.Close(); return nil })
	p.reach.runs.Store(runs.New(runs.Config{Client: c, Namespace: namespaceOf(&opts), Converter: opts.DataConverter}))
	return nil
}

// get is the client's; workers have one from their start.
func (r *reach) get() (*runs.Client, error) {
	c := r.runs.Load()
	if c == nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "pass the plugin to client.Options.Plugins", "the worker has no client to reach runs with")
	}
	return c, nil
}

// Describe implements activities.Runs.
func (r *reach) Describe(ctx context.Context, workflowID, firstRunID string) (activities.RunInfo, error) {
	c, err := r.get()
	if err != nil {
		return activities.RunInfo{}, err
	}
	return c.Describe(ctx, workflowID, firstRunID)
}

// Query implements activities.Runs.
func (r *reach) Query(ctx context.Context, run activities.RunInfo, query string, arg, out any) error {
	c, err := r.get()
	if err != nil {
		return err
	}
	return c.Query(ctx, run, query, arg, out)
}

// Update implements activities.Runs.
func (r *reach) Update(ctx context.Context, run activities.RunInfo, updateID, update string, arg any) error {
	c, err := r.get()
	if err != nil {
		return err
	}
	return c.Update(ctx, run, updateID, update, arg)
}

// Start implements activities.Runs.
func (r *reach) Start(ctx context.Context, s activities.RunStart) (string, error) {
	c, err := r.get()
	if err != nil {
		return "", err
	}
	return c.Start(ctx, s)
}

// snapshotsOf reads secrets from where a file says that they are.
func snapshotsOf(f config.Snapshots) (Snapshots, error) {
	out := Snapshots{Store: f.Store, AllowPlain: f.AllowPlain, Limits: f.Limits, Exclude: f.Exclude, KeepLast: f.KeepLast, MaxAge: f.MaxAge, CollectEvery: f.CollectEvery}
	for _, name := range slices.Sorted(maps.Keys(f.Tables)) {
		url, err := f.Tables[name].URL.Read("address of the tables " + name)
		if err != nil {
			return out, err
		}
		set := TableSet{URL: url, SkipTriggers: f.Tables[name].SkipTriggers}
		for _, t := range f.Tables[name].Tables {
			set.Tables = append(set.Tables, Table(t))
		}
		if out.Tables == nil {
			out.Tables = map[string]TableSet{}
		}
		out.Tables[name] = set
	}
	if !f.Keys.Set() {
		return out, nil
	}
	var err error
	out.Keys, err = f.Keys.Read("keys of snapshots")
	return out, err
}
