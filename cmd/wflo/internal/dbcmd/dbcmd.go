// Package dbcmd is the command `wflo db`: what is done to the database itself, before
// and beside workers. A program makes the command with [Command].
//
// It refuses to do what workers could not do themselves: it brings the schema up to
// date, and never takes anything back.
package dbcmd

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/plugin"
)

// Command makes `wflo db`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Look after the database of the workers",
		Long:  "The database of the workers has the budget ledger, the audit trail, gates, snapshots and\ncompensations. It is PostgreSQL or SQLite: see WFLO_DATABASE.",
	}
	cmd.AddCommand(migrateCommand())
	return cmd
}

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database up to date, before workers of this version start",
		Long: `Bring the schema of the database up to date, and end: for a job that runs before the
workers of a new version. Workers do the same when they start. Any number of both may
run at the same time, because one of them migrates and the others wait.

The database is that of the workers: WFLO_DATABASE, or WFLO_DATA_DIR for SQLite. What
is up to date stays as it is. A schema that a newer wflo has made is refused.`,
		Example: "  WFLO_DATABASE=postgres://wflo@db:5432/wflo wflo db migrate",
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) > 0 {
				return cli.Usage("see: "+cmd.CommandPath()+" --help", "%s takes no argument, got %q", cmd.CommandPath(), given[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return migrate(cmd) },
	}
}

func migrate(cmd *cobra.Command) error {
	if err := plugin.SecretsFromFiles(); err != nil {
		return err
	}
	where, dir := os.Getenv("WFLO_DATABASE"), os.Getenv("WFLO_DATA_DIR")
	if where == "memory" {
		return wflo.Invalid("WFLO_DATABASE", "is memory, which nothing outlives", "name the database of the workers")
	}
	// Its messages go where an operator looks: to standard error, not into the data.
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	ledger, _, err := plugin.OpenDatabase(cmd.Context(), plugin.Config{DataDir: cmp.Or(dir, cli.DefaultDataDir()), Database: where, Logger: log})
	if err != nil {
		return err
	}
	if err := ledger.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	kind := "SQLite"
	if strings.HasPrefix(where, "postgres") {
		kind = "PostgreSQL"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "the database is up to date (%s)\n", kind)
	return err
}
