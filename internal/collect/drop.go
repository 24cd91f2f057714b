package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// drop removes the manifests that the policy does not want, unless somebody needs them.
func (p *pass) drop(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(p.runs)) {
		if run := p.runs[id]; len(run.over) > 0 {
			if err := p.dropOf(ctx, run); err != nil {
				return fmt.Errorf("run %s: %w", run.run.ID(), err)
			}
		}
	}
	return nil
}

func (p *pass) dropOf(ctx context.Context, run *chain) error {
	over, err := p.unneeded(ctx, run)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(over, page) {
		if p.DryRun {
			p.report.Dropped = append(p.report.Dropped, chunk...)
		} else if err := p.dropChunk(ctx, run, chunk); err != nil {
			return err
		}
	}
	return nil
}

// unneeded gives the candidates that nobody needs, and counts the others.
func (p *pass) unneeded(ctx context.Context, run *chain) ([]string, error) {
	keepAll := func(why Reason) ([]string, error) {
		p.report.Kept[why] += len(run.over)
		return nil, nil
	}
	open, err := p.Open(ctx, run.run)
	if err != nil {
		p.report.Unsure = append(p.report.Unsure, fmt.Sprintf("run %s: %v", run.run.ID(), err))
		return keepAll(KeptUnsure)
	}
	underWay, restored, err := p.restores(ctx, run.run, open)
	if err != nil {
		return nil, err
	}
	if underWay {
		return keepAll(KeptRestore)
	}
	var over []string
	for _, c := range run.over {
		switch {
		case open && c.latest:
			p.report.Kept[KeptLatest]++
		case open && c.named:
			p.report.Kept[KeptNamed]++
		case restored[c.id]:
			p.report.Kept[KeptRestored]++
		default:
			over = append(over, c.id)
		}
	}
	return over, nil
}

// restores says whether a restore of the run has not ended, and to which snapshots runs
// that are open were restored: they build theirs on them.
func (p *pass) restores(ctx context.Context, run wflo.Run, open bool) (underWay bool, to map[string]bool, err error) {
	all, err := p.Recovery.ListRestores(ctx, run.ID())
	if err != nil {
		return false, nil, err
	}
	to = map[string]bool{}
	for _, r := range all {
		if r.State != wflo.RestoreDone && r.State != wflo.RestoreFailed {
			return true, nil, nil
		}
		intoOpen := open
		if r.Into != "" && r.Into != run.ID() {
			if intoOpen, err = p.Open(ctx, runOf(run.Namespace, r.Into)); err != nil {
				intoOpen = true // what is not known is kept
			}
		}
		if intoOpen {
			to[r.Restore.To.Snapshot], to[r.PreRestore] = true, true
			if r.Plan.Snapshot != nil {
				to[r.Plan.Snapshot.ID] = true
			}
		}
	}
	return false, to, nil
}

// runOf reads a Run.ID. Workflow ids may have slashes, run ids do not.
func runOf(namespace, id string) wflo.Run {
	i := strings.LastIndexByte(id, '/')
	return wflo.Run{Namespace: namespace, WorkflowID: id[:max(i, 0)], FirstRunID: id[i+1:]}
}

// dropChunk removes manifests, and keeps them again where a restore began meanwhile: one
// that begins later finds them gone before it changes anything.
func (p *pass) dropChunk(ctx context.Context, run *chain, ids []string) error {
	var gone []wflo.Snapshot
	for _, id := range ids {
		s, err := p.Recovery.Snapshot(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another collector was faster
		}
		if err != nil {
			return err
		}
		switch err := p.Recovery.DropSnapshots(ctx, id); {
		case errors.Is(err, wflo.ErrConflict):
			p.report.Kept[KeptPinned]++ // meanwhile
		case err != nil:
			return err
		default:
			gone = append(gone, s)
		}
	}
	underWay, _, err := p.restores(ctx, run.run, false)
	if err != nil || underWay {
		// Not knowing is like knowing that there is one.
		for _, s := range gone {
			_, again := p.Recovery.SaveSnapshot(context.WithoutCancel(ctx), s)
			err = errors.Join(err, again)
		}
		p.report.Kept[KeptRestore] += len(gone)
		return err
	}
	for _, s := range gone {
		p.report.Dropped = append(p.report.Dropped, s.ID)
	}
	return nil
}
