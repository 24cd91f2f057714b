package activities

import (
	"context"
	"errors"
	"time"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/wflo-ai/wflo-go"
)

// Runs reaches the runs of the namespace, of whatever worker. Its methods may be called
// at the same time. A run that is not known, or not any more, is an error that matches
// fs.ErrNotExist.
type Runs interface {
	// Describe gives the latest run of a workflow id, or the latest one of the chain that
	// began with firstRunID where that is not empty.
	Describe(ctx context.Context, workflowID, firstRunID string) (RunInfo, error)
	// Query asks a run, open or closed. What the run itself answers with an error is an
	// *wflo.Error; that nobody answers is [ErrUnanswered].
	Query(ctx context.Context, run RunInfo, query string, arg, out any) error
	// Update asks an open run for something and waits until it has answered. The same
	// updateID again gives the same answer. What the run refuses is an *wflo.Error.
	Update(ctx context.Context, run RunInfo, updateID, update string, arg any) error
	// Start starts a run and gives its first run id. A workflow id that is taken, by an
	// open run or where Fresh is set by any, is CodeConflict.
	Start(ctx context.Context, s RunStart) (firstRunID string, err error)
}

// RunInfo is what Temporal says of a run.
type RunInfo struct {
	WorkflowID, FirstRunID string
	// RunID is Temporal's, of the latest run of the chain.
	RunID string
	// Workflow is the type, TaskQueue where its workers poll.
	Workflow, TaskQueue string
	// Open says that it goes on; Latest that no other chain of its workflow id is later.
	Open, Latest bool
	// Restore is the ID of the restore that it began with; empty for others.
	Restore string
	// ExecutionTimeout, RunTimeout and TaskTimeout are those it was started with.
	ExecutionTimeout, RunTimeout, TaskTimeout time.Duration
}

// RunStart starts a run that goes on from a snapshot.
type RunStart struct {
	WorkflowID, Workflow, TaskQueue string
	// Run is for whom it acts: what a starter may say.
	Run wflo.Run
	// Input are the arguments, encoded; Header its headers besides wflo's own.
	Input  *commonpb.Payloads
	Header map[string]*commonpb.Payload
	// Restore is the ID of the restore that it begins with, ForkedFrom the run that it is a
	// fork of, for its memo; empty for a reopened one.
	Restore, ForkedFrom string
	// Fresh refuses a workflow id that was ever used, as far as Temporal knows.
	Fresh                                     bool
	ExecutionTimeout, RunTimeout, TaskTimeout time.Duration
}

// ErrUnanswered says that nobody answers for a run: no worker polls its task queue, its
// type is not known there, or its history is gone.
var ErrUnanswered = errors.New("nobody answers for the run")
