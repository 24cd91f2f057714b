package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console"
)

func (a *app) keysCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keys",
		Aliases: []string{"key"},
		Short:   "Make, list and revoke keys of the API",
		Long: `Make, list and revoke keys of the API. A key stands for one person or program, with
roles (viewer, operator, approver, admin), groups, and perhaps one org and an end.
The API keeps a hash of it: nobody can show it again. Only an admin may do this.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.keysCreateCmd(), a.keysListCmd(), a.keysRevokeCmd())
	return cmd
}

type keyFlags struct {
	name, subject, org, expires string
	roles, groups               []string
	yes                         bool
}

func (a *app) keysCreateCmd() *cobra.Command {
	var f keyFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key and print it, this once",
		Long: `Make a key and print it on standard output, this once. Everything else goes to
standard error, so that the key can go into a file or a secret store.`,
		Example: `  wflo keys create --name "ann's laptop" --subject ann --role approver --group ops --expires 90d
  (umask 077; wflo keys create --name ci --subject ci --role viewer --yes > ci.token)`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.keysCreate(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "what the key is for; required")
	flags.StringVar(&f.subject, "subject", "", "whom it stands for, as lists of approvers name them; required")
	flags.StringSliceVar(&f.roles, "role", nil, "viewer, operator, approver or admin; may be repeated; required")
	flags.StringSliceVar(&f.groups, "group", nil, "a group of the subject, such as ops; may be repeated")
	flags.StringVar(&f.org, "org", "", "the only org that it sees")
	flags.StringVar(&f.expires, "expires", "90d", "how long it is good, such as 90d or 12h, or never")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	names := make([]string, 0, len(wflo.AccessRoles()))
	for _, r := range wflo.AccessRoles() {
		names = append(names, string(r))
	}
	if err := cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

func (a *app) keysCreate(ctx context.Context, f keyFlags) error {
	req, err := f.request(time.Now())
	if err != nil {
		return err
	}
	if err := a.canAsk(f.yes); err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	a.note("%s", escapeLine(keyWords(req)))
	if err := a.confirmChange(ctx, c, f.yes, "make the key "+req.Name); err != nil {
		return err
	}
	var made console.NewKey
	if err := c.write(ctx, http.MethodPost, "/keys", req, &made); err != nil {
		return err
	}
	if a.format != formatText {
		return a.printJSON(made)
	}
	a.note("made key %s; this is the only time that it is shown", escapeLine(made.ID))
	_, err = fmt.Fprintln(a.deps.Stdout, escapeLine(made.Key))
	return err
}

// request is what the flags ask for.
func (f keyFlags) request(now time.Time) (console.KeyRequest, error) {
	req := console.KeyRequest{Name: f.name, Subject: f.subject, Groups: f.groups, Org: f.org}
	switch {
	case strings.TrimSpace(f.name) == "":
		return req, Usage("such as: --name \"ann's laptop\"", "--name is missing")
	case strings.TrimSpace(f.subject) == "":
		return req, Usage("such as: --subject ann", "--subject is missing")
	case len(f.roles) == 0:
		return req, Usage("give viewer, operator, approver or admin", "--role is missing")
	}
	for i, g := range f.groups {
		req.Groups[i] = strings.TrimPrefix(g, "group:")
	}
	for _, name := range f.roles {
		role := wflo.AccessRole(name)
		if err := role.Validate(); err != nil {
			return req, &exitError{ExitUsage, err}
		}
		req.Roles = append(req.Roles, role)
	}
	if f.expires != "never" {
		span, err := parseSpan(f.expires)
		if err != nil {
			return req, Usage("such as 90d, 12h, or never", "--expires: %w", err)
		}
		req.Expires = now.Add(span).UTC().Truncate(time.Second)
	}
	return req, nil
}

func keyWords(r console.KeyRequest) string {
	text := fmt.Sprintf("key %s for %s: %s", r.Name, r.Subject, rolesText(r.Roles))
	if len(r.Groups) > 0 {
		text += ", in " + strings.Join(r.Groups, ", ")
	}
	if r.Org != "" {
		text += ", of org " + r.Org
	}
	if r.Expires.IsZero() {
		return text + ", for ever"
	}
	return text + ", until " + r.Expires.Format(time.RFC3339)
}

func (a *app) keysListCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List keys, without what opens them",
		Example: "  wflo keys list\n  wflo keys list --jq '.[].name'",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.api()
			if err != nil {
				return err
			}
			var all []activities.APIKey
			if err := c.get(cmd.Context(), "/keys", nil, &all); err != nil {
				return err
			}
			if len(all) == 0 && a.format == formatText {
				a.note("no keys; make one with: wflo keys create")
			}
			return printAll(a, all, []string{"ID", "NAME", "SUBJECT", "ROLES", "GROUPS", "ORG", "STATE", "USED", "MADE BY"}, keyRow)
		},
	}
}

func keyRow(k activities.APIKey) []string {
	used := "never"
	switch ago := time.Since(k.UsedAt); {
	case k.UsedAt.IsZero():
	case ago < 2*time.Minute: // it is kept to the minute
		used = "just now"
	default:
		used = short(ago.Truncate(time.Minute)) + " ago"
	}
	return []string{k.ID, k.Name, k.Subject, rolesText(k.Roles), strings.Join(k.Groups, ", "), k.Org, keyState(k), used, k.MadeBy}
}

func keyState(k activities.APIKey) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked " + since(k.Revoked) + " ago"
	case k.Expires.IsZero():
		return "good for ever"
	case time.Until(k.Expires) <= 0:
		return "expired " + since(k.Expires) + " ago"
	}
	return "good for " + short(time.Until(k.Expires))
}

func (a *app) keysRevokeCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a key now",
		Example: "  wflo keys revoke k3f9abcd2345wxyz",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := a.canAsk(yes, "look at it with `wflo keys list`"); err != nil {
				return err
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			if err := a.confirmChange(cmd.Context(), c, yes, "revoke key "+given[0]); err != nil {
				return err
			}
			var k activities.APIKey
			if err := c.write(cmd.Context(), http.MethodDelete, "/keys"+segment(given[0]), nil, &k); err != nil {
				return err
			}
			if a.format != formatText {
				return a.printJSON(k)
			}
			_, err = fmt.Fprintf(a.deps.Stdout, "revoked %s (%s, for %s)\n", escapeLine(k.ID), escapeLine(k.Name), escapeLine(k.Subject))
			return err
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
