package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// shortID is as much of an id as people compare.
func shortID(id string) string { return id[:min(len(id), 12)] }

// busy says that a sandbox is somebody's, and not one that waits or has ended.
func busy(s docker.Sandbox) bool { return s.State != "idle" && s.State != "exited" }

func (a *app) sandboxListCmd() *cobra.Command {
	var o ownerFlags
	var all bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List sandboxes, the newest first",
		Example: "  wflo sandbox ls\n  wflo sandbox ls --all --all-owners -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.lookAfter(cmd.Context(), o, func(boxes Sandboxes, owner string) error {
				return a.sandboxList(cmd.Context(), boxes, owner, all)
			})
		},
	}
	o.addAll(cmd.Flags())
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those that wait for work or have ended")
	return cmd
}

func (a *app) sandboxList(ctx context.Context, boxes Sandboxes, owner string, all bool) error {
	list, away := owned(ctx, boxes, owner)
	if away != nil && len(list) == 0 {
		return away
	}
	found := len(list)
	if !all {
		list = slices.DeleteFunc(list, func(s docker.Sandbox) bool { return !busy(s) })
	}
	slices.SortFunc(list, func(x, y docker.Sandbox) int {
		return cmp.Or(y.Created.Compare(x.Created), cmp.Compare(x.ID, y.ID))
	})
	if len(list) == 0 && a.format == formatText {
		switch {
		case found > 0:
			a.note("no sandbox is at work; %d wait or have ended, which --all shows", found)
		case owner == docker.AnyOwner:
			a.note("no sandboxes")
		default:
			a.note("no sandboxes of owner %s; --all-owners shows those of others", escapeLine(owner))
		}
	}
	header := []string{"ID", "STATE", "RUN", "STEP", "TENANT", "RUNTIME", "AGE", "EXPIRES"}
	if owner == docker.AnyOwner {
		header = append(header, "OWNER")
	}
	onHosts := several(list, func(s docker.Sandbox) string { return s.Host })
	if onHosts {
		header = append(header, "HOST")
	}
	return errors.Join(away, printAll(a, list, header, func(s docker.Sandbox) []string {
		expires := ""
		if !s.Expires.IsZero() {
			expires = "in " + short(time.Until(s.Expires))
		}
		cells := []string{shortID(s.ID), s.State, cmp.Or(s.Run, s.Box), s.Step, s.Tenant, s.Runtime, since(s.Created), expires}
		if owner == docker.AnyOwner {
			cells = append(cells, s.Owner)
		}
		if onHosts {
			cells = append(cells, s.Host)
		}
		return cells
	}))
}

func (a *app) sandboxKillCmd() *cobra.Command {
	var o ownerFlags
	var run string
	cmd := &cobra.Command{
		Use:   "kill ID... | --run RUN",
		Short: "End and remove sandboxes at once",
		Long: `End and remove sandboxes at once. ID is the id, or a beginning of it that no other
sandbox has. A workflow whose sandbox is killed sees a lost sandbox and tries
again as its retry policy says; to stop a run, halt it.`,
		Example: "  wflo sandbox kill 3f9a1c\n  wflo sandbox kill --run refund-k3f9",
		RunE: func(cmd *cobra.Command, ids []string) error {
			switch {
			case run == "" && len(ids) == 0:
				return Usage("see: wflo sandbox ls", "%s: ID is missing", cmd.CommandPath())
			case run != "" && len(ids) > 0:
				return Usage("give one of them", "--run and ID exclude each other")
			}
			return a.lookAfter(cmd.Context(), o, func(boxes Sandboxes, owner string) error {
				return a.sandboxKill(cmd.Context(), boxes, owner, run, ids)
			})
		},
	}
	o.addAll(cmd.Flags())
	cmd.Flags().StringVar(&run, "run", "", "all sandboxes of this run")
	return cmd
}

func (a *app) sandboxKill(ctx context.Context, boxes Sandboxes, owner, run string, ids []string) error {
	list, away := owned(ctx, boxes, owner)
	if away != nil && len(list) == 0 {
		return away
	}
	if run != "" {
		for _, s := range list {
			if s.Run == run || s.Run == "" && s.Box == run {
				ids = append(ids, s.ID)
			}
		}
		if len(ids) == 0 {
			if away != nil {
				return away // it may be there
			}
			return wflo.Errorf("", "see: wflo sandbox ls --all --all-owners", "run %s has no sandbox", run)
		}
	}
	killed, failed := []string{}, error(nil)
	if run != "" {
		failed = away // where the run may have more
	}
	for _, id := range ids {
		s, err := pick(list, id)
		switch {
		case err == nil:
			err = boxes.Kill(ctx, s.ID)
		case away != nil:
			err = errors.Join(err, away) // it may be there
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		killed = append(killed, s.ID)
		if a.format == formatText {
			fmt.Fprintf(a.deps.Stdout, "killed %s\n", shortID(s.ID))
		}
	}
	if a.format != formatText {
		failed = errors.Join(a.printJSON(map[string][]string{"killed": killed}), failed)
	}
	return failed
}

func (a *app) sandboxCollectCmd() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what workers that died left behind",
		Long: `Remove the containers and volumes of every owner on this engine that nobody uses
any more. Workers do the same for their own when they start; this is for hosts
where none does.`,
		Example: "  wflo sandbox gc --dry-run\n  wflo sandbox gc",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.lookAfter(cmd.Context(), ownerFlags{all: true}, func(boxes Sandboxes, _ string) error {
				return a.sandboxCollect(cmd.Context(), boxes, dry)
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return cmd
}

func (a *app) sandboxCollect(ctx context.Context, boxes Sandboxes, dry bool) error {
	got, err := boxes.Collect(ctx, dry)
	// What was removed before something failed is told too.
	if a.format != formatText {
		data := struct {
			Containers []string `json:"containers"`
			Volumes    []string `json:"volumes"`
			DryRun     bool     `json:"dry_run"`
		}{append([]string{}, got.Containers...), append([]string{}, got.Volumes...), dry}
		return errors.Join(a.printJSON(data), err)
	}
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	for _, id := range got.Containers {
		fmt.Fprintf(a.deps.Stdout, "%s container %s\n", verb, escapeLine(shortID(id)))
	}
	for _, name := range got.Volumes {
		fmt.Fprintf(a.deps.Stdout, "%s volume %s\n", verb, escapeLine(name))
	}
	if err == nil && len(got.Containers)+len(got.Volumes) == 0 {
		a.note("there is nothing to remove")
	}
	return err
}

// sandboxUse is what a sandbox uses: the data of `wflo sandbox stats`.
type sandboxUse struct {
	docker.Stats
	Run  string `json:"run,omitempty"`
	Host string `json:"host,omitempty"`
}

func (u sandboxUse) cells() []string {
	const mib = sandbox.MiB
	return []string{
		shortID(u.ID), u.Run, strconv.FormatFloat(u.CPUPercent, 'f', 1, 64),
		fmt.Sprintf("%.1f / %d MiB", float64(u.Memory)/mib, u.MemoryLimit/mib),
		fmt.Sprintf("%d / %d", u.PIDs, u.PIDLimit), short(u.CPUTime),
	}
}
