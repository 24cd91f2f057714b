package policy_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

const several = `default: halt
policies:
  - {name: log, when: "*", do: [audit: info]}
  - {name: tell, when: calls > 1, do: [notify: [slack://a, slack://b], audit: critical]}
  - {name: ask, when: cost > 1, per: run, do: [require_approval: {approvers: [ann]}, notify: slack://b]}
  - {name: ask-too, when: cost > 2, do: [require_approval: {approvers: [bob], quorum: 1}]}
  - {name: stop, when: cost > 10, do: [halt: {reason: too much}]}
  - {name: stop-now, when: cost > 20, do: [halt: {reason: far too much, compensate: false}]}
  - {name: cheap, on: [model], when: budget.used > 50, do: [route_model: small, set_limit: "4"]}
  - {name: cheaper, on: [model], when: budget.used > 80, do: [route_model: tiny, set_limit: "3"]}
  - {name: trial, when: calls > 1, mode: audit, do: [halt: {reason: trial}]}
`

// TestStrongestWins shows that all policies are judged, the strongest effect
// counts, and what the others ask for is done besides.
func TestStrongestWins(t *testing.T) {
	s := load(t, several)
	for _, c := range []struct {
		facts    wflo.Facts
		effect   wflo.Effect
		rules    string
		asks     int
		halt     string
		notify   []string
		severity wflo.Severity
	}{
		{wflo.Facts{Kind: wflo.FactsStep}, wflo.EffectAudit, "log", 0, "", nil, wflo.SeverityInfo},
		{wflo.Facts{Kind: wflo.FactsStep, Calls: 2}, wflo.EffectNotify, "log tell trial", 0, "", []string{"slack://a", "slack://b"}, wflo.SeverityCritical},
		{wflo.Facts{Kind: wflo.FactsStep, Cost: 2 * wflo.USD}, wflo.EffectApproval, "log ask", 1, "", []string{"slack://b"}, wflo.SeverityInfo},
		{wflo.Facts{Kind: wflo.FactsStep, Cost: 3 * wflo.USD}, wflo.EffectApproval, "log ask ask-too", 2, "", []string{"slack://b"}, wflo.SeverityInfo},
		{wflo.Facts{Kind: wflo.FactsStep, Cost: 11 * wflo.USD}, wflo.EffectHalt, "log ask ask-too stop", 2, "stop", []string{"slack://b"}, wflo.SeverityInfo},
		// The default is for what could be refused, which time passing is not.
		{wflo.Facts{Kind: wflo.FactsTime, Cost: 11 * wflo.USD}, wflo.EffectAllow, "", 0, "", nil, ""},
		// A kind that nobody knows is judged by everything.
		{wflo.Facts{Kind: "new", Cost: 11 * wflo.USD}, wflo.EffectHalt, "log ask ask-too stop", 2, "stop", []string{"slack://b"}, wflo.SeverityInfo},
	} {
		r := s.Judge(c.facts)
		var rules []string
		for _, m := range r.Matches {
			rules = append(rules, m.Rule)
		}
		halt := ""
		if r.Halt != nil {
			halt = r.Halt.Policy
		}
		if r.Effect != c.effect || strings.Join(rules, " ") != c.rules || len(r.Approvals) != c.asks || halt != c.halt || r.Severity != c.severity {
			t.Errorf("%+v: got %+v", c, r)
		}
		if diff := cmp.Diff(c.notify, r.Notify); diff != "" {
			t.Error(diff)
		}
		if got := s.Strongest(policy.NewEnv(c.facts)); got != r.Effect {
			t.Errorf("Strongest says %s, Judge %s", got, r.Effect)
		}
	}
	r := s.Judge(wflo.Facts{Kind: wflo.FactsModel, Budget: wflo.BudgetFacts{Used: 90}, Cost: 21 * wflo.USD})
	if r.Model != "small" || r.Limit != 3*wflo.USD || !r.Halt.KeepEffects || r.Matches[1].Per != wflo.ReachRun || r.Matches[2].Per != wflo.ReachStep {
		t.Errorf("got %+v, want the first model, the lowest limit, effects kept, and the reach of each approval", r)
	}
	if a := r.Approvals[0]; !slices.Equal(a.Rules, []string{"ask"}) || !slices.Equal(a.Approvers, []string{"ann"}) {
		t.Errorf("the first approval is %+v", a)
	}
	if r.Bundle != s.Hash() || len(r.Facts) != 64 {
		t.Errorf("the ruling names the bundle %q and the facts %q", r.Bundle, r.Facts)
	}
}

