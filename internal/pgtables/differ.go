package pgtables

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
)

// maxPending bounds how many rows one side remembers while it waits for a row that both
// have: about 20 MiB.
const maxPending = 1 << 18

// short is the beginning of a SHA-256.
type short [16]byte

func shorten(b []byte) short {
	sum := sha256.Sum256(b)
	return short(sum[:16])
}

// differ counts what differs between two streams of rows that are in the same order,
// whatever that is. Rows of which the other side has not seen the key are pending.
// When a key comes that the other side has pending, everything that was pending before
// it on either side has no partner: the order says that it cannot come any more.
type differ struct {
	key     []int // the fields that are the key; none means the whole row
	was, is side
	added   int64
	removed int64
	changed int64
	over    bool
	scratch []byte
}

// side is what is pending of one stream.
type side struct {
	rows  []pending
	from  int // the number of the first one
	where map[short]int
}

type pending struct{ key, row short }

func newDiffer(t *table) *differ {
	return &differ{key: keyFields(t), was: side{where: map[short]int{}}, is: side{where: map[short]int{}}}
}

// keyFields are the places of the key in a row; none where the row does not have all of
// it.
func keyFields(t *table) (fields []int) {
	columns := t.copied()
	for _, name := range t.Key {
		i := slices.IndexFunc(columns, func(c column) bool { return c.Name == name })
		if i < 0 {
			return nil
		}
		fields = append(fields, i)
	}
	return fields
}

func (df *differ) hash(row []byte) pending {
	p := pending{row: shorten(row)}
	if len(df.key) == 0 {
		p.key = p.row
		return p
	}
	df.scratch = df.scratch[:0]
	fields := bytes.Split(row, []byte{'\t'})
	for _, i := range df.key {
		if i < len(fields) {
			df.scratch = append(append(df.scratch, fields[i]...), '\t')
		}
	}
	p.key = shorten(df.scratch)
	return p
}

// left takes a row of the older stream, right one of the newer.
func (df *differ) left(row []byte)  { df.take(row, &df.was, &df.is, &df.removed, &df.added) }
func (df *differ) right(row []byte) { df.take(row, &df.is, &df.was, &df.added, &df.removed) }

func (df *differ) take(row []byte, own, other *side, ownLost, otherLost *int64) {
	if df.over {
		return
	}
	p := df.hash(row)
	at, ok := other.where[p.key]
	if !ok {
		own.push(p)
		df.over = len(own.rows) > maxPending
		return
	}
	if other.rows[at-other.from].row != p.row {
		df.changed++
	}
	*otherLost += int64(at - other.from)
	other.drop(at)
	*ownLost += int64(len(own.rows))
	own.clear()
}

func (s *side) push(p pending) {
	if _, ok := s.where[p.key]; !ok {
		s.where[p.key] = s.from + len(s.rows)
	}
	s.rows = append(s.rows, p)
}

// drop removes the rows up to one. Rows that are the same follow each other.
func (s *side) drop(last int) {
	n := last - s.from + 1
	for i, p := range s.rows[:n] {
		if s.where[p.key] == s.from+i {
			delete(s.where, p.key)
		}
	}
	key := s.rows[n-1].key
	s.rows = s.rows[:copy(s.rows, s.rows[n:])]
	s.from = last + 1
	if len(s.rows) > 0 && s.rows[0].key == key {
		s.where[key] = s.from
	}
}

func (s *side) clear() {
	s.from += len(s.rows)
	s.rows = s.rows[:0]
	clear(s.where)
}

// flush gives up on what is pending: the streams have ended, or meet at a point that
// both have.
func (df *differ) flush() {
	df.removed += int64(len(df.was.rows))
	df.added += int64(len(df.is.rows))
	df.was.clear()
	df.is.clear()
}

// pull takes one row of the older stream.
func (df *differ) pull(ctx context.Context, was *stored) error {
	row, err := was.row(ctx)
	if err == nil && row != nil {
		df.left(row)
	}
	return err
}

// drain takes what is left of the older stream, and flushes.
func (df *differ) drain(ctx context.Context, was *stored) error {
	for {
		row, err := was.row(ctx)
		if err != nil {
			return err
		}
		if row == nil {
			df.flush()
			return nil
		}
		df.left(row)
	}
}
