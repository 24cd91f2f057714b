package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// PolicySet is a set of policies that is ready to judge. Its methods may be called
// at the same time, and the set never changes.
type PolicySet interface {
	// Judge says what the policies make of facts. What cannot be judged counts as
	// matched where that blocks.
	Judge(f wflo.Facts) wflo.Ruling
	// Pin is what a run must know of its policies.
	Pin() wflo.Pin
	// Hash is the SHA-256, in hex, of Source.
	Hash() string
	// Source is what the set can be loaded from again.
	Source() []byte
}

// Quote is what a model call will ask for, at most.
type Quote struct {
	Provider, Model string
	Cost            wflo.Money // the worst case
}

// PolicyObserver hears what policies decide, to count it. Its methods may be called
// at the same time and must not block.
type PolicyObserver interface {
	// PolicyRuled says that the policies of a run gave a ruling, and how long judging
	// took, without writing it down.
	PolicyRuled(ctx context.Context, effect wflo.Effect, d time.Duration)
}

// Policy pins runs to policies and judges what they do. Its methods are registered
// as activities. Set the fields before the first call and do not copy it after.
type Policy struct {
	// Set gives the worker's present policies, which runs that begin are pinned to;
	// nil where it has none. Required.
	Set func() PolicySet
	// Load makes a set of what PolicySet.Source gave. Required.
	Load func(name string, source []byte) (PolicySet, error)
	// Records keeps bundles, rulings and notices. Required.
	Records Records
	// Ledger knows what runs have spent, and lowers their budgets. Nil means that
	// conditions see what the workflow has seen.
	Ledger Budgets
	// Quote gives the worst case of a model call, see [Quotes]; nil means that it is
	// not known.
	Quote func(ctx context.Context, run wflo.Run, p wflo.Prompt) (Quote, error)
	// Logger gets a line per ruling that is not plainly allow. Required.
	Logger *slog.Logger
	// Observer counts. Required.
	Observer PolicyObserver

	mu    sync.Mutex
	known map[string]PolicySet
}

// maxKnown bounds the bundles that are kept in memory besides the present one.
const maxKnown = 64

// Pin keeps the bundle that governs a run from its beginning on, so that every
// worker finds it for as long as the run lasts.
func (p *Policy) Pin(ctx context.Context, req step.PinRequest) (wflo.Pin, error) {
	if req.Bundle != "" {
		set, err := p.bundle(ctx, req.Bundle)
		if err != nil {
			return wflo.Pin{}, err
		}
		return set.Pin(), nil
	}
	set := p.Set()
	if set == nil {
		return wflo.Pin{}, nil
	}
	if err := p.Records.PutBundle(ctx, set.Hash(), set.Source()); err != nil {
		return wflo.Pin{}, fmt.Errorf("keep bundle %s: %w", set.Hash(), err)
	}
	return set.Pin(), nil
}

// bundle finds the policies of a run by their hash.
func (p *Policy) bundle(ctx context.Context, hash string) (PolicySet, error) {
	if set := p.Set(); set != nil && set.Hash() == hash {
		return set, nil
	}
	p.mu.Lock()
	set := p.known[hash]
	p.mu.Unlock()
	if set != nil {
		return set, nil
	}
	source, err := p.Records.Bundle(ctx, hash)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, wflo.Errorf(wflo.CodePolicyDenied, "give all workers of the namespace one database", "bundle %s of the run's policies is gone", hash)
	case err != nil:
		return nil, fmt.Errorf("read bundle %s: %w", hash, err)
	}
	if set, err = p.Load("bundle "+hash, source); err != nil {
		return nil, wflo.Errorf(wflo.CodePolicyDenied, "run a worker of the version that pinned it", "bundle %s of the run's policies cannot be loaded: %w", hash, err)
	}
	if set.Hash() != hash {
		return nil, wflo.Errorf(wflo.CodePolicyDenied, "find out who changed the database", "bundle %s of the run's policies is not what it was when the run began", hash)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) >= maxKnown {
		p.known = map[string]PolicySet{}
	}
	p.known[hash] = set
	return set, nil
}

