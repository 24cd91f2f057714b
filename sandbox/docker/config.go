package docker

import (
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/admission"
	"github.com/wflo-ai/wflo-go/sandbox/egress"
)

// DefaultImage is what deploy/setup.sh builds.
const DefaultImage = "wflo/sandbox:1"

// AnyImage in Config.Images lets specifications name any image on the engine.
const AnyImage = "*"

// AnyOwner as Config.Owner makes List, Kill and Collect see what every
// installation made on the engine. Nothing can be run with it.
const AnyOwner = "*"

// Config configures a Runner. The zero value is a working default.
type Config struct {
	// Host is the engine's address, such as unix:///var/run/docker.sock or
	// tcp://NAME:2376. Empty means what DOCKER_HOST says, or the local socket.
	Host string
	// CertPath is a directory with ca.pem, cert.pem and key.pem for an engine at a
	// tcp address; empty means DOCKER_CERT_PATH, and ~/.docker where
	// DOCKER_TLS_VERIFY is set. The engine's certificate is verified whatever that
	// says. An address beyond this machine is refused without certificates.
	CertPath string
	// Hosts are several engines that share the work, in place of Host: see [Hosts].
	// They are for package plugin; New takes one engine.
	Hosts []Host
	// HostGone and KeepLess are HostsConfig.Gone and HostsConfig.KeepLess.
	HostGone time.Duration
	KeepLess bool
	// Image runs specifications that name none; empty means DefaultImage. It
	// needs a /workspace that everybody may write to (mode 1777), from which
	// the workspaces of boxes are made.
	Image string
	// Images are further images that a specification may name; see AnyImage.
	// None means that there is no choice. An entry NAME@sha256:DIGEST pins what
	// may run. Nothing is ever pulled.
	Images []string
	// Owner separates installations that share an engine; empty means "wflo".
	Owner string
	// Runtime is the OCI runtime, such as runsc; empty means the engine's
	// default. Runtimes are those that a specification may name besides.
	Runtime  string
	Runtimes []string
	// Max bounds what specifications may ask for; zero fields add no bound.
	// The defaults of package sandbox are lowered to it.
	Max sandbox.Limits
	// RequireAppArmor refuses to run on a host that has neither AppArmor nor
	// SELinux. False reports the lack in Result.Missing.
	RequireAppArmor bool
	// AllowOpenNetwork admits specifications with sandbox.Open, and
	// AllowEngineProfile those with the engine's seccomp profile.
	AllowOpenNetwork   bool
	AllowEngineProfile bool
	// Pool keeps sandboxes waiting.
	Pool Pool
	// Idle is how long a box keeps its container between two executions; zero
	// means 5 minutes, negative that it does not.
	Idle time.Duration
	// Secrets looks up Spec.Secrets and the secrets of injections; nil knows
	// none.
	Secrets sandbox.Secrets
	// Egress configures the proxy behind sandbox.Allow. Its Secrets and Logger
	// default to those given here.
	Egress egress.Config
	// Admission bounds what runs at a time, per host and per tenant.
	Admission admission.Config
	// Observer is told of sandboxes as they come and go; nil is not.
	Observer Observer
	// Starts is how many containers may be starting at once; more wait. Zero
	// means the number of this machine's CPUs, at least 2: starting is work for
	// the engine, and a storm only makes every start slow.
	Starts int
	// EngineTimeout bounds each request to the engine; zero means 60 s. Removing a
	// workspace, whose files may be many, may take ten times as long.
	EngineTimeout time.Duration
	// Logger gets what cannot be returned, such as clean-ups that did not work;
	// nil discards.
	Logger *slog.Logger
}

// Pool says how many sandboxes wait, started and never used. Each costs some
// 6 MB of memory.
type Pool struct {
	// Size is how many wait per kind (image, limits, runtime, profile) that is
	// in use; zero means 2, negative none.
	Size int
	// Max is how many wait in all; zero means 16.
	Max int
	// MaxAge is how long one waits before it is replaced; zero means 10 minutes.
	MaxAge time.Duration
}

// Observer is told of sandboxes. Its methods must return at once.
type Observer interface {
	// Created says how an execution came by its sandbox ("warm": one waited,
	// "kept": its box had one, "cold": it was started) and how long that took.
	Created(how string, took time.Duration)
	// Usage is what a running sandbox uses: percent of one CPU, and bytes.
	Usage(id string, cpuPercent float64, memory int64)
	// Ended says that there will be no more about a sandbox.
	Ended(id string)
}

type unobserved struct{}

func (unobserved) Created(string, time.Duration) {}
func (unobserved) Usage(string, float64, int64)  {}
func (unobserved) Ended(string)                  {}

