package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/wflo-ai/wflo-go/internal/story"
)

const (
	// deepest is how many generations of child workflows are told with their parent.
	deepest = 4
	// mostChildren bounds how many stories are read for one picture.
	mostChildren = 50
)

// family reads the stories of child workflows, such as agents, into their parent's.
type family struct {
	// read gives the rows of a run by its workflow id.
	read func(ctx context.Context, run string) ([]story.Row, error)
	// left is how many more may be read; missed says that there were others.
	left   int
	missed bool
}

// join puts the rows of children below the rows that started them, in the order of
// their start. A child that cannot be found, such as one of another namespace, stays a
// row.
func (f *family) join(ctx context.Context, rows []story.Row, depth int) ([]story.Row, error) {
	all := slices.Clone(rows)
	for _, r := range rows {
		if r.Kind != story.KindChild || r.Summary == "" {
			continue
		}
		if f.left == 0 || depth == 0 {
			f.missed = true
			continue
		}
		f.left--
		below, err := f.read(ctx, r.Summary)
		switch {
		case errors.Is(err, errNotThere):
			continue
		case err != nil:
			return nil, err
		}
		if below, err = f.join(ctx, below, depth-1); err != nil {
			return nil, err
		}
		all = append(all, adopted(r, below)...)
	}
	slices.SortStableFunc(all, func(x, y story.Row) int { return x.Start.Compare(y.Start) })
	return all, nil
}

// adopted are a child's rows as rows of its parent. Names of rows are a run's own, so
// the child's go before them; the child's row of itself says what the parent's does.
func adopted(parent story.Row, rows []story.Row) []story.Row {
	own := map[string]bool{}
	for _, r := range rows {
		if r.Kind == story.KindRun && r.Parent == "" {
			own[r.ID] = true
		}
	}
	var all []story.Row
	for _, r := range rows {
		if own[r.ID] {
			continue
		}
		if r.Parent == "" || own[r.Parent] {
			r.Parent = parent.ID
		} else {
			r.Parent = parent.ID + "/" + r.Parent
		}
		r.ID = parent.ID + "/" + r.ID
		all = append(all, r)
	}
	return all
}

// withChildren is a story with those of its children. Kinds are those that were asked
// for; none means all.
func (c *api) withChildren(ctx context.Context, rows []story.Row, kinds []story.Kind, latest bool) ([]story.Row, bool, error) {
	f := &family{left: mostChildren, read: func(ctx context.Context, run string) ([]story.Row, error) {
		q := story.Query{WorkflowID: run, Kinds: kinds}
		if latest {
			q.Latest = true
			page, err := c.rows(ctx, q)
			return append(page.Parents, page.Rows...), err
		}
		all, _, err := c.story(ctx, q, 0)
		return all, err
	}}
	all, err := f.join(ctx, rows, deepest)
	return all, f.missed, err
}
