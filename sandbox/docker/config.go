package docker

import (
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// DefaultImage is what deploy/setup.sh builds.
const DefaultImage = "wflo/sandbox:1"

// AnyImage in Config.Images lets specifications name any image on the engine.
const AnyImage = "*"

// Config configures a Runner. The zero value is a working default.
type Config struct {
	// Host is the engine's address, such as unix:///var/run/docker.sock. Empty
	// means what the DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH
	// variables say, or the local socket.
	Host string
	// Image runs specifications that name none; empty means DefaultImage. The
	// runner's own steps on a box's files run in it too, so it needs a POSIX
	// shell, GNU coreutils and tar, and a /workspace that belongs to 65534.
	Image string
	// Images are further images that a specification may name; see AnyImage.
	// None means that there is no choice. An image needs /bin/sh, and dd and tar
	// where specifications bring files or a source. Nothing is ever pulled.
	Images []string
	// Owner separates installations that share an engine; empty means "wflo".
	Owner string
	// Runtime is the OCI runtime, such as runsc; empty means the engine's
	// default. One that the engine does not have is an error of every Run.
	Runtime string
	// Max bounds what specifications may ask for; zero fields add no bound.
	// The defaults of package sandbox are lowered to it.
	Max sandbox.Limits
	// RequireAppArmor refuses to run on a host that has neither AppArmor nor
	// SELinux. False reports the lack in Result.Missing.
	RequireAppArmor bool
	// Starts is how many containers may be starting at once; more wait. Zero
	// means the number of this machine's CPUs, at least 2: starting is work for
	// the engine, and a storm only makes every start slow.
	Starts int
	// EngineTimeout bounds each request to the engine; zero means 60 s.
	EngineTimeout time.Duration
	// Logger gets what cannot be returned, such as clean-ups that did not work;
	// nil discards.
	Logger *slog.Logger
}

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
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	if c.Starts < 0 {
		return wflo.Invalid("docker.starts", "is negative", "use 0 for the number of CPUs")
	}
	if c.EngineTimeout < 0 {
		return wflo.Invalid("docker.engine_timeout", "is negative", "use 0 for 60 s")
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

// admits says whether a specification may name the image.
func (c Config) admits(image string) bool {
	if image == c.Image {
		return true
	}
	for _, name := range c.Images {
		if name == image || name == AnyImage {
			return true
		}
	}
	return false
}
