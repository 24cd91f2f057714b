package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
)

func (a *app) haltCmd() *cobra.Command {
	var halt wflo.Halt
	cmd := &cobra.Command{
		Use:   "halt ID",
		Short: "Stop a run now and undo what it did",
		Long: `Stop a run: it starts nothing new, what is running is cancelled, and the
compensations that it registered are carried out.`,
		Example:           "  wflo halt refund-k3f9 --reason \"wrong customer\"",
		Args:              args("ID"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(halt.Reason) == "" {
				return Usage("such as: --reason \"wrong customer\"", "--reason is missing")
			}
			if halt.By == "" {
				halt.By = userName()
			}
			ctx := cmd.Context()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.SignalWorkflow(ctx, names[0], "", wflo.SignalHalt, halt); err != nil {
				return c.explain(err, names[0])
			}
			return a.done(names[0], "halting")
		},
	}
	cmd.Flags().StringVar(&halt.Reason, "reason", "", "why; required")
	cmd.Flags().StringVar(&halt.By, "as", "", "who halts (also WFLO_USER; default: the login name)")
	return cmd
}

func (a *app) cancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "cancel ID",
		Short:             "Ask a run to end",
		Long:              "Ask a run to end. Its own code decides how; `wflo halt` does not ask.",
		Example:           "  wflo cancel refund-k3f9",
		Args:              args("ID"),
		ValidArgsFunction: a.completeRuns,
		RunE: func(cmd *cobra.Command, names []string) error {
			ctx := cmd.Context()
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.CancelWorkflow(ctx, names[0], ""); err != nil {
				return c.explain(err, names[0])
			}
			return a.done(names[0], "cancelling")
		},
	}
}

// done prints that a request was taken.
func (a *app) done(id, what string) error {
	if a.format != formatText {
		return a.printJSON(map[string]string{"id": id, "state": what})
	}
	a.note("see: wflo status %s", shellWord(id))
	_, err := fmt.Fprintf(a.deps.Stdout, "%s %s\n", what, escapeLine(id))
	return err
}

func (a *app) keygenCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make an approver key",
		Long: `Make the Ed25519 key that signs your decisions at approval gates. The printed
NAME=PUBLIC belongs into the worker's WFLO_APPROVER_KEYS; the file stays with
you. Its name without the extension is the name of the key.`,
		Example: "  wflo keygen ann.key",
		Args:    args("FILE"),
		RunE: func(_ *cobra.Command, names []string) error {
			key, err := approver.Create(names[0])
			if err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(map[string]string{"name": key.Name, "public_key": key.Public(), "file": names[0]})
			}
			a.note("sign with: wflo approve GATE --key %s", shellWord(names[0]))
			_, err = fmt.Fprintf(a.deps.Stdout, "%s=%s\n", key.Name, key.Public())
			return err
		},
	}
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version and what is built in",
		Example: "  wflo version\n  wflo version --jq .wflo",
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			parts := map[string]string{"wflo": a.version(), "go": runtime.Version()}
			maps.Copy(parts, a.deps.Parts)
			if a.format != formatText {
				return a.printJSON(parts)
			}
			fmt.Fprintf(a.deps.Stdout, "wflo %s\n", parts["wflo"])
			delete(parts, "wflo")
			for _, name := range slices.Sorted(maps.Keys(parts)) {
				fmt.Fprintf(a.deps.Stdout, "%s %s\n", name, parts[name])
			}
			return nil
		},
	}
}

func (a *app) version() string {
	if a.deps.Version != "" {
		return a.deps.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// DefaultDataDir is where `wflo dev` keeps its data: wflo in XDG_DATA_HOME, or
// in ~/.local/share. Without a home it is in the working directory.
func DefaultDataDir() string {
	// The XDG specification wants relative paths ignored.
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "wflo")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "wflo")
	}
	return ".wflo"
}
