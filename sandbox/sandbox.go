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
	Node   Language = "node"
)

// Spec is one execution in a sandbox. The zero value of every field is the
// safe default; Argv or Source is required.
type Spec struct {
	// Box names the sandbox whose workspace the execution shares, usually the
	// run's. Empty means a one-shot sandbox whose workspace is thrown away.
	Box string `json:"box,omitempty"`
	// Key identifies the execution across retries: a runner that finds an
	// execution with the same key still going adopts it, and its output is got
	// once. One that it cannot adopt it ends first.
	Key string `json:"key,omitempty"`
	// Origin says what the execution is part of; it is on everything that a
	// runner makes for it, and quotas count by Origin.Tenant.
	Origin Origin `json:"origin,omitzero"`
	// Image is the container image; empty means the runner's default.
	Image string `json:"image,omitempty"`
	// Argv is the program and its arguments. Or:
	Argv []string `json:"argv,omitempty"`
	// Language and Source are a script, written to a file and interpreted.
	Language Language `json:"language,omitempty"`
	Source   string   `json:"source,omitempty"`
	// Stdin is what the program reads.
	Stdin []byte `json:"stdin,omitempty"`
	// Env adds variables. They are recorded in the workflow's history: no
	// secrets.
	Env map[string]string `json:"env,omitempty"`
	// Secrets adds variables whose values are looked up by the worker: name of
	// the variable to name of the secret. The values reach the program and
	// nothing else; where they show up in its output they are masked.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Files are put into the workspace before the program starts.
	Files []wflo.File `json:"files,omitempty"`
	// Artifacts are patterns of files that come back with the result, such as
	// "out/*.csv" or "**/*.png"; see [Match].
	Artifacts []string `json:"artifacts,omitempty"`
	// Network is what the program may reach; the zero value is nothing.
	Network Network `json:"network,omitzero"`
	// Security chooses runtime and profile, and what must not be missing.
	Security Security `json:"security,omitzero"`
	// Limits bound the execution.
	Limits Limits `json:"limits,omitzero"`
}

// Origin says what an execution is part of.
type Origin struct {
	Tenant  string `json:"tenant,omitempty"`  // whose quota it uses, such as a team
	Run     string `json:"run,omitempty"`     // the run's ID
	Step    string `json:"step,omitempty"`    // the step's key
	Attempt int32  `json:"attempt,omitempty"` // of the activity, from 1
}

// Security chooses defences. The zero value is the runner's default, which is
// the strictest that the host offers.
type Security struct {
	// Runtime is the OCI runtime, runc or runsc (gVisor); empty means the
	// runner's default. One that the host lacks is refused.
	Runtime string `json:"runtime,omitempty"`
	// Profile names the seccomp profile: "strict", wflo's own and the default,
	// or "engine", the engine's, which allows more. The worker's configuration
	// must admit "engine".
	Profile string `json:"profile,omitempty"`
	// Require lists defences without which the execution is refused instead of
	// reported in Result.Missing: "apparmor", "gvisor", "userns".
	Require []string `json:"require,omitempty"`
}

// The runtimes and profiles that a specification may name.
const (
	Runc   = "runc"
	Runsc  = "runsc"
	Strict = "strict"
	Engine = "engine"
)

// Limits bound one execution. Zero means the default.
type Limits struct {
	Memory    int64         `json:"memory,omitempty"`    // bytes, no swap on top; default 512 MiB
	CPUs      float64       `json:"cpus,omitempty"`      // cores; default 0.5
	PIDs      int64         `json:"pids,omitempty"`      // processes and threads; default 128
	Timeout   time.Duration `json:"timeout,omitempty"`   // wall clock; default 300 s
	CPUTime   time.Duration `json:"cpu_time,omitempty"`  // CPU time of all processes; default CPUs x Timeout
	Tmp       int64         `json:"tmp,omitempty"`       // bytes of /tmp; default 64 MiB
	Workspace int64         `json:"workspace,omitempty"` // bytes of /workspace; default 1 GiB, or half of Memory without a box
	File      int64         `json:"file,omitempty"`      // bytes of the largest file; default 256 MiB
	Open      int64         `json:"open,omitempty"`      // open files per process; default 1024
	Output    int64         `json:"output,omitempty"`    // bytes kept per stream; default 1 MiB
	// OutputTotal is how many bytes a program may write to both streams before
	// it is ended; default 4 GiB. What is above Output is watched, not kept.
	OutputTotal int64 `json:"output_total,omitempty"`
	Artifacts   int64 `json:"artifacts,omitempty"` // bytes of all artifacts together; default 16 MiB
}

// Runner runs specifications. Its methods may be called at the same time, for
// the same box too.
type Runner interface {
	// Run executes spec and returns when the program has ended and every
	// process that it started is gone; the box's workspace stays. A nil error
	// comes with a Result, whatever the program did. Cancelling ctx kills the
	// program at once and gives the outcome Cancelled with a nil error. An
	// error is a fault of the machinery, or an *wflo.Error for a specification
	// that cannot work: CodeInvalid, CodePolicyDenied, CodeSandboxUnavailable,
	// CodeSandboxLost. [OutcomeOf] puts both into one word.
	//
	// watch, if not nil, is called with all output as it arrives, not only what
	// the Result keeps, from one goroutine per call of Run; it must not keep p.
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
