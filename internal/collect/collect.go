// Package collect cleans up after snapshots: [New] makes a [Collector], whose Run drops
// manifests that retention does not want any more, and then deletes blobs that nothing
// refers to.
//
// It reads every reference before it removes anything. Where one cannot be read, it
// removes nothing. It keeps a blob for a grace period after it was stored, and for one
// more pass after its last manifest was dropped, because somebody may be building a
// snapshot on it. Collectors may run at the same time, and next to runs that take
// snapshots and are restored.
package collect

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// DefaultGrace is Policy.Grace where that is zero.
const DefaultGrace = 24 * time.Hour

// Policy says what is kept.
type Policy struct {
	// KeepLast is how many snapshots each run keeps, the latest; zero means all.
	KeepLast int
	// MaxAge is how long a snapshot is kept; zero means for ever.
	MaxAge time.Duration
	// Grace is how long a blob is kept after it was stored last, whatever refers to it:
	// longer than any snapshot takes to be saved, and than the clocks of this machine
	// and of the store differ. Zero means DefaultGrace.
	Grace time.Duration
}

// Refs lists every blob that a part needs. activities.PartKeeper has it.
type Refs interface {
	Refs(ctx context.Context, p wflo.SnapshotPart) ([]string, error)
}

// Config says what is collected.
type Config struct {
	// Recovery has the manifests, the compensations and the restores. Required.
	Recovery activities.Recovery
	// Blobs is what is swept: all that is in it must be of snapshots. Required.
	Blobs activities.BlobStore
	// Parts reads the references of each kind of part but the state, whose are its
	// blobs. A part of a kind that is not here stops the collection.
	Parts map[wflo.PartKind]Refs
	// More gives parts that are needed besides those of manifests; nil means none.
	More func(ctx context.Context) ([]wflo.SnapshotPart, error)
	// Open says whether a run is open: its latest snapshot and its named ones are kept
	// whatever the policy says. On an error all of the run's are kept. Required.
	Open func(ctx context.Context, r wflo.Run) (bool, error)
	// Policy says what is kept; zero keeps all manifests.
	Policy Policy
	// DryRun only reports what would be removed.
	DryRun bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Collector removes what nobody needs any more.
type Collector struct {
	c  Config
	mu sync.Mutex // one pass at a time
}

// Report says what a pass did, or in a dry run would do.
type Report struct {
	// Snapshots counts those that were read. Dropped are the IDs of those that went.
	Snapshots int      `json:"snapshots"`
	Dropped   []string `json:"dropped,omitempty"`
	// Kept counts those that stay, by the reason.
	Kept map[Reason]int `json:"kept,omitempty"`
	// Unsure says of runs why it is not known whether they are open.
	Unsure []string `json:"unsure,omitempty"`
	// Referenced counts blobs that something refers to. Deleted and Freed, in bytes, are
	// of those that went.
	Referenced int   `json:"referenced"`
	Deleted    int   `json:"deleted"`
	Freed      int64 `json:"freed"`
}

// Reason is why a snapshot stays.
type Reason string

// The reasons, the first that holds.
const (
	KeptPinned   Reason = "pinned"
	KeptYoung    Reason = "within the policy"
	KeptUnsure   Reason = "not known whether the run is open"
	KeptRestore  Reason = "a restore of the run is under way"
	KeptLatest   Reason = "the latest of an open run"
	KeptNamed    Reason = "named, of an open run"
	KeptRestored Reason = "an open run was restored to it"
)

// New checks the configuration.
func New(c Config) (*Collector, error) {
	switch {
	case c.Recovery == nil || c.Blobs == nil || c.Open == nil:
		return nil, wflo.Invalid("collect", "lacks a store of manifests, a store of blobs, or what says whether runs are open", "give all three")
	case c.Policy.KeepLast < 0 || c.Policy.MaxAge < 0 || c.Policy.Grace < 0:
		return nil, wflo.Invalid("collect.policy", "is negative", "use 0 for the default, or a positive number")
	}
	if c.Policy.Grace == 0 {
		c.Policy.Grace = DefaultGrace
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Collector{c: c}, nil
}

// Run makes one pass. What it removed before an error is in the report. It may be
// repeated at any time.
func (c *Collector) Run(ctx context.Context) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &pass{Config: c.c, now: c.c.Now(), seen: map[[sha256.Size]byte]struct{}{}, runs: map[string]*chain{}, report: Report{Kept: map[Reason]int{}}}
	if err := p.read(ctx); err != nil {
		return p.report, wrap("read what blobs are for, so nothing was removed", err)
	}
	if err := p.drop(ctx); err != nil {
		return p.report, wrap("drop snapshots", err)
	}
	if err := p.sweep(ctx); err != nil {
		return p.report, wrap("sweep blobs", err)
	}
	return p.report, nil
}

func wrap(doing string, err error) error { return fmt.Errorf("collect: %s: %w", doing, err) }

// pass is one collection.
type pass struct {
	Config
	now    time.Time
	marks  keys
	seen   map[[sha256.Size]byte]struct{} // parts whose references are in marks
	runs   map[string]*chain
	report Report
}

// chain is a run's snapshots.
type chain struct {
	run wflo.Run
	// n counts them; over are those that the policy does not want, the latest first.
	n    int
	over []candidate
}

type candidate struct {
	id            string
	latest, named bool
}

// sweep deletes what is old and not marked.
func (p *pass) sweep(ctx context.Context) error {
	before := p.now.Add(-p.Policy.Grace)
	return p.Blobs.List(ctx, before, func(key string, size int64) error {
		if p.marks.has(key) {
			return nil
		}
		if !p.DryRun {
			if err := p.Blobs.Delete(ctx, key, before); err != nil {
				return err
			}
		}
		p.report.Deleted++
		p.report.Freed += size
		return nil
	})
}
