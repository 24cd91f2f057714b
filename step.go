package wflo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Run says which run an effect belongs to and for whom it acts. It travels in
// Temporal headers from the client through workflows, child workflows and
// continue-as-new into every activity, log line, ledger entry and trace.
type Run struct {
	// Namespace, WorkflowID and FirstRunID name the execution chain. FirstRunID
	// survives retries, resets and continue-as-new; Temporal's run id does not.
	Namespace  string `json:"namespace,omitempty"`
	WorkflowID string `json:"workflow_id,omitempty"`
	FirstRunID string `json:"first_run_id,omitempty"`
	// Workflow is the workflow type.
	Workflow string `json:"workflow,omitempty"`
	// Root is the outermost run, which owns the budget and the sandbox that
	// child workflows share. Empty means that this run is the root.
	Root string `json:"root,omitempty"`
	// Generation counts continue-as-new. Epoch counts restores.
	Generation int `json:"generation,omitempty"`
	Epoch      int `json:"epoch,omitempty"`
	// Step is the key of the step that is running; empty outside a step.
	Step string `json:"step,omitempty"`
	// User and Team are those that the run acts for; Agent is the agent's name.
	User  string `json:"user,omitempty"`
	Team  string `json:"team,omitempty"`
	Agent string `json:"agent,omitempty"`
	// Correlation joins everything that one request caused.
	Correlation string `json:"correlation,omitempty"`
	// Budget limits what this run may spend, on top of the limits of its
	// parents. A zero limit means no limit of its own.
	Budget Budget `json:"budget,omitzero"`
	// Lines are the budgets that every paid call must fit: the run's own and
	// its parents'. The runtime fills them in.
	Lines []BudgetLine `json:"lines,omitempty"`
}

type runKey struct{}

// WithRun returns a context that carries the run. A client started with the
// plugin sends it with every workflow that it starts: set User, Team, Agent,
// Correlation and Budget. In an activity the runtime sets it.
func WithRun(ctx context.Context, r Run) context.Context {
	return context.WithValue(ctx, runKey{}, r)
}

// RunFrom gives the run that ctx carries: who the current activity acts for.
func RunFrom(ctx context.Context) (Run, bool) {
	r, ok := ctx.Value(runKey{}).(Run)
	return r, ok
}

// ID is the stable name of the run: "workflow id/first run id".
func (r Run) ID() string { return r.WorkflowID + "/" + r.FirstRunID }

// RootID is the ID of the outermost run.
func (r Run) RootID() string {
	if r.Root != "" {
		return r.Root
	}
	return r.ID()
}

// EffectKey identifies one effect of one step. Worker retries, crashes and raw
// Temporal resets give the same key, so providers and our own ledger can refuse
// to do the same thing twice; only an explicit restore (a new epoch) gives a
// new one.
type EffectKey string

// EffectKey derives the key of the run's current step as the SHA-256 of
// namespace, workflow id, first run id, step key and epoch, in hex.
func (r Run) EffectKey() EffectKey {
	h := sha256.New()
	for _, part := range []string{r.Namespace, r.WorkflowID, r.FirstRunID, r.Step, strconv.Itoa(r.Epoch)} {
		// The length prefix keeps ("ab","c") apart from ("a","bc").
		fmt.Fprintf(h, "%d:%s;", len(part), part)
	}
	return EffectKey(hex.EncodeToString(h.Sum(nil)))
}

// EffectClass says what a step does to the world, so that policies and restores
// can treat it accordingly.
type EffectClass string

// The effect classes. The zero value means undeclared, which is treated like
// EffectIrreversible wherever it matters.
const (
	EffectPure         EffectClass = "pure"         // computes, touches nothing
	EffectRead         EffectClass = "read"         // reads the world
	EffectReversible   EffectClass = "reversible"   // a compensation undoes it
	EffectVerifiable   EffectClass = "verifiable"   // whether it happened can be asked
	EffectIrreversible EffectClass = "irreversible" // cannot be undone
)

// Validate refuses an unknown class.
func (c EffectClass) Validate() error {
	switch c {
	case "", EffectPure, EffectRead, EffectReversible, EffectVerifiable, EffectIrreversible:
		return nil
	}
	return Invalid("effect", fmt.Sprintf("is %q", string(c)), "use pure, read, reversible, verifiable or irreversible")
}
