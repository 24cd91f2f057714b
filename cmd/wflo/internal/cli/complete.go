package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
)

// completeLimit is how long pressing Tab may take.
const completeLimit = 1500 * time.Millisecond

// mostCompletions is how many ids are offered at once.
const mostCompletions = 50

// completeRuns offers the ids of runs. A server that does not answer in time offers
// nothing, because nobody can be told.
func (a *app) completeRuns(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.runIDs(cmd.Context(), begun), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) runIDs(ctx context.Context, begun string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return nil
	}
	defer c.Close()
	query := listQuery("", false)
	if begun != "" && quotable(begun) {
		query += fmt.Sprintf(" AND WorkflowId STARTS_WITH '%s'", begun)
	}
	runs, err := c.list(ctx, query, mostCompletions)
	if err != nil {
		return nil
	}
	var ids []string
	for _, r := range runs {
		if offer(r.ID, begun) {
			ids = append(ids, cobra.CompletionWithDesc(r.ID, escapeLine(r.Workflow+" "+string(r.State))))
		}
	}
	return ids
}

// offer says that an id may be offered: shells take it as one plain word.
func offer(id, begun string) bool { return strings.HasPrefix(id, begun) && shellWord(id) == id }

// completeGates offers the gates that are open.
func (a *app) completeGates(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	if len(given) > 0 {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return nil, directive
	}
	defer c.Close()
	runs, err := c.list(ctx, listQuery(wflo.StateWaiting, false), mostCompletions)
	if err != nil {
		return nil, directive
	}
	var ids []string
	for _, r := range runs {
		for _, g := range r.Gates {
			if offer(g, begun) {
				ids = append(ids, cobra.CompletionWithDesc(g, "run "+escapeLine(r.ID)))
			}
		}
	}
	return ids, directive
}

// completeSnapshots offers the snapshots of the run that is the command's argument.
func (a *app) completeSnapshots(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	if len(given) == 0 {
		return nil, directive
	}
	return a.snapshotIDs(cmd.Context(), given[0], begun), directive
}

func (a *app) snapshotIDs(ctx context.Context, run, begun string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeLimit)
	defer cancel()
	c, err := a.api()
	if err != nil {
		return nil
	}
	var all []wflo.SnapshotRef
	if c.get(ctx, "/snapshots", url.Values{"run": {run}}, &all) != nil {
		return nil
	}
	var ids []string
	for _, s := range all {
		for _, id := range []string{s.Name, s.ID} {
			if id != "" && offer(id, begun) {
				ids = append(ids, cobra.CompletionWithDesc(id, s.At.UTC().Format(time.RFC3339)))
			}
		}
	}
	return ids
}
