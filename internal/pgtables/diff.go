package pgtables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Diff implements activities.PartKeeper: tables whose rows differ, with how many were
// added, removed and changed, by their primary keys. It holds a bounded number of rows'
// hashes. Between two snapshots only chunks that are not in both are read.
func (k *Keeper) Diff(ctx context.Context, in activities.PartRequest, from wflo.SnapshotPart, to *wflo.SnapshotPart) (wflo.PartDiff, error) {
	d := wflo.PartDiff{Kind: wflo.PartTables, Name: in.Name}
	err := k.diff(ctx, in, from, to, &d)
	var e *wflo.Error
	if errors.As(err, &e) && e.Code == wflo.CodeConflict && ctx.Err() == nil {
		d.Problem, d.Changes = e.Error(), nil
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("compare tables %s: %w", in.Name, err)
	}
	return d, nil
}

func (k *Keeper) diff(ctx context.Context, in activities.PartRequest, from wflo.SnapshotPart, to *wflo.SnapshotPart, d *wflo.PartDiff) error {
	before, err := k.load(ctx, from)
	if err != nil {
		return err
	}
	if to != nil {
		after, err := k.load(ctx, *to)
		if err != nil {
			return err
		}
		if err := sameSchema(before, after); err != nil {
			return err
		}
		for i := range before.Tables {
			if err := k.diffStored(ctx, &before.Tables[i], &after.Tables[i], d); err != nil {
				return err
			}
		}
		return nil
	}
	set, err := k.set(in.Name)
	if err != nil {
		return err
	}
	return k.in(ctx, set, reading, func(ctx context.Context, s *session) error {
		now, err := s.schema(ctx)
		if err != nil {
			return err
		}
		if err := sameSchema(before, now); err != nil {
			return err
		}
		for i := range before.Tables {
			if err := k.diffLive(ctx, s, &before.Tables[i], &now.Tables[i], d); err != nil {
				return err
			}
		}
		return nil
	})
}

// diffStored compares a table of two snapshots. Chunks that are in both have the same
// rows, and are in the same order.
func (k *Keeper) diffStored(ctx context.Context, before, after *table, d *wflo.PartDiff) error {
	if before.SHA256 == after.SHA256 {
		return nil
	}
	df := newDiffer(before)
	places := map[string][]int{}
	for i, c := range before.Chunks {
		places[c.Key] = append(places[c.Key], i)
	}
	from, at := 0, 0 // what is left of both
	for i := 0; i <= len(after.Chunks); i++ {
		end := len(before.Chunks)
		if i < len(after.Chunks) {
			same := places[after.Chunks[i].Key]
			n, _ := slices.BinarySearch(same, from)
			if n == len(same) {
				continue
			}
			end = same[n]
		}
		// What the same chunk ends is compared row by row.
		if err := k.compareChunks(ctx, df, before, before.Chunks[from:end], after, after.Chunks[at:i]); err != nil {
			return err
		}
		from, at = min(end+1, len(before.Chunks)), i+1
	}
	df.report(before, after, d)
	return nil
}

func (k *Keeper) compareChunks(ctx context.Context, df *differ, before *table, old []chunk, after *table, fresh []chunk) error {
	was := &stored{k: k, t: before, chunks: old}
	is := &stored{k: k, t: after, chunks: fresh}
	for {
		row, err := is.row(ctx)
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		df.right(row)
		if err := df.pull(ctx, was); err != nil {
			return err
		}
	}
	return df.drain(ctx, was)
}

// diffLive compares a table with what is there.
func (k *Keeper) diffLive(ctx context.Context, s *session, before, now *table, d *wflo.PartDiff) error {
	df := newDiffer(before)
	was := &stored{k: k, t: before, chunks: before.Chunks}
	rows := counting(k.limits, nil)
	lines := &lineWriter{to: rows, each: func(row []byte) error {
		df.right(row)
		return df.pull(ctx, was)
	}}
	doing := "reading table " + now.show()
	if _, err := s.conn.PgConn().CopyTo(ctx, lines, now.copyOut()); err != nil {
		return explain(ctx, doing, err)
	}
	if err := rows.finish(); err != nil {
		return explain(ctx, doing, err)
	}
	if err := df.drain(ctx, was); err != nil {
		return err
	}
	now.Rows = rows.total
	df.report(before, now, d)
	return nil
}

// lineWriter hands rows on one by one. It relies on the chunker for the limits.
type lineWriter struct {
	to   *chunker
	part []byte
	each func(row []byte) error
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	if n, err := w.to.Write(p); err != nil {
		return n, err
	}
	n := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.part = append(w.part, p...)
			return n, nil
		}
		row := p[:end]
		if len(w.part) > 0 {
			row = append(w.part, row...)
		}
		if err := w.each(row); err != nil {
			return 0, err
		}
		w.part, p = w.part[:0], p[end+1:]
	}
}

// stored reads the rows of chunks one by one.
type stored struct {
	k      *Keeper
	t      *table
	chunks []chunk
	buf    []byte
	rest   []byte
}

// row gives the next row without its newline, or nil at the end. It is valid until the
// next call.
func (r *stored) row(ctx context.Context) ([]byte, error) {
	for len(r.rest) == 0 {
		if len(r.chunks) == 0 {
			return nil, nil
		}
		raw, err := r.k.open(ctx, r.t, r.chunks[0], r.buf)
		if err != nil {
			return nil, err
		}
		r.chunks, r.buf, r.rest = r.chunks[1:], raw, raw
	}
	row, rest, _ := bytes.Cut(r.rest, newline)
	r.rest = rest
	return row, nil
}

// report adds the table where anything differs.
func (df *differ) report(before, after *table, d *wflo.PartDiff) {
	df.flush()
	var parts []string
	for _, n := range []struct {
		count int64
		what  string
	}{{df.added, "added"}, {df.removed, "removed"}, {df.changed, "changed"}} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	if df.over {
		parts = []string{fmt.Sprintf("more than %d rows in a row are others", maxPending)}
	}
	if len(parts) == 0 {
		return
	}
	d.Changes = append(d.Changes, wflo.PartChange{
		Name: before.show(), Op: "changed", Before: before.Rows, After: after.Rows, Detail: strings.Join(parts, ", "),
	})
}
