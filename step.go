package wflo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
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
	// User, Team and Org are those that the run acts for and that pay; Agent is
	// the agent's name.
	User  string `json:"user,omitempty"`
	Team  string `json:"team,omitempty"`
	Org   string `json:"org,omitempty"`
	Agent string `json:"agent,omitempty"`
	// Tags are free attributes for budgets and reports, such as env: prod.
	Tags map[string]string `json:"tags,omitempty"`
	// Principals are further people behind the run, such as who delegated it. They
	// and User cannot approve what it does where four eyes are asked for.
	Principals []string `json:"principals,omitempty"`
	// Bundle is the hash of the policies that govern the run; the runtime fills it
	// in. Empty means none.
	Bundle string `json:"bundle,omitempty"`
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
// plugin sends it with every workflow that it starts: set User, Team, Org,
// Tags, Agent, Correlation and Budget. In an activity the runtime sets it.
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

// BudgetID names the budget that limits the run as its own: that of the run it began as,
// where it was reopened since, which Lines has next to the run's own.
func (r Run) BudgetID() string {
	own := RunBudgetID(r.ID())
	for _, line := range r.Lines {
		before, _, ok := strings.Cut(strings.TrimPrefix(line.ID, RunBudgetID(r.WorkflowID+"/")), "/")
		if ok || before == line.ID || line.ID == own {
			continue // another run's, or its own
		}
		return line.ID
	}
	return own
}

// StepName is the name of the current step without what tells its occurrences
// apart: that of the step that the workflow's author named, or of the activity
// where there is none.
func (r Run) StepName() string {
	name := r.Step
	if generation, rest, ok := strings.Cut(name, "/"); ok && isGeneration(generation) {
		name = rest
	}
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		name = name[:i] // the activity within the step
	}
	if i := strings.LastIndexByte(name, '~'); i > 0 && i+1 < len(name) && strings.Trim(name[i+1:], "0123456789") == "" {
		name = name[:i] // how often it was rolled back
	}
	if i := strings.LastIndexByte(name, '#'); i > 0 {
		name = name[:i]
	}
	return name
}

func isGeneration(s string) bool {
	digits, ok := strings.CutPrefix(s, "g")
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// Scopes lists what a call of the run's current step is attributed to, as
// "SCOPE:NAME": that of the root run, and of all else that is known. provider
// and model may be empty.
func (r Run) Scopes(provider, model string) []string {
	var all []string
	add := func(s Scope, name string) {
		if name != "" {
			all = append(all, string(s)+":"+name)
		}
	}
	add(ScopeRun, r.RootID())
	add(ScopeStep, r.StepName())
	add(ScopeAgent, r.Agent)
	add(ScopeWorkflow, r.Workflow)
	add(ScopeUser, r.User)
	add(ScopeTeam, r.Team)
	add(ScopeOrg, r.Org)
	if model != "" {
		add(ScopeModel, provider+"/"+model)
	}
	for _, key := range sortedNames(r.Tags) {
		add(ScopeTag, key+"="+r.Tags[key])
	}
	return all
}

// maxTags bounds the tags of a run: each may be a budget that every call is
// charged to.
const maxTags = 20

// Validate says what is wrong with who the run acts for, if anything.
func (r Run) Validate() error {
	for _, f := range []struct{ field, value string }{{"user", r.User}, {"team", r.Team}, {"org", r.Org}, {"agent", r.Agent}} {
		if problem := nameProblem(f.value); problem != "" {
			return Invalid("run."+f.field, problem, "use a short plain name")
		}
	}
	if len(r.Principals) > maxTags {
		return Invalid("run.principals", fmt.Sprintf("are %d", len(r.Principals)), fmt.Sprintf("use at most %d", maxTags))
	}
	for _, p := range r.Principals {
		if problem := nameProblem(p); problem != "" || p == "" {
			return Invalid("run.principals", fmt.Sprintf("have %q", p), "use short plain names")
		}
	}
	if len(r.Tags) > maxTags {
		return Invalid("run.tags", fmt.Sprintf("are %d", len(r.Tags)), fmt.Sprintf("use at most %d", maxTags))
	}
	for _, key := range sortedNames(r.Tags) {
		switch problem := nameProblem(key + "=" + r.Tags[key]); {
		case key == "" || strings.Contains(key, "="):
			return Invalid("run.tags", fmt.Sprintf("has the key %q", key), "use keys that are not empty and have no =")
		case problem != "":
			return Invalid("run.tags", problem, "use short plain text")
		}
	}
	return r.Budget.ValidateOwn()
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