// Judge says what the policies of the run make of facts. What the ruling says is
// written down before it is answered: the trail first, then the channels. Repeating
// it writes nothing twice.
func (p *Policy) Judge(ctx context.Context, q step.Question) (wflo.Ruling, error) {
	run, ok := wflo.RunFrom(ctx)
	if !ok {
		return wflo.Ruling{}, wflo.Invalid("context", "carries no run", "register the activity through the plugin, or use wflo.WithRun")
	}
	set, err := p.bundle(ctx, q.Bundle)
	if err != nil {
		return wflo.Ruling{}, err
	}
	f, err := p.facts(ctx, run, q)
	if err != nil {
		return wflo.Ruling{}, err
	}
	start := time.Now()
	r := set.Judge(f)
	p.Observer.PolicyRuled(ctx, r.Effect, time.Since(start))
	if r.Limit > 0 {
		if err := p.lower(ctx, run, r); err != nil {
			return r, err
		}
	}
	if quiet(r) {
		return r, nil
	}
	p.Logger.InfoContext(ctx, "policies ruled", "effect", string(r.Effect), "kind", string(f.Kind), "operation", f.Operation,
		"rules", ruleNames(r), "bundle", r.Bundle, "step", run.Step)
	id := rulingID("policy", run, r)
	events, err := ruled(id, run, r, r.Effect == wflo.EffectHalt)
	if err != nil {
		return r, err
	}
	if err := p.Records.Append(ctx, events...); err != nil {
		return r, fmt.Errorf("record the ruling on %s: %w", run.Step, err)
	}
	if notices := noticesOf(id, run, f, r); len(notices) > 0 {
		if err := p.Records.Enqueue(ctx, notices...); err != nil {
			return r, fmt.Errorf("tell of the ruling on %s: %w", run.Step, err)
		}
	}
	return r, nil
}

// facts are those of the question with what only this half knows: what the ledger
// was charged by all who spend for the run, and what a model call may cost.
func (p *Policy) facts(ctx context.Context, run wflo.Run, q step.Question) (wflo.Facts, error) {
	f := q.Facts
	if p.Ledger != nil {
		s, err := p.Ledger.Spend(ctx, run.BudgetID())
		if err != nil {
			return f, fmt.Errorf("read what the run has spent: %w", err)
		}
		f.Cost = max(f.Cost, s.Spent)
		if f.Budget.Limit == 0 || s.Limit > 0 {
			f.Budget.Limit = s.Limit
		}
		f.Budget.Spent = f.Cost
	}
	if f.Budget.Limit > 0 {
		f.Budget.Left = max(0, f.Budget.Limit-f.Budget.Spent)
		f.Budget.Used = f.Budget.Spent.Float() / f.Budget.Limit.Float() * 100
	} else {
		f.Budget = wflo.BudgetFacts{}
	}
	if q.Prompt == nil || p.Quote == nil {
		return f, nil
	}
	quote, err := p.Quote(ctx, run, *q.Prompt)
	if err != nil {
		return f, err // the call would fail for the same reason
	}
	f.Provider, f.Model, f.EstimatedCost = quote.Provider, quote.Model, quote.Cost
	return f, nil
}

