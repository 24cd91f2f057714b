package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/deploy"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// thereIs says in a word whether a defence is there; in capitals, nothing runs
// without it.
func thereIs(d docker.Defence) string {
	switch {
	case d.OK:
		return "yes"
	case d.Required:
		return "MISSING"
	}
	return "no"
}

func (a *app) sandboxCheckCmd() *cobra.Command {
	var o ownerFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Show which defences this host's sandboxes have",
		Long: `Show which defences the sandboxes of this host have, and what to do for those
that it lacks. The exit code is 1 if nothing can be run: no engine answers, or
it lacks what is required. Of several hosts, one that cannot be used is enough.`,
		Example: "  wflo sandbox check\n  DOCKER_HOST=unix:///run/podman/podman.sock wflo sandbox check -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			owner, err := a.sandboxOwner(o)
			if err != nil {
				return err
			}
			return a.withSandboxes(cmd.Context(), owner, docker.Config{}, func(boxes Sandboxes) error {
				return a.sandboxCheck(cmd.Context(), boxes)
			})
		},
	}
	o.add(cmd.Flags())
	return cmd
}

func (a *app) sandboxCheck(ctx context.Context, boxes Sandboxes) error {
	defences, unusable := boxes.Defences(ctx)
	if len(defences) == 0 && unusable != nil {
		return unusable
	}
	var missing []string
	for i, d := range defences {
		if d.OK {
			defences[i].Hint = "" // there is nothing to mend
		} else if d.Required {
			missing = append(missing, about(d))
		}
	}
	header, onHosts := []string{"DEFENCE", "THERE", "DETAIL"}, several(defences, func(d docker.Defence) string { return d.Host })
	if onHosts {
		header = append([]string{"HOST"}, header...)
	}
	err := printAll(a, defences, header, func(d docker.Defence) []string {
		detail := d.Detail
		if d.Hint != "" {
			// An error's text may have the hint already.
			detail = strings.Replace(detail, " ("+d.Hint+")", "", 1)
			detail = strings.TrimPrefix(detail+"; "+d.Hint, "; ")
		}
		cells := []string{d.Name, thereIs(d), detail}
		if onHosts {
			cells = append([]string{d.Host}, cells...)
		}
		return cells
	})
	if unusable == nil && len(missing) > 0 {
		unusable = wflo.Errorf(wflo.CodeSandboxUnavailable, "see the hints above",
			"sandboxes cannot be used on this host: it lacks %s", strings.Join(missing, ", "))
	}
	return errors.Join(unusable, err)
}

func (a *app) sandboxImageCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "The image that programs run in",
		Long:  "The image that programs run in, where nothing else is asked for.",
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "build",
		Short: "Build wflo/sandbox:1 from Debian packages, without a registry",
		Long: `Build the image wflo/sandbox:1 from Debian packages and load it into the engine,
which takes a minute or two. It needs root, mmdebstrap, the docker command and a
Debian mirror; WFLO_DEBIAN_MIRROR and WFLO_DEBIAN_SECURITY_MIRROR name others
than Debian's own.`,
		Example: "  sudo wflo sandbox image build",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.buildImage(cmd.Context(), os.Geteuid())
		},
	})
	return cmd
}

// buildImage runs the recipe as it was when this program was built.
func (a *app) buildImage(ctx context.Context, uid int) (err error) {
	if uid != 0 {
		return wflo.Errorf("", "such as: sudo wflo sandbox image build", "only root can build the image: its files belong to root")
	}
	for _, tool := range []struct{ name, hint string }{
		{"bash", "install it"},
		{"mmdebstrap", "apt-get install mmdebstrap; elsewhere, build deploy/sandbox-image/Dockerfile with docker build"},
		{"docker", "install the docker command, such as with apt-get install docker.io"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			return wflo.Errorf("", tool.hint, "building the image needs %s, which is not here", tool.name)
		}
	}
	dir, err := os.MkdirTemp("", "wflo-image-")
	if err != nil {
		return fmt.Errorf("build the image: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(dir, deploy.SandboxImage()); err != nil {
		return fmt.Errorf("unpack the recipe: %w", err)
	}
	if err := a.recipe(ctx, dir).Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return wflo.Errorf("", "what it said is above", "the recipe of the image failed: %w", err)
	}
	return nil
}

// recipe is the build script in dir; what it says is progress. Ctrl-C on a
// terminal reaches all that the script started as well, so it can clean up.
func (a *app) recipe(ctx context.Context, dir string, args ...string) *exec.Cmd {
	script := filepath.Join(dir, deploy.SandboxImageScript)
	cmd := exec.CommandContext(ctx, "bash", append([]string{script}, args...)...) //nolint:gosec // the script is a part of this program
	cmd.Stdout, cmd.Stderr = a.deps.Stderr, a.deps.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
