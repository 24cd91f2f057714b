package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// begun is what is known of a step when it begins.
type begun struct {
	seq   int
	taken map[string]int
	input string
}

// possible refuses parts that only a snapshot can bring back, where none is taken.
func (r *Rollback) possible(st *state) error {
	if r != nil && (r.Workspace || len(r.Tables) > 0) && st.journal == nil {
		return errNoJournal
	}
	return nil
}

// stepKey is the key of a step without one of its own. In a run that can be taken back
// steps within a step are numbered there: they are not passed again when the outer one
// is answered.
func (st *state) stepKey(ctx workflow.Context, name string) string {
	outer, ok := ctx.Value(stepKey{}).(*scope)
	if !ok || st.journal == nil {
		return st.next(name)
	}
	sum := sha256.Sum256([]byte(outer.key))
	return fmt.Sprintf("g%d/%s#%s.%d", st.run.Generation, name, hex.EncodeToString(sum[:4]), outer.count("step "+name))
}

// tryKey names the calls of a step that is tried again after it was rolled back: they
// are other effects.
func (st *state) tryKey(key string) string {
	if n := st.rolled[key]; n > 0 {
		return fmt.Sprintf("%s~%d", key, max(n, st.redone(key)))
	}
	return st.keyAfterUndo(key)
}

// recallStep gives the outcome that a step had before the run was restored, when its
// turn comes; nil where it has none.
func (st *state) recallStep(ctx workflow.Context, key string, opts *StepOptions) (*step.Outcome, error) {
	j := st.journal
	if j == nil || undoing(ctx) {
		return nil, nil
	}
	o, err := j.recall(ctx, step.OutcomeStep, key, stepInput(opts))
	if o == nil || err != nil {
		return nil, err
	}
	record := wflo.StepRecord{Key: key, Effect: opts.Effect}
	if o.Failure != nil {
		record.Error = cause(errorOf(o.Failure))
		if opts.Rollback != nil {
			st.rolled[key]++
		}
	} else {
		st.memo[key] = onlyPayload(o.Result)
	}
	st.steps = append(st.steps, record)
	return o, nil
}

// stepInput is the SHA-256, in hex, of what a step says it works on; empty where it says
// nothing.
func stepInput(opts *StepOptions) string {
	switch {
	case opts.Args != nil:
		return inputOfCall([]any{opts.Args})
	case opts.Approval != nil && len(opts.Approval.Payload) > 0:
		return inputOfCall([]any{opts.Approval.Payload})
	}
	return ""
}

func (st *state) stepBegins(s *scope, opts *StepOptions) begun {
	j := st.journal
	if j == nil {
		return begun{}
	}
	j.moves++
	return begun{seq: j.seq, taken: j.taken(), input: stepInput(opts)}
}

// stepEnds writes down how a step ended.
func (st *state) stepEnds(s *scope, b begun, err error) {
	s.ended = true
	j := st.journal
	if j == nil || st.ended {
		return
	}
	o := step.Outcome{Kind: step.OutcomeStep, Key: s.base, Effect: s.effect, Input: b.input, Signals: j.takenSince(b.taken), Failure: failureOf(err)}
	if s.outer != nil {
		o.In, o.Around = s.outer.base, s.around()
	}
	if err == nil {
		o.Result = &commonpb.Payloads{Payloads: []*commonpb.Payload{st.memo[s.base]}}
	}
	j.ended(o, s, b.seq)
}

// around are the keys of the steps around a step.
func (s *scope) around() []string {
	var all []string
	for ; s != nil && s.outer != nil; s = s.outer {
		all = append(all, s.outer.base)
	}
	return all
}

// over says that the step, or one around it, has ended.
func (s *scope) over() bool {
	for ; s != nil; s = s.outer {
		if s.ended {
			return true
		}
	}
	return false
}
