package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/wflo-ai/wflo-go/sandbox/docker"
)

// statsAtOnce is how many sandboxes are asked at the same time: the engine
// takes a second or two to answer for each.
const statsAtOnce = 8

func (a *app) sandboxStatsCmd() *cobra.Command {
	var o ownerFlags
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "stats [ID...]",
		Short: "Show what sandboxes use",
		Long: `Show what sandboxes use: CPU in percent of one processor, memory, processes, and
CPU time since they started. Without ID it is about all that are at work.`,
		Example: "  wflo sandbox stats\n  wflo sandbox stats 3f9a1c --watch",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if every < 100*time.Millisecond {
				return Usage("use 100ms or more", "--every is %s", every)
			}
			return a.lookAfter(cmd.Context(), o, func(boxes Sandboxes, owner string) error {
				if watch {
					return a.watchStats(cmd.Context(), boxes, owner, ids, every)
				}
				return a.sandboxStats(cmd.Context(), boxes, owner, ids)
			})
		},
	}
	o.addAll(cmd.Flags())
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "again and again, until Ctrl-C")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often --watch looks")
	return cmd
}

// watchStats shows the use again and again; on a terminal in the same place.
func (a *app) watchStats(ctx context.Context, boxes Sandboxes, owner string, ids []string, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	redraw := a.format == formatText && isTerminal(a.deps.Stdout)
	for {
		if redraw {
			fmt.Fprint(a.deps.Stdout, "\x1b[H\x1b[J") // home, and clear what is below
		}
		if err := a.sandboxStats(ctx, boxes, owner, ids); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *app) sandboxStats(ctx context.Context, boxes Sandboxes, owner string, names []string) error {
	list, away := owned(ctx, boxes, owner)
	if away != nil && len(list) == 0 {
		return away
	}
	var ids []string
	whose := map[string]docker.Sandbox{}
	for _, s := range list {
		whose[s.ID] = s
		if len(names) == 0 && busy(s) {
			ids = append(ids, s.ID)
		}
	}
	for _, name := range names {
		s, err := pick(list, name)
		if err != nil {
			return errors.Join(err, away)
		}
		ids = append(ids, s.ID)
	}
	uses, err := readStats(ctx, boxes, ids)
	if err != nil && len(names) == 0 && (len(uses) > 0 || vanished(ctx, boxes, ids)) {
		err = nil // what ended in the meantime uses nothing
	}
	for i := range uses {
		uses[i].Run, uses[i].Host = whose[uses[i].ID].Run, whose[uses[i].ID].Host
	}
	if len(names) == 0 {
		err = errors.Join(err, away)
	}
	if len(uses) == 0 && err == nil && a.format == formatText {
		a.note("no sandbox is at work")
	}
	header := []string{"ID", "RUN", "CPU %", "MEMORY", "PIDS", "CPU TIME"}
	cells := sandboxUse.cells
	if several(uses, func(u sandboxUse) string { return u.Host }) {
		header = append(header, "HOST")
		cells = func(u sandboxUse) []string { return append(u.cells(), u.Host) }
	}
	return errors.Join(printAll(a, uses, header, cells), err)
}

// vanished says that none of ids is there any more.
func vanished(ctx context.Context, boxes Sandboxes, ids []string) bool {
	list, err := boxes.List(ctx)
	return err == nil && !slices.ContainsFunc(list, func(s docker.Sandbox) bool { return slices.Contains(ids, s.ID) })
}

// readStats asks for all of ids, and gives the answers in their order.
func readStats(ctx context.Context, boxes Sandboxes, ids []string) ([]sandboxUse, error) {
	answers, errs := make([]*docker.Stats, len(ids)), make([]error, len(ids))
	slots := make(chan struct{}, statsAtOnce)
	var group sync.WaitGroup
	for i, id := range ids {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			stats, err := boxes.Stats(ctx, id)
			if err != nil {
				errs[i] = err
				return
			}
			answers[i] = &stats
		})
	}
	group.Wait()
	var uses []sandboxUse
	for _, s := range answers {
		if s != nil {
			uses = append(uses, sandboxUse{Stats: *s})
		}
	}
	return uses, errors.Join(errs...)
}
