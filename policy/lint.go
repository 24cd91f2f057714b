package policy

import (
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// Finding is something in policies that is allowed and probably not meant.
type Finding struct {
	Position
	Rule     string        `json:"rule,omitempty"`
	Severity wflo.Severity `json:"severity"`
	Message  string        `json:"message"`
	Hint     string        `json:"hint,omitempty"`
}

// String is one line: the place, the severity, the rule, the message and the hint.
func (f Finding) String() string {
	text := string(f.Severity) + ": "
	if at := f.Position.String(); at != "" {
		text = at + ": " + text
	}
	if f.Rule != "" {
		text += f.Rule + ": "
	}
	text += f.Message
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return text
}

// Lint looks for rules that do nothing, rules that let too much pass, and conditions
// that mean something else than they seem to. Rules that can never match are found
// by trying values around every literal; where a condition does more than compare
// facts with literals, nothing is claimed.
func (s *Set) Lint() []Finding {
	l := &linter{set: s}
	l.wholeSet()
	for i := range s.policies {
		l.policy(&s.policies[i], &s.rules.Policies[i])
	}
	for i := range s.risk {
		r := &s.rules.Risk[i]
		l.condition(&s.risk[i])
		l.approval(&s.risk[i], r.Approval)
	}
	l.policyOverlaps()
	l.riskOverlaps()
	return l.findings
}

type linter struct {
	set      *Set
	findings []Finding
	// tried counts the values that were tried; see maxTried.
	tried int
}

func (l *linter) add(p *compiled, severity wflo.Severity, hint, format string, args ...any) {
	l.findings = append(l.findings, Finding{p.at, p.name, severity, fmt.Sprintf(format, args...), hint})
}

func (l *linter) wholeSet() {
	r := l.set.rules
	if r.Default == wflo.EffectAllow && len(r.Policies) == 0 {
		l.findings = append(l.findings, Finding{Severity: wflo.SeverityWarning,
			Message: "the default is allow and there are no policies, so everything is allowed", Hint: "add policies, or use default: require_approval"})
	}
}

func (l *linter) policy(p *compiled, r *Rule) {
	l.condition(p)
	l.approval(p, r.Approval)
	if p.readsArg && len(r.On) == 0 {
		l.add(p, wflo.SeverityWarning, `say on: [step], or guard it: "x" in args and args.x > 1`,
			"it reads args and judges every kind of call; where they are absent it counts as a match")
	}
	if p.readsArg && p.readsTime() {
		l.add(p, wflo.SeverityWarning, `guard it: "x" in args and args.x > 1`, "it reads args, which there are none of when it is judged on time")
	}
	if p.readsTime() && len(p.condition.moments) == 0 {
		l.add(p, wflo.SeverityWarning, "compare execution_time with a number", "no timer can be set for it, so it fires with the next step only")
	}
	if r.RouteModel != "" && !slices.Contains(p.on, wflo.FactsModel) {
		l.add(p, wflo.SeverityWarning, "add model to on", "route_model does nothing, because it judges no model calls")
	}
}

// condition reports what the compiler noticed, and conditions that never hold.
func (l *linter) condition(p *compiled) {
	for _, h := range p.hints {
		at := p.at
		if at.Line > 0 && !containsNewline(p.source[:min(len(p.source), h.at)]) {
			at.Column += h.at
		}
		l.findings = append(l.findings, Finding{at, p.name, wflo.SeverityWarning, h.message, h.hint})
	}
	if !p.plain {
		return
	}
	never := true
	if l.try([]*compiled{p}, func(_ *Env, hold []bool) bool {
		never = !hold[0]
		return never
	}) && never {
		l.add(p, wflo.SeverityError, "look for a contradiction, such as cost > 10 and cost < 5", "the condition is never true")
	}
}

func containsNewline(s string) bool { return slices.Contains([]byte(s), '\n') }

func (l *linter) approval(p *compiled, a *wflo.Approval) {
	if a == nil {
		return
	}
	if a.OnTimeout == wflo.OnTimeoutApprove {
		l.add(p, wflo.SeverityWarning, "use on_timeout: reject or escalate", "nobody needs to look: when the time is up, the action happens")
	}
	if len(a.Approvers) == 0 && len(a.Factors) == 0 {
		l.add(p, wflo.SeverityWarning, "name users, or groups as group:NAME", "no approvers are named, so anybody whom the worker admits may approve")
	}
	// Validate refuses this for users; who is in a group is known elsewhere.
	sets := []wflo.Factor{{Approvers: a.Approvers, Quorum: a.Quorum}}
	for _, f := range append(sets, a.Factors...) {
		if len(f.Approvers) == 0 && f.Quorum > 1 {
			l.add(p, wflo.SeverityWarning, "name approvers", "%d people must approve, and nobody is named", f.Quorum)
		}
	}
	if a.Quorum > 1 && !a.FourEyes {
		l.add(p, wflo.SeverityInfo, "add four_eyes: true", "%d people must approve, and the one who asks may be among them", a.Quorum)
	}
}

// policyOverlaps finds policies that ask for nothing that another one does not ask
// for whenever they match.
func (l *linter) policyOverlaps() {
	actions, examples := make([]string, len(l.set.policies)), make([]*Env, len(l.set.policies))
	for i, r := range l.set.rules.Policies {
		actions[i], examples[i] = actionsOf(r), l.example(&l.set.policies[i])
	}
	for i := range l.set.policies {
		p := &l.set.policies[i]
		for j := range l.set.policies {
			q := &l.set.policies[j]
			if i == j || examples[i] == nil || !q.plain || actions[i] != actions[j] || !covers(q.on, p.on) {
				continue
			}
			// Most pairs differ at the first facts that one is tried with.
			if ok, err := q.test(examples[i]); !ok && err == nil {
				continue
			}
			// Where args or tags are absent, q fails; that is a match only if it blocks.
			if !l.set.rules.Policies[j].blocks() && slices.ContainsFunc(q.leaves, func(x leaf) bool { return x.fact < 0 }) {
				continue
			}
			// Of two that are alike only the later one is reported.
			if l.implies(p, []*compiled{q}) && (j < i || !l.implies(q, []*compiled{p})) {
				l.add(p, wflo.SeverityWarning, "remove it, or change what it does", "it adds nothing: %s matches whenever it does, and does the same", q.name)
				break
			}
		}
	}
}

func covers(all, some []wflo.FactsKind) bool {
	return !slices.ContainsFunc(some, func(k wflo.FactsKind) bool { return !slices.Contains(all, k) })
}

// example is some facts that a condition holds for, or nil.
func (l *linter) example(p *compiled) *Env {
	var found *Env
	if p.plain {
		l.try([]*compiled{p}, func(e *Env, hold []bool) bool {
			if hold[0] {
				found = e
			}
			return found == nil
		})
	}
	return found
}

// actionsOf is what a policy does, whatever it is called.
func actionsOf(r Rule) string {
	r.Name, r.When, r.On = "", "", nil
	text, err := Rules{Default: wflo.EffectAllow, Policies: []Rule{r}}.canonical()
	if err != nil {
		return r.Name
	}
	return string(text)
}

// riskOverlaps finds risk rules that never come first.
func (l *linter) riskOverlaps() {
	for i := range l.set.risk {
		p := &l.set.risk[i]
		var before []*compiled
		for j := range i {
			if q := &l.set.risk[j]; q.plain {
				before = append(before, q)
			}
		}
		if p.plain && len(before) > 0 && l.implies(p, before) {
			l.add(p, wflo.SeverityError, "move it up, or narrow the rules above it", "it is never reached: rules above it match whenever it does")
		}
	}
}

// implies says that one of others holds whenever p does, as far as could be tried.
func (l *linter) implies(p *compiled, others []*compiled) bool {
	if slices.ContainsFunc(others, func(o *compiled) bool { return len(o.leaves) == 0 && o.text == "true" }) {
		return true
	}
	ever, escaped := false, false
	done := l.try(append([]*compiled{p}, others...), func(_ *Env, hold []bool) bool {
		ever = ever || hold[0]
		escaped = hold[0] && !slices.Contains(hold[1:], true)
		return !escaped
	})
	return done && ever && !escaped
}
