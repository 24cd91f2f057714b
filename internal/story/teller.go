package story

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Temporal is what a Teller needs of Temporal's client.
type Temporal interface {
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
	// WorkflowService reads histories page by page, which the client itself does not.
	WorkflowService() workflowservice.WorkflowServiceClient
}

// Config says what stories are told from. Whatever is nil has no part in them.
type Config struct {
	// Client is connected to the runs' namespace. Required.
	Client Temporal
	// Namespace is the client's; empty means default.
	Namespace string
	// Ledger says what model calls cost.
	Ledger Ledger
	// Recovery has snapshots, restores and compensations.
	Recovery Recovery
	// Converter reads payloads and headers; nil means Temporal's default.
	Converter converter.DataConverter
	// Storage holds the payloads that are too large for histories, as in the options of
	// the client. Without the driver of a payload its content is left out.
	Storage []converter.StorageDriver
	// Cache bounds what is kept of histories that were read, in bytes; zero means 64 MiB.
	Cache int64
	// QueryTime is how long a run has to say how it is; zero means two seconds.
	QueryTime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets what is left out of a story because a store failed; nil means
	// slog.Default.
	Logger *slog.Logger
}

// Ledger is the part of activities.Ledger that stories need.
type Ledger interface {
	Spend(ctx context.Context, budget string) (wflo.Spend, error)
	Entries(ctx context.Context, rootRun string) ([]wflo.Entry, error)
	OpenHolds(ctx context.Context, age time.Duration, n int) ([]wflo.Hold, error)
}

// Recovery is the part of activities.Recovery that stories need.
type Recovery interface {
	ListSnapshots(ctx context.Context, q activities.SnapshotQuery) ([]wflo.Snapshot, error)
	ListRestores(ctx context.Context, run string) ([]wflo.Restored, error)
	ListCompensations(ctx context.Context, q activities.CompensationQuery) ([]wflo.CompensationRecord, error)
}

// Teller tells stories. Its methods may be called at the same time. A run that is not
// there is an error that matches fs.ErrNotExist, and what cannot be asked is an
// *wflo.Error with wflo.CodeInvalid. What a store or a worker does not say is left out;
// [Head.Note] names it.
type Teller struct {
	cfg   Config
	read  reader
	cache *cache

	origins  origins
	statuses statuses
}

// New returns a Teller; nothing is connected.
func New(cfg Config) *Teller {
	cfg.Namespace = cmp.Or(cfg.Namespace, client.DefaultNamespace)
	if cfg.Converter == nil {
		cfg.Converter = converter.GetDefaultDataConverter()
	}
	if cfg.Cache == 0 {
		cfg.Cache = 64 << 20
	}
	if cfg.QueryTime == 0 {
		cfg.QueryTime = 2 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Teller{cfg: cfg, read: newReader(cfg), cache: newCache(cfg.Cache)}
}

// run is a run as Temporal describes it now.
type run struct {
	*workflowservice.DescribeWorkflowExecutionResponse
	workflowID, runID, first string
	open                     bool
	events                   int64
}

// describe finds the latest run of the chain that runID is of; empty means that of the
// workflow id.
func (t *Teller) describe(ctx context.Context, workflowID, runID string) (run, error) {
	if workflowID == "" {
		return run{}, wflo.Invalid("run", "is empty", "name a workflow id")
	}
	latest, err := t.describeOne(ctx, workflowID, "")
	if err != nil || runID == "" || runID == latest.runID || runID == latest.first {
		return latest, err
	}
	named, err := t.describeOne(ctx, workflowID, runID)
	if err != nil || named.first == latest.first {
		return latest, err
	}
	return t.lastOf(ctx, named)
}

func (t *Teller) describeOne(ctx context.Context, workflowID, runID string) (run, error) {
	d, err := t.cfg.Client.DescribeWorkflowExecution(ctx, workflowID, runID)
	if err != nil {
		return run{}, fmt.Errorf("describe %s: %w", workflowID, told(err))
	}
	info := d.GetWorkflowExecutionInfo()
	r := run{
		DescribeWorkflowExecutionResponse: d, workflowID: info.GetExecution().GetWorkflowId(), runID: info.GetExecution().GetRunId(),
		open: info.GetCloseTime() == nil, events: info.GetHistoryLength(),
	}
	r.first = cmp.Or(info.GetFirstRunId(), r.runID)
	return r, nil
}

// lastOf follows a chain that is not the latest of its workflow id to its end.
func (t *Teller) lastOf(ctx context.Context, r run) (run, error) {
	for range mostRuns {
		a, err := t.account(ctx, r)
		if err != nil || a.next == "" {
			return r, err
		}
		next, err := t.describeOne(ctx, r.workflowID, a.next)
		if errors.Is(err, fs.ErrNotExist) {
			return r, nil // what came after is forgotten
		}
		if err != nil {
			return r, err
		}
		r = next
	}
	return r, nil
}

// told tells a run that is not there from a server that fails.
func told(err error) error {
	var gone *serviceerror.NotFound
	var invalid *serviceerror.InvalidArgument
	switch {
	case errors.As(err, &gone):
		return fmt.Errorf("%s: %w", gone.Error(), fs.ErrNotExist)
	case errors.As(err, &invalid):
		return wflo.Errorf(wflo.CodeInvalid, "name a run as wflo list shows it", "Temporal refuses: %w", err)
	}
	return err
}

// Stamp changes whenever something happened to the run that its history or the server
// knows of, and open says that more may come. It costs one question.
func (t *Teller) Stamp(ctx context.Context, workflowID, runID string) (stamp string, open bool, err error) {
	r, err := t.describe(ctx, workflowID, runID)
	if err != nil {
		return "", false, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %t %d", r.runID, r.events, r.open, r.GetPendingWorkflowTask().GetAttempt())
	for _, p := range r.GetPendingActivities() {
		fmt.Fprintf(&b, " %s/%d/%d", p.GetActivityId(), p.GetAttempt(), p.GetState())
	}
	return b.String(), r.open, nil
}
