// Package sandbox says what untrusted code shall run, within which limits, and
// what came out. It does not run anything itself: a [Runner] does, such as the
// one in sandbox/docker, and every Runner must pass the suite in
// sandbox/sandboxtest.
//
// The two things to know are [Spec], which is plain data that crosses the
// workflow boundary, and [Result], which tells apart how a program ended. A
// failing program is a Result; only faults of the machinery are errors, so that
// Temporal retries those and nothing else.
//
// The package refuses specifications that are not safe: see [Spec.Validate].
package sandbox

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Workspace is where a sandbox's persistent, writable files are.
const Workspace = "/workspace"

// Language names an interpreter of the sandbox image.
type Language string

// The languages of the standard image.
const (
	Python Language = "python"
	Bash   Language = "bash"
)

// Spec is one execution in a sandbox. The zero value of every field is the
// safe default; Argv or Source is required.
type Spec struct {
	// Box names the sandbox whose workspace the execution shares, usually the
	// run's. Empty means a one-shot sandbox whose workspace is thrown away.
	Box string `json:"box,omitempty"`
	// Key identifies the execution across retries: a runner that finds an
	// execution with the same key left behind by a dead worker ends it first.
	Key string `json:"key,omitempty"`
	// Image is the container image; empty means the runner's default.
	Image string `json:"image,omitempty"`
	// Argv is the program and its arguments. Or:
	Argv []string `json:"argv,omitempty"`
	// Language and Source are a script, written to a file and interpreted.
	Language Language `json:"language,omitempty"`
	Source   string   `json:"source,omitempty"`
	// Stdin is what the program reads.
	Stdin []byte `json:"stdin,omitempty"`
	// Env adds variables. They are visible in the container's description:
	// no secrets.
	Env map[string]string `json:"env,omitempty"`
	// Files are put into the workspace before the program starts.
	Files []wflo.File `json:"files,omitempty"`
	// Limits bound the execution.
	Limits Limits `json:"limits,omitzero"`
}

// Limits bound one execution. Zero means the default.
type Limits struct {
	Memory  int64         `json:"memory,omitempty"`  // bytes, no swap on top; default 512 MiB
	CPUs    float64       `json:"cpus,omitempty"`    // cores; default 0.5
	PIDs    int64         `json:"pids,omitempty"`    // processes and threads; default 128
	Timeout time.Duration `json:"timeout,omitempty"` // wall clock; default 300 s
	Tmp     int64         `json:"tmp,omitempty"`     // bytes of /tmp; default 64 MiB
	File    int64         `json:"file,omitempty"`    // bytes of the largest file; default 256 MiB
	Open    int64         `json:"open,omitempty"`    // open files; default 1024
	Output  int64         `json:"output,omitempty"`  // bytes kept per stream; default 1 MiB
}

// Outcome says how an execution ended.
type Outcome string

// The outcomes that runners tell apart.
const (
	Succeeded   Outcome = "succeeded"     // exit code 0
	Nonzero     Outcome = "nonzero"       // the program ended itself with another code
	Signalled   Outcome = "signalled"     // a signal from inside ended it
	OutOfMemory Outcome = "out_of_memory" // the memory limit ended it
	Timeout     Outcome = "timeout"       // the wall clock ended it
	StartFailed Outcome = "start_failed"  // the program could not be started
	Cancelled   Outcome = "cancelled"     // the caller ended it
)

// Result is what came out of an execution.
type Result struct {
	Outcome  Outcome `json:"outcome"`
	ExitCode int     `json:"exit_code"`
	// Stdout and Stderr hold the first Limits.Output bytes of each stream, made
	// valid UTF-8; Truncated counts the bytes that were dropped.
	Stdout          string `json:"stdout"`
	Stderr          string `json:"stderr"`
	StdoutTruncated int64  `json:"stdout_truncated,omitempty"`
	StderrTruncated int64  `json:"stderr_truncated,omitempty"`
	// OOM says that the kernel killed something for memory, even if the main
	// program survived it.
	OOM bool `json:"oom,omitempty"`
	// Duration is from start to exit. PeakMemory is in bytes and CPUTime in
	// seconds of CPU; zero where the host does not report them.
	Duration   time.Duration `json:"duration"`
	PeakMemory int64         `json:"peak_memory,omitempty"`
	CPUTime    time.Duration `json:"cpu_time,omitempty"`
	// Image is the digest of what ran, Runtime the container runtime.
	Image   string `json:"image"`
	Runtime string `json:"runtime,omitempty"`
	// Missing lists defences that the host lacks, such as "apparmor".
	Missing []string `json:"missing,omitempty"`
}

// OK says that the program ran and ended well.
func (r Result) OK() bool { return r.Outcome == Succeeded }

// Stream names an output stream.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Runner runs specifications. Its methods may be called at the same time, for
// the same box too.
type Runner interface {
	// Run executes spec and returns when the program has ended and everything
	// that it started is gone, except for the box's workspace. A nil error
	// comes with a Result, whatever the program did. Cancelling ctx kills the
	// program at once and gives the outcome Cancelled with a nil error. An
	// error is a fault of the machinery, or an *wflo.Error for a specification
	// that cannot work: CodeInvalid, CodeSandboxUnavailable.
	//
	// watch, if not nil, is called with output as it arrives, from one
	// goroutine per call of Run; it must not keep p.
	Run(ctx context.Context, spec Spec, watch func(s Stream, p []byte)) (Result, error)
	// ReadFile reads a regular file of the box's workspace, at most limit
	// bytes. A missing file, another kind of file, or a larger one is an
	// *wflo.Error with CodeInvalid.
	ReadFile(ctx context.Context, box, name string, limit int64) ([]byte, error)
	// WriteFiles puts files into the box's workspace, making directories.
	WriteFiles(ctx context.Context, box string, files []wflo.File) error
	// Close removes everything of the box, running executions first. It is
	// idempotent; a box that does not exist is no error.
	Close(ctx context.Context, box string) error
	// Boxes lists the boxes of this runner's owner that still have containers
	// or a workspace, for a sweep of what dead runs left behind.
	Boxes(ctx context.Context) ([]string, error)
}