// TestObservedIsNotEnforced holds that a policy in audit mode neither does what it
// says nor stands in for the default.
func TestObservedIsNotEnforced(t *testing.T) {
	s := load(t, "default: require_approval\npolicies: [{name: a, when: args.x > 1, mode: audit, do: [halt: {reason: r}]}]\n")
	r := s.Judge(wflo.Facts{Kind: wflo.FactsStep})
	if r.Effect != wflo.EffectApproval || len(r.Approvals) != 1 || r.Halt != nil || !r.Matches[0].Observed || r.Matches[0].Error == "" {
		t.Errorf("got %+v", r)
	}
	quietly := load(t, "default: allow\npolicies: [{name: a, when: '*', mode: audit, do: [halt: {reason: r}]}]\n")
	if r := quietly.Judge(wflo.Facts{Kind: wflo.FactsStep}); r.Effect != wflo.EffectAudit {
		t.Errorf("effect is %s, want audit, so that it is recorded", r.Effect)
	}
}

// TestErrorsOfHarmlessPolicies holds that what cannot be judged is recorded, and
// that it allows nothing.
func TestErrorsOfHarmlessPolicies(t *testing.T) {
	s := load(t, "default: halt\npolicies: [{name: a, when: args.x > 1, do: [audit: info, notify: slack://a]}]\n")
	r := s.Judge(wflo.Facts{Kind: wflo.FactsStep})
	if r.Effect != wflo.EffectHalt || r.Halt.Policy != "default" || r.Matches[0].Error == "" || r.Notify != nil {
		t.Errorf("got %+v", r)
	}
	limit := load(t, "default: allow\npolicies: [{name: a, when: args.x > 1, do: [set_limit: '1']}]\n")
	if r := limit.Judge(wflo.Facts{Kind: wflo.FactsStep}); r.Limit != wflo.USD {
		t.Errorf("the limit is %s; a policy that holds back counts as matched", r.Limit)
	}
}

const routed = `default: require_approval
policies:
  - {name: always-two, when: "(tags?.env ?? '') == 'prod'", on: gate, do: [require_approval: {approvers: ["group:sre"], quorum: 2}]}
  - {name: stop, when: operation == 'wipe', do: [halt: {reason: never}]}
risk:
  - {name: high, when: cost > 100 OR operation == 'delete', require_approval: {approvers: ["group:senior-ops"]}}
  - {name: safe, when: "(args?.confidence ?? 0) > 0.95 AND (args?.verdict ?? '') == 'safe'", auto_approve: true, audit: info}
  - {name: doubtful, when: args.confidence < 0.5, require_approval: {approvers: ["group:moderators"]}}
`

