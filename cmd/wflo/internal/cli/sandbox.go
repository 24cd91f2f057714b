package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// Sandboxes is what the commands below `wflo sandbox` ask of the container
// engine; *docker.Runner is one.
type Sandboxes interface {
	// Run is that of sandbox.Runner.
	Run(ctx context.Context, spec sandbox.Spec, watch func(s sandbox.Stream, p []byte)) (sandbox.Result, error)
	// List gives the sandboxes of the configured owner, of every one with
	// docker.AnyOwner.
	List(ctx context.Context) ([]docker.Sandbox, error)
	// Stats reads what a running sandbox uses.
	Stats(ctx context.Context, id string) (docker.Stats, error)
	// Kill ends and removes a sandbox.
	Kill(ctx context.Context, id string) error
	// Collect removes what is past its time, or only says what it would remove.
	Collect(ctx context.Context, dryRun bool) (docker.Collected, error)
	// Defences says what protects the host from what runs in a sandbox, also
	// when it finds that nothing can run.
	Defences(ctx context.Context) ([]docker.Defence, error)
	// Shutdown ends what still runs and lets go of the engine.
	Shutdown(ctx context.Context) error
}

func dockerSandboxes(ctx context.Context, config docker.Config) (Sandboxes, error) {
	return docker.New(ctx, config)
}

// shutdownTime bounds how long a command waits for the engine once it is done.
const shutdownTime = 30 * time.Second

func (a *app) sandboxCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run programs in sandboxes, and look after the sandboxes of this host",
		Long: `Run a program in a sandbox, and see, end and clear away the sandboxes that
workers made on this host's container engine. WFLO_SANDBOX_HOST or DOCKER_HOST
name another engine. With WFLO_SANDBOX_HOSTS, as for a worker, it is about all
hosts that are named there: a program runs on the first that answers, and --host
chooses one.

A sandbox belongs to an owner: the installation whose worker made it. Commands
see those of one owner: that of --owner, of WFLO_OWNER, of the Temporal address
and namespace that are set, or of ` + "`wflo dev`" + ` on this machine.`,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) > 0 {
				return asUsage(fmt.Errorf("unknown command %q for %q%s", given[0], cmd.CommandPath(), suggested(cmd, given[0])))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&a.sandboxHost, "host", "", "only this one of the hosts in WFLO_SANDBOX_HOSTS")
	cmd.AddCommand(a.sandboxRunCmd(), a.sandboxListCmd(), a.sandboxStatsCmd(), a.sandboxKillCmd(), a.sandboxCollectCmd(), a.sandboxCheckCmd(), a.sandboxImageCmd())
	return cmd
}

// suggested is what the parser adds to its own errors; a parent that runs has
// to add it itself.
func suggested(cmd *cobra.Command, typed string) string {
	cmd.SuggestionsMinimumDistance = 2
	text := ""
	for _, name := range cmd.SuggestionsFor(typed) {
		text += "\n" + name
	}
	if text == "" {
		return ""
	}
	return "\nDid you mean this?" + text
}

// ownerFlags say whose sandboxes a command is about.
type ownerFlags struct {
	owner string
	all   bool
}

func (o *ownerFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.owner, "owner", "", "whose sandboxes (also WFLO_OWNER; default: that of the worker at Temporal's address, or of wflo dev)")
}

func (o *ownerFlags) addAll(flags *pflag.FlagSet) {
	o.add(flags)
	flags.BoolVar(&o.all, "all-owners", false, "whatever wflo made on this engine")
}

// sandboxOwner is the owner as the worker has it that this command line is for.
func (a *app) sandboxOwner(o ownerFlags) (string, error) {
	switch {
	case o.all && o.owner != "":
		return "", Usage("give one of them", "--owner and --all-owners exclude each other")
	case o.all:
		return docker.AnyOwner, nil
	case o.owner != "":
		return o.owner, nil
	case os.Getenv("WFLO_OWNER") != "":
		return os.Getenv("WFLO_OWNER"), nil
	}
	opts, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{ConfigFileProfile: a.conn.profile})
	if err != nil {
		return "", Usage("check the TEMPORAL_ variables and the profile, or name the owner with --owner", "connection settings: %w", err)
	}
	address, namespace := opts.HostPort, opts.Namespace
	if a.conn.address != "" {
		address = a.conn.address
	}
	if a.conn.namespace != "" {
		namespace = a.conn.namespace
	}
	if namespace == "" {
		namespace = client.DefaultNamespace
	}
	if address == "" {
		dir := os.Getenv("WFLO_DATA_DIR")
		if dir == "" {
			dir = DefaultDataDir()
		}
		return DevOwner(dir, namespace), nil
	}
	// As the plugin names it when nobody does.
	return address + "/" + namespace, nil
}

// DevOwner is the owner of the sandboxes that `wflo dev` makes for runs that it
// keeps in dir.
func DevOwner(dir, namespace string) string {
	if path, err := filepath.Abs(dir); err == nil {
		dir = path
	}
	if path, err := filepath.EvalSymlinks(dir); err == nil {
		dir = path
	}
	sum := sha256.Sum256([]byte(dir + "\n" + namespace))
	return "dev-" + hex.EncodeToString(sum[:8])
}

// lookAfter is withSandboxes for commands that run nothing: a connection for
// every owner does not try the engine with a sandbox of its own, which would
// take a second and be in the list.
func (a *app) lookAfter(ctx context.Context, o ownerFlags, do func(boxes Sandboxes, owner string) error) error {
	owner, err := a.sandboxOwner(o)
	if err != nil {
		return err
	}
	return a.withSandboxes(ctx, docker.AnyOwner, docker.Config{}, func(boxes Sandboxes) error { return do(boxes, owner) })
}

// owned lists the sandboxes of an owner.
func owned(ctx context.Context, boxes Sandboxes, owner string) ([]docker.Sandbox, error) {
	list, err := boxes.List(ctx)
	return slices.DeleteFunc(list, func(s docker.Sandbox) bool { return owner != docker.AnyOwner && s.Owner != owner }), err
}

// pick finds the sandbox that is called id, or whose id alone begins so.
func pick(list []docker.Sandbox, id string) (docker.Sandbox, error) {
	var found []docker.Sandbox
	for _, s := range list {
		switch {
		case s.ID == id || s.Name == id:
			return s, nil
		case id != "" && strings.HasPrefix(s.ID, id):
			found = append(found, s)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return docker.Sandbox{}, wflo.Invalid("sandbox", fmt.Sprintf("%q does not exist", id), "see: wflo sandbox ls --all; --all-owners reaches those of others")
	}
	return docker.Sandbox{}, wflo.Invalid("sandbox", fmt.Sprintf("%q is the beginning of %d ids", id, len(found)), "give more of it")
}

// withSandboxes calls do with a connection to the engine. No sandbox is kept
// waiting: the process is about to end.
func (a *app) withSandboxes(ctx context.Context, owner string, config docker.Config, do func(Sandboxes) error) (err error) {
	config.Owner, config.Pool = owner, docker.Pool{Size: -1}
	boxes, err := a.sandboxHosts(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		// The command's own context may have been interrupted.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		err = errors.Join(err, boxes.Shutdown(last))
	}()
	return do(boxes)
}
