package govern

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/wflo-ai/wflo-go"
)

// outside is the world that agents have effects on: a provider with idempotency keys,
// and a log of its own. It knows nothing of runs, stores or snapshots.
type outside struct {
	mu      sync.Mutex
	charges []*charge
	byKey   map[wflo.EffectKey]*charge
	faults  []string // what no provider would ever have to see
	seq     int
}

// charge is one effect. Label names the run and the operation that it is of.
type charge struct {
	ID, Label  string
	Key        wflo.EffectKey
	Op         op
	Do, Undone int // moments; Undone is zero while it stands
}

const (
	actDo, actUndo, actAsk = "outside.Do", "outside.Undo", "outside.Ask"
)

func (o *outside) register(r worker.Registry) {
	r.RegisterActivityWithOptions(o.do, activity.RegisterOptions{Name: actDo})
	r.RegisterActivityWithOptions(o.undo, activity.RegisterOptions{Name: actUndo})
	r.RegisterActivityWithOptions(o.ask, activity.RegisterOptions{Name: actAsk})
}

var errOutside = errors.New("the provider is away")

func givenUp() error {
	return temporal.NewNonRetryableApplicationError("the provider refuses", "outside", nil)
}

// do charges, as the operation's fault says.
func (o *outside) do(ctx context.Context, what op) (string, error) {
	run, _ := wflo.RunFrom(ctx)
	first := activity.GetInfo(ctx).Attempt == 1
	switch {
	case what.Fault == faultNever:
		return "", givenUp()
	case what.Fault == faultBefore && first:
		return "", errOutside
	}
	c := o.charge(labelOf(run.WorkflowID, what.Name), what, run.EffectKey())
	switch {
	case what.Fault == faultLost:
		return "", givenUp()
	case what.Fault == faultAfter && first:
		return "", errOutside
	}
	return c.ID, nil
}

func (o *outside) charge(label string, what op, key wflo.EffectKey) *charge {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	if c, ok := o.byKey[key]; ok {
		if c.Label != label {
			o.fault("the key of %s comes again for %s", c.Label, label)
		}
		if c.Undone > 0 {
			o.fault("%s is charged again under a key that was undone", c.Label)
		}
		return c
	}
	for _, c := range o.charges {
		if c.Label == label && c.Undone == 0 && c.Op.Class == wflo.EffectReversible && !c.Op.Stuck {
			o.fault("%s is charged a second time while the first charge stands", c.Label)
		}
	}
	c := &charge{ID: fmt.Sprintf("%s!%d", label, o.seq), Label: label, Key: key, Op: what, Do: o.seq}
	o.charges, o.byKey[key] = append(o.charges, c), c
	return c
}

func (o *outside) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// undo takes back what stands under a label; nothing is fine.
func (o *outside) undo(ctx context.Context, what op) error {
	run, _ := wflo.RunFrom(ctx)
	label := labelOf(run.WorkflowID, what.Name)
	o.mu.Lock()
	defer o.mu.Unlock()
	if u, ok := wflo.UndoFrom(ctx); !ok || u.ID == "" {
		o.fault("%s is undone, and nobody says by which compensation", label)
	}
	if what.Stuck {
		return givenUp()
	}
	o.seq++
	for _, c := range o.charges {
		if c.Label == label && c.Undone == 0 {
			c.Undone = o.seq
		}
	}
	return nil
}

// ask says whether something stands under a label, and what.
func (o *outside) ask(ctx context.Context, what op) (wflo.Probed, error) {
	run, _ := wflo.RunFrom(ctx)
	label := labelOf(run.WorkflowID, what.Name)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.charges {
		if c.Label != label || c.Undone != 0 {
			continue
		}
		p := wflo.Probed{Happened: true}
		if what.Class == wflo.EffectVerifiable {
			p.Result = fmt.Appendf(nil, "[%q]", c.ID)
		}
		return p, nil
	}
	return wflo.Probed{}, nil
}

// standing copies what was charged and not undone, and all there is.
func (o *outside) standing() (standing, all []charge, faults []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.charges {
		all = append(all, *c)
		if c.Undone == 0 {
			standing = append(standing, *c)
		}
	}
	return standing, all, append([]string{}, o.faults...)
}

// labelOf is the run's and the operation's.
func labelOf(workflowID, name string) string { return workflowID + "/" + name }

func runOfLabel(label string) string { return label[:strings.LastIndexByte(label, '/')] }
