// Package codeccmd is the commands of `wflo codec`: keys that seal what Temporal keeps of
// runs, and the codec server, which opens it for Temporal's Web UI and command line.
// [Command] makes them. They print IDs of keys, and a key only when they have just made it.
package codeccmd

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/plugin"
)

// Command makes `wflo codec`.
func Command() *cobra.Command {
	help := func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd := &cobra.Command{
		Use:   "codec",
		Short: "Keys that seal what Temporal keeps, and a server that opens it",
		Long: `Keys that seal what Temporal keeps of runs, and a codec server, which opens it for
Temporal's Web UI and command line. Workers and all commands take the keys from
WFLO_PAYLOAD_KEYS, from the file that WFLO_PAYLOAD_KEYS_FILE names, or from payloads
in the file that WFLO_CONFIG names.`,
		Args: cli.NoArgs,
		RunE: help,
	}
	keys := &cobra.Command{
		Use:   "keys",
		Short: "Make and check payload keys",
		Long:  `Make and check payload keys.`,
		Args:  cli.NoArgs,
		RunE:  help,
	}
	keys.AddCommand(newCommand(), checkCommand())
	cmd.AddCommand(serveCommand(), keys)
	return cmd
}

func newCommand() *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Print a fresh key",
		Long: `Print a fresh key on standard output: its ID, a colon, and 32 random bytes in base64.
It is kept nowhere. What it sealed is lost without it.

To change keys without a gap, add the new one behind the others everywhere, then put
it first everywhere. Old ones stay for as long as there are runs that they sealed.`,
		Example: "  wflo codec keys new\n  (umask 077; wflo codec keys new --id k2 > payload.keys)",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := envelope.NewKey(id)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
			return err
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "what the key is called, such as k2 (default: k and today's date)")
	return cmd
}

// checked is one key of what `wflo codec keys check` prints.
type checked struct {
	ID string `json:"id"`
	// Seals says that the key is the first one.
	Seals bool `json:"seals"`
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "List the IDs of the keys that are configured",
		Long: `List the IDs of the keys that are configured here, and say which one seals. The keys
themselves are not shown.`,
		Example: "  wflo codec keys check\n  WFLO_PAYLOAD_KEYS_FILE=payload.keys wflo codec keys check",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return check(cmd) },
	}
}

func check(cmd *cobra.Command) error {
	codec, err := configured(nil)
	if err != nil {
		return err
	}
	var rows []checked
	for _, id := range codec.Keys().IDs() {
		rows = append(rows, checked{ID: id, Seals: id == codec.Keys().Writes()})
	}
	if cli.AsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tUSE")
	for _, k := range rows {
		use := "opens"
		if k.Seals {
			use = "seals and opens"
		}
		fmt.Fprintf(w, "%s\t%s\n", k.ID, use)
	}
	return w.Flush()
}

// configured is the codec of the environment; without a key there is nothing to do.
func configured(logger *slog.Logger) (*envelope.Codec, error) {
	codec, err := plugin.PayloadCodec(logger)
	if err != nil {
		return nil, err
	}
	if codec.Keys().Writes() == "" {
		where := "WFLO_PAYLOAD_KEYS is not set"
		if path := os.Getenv("WFLO_CONFIG"); path != "" {
			where += ", and " + path + " names no payload keys"
		}
		return nil, wflo.Errorf(wflo.CodeMissingKey, "make a key with: wflo codec keys new", "there is no payload key: %s", where)
	}
	return codec, nil
}
