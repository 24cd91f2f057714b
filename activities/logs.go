package activities

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/wflo-ai/wflo-go"
)

// Logs keeps the log lines of runs, for a while. Lines are worth less than what they
// are about: a store may lose those whose append failed, and is never asked again.
// Methods may be called at the same time, from any number of workers. The suite in
// activities/storetest holds every implementation to this.
type Logs interface {
	// AppendLogs keeps lines at the end of their runs, and numbers them: their Seq is
	// set by the store, from 1 in each run, without gaps. Whoever has read up to a Seq
	// finds what is appended later behind it. Of a run at most so many lines are kept;
	// one line with the message wflo.LogsLeftOut follows, and the rest is dropped. A line
	// without both ids is CodeInvalid. All or none.
	AppendLogs(ctx context.Context, most int, lines ...wflo.LogLine) error
	// ReadLogs reads lines of one run, by Seq.
	ReadLogs(ctx context.Context, q LogQuery) ([]wflo.LogLine, error)
	// PurgeLogs removes lines that are older than a moment, in portions that hold nobody
	// up, and says how many. What it makes free a run may use again.
	PurgeLogs(ctx context.Context, before time.Time) (int, error)
}

// LogQuery selects lines of a run.
type LogQuery struct {
	// WorkflowID and FirstRunID name the run. Required.
	WorkflowID, FirstRunID string
	// After gives lines with a higher Seq.
	After int64
	// Level is the least level; zero is slog.LevelInfo.
	Level slog.Level
	// Step is a step's key, or the name of a step, which means all its calls and what
	// they call; empty means all.
	Step string
	// Since gives lines that were written at that moment or later.
	Since time.Time
	// Latest gives the last Limit lines and not the first.
	Latest bool
	Limit  int // zero means 100
}

// RunKey names the run as the lines do.
func (q LogQuery) RunKey() string {
	return wflo.LogLine{WorkflowID: q.WorkflowID, FirstRunID: q.FirstRunID}.RunKey()
}

// DefaultLogs is how many lines are read when the limit is zero.
const DefaultLogs = 100

// LogCount is what a store remembers of a run's lines.
type LogCount struct {
	// Last is the Seq of the last one.
	Last int64
	// Kept is how many there are.
	Kept int
	// Full says that the line which stands for the rest is there.
	Full bool
}

// Admit gives those of the lines that are to be kept, with their Seq, and changes the
// count accordingly. It is for stores, which do it where nobody else appends to the run.
func (c *LogCount) Admit(most int, lines []wflo.LogLine) []wflo.LogLine {
	room := min(max(0, most-c.Kept), len(lines))
	kept := slices.Clone(lines[:room])
	if room < len(lines) && !c.Full {
		last := lines[room]
		c.Full = true
		kept = append(kept, wflo.LogLine{
			At: last.At, Level: slog.LevelWarn, Message: wflo.LogsLeftOut, WorkflowID: last.WorkflowID, FirstRunID: last.FirstRunID,
			Attributes: []byte(`{"most":` + strconv.Itoa(most) + `}`),
		})
	}
	for i := range kept {
		c.Last++
		kept[i].Seq = c.Last
	}
	c.Kept += len(kept)
	return kept
}

// GroupLogs sorts lines by their runs and refuses those that belong to none. runs are
// the keys in order, which is the order for locks.
func GroupLogs(lines []wflo.LogLine) (runs []string, byRun map[string][]wflo.LogLine, err error) {
	byRun = map[string][]wflo.LogLine{}
	for _, l := range lines {
		if l.WorkflowID == "" || l.FirstRunID == "" {
			return nil, nil, wflo.Invalid("log line", "belongs to no run", "give it workflow_id and execution_id")
		}
		byRun[l.RunKey()] = append(byRun[l.RunKey()], l)
	}
	for run := range byRun {
		runs = append(runs, run)
	}
	slices.Sort(runs)
	return runs, byRun, nil
}

// final tells whom it concerns of an attempt after which there is no other.
func (in *inbound) final(ctx context.Context, info activity.Info, err error) {
	if err == nil || in.cfg.OnFailure == nil {
		return
	}
	if err = toWire(err); IsFinal(info, err) {
		in.cfg.OnFailure(ctx, info, err)
	}
}

// IsFinal says that Temporal does not try an activity again after this error, as far as an
// attempt can know: it is not retryable, or there is no attempt left, or no time for one.
// Cancellation, and an activity that somebody else completes, are no failures.
func IsFinal(info activity.Info, err error) bool {
	if err == nil || errors.Is(err, activity.ErrResultPending) || temporal.IsCanceledError(err) || errors.Is(err, context.Canceled) {
		return false
	}
	var app *temporal.ApplicationError
	kind := ""
	if errors.As(err, &app) {
		if app.NonRetryable() {
			return true
		}
		kind = app.Type()
	}
	retry := info.RetryPolicy
	if retry == nil {
		return false // the server did not say
	}
	return retry.MaximumAttempts > 0 && info.Attempt >= retry.MaximumAttempts || slices.Contains(retry.NonRetryableErrorTypes, kind) && kind != "" ||
		info.ScheduleToCloseTimeout > 0 && time.Now().Add(backoff(*retry, info.Attempt)).After(info.ScheduledTime.Add(info.ScheduleToCloseTimeout))
}

// backoff is how long Temporal waits after an attempt.
func backoff(p temporal.RetryPolicy, attempt int32) time.Duration {
	wait := float64(p.InitialInterval) * math.Pow(max(p.BackoffCoefficient, 1), float64(attempt-1))
	if p.MaximumInterval > 0 && wait > float64(p.MaximumInterval) {
		return p.MaximumInterval
	}
	return time.Duration(min(wait, float64(math.MaxInt64/2)))
}