// TestRisk shows who decides at gates: the first rule that matches, which never
// lowers what a policy says, and the default where none does.
func TestRisk(t *testing.T) {
	s := load(t, routed)
	for _, c := range []struct {
		name   string
		facts  wflo.Facts
		effect wflo.Effect
		risk   string
		auto   bool
		asks   []string
	}{
		{"high", wflo.Facts{Cost: 101 * wflo.USD, Args: []byte(`{"confidence":0.99,"verdict":"safe"}`)}, wflo.EffectApproval, "high", false, []string{"high"}},
		{"safe", wflo.Facts{Args: []byte(`{"confidence":0.96,"verdict":"safe"}`)}, wflo.EffectAudit, "safe", true, nil},
		{"doubtful", wflo.Facts{Args: []byte(`{"confidence":0.3,"verdict":"safe"}`)}, wflo.EffectApproval, "doubtful", false, []string{"doubtful"}},
		{"between the rules", wflo.Facts{Args: []byte(`{"confidence":0.7,"verdict":"safe"}`)}, wflo.EffectApproval, "", false, []string{"default"}},
		{"no confidence is no permission", wflo.Facts{Args: []byte(`{}`)}, wflo.EffectApproval, "doubtful", false, []string{"doubtful"}},
		{"text that looks like a number", wflo.Facts{Args: []byte(`{"confidence":"0.99","verdict":"safe"}`)}, wflo.EffectApproval, "safe", false, []string{"safe", "default"}},
		{"a policy asks besides", wflo.Facts{Tags: map[string]string{"env": "prod"}, Args: []byte(`{"confidence":0.96,"verdict":"safe"}`)}, wflo.EffectApproval, "safe", false, []string{"always-two"}},
		{"a policy halts", wflo.Facts{Operation: "wipe", Args: []byte(`{"confidence":0.96,"verdict":"safe"}`)}, wflo.EffectHalt, "safe", false, nil},
	} {
		c.facts.Kind = wflo.FactsGate
		r := s.Judge(c.facts)
		var asks []string
		for _, a := range r.Approvals {
			asks = append(asks, a.Rules...)
		}
		if r.Effect != c.effect || r.Risk != c.risk || r.AutoApprove != c.auto || !slices.Equal(asks, c.asks) {
			t.Errorf("%s: got %+v", c.name, r)
		}
		if got := s.Strongest(policy.NewEnv(c.facts)); got != r.Effect {
			t.Errorf("%s: Strongest says %s, Judge %s", c.name, got, r.Effect)
		}
	}
	if r := s.Judge(wflo.Facts{Kind: wflo.FactsStep, Cost: 101 * wflo.USD}); r.Risk != "" || r.Effect != wflo.EffectApproval {
		t.Errorf("a step is routed: %+v", r)
	}
}

func TestPin(t *testing.T) {
	for source, want := range map[string]wflo.Pin{
		"default: allow": {Quiet: true},
		"default: halt":  {},
		"default: allow\nrisk: [{when: '*', auto_approve: true}]":                                                       {},
		"default: allow\npolicies: [{name: a, on: time, when: execution_time > 600, do: [audit: info]}]":                {Quiet: true, Timers: []time.Duration{600*time.Second + time.Millisecond}},
		"default: allow\npolicies: [{name: a, on: time, when: execution_time >= 600, do: [audit: info]}]":               {Quiet: true, Timers: []time.Duration{600 * time.Second}},
		"default: allow\npolicies: [{name: a, on: time, when: 600 < execution_time, do: [audit: info]}]":                {Quiet: true, Timers: []time.Duration{600*time.Second + time.Millisecond}},
		"default: allow\npolicies: [{name: a, on: time, when: 600 <= execution_time, do: [audit: info]}]":               {Quiet: true, Timers: []time.Duration{600 * time.Second}},
		"default: allow\npolicies: [{name: a, when: execution_time > 600, do: [audit: info]}]":                          {Timers: []time.Duration{600*time.Second + time.Millisecond}},
		"default: allow\npolicies: [{name: a, when: execution_time / 60 > 10, do: [audit: info]}]":                      {Timers: []time.Duration{600*time.Second + time.Millisecond}},
		"default: allow\npolicies: [{name: a, when: 10 * 60 - execution_time < 0, do: [audit: info]}]":                  {Timers: []time.Duration{600*time.Second + time.Millisecond}},
		"default: allow\npolicies: [{name: a, when: not (execution_time <= 1.0005), do: [audit: info]}]":                {Timers: []time.Duration{1001 * time.Millisecond}},
		"default: allow\npolicies: [{name: a, when: execution_time > -5 or execution_time > 1e300, do: [audit: info]}]": {},
		"default: allow\npolicies: [{name: a, when: execution_time >= 60 and 5 < execution_time < 60, do: [audit: info]}]": {
			Timers: []time.Duration{5*time.Second + time.Millisecond, 60 * time.Second}},
	} {
		s := load(t, source)
		want.Bundle = s.Hash()
		if diff := cmp.Diff(want, s.Pin()); diff != "" {
			t.Errorf("%s\n%s", source, diff)
		}
	}
}

