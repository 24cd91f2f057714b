package audit

import (
	"context"
	"fmt"
	"iter"

	"github.com/wflo-ai/wflo-go"
)

// History is Temporal's side of the story.
type History interface {
	// Decisions gives the decisions that the history of a run, its continuations
	// included, accepted. A run that has none any more is an error that matches
	// fs.ErrNotExist.
	Decisions(ctx context.Context, workflowID, firstRunID string) ([]wflo.Decision, error)
}

// Options are what the one who verifies knows from elsewhere. Keys that come with
// the trail prove nothing about it.
type Options struct {
	// Checkpoints are those of the second place, and CheckpointKeys the public keys
	// of who signs them, by name, in base64. Read them before the records: a
	// checkpoint of a record that was not there yet looks like one that is gone.
	Checkpoints    []wflo.Checkpoint
	CheckpointKeys map[string]string
	// Terms have the public keys that votes are verified with, those that were
	// replaced since included.
	Terms wflo.Terms
	// History, if not nil, is compared with the decisions on record.
	History History
	// Part says that the records are a part of the trail on purpose: not from the
	// first one, or not to the last.
	Part bool
}

// Verify reads the records of one or more chains, each in its order, and says what
// is wrong with them. It fails only where the records or the history cannot be read;
// everything else is a finding.
//
// It checks that each record has its hash and follows the one before; that every
// checkpoint is genuine and its record still there; and, from the records alone,
// that each action that needed people began once, on an approval of exactly it,
// within its time, by a quorum of votes that prove who made them.
func Verify(ctx context.Context, records iter.Seq2[wflo.AuditRecord, error], o Options) (*Report, error) {
	v := &verifier{report: &Report{}, chains: map[string]*chain{}, marks: map[string]map[int64]wflo.Checkpoint{}, gates: map[string]*gateTrail{}, options: o}
	v.readMarks()
	for r, err := range records {
		if err != nil {
			return nil, fmt.Errorf("verify the audit trail: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v.link(r)
		v.note(r)
	}
	v.closeChains()
	v.judge()
	if err := v.compare(ctx); err != nil {
		return nil, err
	}
	v.report.sort()
	return v.report, nil
}

type verifier struct {
	report  *Report
	options Options
	order   []string // of the chains
	chains  map[string]*chain
	// marks are the genuine checkpoints, by chain and record.
	marks map[string]map[int64]wflo.Checkpoint
	gates map[string]*gateTrail
	nonce []string // the order of the gates
	// noKeys says that it was said already.
	noKeys bool
}

// chain is how far a chain was read.
type chain struct {
	ChainHead
	prev string
}

func (v *verifier) find(r wflo.AuditRecord, k Kind, format string, args ...any) {
	v.report.add(Finding{Chain: r.Chain, Seq: r.Seq, Kind: k, What: fmt.Sprintf(format, args...)})
}

// readMarks sorts the checkpoints, and finds those that nobody signed.
func (v *verifier) readMarks() {
	if len(v.options.Checkpoints) > 0 && len(v.options.CheckpointKeys) == 0 {
		v.report.add(Finding{Kind: NoKeys, What: "there are no public keys to verify checkpoints with"})
		return
	}
	for _, c := range v.options.Checkpoints {
		if err := c.Verify(v.options.CheckpointKeys); err != nil {
			v.report.add(Finding{Chain: c.Chain, Seq: c.Seq, Kind: ForgedCheckpoint, What: err.Error()})
			continue
		}
		if v.marks[c.Chain] == nil {
			v.marks[c.Chain] = map[int64]wflo.Checkpoint{}
		}
		if other, ok := v.marks[c.Chain][c.Seq]; ok && other.Hash != c.Hash {
			v.report.add(Finding{Chain: c.Chain, Seq: c.Seq, Kind: Rewritten, What: "two genuine checkpoints for the record have different hashes"})
			continue
		}
		v.marks[c.Chain][c.Seq] = c
	}
}

// link checks that a record has its hash and its place.
func (v *verifier) link(r wflo.AuditRecord) {
	v.report.Records++
	c := v.chains[r.Chain]
	if c == nil {
		c = &chain{ChainHead: ChainHead{Chain: r.Chain, First: r.Seq}}
		v.chains[r.Chain], v.order = c, append(v.order, r.Chain)
		v.begin(c, r)
	}
	switch {
	case c.Seq == 0: // the first one that is read
	case r.Seq <= c.Seq:
		v.find(r, Order, "record %d comes after record %d", r.Seq, c.Seq)
		return // what follows is compared with the furthest one
	case r.Seq > c.Seq+1:
		v.report.add(Finding{Chain: r.Chain, Seq: c.Seq + 1, Kind: Gap, What: fmt.Sprintf("records %d to %d are missing", c.Seq+1, r.Seq-1)})
	case r.Prev != c.prev:
		v.find(r, Tampered, "the record does not follow the one before: its prev is %.64q, the hash before is %.64q", r.Prev, c.prev)
	}
	if !intact(r) {
		v.find(r, Tampered, "the record does not have the hash that it says")
	}
	if mark, ok := v.marks[r.Chain][r.Seq]; ok {
		if mark.Hash == r.Hash {
			c.Anchored = r.Seq
			v.report.Checkpoints++
		} else {
			v.find(r, Rewritten, "the record has the hash %.64q, and its checkpoint of %s %.64q", r.Hash, mark.At, mark.Hash)
		}
	}
	c.Seq, c.Hash, c.prev = r.Seq, r.Hash, r.Hash
}

// begin looks at how a chain starts.
func (v *verifier) begin(c *chain, r wflo.AuditRecord) {
	switch {
	case r.Seq == 1 && r.Prev != Genesis:
		v.find(r, Tampered, "the first record follows %.64q", r.Prev)
	case r.Seq < 1:
		v.find(r, Tampered, "the record has the number %d", r.Seq)
	case r.Seq > 1 && !v.options.Part:
		v.report.add(Finding{Chain: c.Chain, Seq: 1, Kind: Gap, What: fmt.Sprintf("records 1 to %d are missing", r.Seq-1)})
	case r.Seq > 1:
		mark, ok := v.marks[r.Chain][r.Seq-1]
		if ok && mark.Hash != r.Prev {
			v.find(r, Rewritten, "the record follows %.64q, and the checkpoint before it is for %.64q", r.Prev, mark.Hash)
		} else if !ok {
			v.find(r, Partial, "the chain is read from record %d, and no checkpoint says what was before", r.Seq)
		}
	}
}

// closeChains compares the ends with the checkpoints.
func (v *verifier) closeChains() {
	for _, name := range v.order {
		c := v.chains[name]
		if c.Anchored == 0 {
			v.report.add(Finding{Chain: name, Kind: Unanchored, What: "no checkpoint covers the chain, so that nothing shows whether its end was cut off"})
		}
		v.report.Chains = append(v.report.Chains, c.ChainHead)
	}
	for name, marks := range v.marks {
		end := int64(0)
		if c := v.chains[name]; c != nil {
			end = c.Seq
		} else if v.options.Part {
			continue // this chain was not asked for
		}
		first, last := int64(0), int64(0)
		for seq := range marks {
			if seq > end && (first == 0 || seq < first) {
				first = seq
			}
			last = max(last, seq)
		}
		if first != 0 && !v.options.Part {
			v.report.add(Finding{Chain: name, Seq: end + 1, Kind: Truncated,
				What: fmt.Sprintf("the chain ends at record %d, and a checkpoint of %s is for record %d", end, marks[last].At.UTC().Format("2006-01-02 15:04:05"), last)})
		}
	}
}