// lower makes the run's budget at most what the ruling says, with what was topped
// up kept. Who raised it knew why.
func (p *Policy) lower(ctx context.Context, run wflo.Run, r wflo.Ruling) error {
	if p.Ledger == nil {
		return nil
	}
	id := run.BudgetID()
	s, err := p.Ledger.Spend(ctx, id)
	if err != nil {
		return fmt.Errorf("read budget %s: %w", id, err)
	}
	if limit := s.Limit - s.ToppedUp; s.Limit > 0 && limit <= r.Limit {
		return nil
	}
	b := wflo.Budget{Scope: wflo.ScopeRun, Name: strings.TrimPrefix(id, wflo.RunBudgetID("")), Limit: r.Limit}
	for _, line := range run.Lines {
		if line.ID == id {
			b.Thresholds, b.OnExceeded = line.Thresholds, line.OnExceeded
		}
	}
	if s.Rule != nil {
		b.Thresholds, b.OnExceeded = s.Rule.Thresholds, s.Rule.OnExceeded
	}
	if err := p.Ledger.SetBudget(ctx, b, "policy "+ruleNames(r)); err != nil {
		return fmt.Errorf("lower budget %s: %w", id, err)
	}
	return nil
}

// quiet says that a ruling is not worth a record.
func quiet(r wflo.Ruling) bool {
	return r.Effect == wflo.EffectAllow && r.Severity == "" && len(r.Matches) == 0 && !r.AutoApprove && len(r.Notify) == 0
}

func ruleNames(r wflo.Ruling) string {
	names := make([]string, 0, len(r.Matches)+1)
	for _, m := range r.Matches {
		names = append(names, m.Rule)
	}
	if r.Risk != "" {
		names = append(names, r.Risk)
	}
	if len(names) == 0 {
		return "default"
	}
	return strings.Join(names, ", ")
}

// rulingID is the same for each attempt to record a ruling, and another for another
// effect, other facts or other policies.
func rulingID(kind string, run wflo.Run, r wflo.Ruling) string {
	return strings.Join([]string{kind, string(run.EffectKey()), first(r.Facts, 16), first(r.Bundle, 16)}, ":")
}

func first(s string, n int) string { return s[:min(len(s), n)] }

// ruled is what the trail gets of a ruling: the ruling, and that it halts the run.
func ruled(id string, run wflo.Run, r wflo.Ruling, halts bool) ([]wflo.AuditEvent, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the ruling on %s: %w", run.Step, err)
	}
	event := wflo.AuditEvent{
		ID: id, Chain: run.AuditChain(), At: time.Now(), Type: wflo.AuditPolicyRuled, Severity: r.Severity,
		Actor: "policy " + ruleNames(r), Namespace: run.Namespace, WorkflowID: run.WorkflowID, FirstRunID: run.FirstRunID,
		Step: run.Step, Data: data,
	}
	if !halts {
		return []wflo.AuditEvent{event}, nil
	}
	about := wflo.AuditControl{Policy: ruleNames(r)}
	if r.Halt != nil {
		about.Reason = r.Halt.Reason
	}
	if data, err = json.Marshal(about); err != nil {
		return nil, fmt.Errorf("encode the halt of %s: %w", run.WorkflowID, err)
	}
	halted := event
	halted.ID, halted.Type, halted.Data = id+"/halted", wflo.AuditRunHalted, data
	return []wflo.AuditEvent{event, halted}, nil
}

func noticesOf(id string, run wflo.Run, f wflo.Facts, r wflo.Ruling) []wflo.Notice {
	var all []wflo.Notice
	for _, channel := range r.Notify {
		n := wflo.Notice{
			ID: id + ":" + channel, Channel: channel, Kind: wflo.NoticePolicy, Thread: id, Severity: r.Severity,
			Title: oneLine(fmt.Sprintf("Policy %s: %s of %s %s", ruleNames(r), r.Effect, f.Kind, f.Operation)),
			Text:  oneLine(fmt.Sprintf("Run %s (%s), step %s, for %s", run.WorkflowID, run.Workflow, run.Step, orNobody(run.User))),
			Chain: run.AuditChain(), At: time.Now(),
		}
		if r.Halt != nil {
			n.Text += oneLine(". The run is halted: " + r.Halt.Reason)
		}
		all = append(all, n)
	}
	return all
}

func orNobody(user string) string {
	if user == "" {
		return "nobody in particular"
	}
	return user
}

// oneLine is text that others may have chosen, without what is not seen: controls,
// marks of direction and invisible characters.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
