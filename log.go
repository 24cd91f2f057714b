package wflo

import (
	"encoding/json"
	"log/slog"
	"time"
)

// LogLine is a structured line that a worker wrote while it worked on a run: wflo's
// own, or one of the user's code. Its JSON has the names that the worker's log has.
type LogLine struct {
	// Seq orders the lines of a run as they were kept. Workers hand theirs over in
	// batches, so At of one worker's line may be before that of a line with a lower Seq.
	Seq   int64      `json:"seq,omitempty"`
	At    time.Time  `json:"timestamp"`
	Level slog.Level `json:"level"`
	// Message and Attributes, a JSON object, are without the secrets that the worker
	// knows. What was longer than a line may be is cut.
	Message string `json:"message"`

	WorkflowID string `json:"workflow_id"`
	// FirstRunID is the first run id, which survives retries and continue-as-new.
	FirstRunID string `json:"execution_id"`
	User       string `json:"user_id,omitempty"`
	Team       string `json:"team,omitempty"`
	TraceID    string `json:"trace_id,omitempty"`
	SpanID     string `json:"span_id,omitempty"`
	// Step is the key of the step, such as "g0/charge#1/pay#1".
	Step        string `json:"step,omitempty"`
	Correlation string `json:"correlation_id,omitempty"`
	// Worker is the process that wrote the line, PID@HOST.
	Worker string `json:"worker,omitempty"`

	Attributes json.RawMessage `json:"attributes,omitempty"`
}

// RunKey names the run that the line belongs to, as Run.ID does.
func (l LogLine) RunKey() string { return l.WorkflowID + "/" + l.FirstRunID }

// LogsLeftOut is the message of the line that stands for all that come after it when a
// run has as many lines as are kept of one.
const LogsLeftOut = "lines are left out"
