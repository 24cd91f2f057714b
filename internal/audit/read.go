package audit

import (
	"context"
	"iter"

	"github.com/wflo-ai/wflo-go"
)

// Trail is the part of a store that Records reads.
type Trail interface {
	Heads
	ReadAudit(ctx context.Context, q wflo.AuditQuery) ([]wflo.AuditRecord, error)
}

// page is how many records are read at a time.
const page = 1000

// Records reads a trail chain by chain, each in its order, for [Verify] and
// [Export]. An empty chain means all of them. It ends each chain where it ended when
// reading began.
func Records(ctx context.Context, t Trail, chain string) iter.Seq2[wflo.AuditRecord, error] {
	return func(yield func(wflo.AuditRecord, error) bool) {
		heads, err := t.AuditHeads(ctx)
		if err != nil {
			yield(wflo.AuditRecord{}, err)
			return
		}
		for _, head := range heads {
			if (chain == "" || chain == head.Chain) && !readChain(ctx, t, head, yield) {
				return
			}
		}
	}
}

func readChain(ctx context.Context, t Trail, head wflo.AuditRecord, yield func(wflo.AuditRecord, error) bool) bool {
	for after := int64(0); after < head.Seq; {
		records, err := t.ReadAudit(ctx, wflo.AuditQuery{Chain: head.Chain, After: after, Limit: page})
		if err != nil {
			return yield(wflo.AuditRecord{}, err)
		}
		if len(records) == 0 {
			return true // cut off meanwhile, which the checkpoints show
		}
		for _, r := range records {
			if r.Seq > head.Seq {
				return true
			}
			if !yield(r, nil) {
				return false
			}
		}
		after = records[len(records)-1].Seq
	}
	return true
}