// TestTimersFire holds that at each timer the condition has changed, and that just
// before it had not: a timer is neither early nor late.
func TestTimersFire(t *testing.T) {
	for _, when := range []string{"execution_time > 600", "execution_time >= 600", "execution_time / 60 > 10", "599.9995 < execution_time", "execution_time * 3 >= 1000"} {
		s := load(t, "default: allow\npolicies: [{name: a, when: "+when+", do: [halt: {reason: r}]}]")
		timers := s.Pin().Timers
		if len(timers) != 1 {
			t.Fatalf("%s has the timers %v", when, timers)
		}
		at := func(d time.Duration) wflo.Effect {
			return s.Judge(wflo.Facts{Kind: wflo.FactsTime, ExecutionTime: d.Seconds()}).Effect
		}
		if got := at(timers[0]); got != wflo.EffectHalt {
			t.Errorf("%s at %s: %s", when, timers[0], got)
		}
		if got := at(timers[0] - time.Millisecond); got != wflo.EffectAllow {
			t.Errorf("%s before %s: %s", when, timers[0], got)
		}
	}
}

// TestUnjudgedRiskMeetsTheDefault holds that a rule which would have asked nobody
// and cannot be judged takes nothing from the default.
func TestUnjudgedRiskMeetsTheDefault(t *testing.T) {
	for effect, want := range map[string]wflo.Effect{"allow": wflo.EffectApproval, "require_approval": wflo.EffectApproval, "halt": wflo.EffectHalt} {
		s := load(t, "default: "+effect+"\nrisk: [{name: safe, when: args.x > 1, auto_approve: true}, {name: all, when: '*', auto_approve: true}]")
		f := wflo.Facts{Kind: wflo.FactsGate}
		r := s.Judge(f)
		if r.Effect != want || r.AutoApprove || len(r.Approvals) == 0 || s.Strongest(policy.NewEnv(f)) != want {
			t.Errorf("default %s: %+v", effect, r)
		}
	}
}

// TestConcurrent judges one set from many goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	s := load(t, several)
	want := s.Judge(known)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if diff := cmp.Diff(want, s.Judge(known)); diff != "" {
					t.Error(diff)
					return
				}
			}
		})
	}
	wg.Wait()
}

// conditions are drawn from for properties: some match, some fail, some do not.
var conditions = []string{
	"*", "false", "cost > 1", "cost <= 1", "args.x > 3", "args.y == 'a'", "(args?.x ?? 1) == 1", "calls % 2 == 0",
	"operation in ['read', 'delete']", "any(args.list, # > 3)", "tags.env == 'prod'", "execution_time > 600", "not (team == 'ops')",
}

func drawFacts(t *rapid.T) wflo.Facts {
	return wflo.Facts{
		Kind:      rapid.SampledFrom([]wflo.FactsKind{wflo.FactsStep, wflo.FactsGate, wflo.FactsTime, wflo.FactsModel}).Draw(t, "kind"),
		Operation: rapid.SampledFrom([]string{"", "read", "delete"}).Draw(t, "operation"),
		Team:      rapid.SampledFrom([]string{"", "ops"}).Draw(t, "team"),
		Cost:      wflo.Money(rapid.Int64Range(0, 3*int64(wflo.USD)).Draw(t, "cost")),
		Calls:     rapid.IntRange(0, 5).Draw(t, "calls"), ExecutionTime: rapid.Float64Range(0, 1200).Draw(t, "time"),
		Args: []byte(rapid.SampledFrom([]string{"", "{}", `{"x":5}`, `{"x":"5"}`, `{"y":"a","list":[1,9]}`, "[]", "{"}).Draw(t, "args")),
		Tags: rapid.SampledFrom([]map[string]string{nil, {"env": "prod"}}).Draw(t, "tags"),
	}
}

