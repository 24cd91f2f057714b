// Package claims deletes large payloads that no run needs any more. Histories hold a claim
// in the place of such a payload, and the blob that it names is in a store of its own;
// [Clean] compares the two.
//
// A blob goes if it was stored longer ago than Config.Keep and no claim names it: none in
// the histories of open runs and of closed ones that the server still has, and none in
// schedules. What is stored again counts as new. A history that cannot be read, or
// a payload in it that cannot be opened, ends the cleaning before anything is deleted.
//
// It does not read every event. A history that began well within Config.Keep holds older
// claims in its first event only, where the server copies the input of retries, of cron
// runs and of schedules; everything later was stored when it was sent. Of runs that began
// before, resets of them included, it reads all.
package claims

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

const (
	// DefaultKeep is Config.Keep where that is zero.
	DefaultKeep = 30 * 24 * time.Hour
	// LeastKeep is the shortest: more than a payload that was stored takes to be in a
	// history, and than the clocks of this machine, the store and the server differ. A
	// history that began so short a time within Config.Keep is read like one from before.
	LeastKeep = 24 * time.Hour
)

// Config says what is cleaned.
type Config struct {
	// Service reads histories, with payloads opened, plain ones accepted, and claims left as
	// they are: a client's own, without external storage. Required.
	Service workflowservice.WorkflowServiceClient
	// Namespaces are all whose runs keep payloads in Blobs: what is needed by runs of
	// another one is deleted. At least one.
	Namespaces []string
	// Blobs holds large payloads and conversations, and nothing else. Required.
	Blobs activities.BlobStore
	// Keep is how long every blob is kept after it was stored; zero means DefaultKeep. A
	// shorter time than LeastKeep is refused.
	Keep time.Duration
	// DryRun only reports what would be deleted.
	DryRun bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Report says what was done, or in a dry run would be.
type Report struct {
	// Old counts blobs that were stored before Config.Keep, Needed those of them that stay.
	Old    int `json:"old"`
	Needed int `json:"needed"`
	// Runs and Schedules were looked at, Read are runs of which the whole history was read.
	Runs      int `json:"runs"`
	Read      int `json:"read"`
	Schedules int `json:"schedules"`
	// Deleted and Freed, in bytes, are of blobs that went.
	Deleted int   `json:"deleted"`
	Freed   int64 `json:"freed"`
}

func (c Config) validate() error {
	switch {
	case c.Service == nil || c.Blobs == nil || len(c.Namespaces) == 0:
		return wflo.Invalid("claims", "lacks Temporal, a namespace or the blobs", "give all three")
	case c.Keep != 0 && c.Keep < LeastKeep:
		return wflo.Invalid("keep", "is "+c.Keep.String(), "keep payloads for at least "+LeastKeep.String())
	}
	return nil
}

// Clean makes one pass. What it deleted before an error is in the report. It may be
// repeated at any time, and next to runs.
func Clean(ctx context.Context, c Config) (Report, error) {
	if err := c.validate(); err != nil {
		return Report{}, err
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &pass{Config: c, before: c.Now().Add(-c.Keep), old: map[string]int64{}}
	// First the blobs and then who needs them: whoever begins to need one meanwhile stores it
	// again, or has it from a run or a schedule that is there already.
	err := c.Blobs.List(ctx, p.before, func(key string, size int64) error {
		p.old[key] = size
		return nil
	})
	if err != nil {
		return p.report, fmt.Errorf("list large payloads: %w", err)
	}
	p.report.Old = len(p.old)
	for _, namespace := range c.Namespaces {
		if err := p.mark(ctx, namespace); err != nil {
			return p.report, fmt.Errorf("read which payloads are needed, so none was deleted: namespace %s: %w", namespace, err)
		}
	}
	p.report.Needed = p.report.Old - len(p.old)
	for key, size := range p.old {
		if !c.DryRun {
			if err := c.Blobs.Delete(ctx, key, p.before); err != nil {
				return p.report, fmt.Errorf("delete large payloads: %w", err)
			}
		}
		p.report.Deleted, p.report.Freed = p.report.Deleted+1, p.report.Freed+size
	}
	return p.report, nil
}

// pass is one cleaning.
type pass struct {
	Config
	before time.Time
	// old are the keys and sizes of blobs that nothing was found to need so far.
	old    map[string]int64
	report Report
}
