package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

func (a *app) loginCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "login",
		Short: "Keep your API key for an address",
		Long: `Ask for your API key, try it, and keep it for the address of the API, in a file
that only you may read. Without a terminal the key comes from standard input.
There is no flag for a key: everybody on a machine can read command lines.`,
		Example: "  wflo login --api https://wflo.example.com\n  wflo login --api https://wflo.example.com < ann.token",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.login(cmd.Context())
		},
	}
}

func (a *app) login(ctx context.Context) error {
	c, err := a.openAPI()
	if err != nil {
		return err
	}
	// An address to which no key may go is refused before anybody types one.
	if err := c.bear("none"); err != nil {
		return err
	}
	token, err := a.askToken(ctx, c.base)
	if err != nil {
		return err
	}
	if err := c.bear(token); err != nil {
		return err
	}
	var who console.Whoami
	if err := c.get(ctx, "/whoami", nil, &who); err != nil {
		return err
	}
	if who.Method == console.MethodNone {
		return wflo.Errorf("", "nothing was kept; use it without logging in", "the API at %s does not ask who you are", c.base)
	}
	if err := keepToken(c.base, token); err != nil {
		return err
	}
	for _, name := range []string{"WFLO_TOKEN", "WFLO_TOKEN_FILE"} {
		if os.Getenv(name) != "" {
			a.note("%s is set, and wins over what is kept", name)
		}
	}
	if a.format != formatText {
		return a.printJSON(who.Identity)
	}
	_, err = fmt.Fprintf(a.deps.Stdout, "logged in to %s as %s (%s)\n", c.base, escapeLine(who.Subject), rolesText(who.Roles))
	return err
}

func rolesText(roles []wflo.AccessRole) string {
	names := make([]string, 0, len(roles))
	for _, r := range roles {
		names = append(names, escapeLine(string(r)))
	}
	return strings.Join(names, ", ")
}

func (a *app) logoutCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "Forget the API key of an address",
		Long: `Forget the key that wflo login kept for the address of the API. The key itself
stays good; wflo keys revoke ends it.`,
		Args: args(),
		RunE: func(*cobra.Command, []string) error {
			c, err := a.openAPI()
			if err != nil {
				return err
			}
			file, err := loginFile(c.base)
			if err != nil {
				return err
			}
			err = os.Remove(file)
			if errors.Is(err, fs.ErrNotExist) {
				return wflo.Errorf("", "nothing was changed", "no key is kept for %s", c.base)
			}
			if err != nil {
				return fmt.Errorf("forget the key: %w", err)
			}
			if a.format != formatText {
				return a.printJSON(map[string]string{"api": c.base, "state": "logged out"})
			}
			_, err = fmt.Fprintf(a.deps.Stdout, "logged out of %s\n", c.base)
			return err
		},
	}
}

func (a *app) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Say who the API takes you for",
		Example: "  wflo whoami\n  wflo whoami --jq .roles",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			var who console.Whoami
			if err := c.get(cmd.Context(), "/whoami", nil, &who); err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(who.Identity)
			}
			return a.printWho(c, who.Identity)
		},
	}
}

func (a *app) printWho(c *api, id wflo.Identity) error {
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, escapeLine(value))
		}
	}
	line("subject", id.Subject)
	line("name", id.Name)
	line("roles", rolesText(id.Roles))
	line("groups", strings.Join(id.Groups, ", "))
	line("org", id.Org)
	if id.Method == console.MethodNone {
		line("proved by", "nothing: the API takes everybody for who they say they are")
	} else {
		line("proved by", id.Method)
	}
	line("key", id.Key)
	line("api", c.base)
	return w.Flush()
}
