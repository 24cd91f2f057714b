// Package docker runs untrusted code in locked-down containers. It is the one
// package that talks to a container engine.
//
// Every execution is a container of its own that is never used again: made,
// attached, started, watched, looked at and removed. What lasts is a box's
// workspace, one labelled volume. The things to call are [New] and the methods
// of sandbox.Runner; Runner.Check says what the engine can do, for a doctor.
//
// Every container has a read-only root, no network, no capabilities, no way to
// new privileges, the engine's seccomp profile, a user of its own, sized
// writable places in memory, and limits on memory (without swap), CPU,
// processes, open files and file size. None of it is optional, and before its
// first execution a Runner starts a probe inside and looks whether it is so: an
// engine that ignores a defence is refused. A host without AppArmor is reported
// in every result.
//
// The package refuses: images that are not allowed or declare volumes, limits
// above Config.Max, engines without seccomp. It never pulls images and never
// uses the engine's copy interface. A workspace in memory (a specification
// without a box) holds half of the memory limit; the size of a box's volume is
// not bounded by the engine, only each file in it.
package docker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// Runner runs specifications on one engine. Make it with New. It implements
// sandbox.Runner.
type Runner struct {
	config Config
	engine engine
	starts chan struct{} // a slot per container that may be starting

	checking chan struct{} // held by the one that checks the engine
	mu       sync.Mutex
	checked  *Engine
	live     map[*execution]struct{}
}

var _ sandbox.Runner = (*Runner)(nil)

// New makes a Runner. Only a wrong configuration is an error: New tries the
// engine and removes what dead workers left behind, but an engine that does not
// answer yet is logged, and Run fails with CodeSandboxUnavailable until it does.
func New(ctx context.Context, config Config) (*Runner, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if config.Host != "" {
		options = append(options, client.WithHost(config.Host))
	}
	cli, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "set docker.host or DOCKER_HOST to an address such as unix:///var/run/docker.sock", "docker.host: %w", err)
	}
	r := newRunner(config, cli)
	if _, err := r.Check(ctx); err != nil {
		config.Logger.WarnContext(ctx, "sandbox is not available yet", "error", err)
	} else if err := r.sweep(ctx); err != nil {
		config.Logger.WarnContext(ctx, "sweep of expired sandboxes", "error", err)
	}
	return r, nil
}

func newRunner(config Config, e engine) *Runner {
	return &Runner{
		config: config, engine: e,
		starts:   make(chan struct{}, config.Starts),
		checking: make(chan struct{}, 1),
		live:     map[*execution]struct{}{},
	}
}

// Disconnect closes idle connections to the engine. Boxes stay.
func (r *Runner) Disconnect() error { return r.engine.Close() }

// Run executes spec; see sandbox.Runner. watch gets the bytes that are kept,
// before they are made valid UTF-8.
func (r *Runner) Run(ctx context.Context, spec sandbox.Spec, watch func(s sandbox.Stream, p []byte)) (sandbox.Result, error) {
	spec, err := r.admit(spec)
	if err != nil {
		return sandbox.Result{}, err
	}
	about, err := r.Check(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return sandbox.Result{Outcome: sandbox.Cancelled}, nil //nolint:nilerr // the contract: cancelled is a result
		}
		return sandbox.Result{}, err
	}
	j, err := r.job(ctx, spec)
	if err == nil {
		var end ending
		if end, err = r.execute(ctx, j, watch); err == nil {
			return result(j, end, about), nil
		}
	}
	if ctx.Err() != nil {
		// Whatever broke, the caller no longer waits for it.
		if !errors.Is(err, ctx.Err()) {
			r.config.Logger.WarnContext(ctx, "cancelled execution", "key", spec.Key, "error", err)
		}
		return sandbox.Result{Outcome: sandbox.Cancelled, Runtime: about.Runtime, Missing: about.Missing}, nil
	}
	return sandbox.Result{}, err
}

// admit checks a specification against the package's rules and the Runner's.
func (r *Runner) admit(spec sandbox.Spec) (sandbox.Spec, error) {
	if err := spec.Validate(); err != nil {
		return spec, err
	}
	if err := spec.Limits.Within(r.config.Max); err != nil {
		return spec, err
	}
	given := spec.Limits
	spec = spec.WithDefaults()
	// Only defaults can be above the maximum here.
	spec.Limits = spec.Limits.Lower(r.config.Max)
	if given.Tmp == 0 {
		spec.Limits.Tmp = min(spec.Limits.Tmp, spec.Limits.Memory/2)
	}
	if spec.Image == "" {
		spec.Image = r.config.Image
	}
	if !r.config.admits(spec.Image) {
		return spec, wflo.Invalid("spec.image", fmt.Sprintf("%q is not allowed on this worker", spec.Image),
			"use "+r.config.Image+", or add it to the sandbox's images in the worker's configuration")
	}
	return spec, nil
}

// job translates an admitted specification.
func (r *Runner) job(ctx context.Context, spec sandbox.Spec) (job, error) {
	image, err := r.image(ctx, spec.Image)
	if err != nil {
		return job{}, err
	}
	j := job{
		key: spec.Key, box: spec.Box, image: image,
		argv: spec.Argv, env: maps.Clone(spec.Env), stdin: spec.Stdin,
		limits: spec.Limits, created: time.Now(),
	}
	j.name = r.containerName(spec.Key)
	var source *tarFile
	if spec.Source != "" {
		var env map[string]string
		j.argv, env, source = script(spec.Language, spec.Source)
		maps.Copy(env, spec.Env)
		j.env = env
	}
	if j.files, err = pack(spec.Files, source); err != nil {
		return job{}, err
	}
	if spec.Box != "" {
		j.volume = r.volumeName(spec.Box)
		if spec.Image != r.config.Image {
			err = r.seed(ctx, j)
		}
	}
	return j, err
}

// result puts what came out into the caller's words.
func result(j job, end ending, about Engine) sandbox.Result {
	res := sandbox.Result{
		Outcome: judge(end), ExitCode: end.code, OOM: end.oom,
		Duration: end.duration, PeakMemory: end.usage.peak, CPUTime: end.usage.cpu,
		Image: j.image, Runtime: about.Runtime, Missing: about.Missing,
	}
	if end.out != nil {
		res.Stdout, res.StdoutTruncated = end.out.stdout.text()
		res.Stderr, res.StderrTruncated = end.out.stderr.text()
	}
	return res
}

// containerName is the same for the same key, so that a retry meets what a dead
// worker left behind; without a key it is random.
func (r *Runner) containerName(key string) string {
	if key == "" {
		return "wflo-" + strings.ToLower(rand.Text())
	}
	return "wflo-" + digest(r.config.Owner, "key", key)
}

func (r *Runner) volumeName(box string) string {
	return "wflo-" + digest(r.config.Owner, "box", box)
}

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s;", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