func (c Config) withDefaults() Config {
	if c.Image == "" {
		c.Image = DefaultImage
	}
	if c.Owner == "" {
		c.Owner = "wflo"
	}
	if c.Starts == 0 {
		c.Starts = max(2, runtime.NumCPU())
	}
	if c.EngineTimeout == 0 {
		c.EngineTimeout = 60 * time.Second
	}
	if c.Idle == 0 {
		c.Idle = 5 * time.Minute
	}
	if c.Pool.Size == 0 {
		c.Pool.Size = 2
	}
	if c.Pool.Max == 0 {
		c.Pool.Max = 16
	}
	if c.Pool.MaxAge == 0 {
		c.Pool.MaxAge = 10 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = unobserved{}
	}
	if c.Secrets == nil {
		c.Secrets = noSecrets{}
	}
	if c.Egress.Secrets == nil {
		c.Egress.Secrets = c.Secrets
	}
	if c.Egress.Logger == nil {
		c.Egress.Logger = c.Logger
	}
	return c
}

func (c Config) validate() error {
	if len(c.Hosts) > 0 {
		return wflo.Invalid("docker.hosts", "has several engines, and a runner has one", "make a runner for each, and NewHosts of them")
	}
	if c.Starts < 0 {
		return wflo.Invalid("docker.starts", "is negative", "use 0 for the number of CPUs")
	}
	if c.EngineTimeout < 0 {
		return wflo.Invalid("docker.engine_timeout", "is negative", "use 0 for 60 s")
	}
	if c.Pool.Max < 0 || c.Pool.MaxAge < 0 {
		return wflo.Invalid("docker.pool", "has a negative bound", "use 0 for the default, or size -1 for no pool")
	}
	if err := sandbox.ValidateBox(c.Owner); err != nil {
		return wflo.Invalid("docker.owner", "is not a short plain text", "use a name such as wflo")
	}
	for _, name := range append([]string{c.Image}, c.Images...) {
		if name == AnyImage {
			continue
		}
		if _, err := reference.ParseAnyReference(name); err != nil || strings.HasPrefix(name, "-") {
			return wflo.Invalid("docker.image", "is not an image: "+name, "name it as registry/name:tag or name@sha256:digest")
		}
	}
	return c.Max.Validate()
}

// admit checks a specification against the package's rules and the Runner's,
// and fills in the defaults.
func (c Config) admit(spec sandbox.Spec) (sandbox.Spec, error) {
	if err := spec.Validate(); err != nil {
		return spec, err
	}
	if err := spec.Limits.Within(c.Max); err != nil {
		return spec, err
	}
	given := spec.Limits
	spec = spec.WithDefaults()
	// Only defaults can be above the maximum here.
	spec.Limits = spec.Limits.Lower(c.Max)
	if given.Tmp == 0 {
		spec.Limits.Tmp = min(spec.Limits.Tmp, spec.Limits.Memory/2)
	}
	if spec.Box == "" && given.Workspace == 0 {
		spec.Limits.Workspace = min(spec.Limits.Workspace, spec.Limits.Memory/2)
	}
	if given.CPUTime == 0 {
		spec.Limits.CPUTime = min(spec.Limits.CPUTime, time.Duration(spec.Limits.CPUs*float64(spec.Limits.Timeout)))
	}
	if spec.Image == "" {
		spec.Image = c.Image
	}
	if spec.Security.Runtime == "" {
		spec.Security.Runtime = c.Runtime
	}
	if spec.Security.Profile == "" {
		spec.Security.Profile = sandbox.Strict
	}
	return spec, c.permit(spec)
}

// runtime gives the runtime to ask the engine for, and refuses one that the
// worker's configuration does not allow. engine is the engine's own choice, which
// may be named as well as left out.
func (c Config) runtime(wanted, engine string) (string, error) {
	switch {
	case wanted == c.Runtime, c.Runtime == "" && wanted == engine:
		return c.Runtime, nil
	case slices.Contains(c.Runtimes, wanted):
		return wanted, nil
	}
	return "", wflo.Errorf(wflo.CodePolicyDenied, "leave it empty, or add it to the runtimes in the worker's configuration",
		"spec.security.runtime %q is not allowed on this worker", wanted)
}

// permit refuses what the worker's configuration does not allow.
func (c Config) permit(spec sandbox.Spec) error {
	denied := func(hint, format string, args ...any) error {
		return wflo.Errorf(wflo.CodePolicyDenied, hint, format, args...)
	}
	switch {
	case c.Owner == AnyOwner:
		return denied("configure an owner", "a runner of every owner runs nothing")
	case spec.Image != c.Image && !slices.Contains(c.Images, spec.Image) && !slices.Contains(c.Images, AnyImage):
		return denied("use "+c.Image+", or add it to the sandbox's images in the worker's configuration", "spec.image %q is not allowed on this worker", spec.Image)
	case spec.Security.Profile == sandbox.Engine && !c.AllowEngineProfile:
		return denied("leave it empty, or allow it in the worker's configuration", "spec.security.profile %q is not allowed on this worker", spec.Security.Profile)
	case spec.Network.Mode == sandbox.NetworkOpen && !c.AllowOpenNetwork:
		return denied("list destinations with sandbox.Allow, or allow open networks in the worker's configuration", "spec.network.mode %q is not allowed on this worker", spec.Network.Mode)
	}
	return nil
}
