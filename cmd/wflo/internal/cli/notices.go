package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// mostNotices is how many notices the API lists at once.
const mostNotices = 1000

func (a *app) notifyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "See which notices did not arrive, and send them again",
		Long: `See which notices did not arrive, and send them again. A notice is one message to one
channel. It is tried many times; then it is a dead letter, which waits here.`,
		Args: groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.notifyListCmd(), a.notifyRetryCmd())
	return cmd
}

func (a *app) notifyListCmd() *cobra.Command {
	var state string
	var limit int
	states := []string{string(wflo.NoticeDead), string(wflo.NoticePending), string(wflo.NoticeDelivered)}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List notices, the latest first",
		Example: "  wflo notify list --state dead_letter",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if state != "" {
				if err := oneOf("--state", state, states...); err != nil {
					return err
				}
			}
			if limit < 1 || limit > mostNotices {
				return Usage(fmt.Sprintf("give a number from 1 to %d", mostNotices), "--limit is %d", limit)
			}
			c, err := a.api()
			if err != nil {
				return err
			}
			var all []wflo.NoticeRecord
			if err := c.get(cmd.Context(), "/notices", url.Values{"state": {state}, "n": {strconv.Itoa(limit)}}, &all); err != nil {
				return err
			}
			if len(all) == 0 && a.format == formatText {
				a.note("no notices")
			}
			return printAll(a, all, []string{"ID", "CHANNEL", "KIND", "STATE", "TRIES", "MADE", "TITLE", "ERROR"}, noticeRow)
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only those in this state: dead_letter, pending or delivered")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	if err := cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
	return cmd
}

func noticeRow(n wflo.NoticeRecord) []string {
	return []string{n.ID, n.Channel, string(n.Kind), string(n.State), strconv.Itoa(n.Attempts), since(n.At) + " ago", n.Title, n.Error}
}

func (a *app) notifyRetryCmd() *cobra.Command {
	var yes, all bool
	cmd := &cobra.Command{
		Use:     "retry ID",
		Short:   "Send a dead letter again",
		Example: "  wflo notify retry 5f0c1e\n  wflo notify retry --all --yes",
		Args: func(cmd *cobra.Command, given []string) error {
			if all {
				return args()(cmd, given)
			}
			return args("ID")(cmd, given)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.notifyRetry(cmd, given, yes)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// notifyRetry sends one notice again, or without an ID all dead letters.
func (a *app) notifyRetry(cmd *cobra.Command, ids []string, yes bool) error {
	if err := a.canAsk(yes, "look with `wflo notify list --state dead_letter`"); err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	what := "notice " + strings.Join(ids, "")
	if len(ids) == 0 {
		var dead []wflo.NoticeRecord
		if err := c.get(ctx, "/notices", url.Values{"state": {string(wflo.NoticeDead)}, "n": {strconv.Itoa(mostNotices)}}, &dead); err != nil {
			return err
		}
		for _, n := range dead {
			ids = append(ids, n.ID)
		}
		if what = plural(len(dead), "dead letter"); len(dead) == 0 {
			a.note("there are no dead letters")
		}
	}
	if len(ids) > 0 {
		if err := a.confirmChange(ctx, c, yes, "send "+what+" again"); err != nil {
			return err
		}
	}
	done := make([]console.Retried, 0, len(ids))
	for _, id := range ids {
		var r console.Retried
		if err := c.write(ctx, http.MethodPost, "/notices"+segment(id)+"/retry", nil, &r); err != nil {
			return fmt.Errorf("after %s: notice %s: %w", plural(len(done), "notice"), id, err)
		}
		done = append(done, r)
		if a.format == formatText {
			fmt.Fprintf(a.deps.Stdout, "notice %s is due again\n", escapeLine(r.Notice))
		}
	}
	if a.format == formatText {
		return nil
	}
	return printAll(a, done, nil, nil)
}
