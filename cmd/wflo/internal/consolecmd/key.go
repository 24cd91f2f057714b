package consolecmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/config"
	"github.com/wflo-ai/wflo-go/plugin"
)

// keyCommand makes `wflo console key`: the first key of a console, for which nobody
// could log in to ask.
func keyCommand(f *flags) *cobra.Command {
	var spec apikey.Spec
	var roles []string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make an API key in the database itself, such as the first one",
		Long: `Make an API key in the database itself, and print it once. Whoever can do this can
reach the database anyway. Other keys are made through the API, by administrators:
see wflo keys.`,
		Example: "  wflo console key --config wflo.yaml --subject ann --role admin --expires 24h",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if spec.Subject == "" || len(roles) == 0 {
				return cli.Usage("for instance: --subject ann --role admin", "set --subject and --role")
			}
			for _, r := range roles {
				spec.Roles = append(spec.Roles, wflo.AccessRole(r))
			}
			if expires > 0 {
				spec.Expires = time.Now().Add(expires)
			}
			return makeKey(cmd, *f, spec)
		},
	}
	set := cmd.Flags()
	set.StringVar(&spec.Name, "name", "", "what it is for (default: the subject)")
	set.StringVar(&spec.Subject, "subject", "", "who its holder is")
	set.StringSliceVar(&roles, "role", nil, "viewer, operator, approver or admin; may be repeated")
	set.StringSliceVar(&spec.Groups, "group", nil, "a group of the holder; may be repeated")
	set.StringVar(&spec.Org, "org", "", "the tenant that it is bound to (default: all)")
	set.DurationVar(&expires, "expires", 0, "how long it opens anything, such as 24h (default: for ever)")
	return cmd
}

// makeKey makes the key and prints it.
func makeKey(cmd *cobra.Command, f flags, spec apikey.Spec) error {
	path, logger, err := configured(cmd, f)
	if err != nil {
		return err
	}
	if _, err := config.Load(path); err != nil {
		return err
	}
	ledger, records, err := plugin.OpenDatabase(cmd.Context(), plugin.Config{
		DataDir: os.Getenv("WFLO_DATA_DIR"), Database: os.Getenv("WFLO_DATABASE"), Logger: logger,
	})
	if err != nil {
		return err
	}
	defer ledger.Close()
	keys, err := apikey.New(apikey.Config{Store: records, Logger: logger})
	if err != nil {
		return err
	}
	spec.Name, spec.MadeBy = cmp.Or(spec.Name, spec.Subject), "console:"+login()
	plain, kept, err := keys.Make(cmd.Context(), spec)
	if err != nil {
		return err
	}
	if err := recordKey(cmd.Context(), records, kept); err != nil {
		// A key that nobody can account for must not open anything.
		return errors.Join(err, records.RevokeKey(context.WithoutCancel(cmd.Context()), kept.ID, spec.MadeBy))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "key %s of %s; it is not shown again\n", kept.ID, kept.Subject)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), plain)
	return err
}

func recordKey(ctx context.Context, records activities.Records, k activities.APIKey) error {
	data, err := json.Marshal(k) // the hash is left out
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	err = records.Append(ctx, wflo.AuditEvent{
		ID: string(wflo.AuditKeyMade) + "/" + k.ID, Chain: wflo.Run{Org: k.Org}.AuditChain(), At: k.MadeAt, Type: wflo.AuditKeyMade, Actor: k.MadeBy, Data: data,
	})
	if err != nil {
		return fmt.Errorf("record key: %w", err)
	}
	return nil
}

// login is who runs the program.
func login() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