func drawRules(t *rapid.T) policy.Rules {
	r := policy.Rules{Default: rapid.SampledFrom([]wflo.Effect{wflo.EffectAllow, wflo.EffectApproval, wflo.EffectHalt}).Draw(t, "default")}
	for i := range rapid.IntRange(0, 6).Draw(t, "policies") {
		when := rapid.SampledFrom(conditions).Draw(t, "when")
		p := policy.Rule{Name: string(rune('a' + i)), When: when}
		switch rapid.IntRange(0, 3).Draw(t, "do") {
		case 0:
			p.Audit = wflo.SeverityInfo
		case 1:
			p.Notify = []string{"slack://a"}
		case 2:
			p.Approval = &wflo.Approval{Approvers: []string{"ann"}}
		case 3:
			p.Halt = &policy.Halt{Reason: p.Name}
		}
		if rapid.Bool().Draw(t, "observed") {
			p.Mode = policy.ModeAudit
		}
		r.Policies = append(r.Policies, p)
	}
	return r
}

// TestProperties: judging twice gives the same; the order of policies does not
// matter; one policy more never weakens what the others say; and both ways to judge
// agree.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, f := drawRules(t), drawFacts(t)
		s := must(t, r)
		first, second := s.Judge(f), s.Judge(f)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatal("judged twice:", diff)
		}
		if got := s.Strongest(policy.NewEnv(f)); got != first.Effect {
			t.Fatalf("Strongest says %s, Judge %s", got, first.Effect)
		}
		other := r
		other.Policies = rapid.Permutation(r.Policies).Draw(t, "order")
		third := must(t, other).Judge(f)
		if third.Effect != first.Effect || len(third.Approvals) != len(first.Approvals) || (third.Halt == nil) != (first.Halt == nil) {
			t.Fatalf("in another order: %+v, was %+v", third, first)
		}
		if n := len(r.Policies); n > 0 {
			fewer := r
			fewer.Policies = r.Policies[:n-1]
			less := must(t, fewer).Judge(f)
			// The default is what counts where nothing matches, so that a policy that
			// matches may take its place.
			byDefault := slices.ContainsFunc(less.Matches, func(m wflo.Match) bool { return m.Rule == "default" })
			if !byDefault && less.Effect.Above(first.Effect) {
				t.Fatalf("a policy more weakens %s to %s", less.Effect, first.Effect)
			}
		}
	})
}

func must(t *rapid.T, r policy.Rules) *policy.Set {
	s, err := policy.New(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzCondition: whatever is written, compiling and judging neither panic nor hang,
// and say the same twice.
func FuzzCondition(f *testing.F) {
	for _, c := range conditions {
		f.Add(c, `{"x": 4, "list": [1, 2]}`)
	}
	f.Add("cost > 100 OR NOT (operation IN ['a'])", `{"x":1e400}`)
	f.Add("args.a.b[0]?.c ?? -1 == 'x' matches 'y'", "[")
	f.Fuzz(func(t *testing.T, when, args string) {
		s, err := policy.New(policy.Rules{Default: wflo.EffectAllow, Policies: []policy.Rule{{Name: "p", When: when, Halt: &policy.Halt{Reason: "r"}}}})
		if err != nil {
			if !errors.Is(err, wflo.ErrInvalid) {
				t.Fatalf("%v is no error that a user can act on", err)
			}
			return
		}
		facts := known
		facts.Args = []byte(args)
		r := s.Judge(facts)
		if diff := cmp.Diff(r, s.Judge(facts)); diff != "" {
			t.Fatal(diff)
		}
		if got := s.Strongest(policy.NewEnv(facts)); got != r.Effect {
			t.Fatalf("Strongest says %s, Judge %s", got, r.Effect)
		}
		s.Explain(facts)
		s.Lint()
		s.Pin()
	})
}
