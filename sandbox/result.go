package sandbox

import (
	"context"
	"errors"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Outcome says how an execution ended.
type Outcome string

// The outcomes that runners tell apart. The last two come as errors from a
// Runner; see [OutcomeOf].
const (
	Succeeded   Outcome = "succeeded"     // exit code 0
	Nonzero     Outcome = "nonzero"       // the program ended itself with another code
	Signalled   Outcome = "signalled"     // a signal from inside ended it
	OutOfMemory Outcome = "out_of_memory" // the memory limit ended it
	Timeout     Outcome = "timeout"       // the wall clock ended it
	CPUTimeout  Outcome = "cpu_timeout"   // Limits.CPUTime ended it
	OutputLimit Outcome = "output_limit"  // Limits.OutputTotal ended it
	DiskFull    Outcome = "disk_full"     // Limits.Workspace ended it, or it failed with a full disk
	StartFailed Outcome = "start_failed"  // the program could not be started
	Cancelled   Outcome = "cancelled"     // the caller ended it
	Denied      Outcome = "policy_denied" // the worker's rules refuse the specification
	Lost        Outcome = "infra_lost"    // the machinery broke underneath it
)

// OutcomeOf gives the one word for what a Runner returned: the result's outcome,
// Denied for specifications that are refused
// (wrong, not allowed, or with a secret that is not there), Lost for faults of the machinery.
func OutcomeOf(res Result, err error) Outcome {
	switch {
	case err == nil:
		return res.Outcome
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, wflo.ErrInvalid), errors.Is(err, wflo.ErrPolicyDenied), errors.Is(err, wflo.ErrMissingKey):
		return Denied
	}
	return Lost
}

// Result is what came out of an execution.
type Result struct {
	Outcome  Outcome `json:"outcome"`
	ExitCode int     `json:"exit_code"`
	// Signal is the number of the signal that ended the program; zero if it
	// ended itself. ExitCode is then 128 plus it, as in a shell.
	Signal int `json:"signal,omitempty"`
	// Stdout and Stderr hold Limits.Output bytes of each stream, its beginning
	// and its end, made valid UTF-8. Truncated counts the bytes that were
	// dropped between the two, where a line says so.
	Stdout          string `json:"stdout"`
	Stderr          string `json:"stderr"`
	StdoutTruncated int64  `json:"stdout_truncated,omitempty"`
	StderrTruncated int64  `json:"stderr_truncated,omitempty"`
	// Reason says in words why the program could not be started or was ended.
	Reason string `json:"reason,omitempty"`
	// OOM says that the kernel killed something for memory, even if the main
	// program survived it.
	OOM bool `json:"oom,omitempty"`
	// Hit names the limits that the program ran into, whatever came of it:
	// "memory", "pids", "tmp", "workspace", "timeout", "cpu_time", "output".
	Hit []string `json:"hit,omitempty"`
	// Duration is from start to exit. CPUTime is that of all processes.
	// PeakMemory is in bytes; zero where the host does not report it.
	Duration   time.Duration `json:"duration"`
	PeakMemory int64         `json:"peak_memory,omitempty"`
	CPUTime    time.Duration `json:"cpu_time,omitempty"`
	// Queued is how long the execution waited for room on the host.
	Queued time.Duration `json:"queued,omitempty"`
	// Changed lists files of the workspace that the program made, changed or
	// removed, at most MaxChanged, sorted; ChangedMore counts the rest.
	Changed     []Change `json:"changed,omitempty"`
	ChangedMore int      `json:"changed_more,omitempty"`
	// Artifacts are the files that Spec.Artifacts match, links apart.
	// ArtifactsMissed names those that did not fit Limits.Artifacts.
	Artifacts       []wflo.File `json:"artifacts,omitempty"`
	ArtifactsMissed []string    `json:"artifacts_missed,omitempty"`
	// Traffic is what went through the network, where there was one.
	Traffic *Traffic `json:"traffic,omitempty"`
	// Sandbox is the container's id. Image is the digest of what ran, Runtime
	// the container runtime.
	Sandbox string `json:"sandbox,omitempty"`
	Image   string `json:"image"`
	Runtime string `json:"runtime,omitempty"`
	// Host is the name of the host that it ran on, where there are several. Moved says
	// from where and when the box came there, where it has moved.
	Host  string `json:"host,omitempty"`
	Moved string `json:"moved,omitempty"`
	// Profiles are the profiles in force, such as "seccomp=strict" and
	// "apparmor=wflo-sandbox"; Missing lists defences that the host lacks,
	// such as "apparmor".
	Profiles []string `json:"profiles,omitempty"`
	Missing  []string `json:"missing,omitempty"`
	// Warm says that a sandbox was waiting, Adopted that the execution was
	// begun by a worker that is gone.
	Warm    bool `json:"warm,omitempty"`
	Adopted bool `json:"adopted,omitempty"`
}

// OK says that the program ran and ended well.
func (r Result) OK() bool { return r.Outcome == Succeeded }

// MaxChanged is how many changed files a Result lists.
const MaxChanged = 1000

// Change is what happened to a file of the workspace.
type Change struct {
	Name string `json:"name"`
	Op   string `json:"op"`             // "added", "changed" or "removed"
	Size int64  `json:"size,omitempty"` // bytes, afterwards
}

// Traffic is what went through a sandbox's network.
type Traffic struct {
	Flows   []Flow    `json:"flows,omitempty"`   // what was allowed, by destination
	Refused []Refusal `json:"refused,omitempty"` // what was not
}

// Flow is the traffic with one destination.
type Flow struct {
	To          string `json:"to"` // host:port
	Connections int    `json:"connections"`
	Sent        int64  `json:"sent"`     // bytes
	Received    int64  `json:"received"` // bytes
}

// Refusal is a destination that a program tried and must not reach.
type Refusal struct {
	To     string `json:"to"`     // host:port
	Reason string `json:"reason"` // such as "not on the allow-list"
	Count  int    `json:"count"`
}

// Stream names an output stream.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Secrets looks up secrets by name. An unknown name is an *wflo.Error with
// CodeMissingKey; no error may hold a value.
type Secrets interface {
	Secret(ctx context.Context, name string) ([]byte, error)
}
