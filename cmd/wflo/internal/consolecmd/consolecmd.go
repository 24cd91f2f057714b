// Package consolecmd is the command `wflo console`: the pages and the API on which
// people decide, as a program of its own. A program makes the command with [Command].
// Package console of the root does it all; this is its flags and variables.
//
// The console signs decisions with a key that no worker holds, so that whoever runs
// a worker cannot approve. It refuses to start where nobody could log in, where its
// key can be read by others, and where it would be reached without TLS from other
// machines and nobody said that a proxy is in front.
package consolecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/console"
	"github.com/wflo-ai/wflo-go/internal/connect"
)

// Config says what the program brings.
type Config struct {
	// Configure is called with the options of the Temporal client before it connects;
	// may be nil.
	Configure func(*client.Options)
}

type flags struct{ file, listen, level string }

// Command makes `wflo console`.
func Command(cfg Config) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Serve the pages and the API on which people decide",
		Long: `Serve the approval inbox, the pages of gates and the HTTP API, for people who
log in with OpenID Connect, LDAP or an API key. The console signs what they decide
with a key of its own, whose public half workers trust:

  wflo keygen console.key        the private half stays here, readable by its owner
                                 only; the public one goes into approvals.keys of
                                 the workers' configuration

The configuration file has the section console, see docs/wflo.example.yaml. The
database is that of the workers: WFLO_DATABASE, or WFLO_DATA_DIR for SQLite.
Payload keys are those of the file or of the environment, which counts above it.
Notices are delivered by workers, not from here. Ctrl-C stops it.`,
		Example: "  wflo console --config wflo.yaml\n  wflo console key --config wflo.yaml --subject ann --role admin",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd, cfg, f) },
	}
	cmd.PersistentFlags().StringVar(&f.file, "config", "", "configuration file (also WFLO_CONFIG)")
	cmd.PersistentFlags().StringVar(&f.level, "log-level", "info", "log to standard error: debug, info, warn or error")
	cmd.Flags().StringVar(&f.listen, "listen", "", "HOST:PORT to listen on (default: listen of the file, or "+console.DefaultListen+")")
	cmd.AddCommand(keyCommand(&f))
	return cmd
}

// configured gives what both commands need: the file and where to log to.
func configured(cmd *cobra.Command, f flags) (path string, logger *slog.Logger, err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return "", nil, cli.Usage("use debug, info, warn or error", "--log-level is %q", f.level)
	}
	if path, err = cli.UseConfig(f.file); err != nil {
		return "", nil, err
	}
	if path == "" {
		return "", nil, cli.Usage("name one with --config or WFLO_CONFIG; docs/wflo.example.yaml is one", "the console has no configuration file")
	}
	return path, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

func run(cmd *cobra.Command, cfg Config, f flags) error {
	path, logger, err := configured(cmd, f)
	if err != nil {
		return err
	}
	opts, err := cli.TemporalOptions(cmd)
	if err != nil {
		return err
	}
	if cfg.Configure != nil {
		cfg.Configure(&opts)
	}
	c, err := console.New(cmd.Context(), console.Config{
		File: path, Listen: f.listen, DataDir: os.Getenv("WFLO_DATA_DIR"), Database: os.Getenv("WFLO_DATABASE"), Temporal: opts, Logger: logger,
	})
	if err != nil {
		return stopped(cmd.Context(), connect.Explain(cmd.Context(), err, opts))
	}
	defer c.Close()
	if err := c.Start(); err != nil {
		return err
	}
	if err := announce(cmd, c.URL(), c.PublicURL()); err != nil {
		return err
	}
	<-cmd.Context().Done()
	fmt.Fprintln(cmd.ErrOrStderr(), "stopping")
	return nil
}

// announce prints where the console is, as text or JSON.
func announce(cmd *cobra.Command, listens, url string) error {
	if cli.AsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"console": listens, "url": url})
	}
	line := "Console " + listens
	if url != "" && url != listens {
		line += " (" + url + ")"
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
	return err
}

// stopped hides the error of a start that was interrupted: that is no failure.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
