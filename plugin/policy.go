package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/policy"
)

// policyEvery is how often files of policies are looked at. A look is one stat.
const policyEvery = 2 * time.Second

// kind tells the policies that runs are pinned to from those that stop them.
type policyKind string

const (
	runPolicies       policyKind = "run"
	emergencyPolicies policyKind = "emergency"
)

// governance is a set of policies that may be replaced while the worker runs.
type governance struct {
	p    *Plugin
	kind policyKind
	path string // empty: it stays as it is
	set  atomic.Pointer[policy.Set]
	// seen is the file as it was looked at last, loaded or not.
	seen stamp
}

type stamp struct {
	changed time.Time
	size    int64
}

// openPolicies loads what the configuration names. It is opened after the stores,
// because a worker whose policies cannot be put on record must not begin.
func (p *Plugin) openPolicies(ctx context.Context) error {
	p.policies = &governance{p: p, kind: runPolicies, path: p.cfg.PolicyFile}
	p.emergency = &governance{p: p, kind: emergencyPolicies, path: p.cfg.EmergencyFile}
	if p.cfg.Policies != nil {
		if p.cfg.PolicyFile != "" {
			return wflo.Invalid("plugin.Config.Policies", "and PolicyFile are both set", "set one of them")
		}
		return p.policies.use(ctx, p.cfg.Policies)
	}
	for _, g := range []*governance{p.policies, p.emergency} {
		if g.path == "" {
			continue
		}
		if err := g.load(ctx); err != nil {
			return err
		}
	}
	return nil
}

// governed says that runs which begin on this worker are pinned to policies.
func (p *Plugin) governed() bool { return p.cfg.Policies != nil || p.cfg.PolicyFile != "" }

// watchPolicies looks at the files until the plugin is closed. It runs once per
// plugin, whatever workers come and go.
func (p *Plugin) watchPolicies() {
	if p.policies.path == "" && p.emergency.path == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.rounds["policies"] = cancel
	p.mu.Unlock()
	p.running.Go(func() {
		p.every(ctx, policyEvery, "look at policies", func(ctx context.Context) error {
			p.policies.look(ctx)
			p.emergency.look(ctx)
			return nil
		})
	})
}

// look loads the file when it has changed. A bad one is reported once, and the
// policies before it go on counting.
func (g *governance) look(ctx context.Context) {
	if g.path == "" {
		return
	}
	if now, err := stampOf(g.path); err == nil && now == g.seen {
		return
	}
	before := g.hash()
	if err := g.load(ctx); err != nil {
		if ctx.Err() == nil {
			g.p.cfg.Logger.Error("policies are not reloaded; those before go on counting", "kind", string(g.kind), "bundle", before, "error", err.Error())
		}
		return
	}
	if now := g.hash(); now != before {
		g.p.cfg.Logger.Info("policies are reloaded", "kind", string(g.kind), "bundle", now, "before", before)
	}
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// load reads the file and has it count.
func (g *governance) load(ctx context.Context) (err error) {
	defer func() { g.p.metrics.PolicyReload(string(g.kind), err == nil) }()
	now, err := stampOf(g.path)
	if err != nil {
		// A file that is gone is as bad as one that is wrong, and said once as well.
		gone := g.seen == stamp{}
		g.seen = stamp{}
		if gone && g.set.Load() != nil {
			return nil
		}
		return wflo.Errorf(wflo.CodeInvalid, "name a readable file of policies", "read policies: %w", err)
	}
	source, err := os.ReadFile(g.path)
	if err != nil {
		return wflo.Errorf(wflo.CodeInvalid, "name a readable file of policies", "read policies: %w", err)
	}
	g.seen = now
	set, err := policy.Load(g.path, source)
	if err != nil {
		return err
	}
	return g.use(ctx, set)
}

// use puts a set on record and has it count from now on.
func (g *governance) use(ctx context.Context, set *policy.Set) error {
	if g.kind == emergencyPolicies {
		if err := onlyStops(set.Rules()); err != nil {
			return fmt.Errorf("%s: %w", g.path, err)
		}
	}
	if set.Hash() == g.hash() {
		return nil
	}
	records := g.p.parts.records
	if err := records.PutBundle(ctx, set.Hash(), set.Source()); err != nil {
		g.seen = stamp{} // try again
		return fmt.Errorf("keep the policies: %w", err)
	}
	data, err := json.Marshal(map[string]string{"bundle": set.Hash(), "before": g.hash(), "kind": string(g.kind), "file": filepath.Base(g.path)})
	if err != nil {
		return fmt.Errorf("encode the policies' record: %w", err)
	}
	// All workers that see the same change make one record.
	id := fmt.Sprintf("policy.loaded:%s:%s:%d", g.kind, set.Hash(), g.seen.changed.UnixNano())
	if err := records.Append(ctx, wflo.AuditEvent{
		ID: id, Chain: wflo.Run{}.AuditChain(), At: time.Now(), Type: wflo.AuditPolicyLoaded, Actor: "worker", Data: data,
	}); err != nil {
		g.seen = stamp{}
		return fmt.Errorf("record the policies: %w", err)
	}
	g.set.Store(set)
	return nil
}

// hash is that of the present set, or "".
func (g *governance) hash() string {
	if set := g.set.Load(); set != nil {
		return set.Hash()
	}
	return ""
}

// present is the set as the activities see it; nil, and not a nil pointer in an
// interface, where there is none.
func (g *governance) present() activities.PolicySet {
	if set := g.set.Load(); set != nil {
		return set
	}
	return nil
}

// onlyStops refuses what emergency policies cannot do: an activity's attempt waits
// for nobody, and must be judged the same way before every one.
func onlyStops(r policy.Rules) error {
	if r.Default != wflo.EffectAllow {
		return wflo.Invalid("default", fmt.Sprintf("is %q in emergency policies", string(r.Default)), "use allow; policies say what is stopped")
	}
	if len(r.Risk) > 0 {
		return wflo.Invalid("risk", "is there in emergency policies", "leave it to the policies of runs")
	}
	for _, rule := range r.Policies {
		if rule.Approval != nil || len(rule.Notify) > 0 || rule.RouteModel != "" || rule.SetLimit != 0 {
			return wflo.Invalid("policy "+rule.Name, "does more than halt and audit", "emergency policies do only these")
		}
	}
	return nil
}

// loadSet is policy.Load as the activities want it.
func loadSet(name string, source []byte) (activities.PolicySet, error) {
	set, err := policy.Load(name, source)
	if err != nil {
		return nil, err
	}
	return set, nil
}

// policyActivities are what judges runs, and check what stops them.
func (p *Plugin) policyActivities() {
	p.parts.policy = &activities.Policy{
		Set: p.policies.present, Load: loadSet, Records: p.parts.records, Ledger: p.parts.ledger,
		Quote: activities.Quotes(p.parts.llm), Logger: p.cfg.Logger, Observer: p.metrics,
	}
	if p.cfg.EmergencyFile == "" {
		return
	}
	check := &activities.Emergency{
		Set: p.emergency.present, Halt: activities.HaltBySignal, Records: p.parts.records, Logger: p.cfg.Logger,
	}
	p.stops = check.Check
}
