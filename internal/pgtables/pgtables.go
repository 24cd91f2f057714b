// Package pgtables keeps tables of a user's PostgreSQL database in a blob store, and
// puts them back: the tables part of snapshots. [New] gives a [Keeper], whose Save and
// Restore know tables by the names of sets that the worker's operator configured.
//
// A set is read in one repeatable-read transaction, so its tables fit together however
// many write meanwhile. Rows are kept as the text that COPY gives. Text reads back to
// the same values (the settings that change how values are written are fixed), it does
// not change between versions as the binary form of a type may, and its rows end at
// newlines. They are cut into chunks of about 1 MiB, where the content of a row says
// so, and stored as frames of zstd: rows that change, come or go store the chunks around
// them and nothing else.
//
// A restore is one transaction. It locks the tables against writers, refuses when they
// are not what they were (columns, types, constraints), deletes the rows and copies
// the old ones back in the order of foreign keys, reads everything again and compares it
// by hashes under a key that is new each time, sets sequences back, and commits. Whatever fails leaves the rows
// that there were.
//
// What the package refuses: to touch a table that the set does not name, so a row of
// another one that refers to rows of the set, and would be deleted, emptied or left
// dangling, is an error with the name of that table; rows that row-level security may
// hide; circles of foreign keys that cannot be deferred; views and foreign tables.
// Triggers of users fire as for anybody, unless the set says otherwise; one that makes
// other rows of those that come back is an error. Sequences that other tables use, and
// those of tables with a condition, are never set back, because other rows may have
// their numbers.
//
// Errors never have the URL, a password, or what is in rows.
package pgtables

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.PartKeeper = (*Keeper)(nil)

const (
	// DefaultTimeout bounds a save or a restore when Config.Timeout is zero.
	DefaultTimeout = 30 * time.Minute
	// DefaultLockTimeout is how long a lock is waited for when Config.LockTimeout is
	// zero.
	DefaultLockTimeout = 10 * time.Second
)

// readBuffer is how many bytes are read from a server at once. It sends 8 KiB at a time,
// and a save that reads more often than it must takes its processor.
const readBuffer = 256 << 10

// Config says which tables are kept, and where.
type Config struct {
	// Sets are the tables by the name under which snapshots ask for them.
	Sets map[string]Set
	// Blobs keeps them. Required.
	Blobs activities.Blobs
	// Timeout bounds each operation; zero means DefaultTimeout.
	Timeout time.Duration
	// LockTimeout bounds each wait for a lock, in whole milliseconds; zero means
	// DefaultLockTimeout.
	LockTimeout time.Duration
	// Limits bound a set; zeros mean the defaults.
	Limits Limits
}

// Set is tables of one database that are kept together.
type Set struct {
	// URL is the address, such as postgres://USER:PASSWORD@HOST:5432/DATABASE. It is a
	// secret. The role needs SELECT for a save, INSERT, UPDATE and DELETE for a restore,
	// and owns the sequences that are to be set back.
	URL string
	// Tables are those of the set, in any order, at least one.
	Tables []Table
	// SkipTriggers keeps triggers of users from firing during a restore. The role must
	// own the tables. False means that they fire.
	SkipTriggers bool
}

// Table is one table of a set.
type Table struct {
	// Name is written as in SQL: orders, sales.orders, "Sales"."Order Lines". Without a
	// schema it is looked for on the role's search path.
	Name string
	// Where limits the table to rows of which this SQL condition is true, such as
	// tenant = 7. It is what the operator wrote and is not checked. Functions outside
	// of pg_catalog need their schema. Empty means all rows.
	Where string
}

// Limits bound what is kept of one set.
type Limits struct {
	// Rows is how many rows; zero means 100 million.
	Rows int64
	// Bytes is their size before compression; zero means 64 GiB.
	Bytes int64
	// RowBytes is the size of one row as text; zero means 16 MiB, and no more than
	// 32 MiB is possible.
	RowBytes int
}

const maxRowBytes = 32 << 20

func (l Limits) withDefaults() Limits {
	return Limits{Rows: cmp.Or(l.Rows, 100_000_000), Bytes: cmp.Or(l.Bytes, 64<<30), RowBytes: cmp.Or(l.RowBytes, 16<<20)}
}

