package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
)

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
	var server bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version and what is built in",
		Example: "  wflo version\n  wflo version --jq .wflo\n  wflo version --server",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parts := map[string]string{"wflo": a.version(), "go": runtime.Version()}
			maps.Copy(parts, a.deps.Parts)
			if server {
				if err := a.serverParts(cmd.Context(), parts); err != nil {
					return err
				}
			}
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
	cmd.Flags().BoolVar(&server, "server", false, "also ask the API for its program, schema and Temporal server")
	return cmd
}

// serverParts adds what the API says of itself.
func (a *app) serverParts(ctx context.Context, parts map[string]string) error {
	v, err := a.tryVersions(ctx)
	if err != nil {
		return err
	}
	parts["server"], parts["api"] = v.Program, v.API
	if v.Schema != nil {
		parts["schema"] = strconv.FormatInt(v.Schema.Have, 10)
	}
	if v.Temporal != "" {
		parts["temporal"] = v.Temporal
	}
	return nil
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