func (l Limits) validate() error {
	if l.Rows < 0 || l.Bytes < 0 || l.RowBytes < 0 || l.RowBytes > maxRowBytes {
		return wflo.Invalid("tables.limits", fmt.Sprintf("are %d rows, %d bytes, %d bytes a row", l.Rows, l.Bytes, l.RowBytes),
			"use 0 for the defaults, or positive numbers, and at most 33554432 bytes a row")
	}
	return nil
}

// Keeper is the activities.PartKeeper of tables. Its methods may be called at the same
// time. It holds no connection between calls.
type Keeper struct {
	sets        map[string]*tableSet
	blobs       activities.Blobs
	timeout     time.Duration
	lockTimeout time.Duration
	limits      Limits
	codec       *codec
}

// tableSet is a Set that was read.
type tableSet struct {
	name         string
	conf         *pgx.ConnConfig
	tables       []Table
	skipTriggers bool
}

// New makes a keeper. It does not connect. A Config that cannot be used is an
// *wflo.Error with wflo.CodeInvalid.
func New(c Config) (*Keeper, error) {
	if c.Blobs == nil {
		return nil, wflo.Invalid("tables.blobs", "is missing", "give snapshots a blob store")
	}
	if c.Timeout < 0 || c.LockTimeout < 0 {
		return nil, wflo.Invalid("tables.timeout", "is negative", "use 0 for the defaults, or positive times")
	}
	if err := c.Limits.validate(); err != nil {
		return nil, err
	}
	k := &Keeper{
		sets: map[string]*tableSet{}, blobs: c.Blobs, limits: c.Limits.withDefaults(),
		timeout: cmp.Or(c.Timeout, DefaultTimeout), lockTimeout: cmp.Or(c.LockTimeout, DefaultLockTimeout),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sets)) {
		s, err := newSet(name, c.Sets[name])
		if err != nil {
			return nil, err
		}
		k.sets[name] = s
	}
	var err error
	if k.codec, err = newCodec(); err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return k, nil
}

// newSet does not pass on what the URL's parser says, because it quotes the URL.
func newSet(name string, s Set) (*tableSet, error) {
	field := "tables.sets." + name
	if name == "" {
		return nil, wflo.Invalid("tables.sets", "has one without a name", "name it as snapshots ask for it")
	}
	if s.URL == "" {
		return nil, wflo.Invalid(field+".url", "is empty", "set it to postgres://USER:PASSWORD@HOST:5432/DATABASE")
	}
	conf, err := pgx.ParseConfig(s.URL)
	if err != nil {
		return nil, wflo.Invalid(field+".url", "cannot be read",
			"write postgres://USER:PASSWORD@HOST:5432/DATABASE, with %XX for special characters in the password")
	}
	// Statements without a name work behind poolers too.
	conf.DefaultQueryExecMode = pgx.QueryExecModeExec
	conf.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(r, readBuffer), w)
	}
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "wflo"
	}
	if len(s.Tables) == 0 {
		return nil, wflo.Invalid(field+".tables", "is empty", "name at least one table")
	}
	seen := map[string]bool{}
	for _, t := range s.Tables {
		parts, err := splitName(t.Name)
		if err != nil {
			return nil, wflo.Invalid(field+".tables", fmt.Sprintf("has %.200q, which %s", t.Name, err), `write it as in SQL: orders, sales.orders or "Sales"."Orders"`)
		}
		id := parts.Sanitize()
		if seen[id] {
			return nil, wflo.Invalid(field+".tables", fmt.Sprintf("has %s twice", id), "name each table once")
		}
		seen[id] = true
	}
	return &tableSet{name: name, conf: conf, tables: slices.Clone(s.Tables), skipTriggers: s.SkipTriggers}, nil
}

// set finds a set by its name.
func (k *Keeper) set(name string) (*tableSet, error) {
	if s := k.sets[name]; s != nil {
		return s, nil
	}
	return nil, wflo.Errorf(wflo.CodeInvalid, "name a set of the worker's configuration: plugin.Config.Snapshots",
		"the worker knows no set of tables %.100q", name)
}
