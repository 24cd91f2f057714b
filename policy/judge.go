package policy

import (
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// maxInput bounds the text of one value in records, in bytes.
const maxInput = 200

// Judge says what the policies want for some facts. All of them are judged; the
// strongest effect counts, and what the others ask for is done besides. A condition
// that cannot be judged counts as a match where it holds the run back, and is
// recorded in any case.
func (s *Set) Judge(f wflo.Facts) wflo.Ruling {
	e := NewEnv(f)
	j := judgement{ruling: wflo.Ruling{Bundle: s.hash, Facts: hashFacts(f), Effect: wflo.EffectAllow}}
	for i := range s.policies {
		if p := &s.policies[i]; p.judges(e.kind) {
			j.policy(e, p, &s.rules.Policies[i])
		}
	}
	strict := j.ruling.Effect.Above(wflo.EffectNotify)
	if e.kind == wflo.FactsGate {
		j.risk(e, s)
	}
	if !j.matched && hasDefault(e.kind) {
		j.fallback(s.rules.Default)
	}
	j.ruling.AutoApprove = j.ruling.AutoApprove && !strict
	return j.ruling
}

// judges says whether a policy is for a kind. A kind that nobody knows is judged by
// all of them.
func (p *compiled) judges(k wflo.FactsKind) bool {
	return slices.Contains(p.on, k) || !slices.Contains(allKinds, k)
}

// hasDefault says that the default is for a kind: time passing is nothing that
// could be refused.
func hasDefault(k wflo.FactsKind) bool { return k != wflo.FactsTime }

// Strongest is the effect that Judge would give, without the record. It allocates
// nothing unless a condition cannot be judged or changes text.
func (s *Set) Strongest(e *Env) wflo.Effect {
	effect, matched := wflo.EffectAllow, false
	raise := func(to wflo.Effect) {
		if to.Above(effect) {
			effect = to
		}
	}
	for i := range s.policies {
		p, r := &s.policies[i], &s.rules.Policies[i]
		if !p.judges(e.kind) {
			continue
		}
		switch ok, err := p.test(e); {
		case r.Mode == ModeAudit:
			if ok || err != nil {
				raise(wflo.EffectAudit)
			}
		case ok && err == nil || err != nil && r.blocks():
			matched = true
			raise(p.effect)
		}
	}
	for i := range s.risk {
		if e.kind != wflo.FactsGate {
			break
		}
		p := &s.risk[i]
		if ok, err := p.test(e); ok || err != nil {
			if err != nil && s.rules.Risk[i].AutoApprove {
				raise(wflo.EffectApproval)
				break
			}
			matched = true
			raise(p.effect)
			break
		}
	}
	if !matched && hasDefault(e.kind) {
		raise(s.rules.Default)
	}
	return effect
}

// judgement is a ruling in the making.
type judgement struct {
	ruling wflo.Ruling
	// matched says that some rule that is enforced did, so that the default does
	// not count.
	matched bool
}

func (j *judgement) policy(e *Env, p *compiled, r *Rule) {
	ok, err := p.test(e)
	if !ok && err == nil {
		return
	}
	m := wflo.Match{Rule: p.name, Effect: p.effect, Inputs: p.inputs(e)}
	if err != nil {
		m.Error = cut(err.Error(), 300)
	}
	if r.Approval != nil {
		m.Per = r.Per
		if m.Per == "" {
			m.Per = wflo.ReachStep
		}
	}
	m.Observed = r.Mode == ModeAudit
	j.ruling.Matches = append(j.ruling.Matches, m)
	switch {
	case m.Observed:
		j.raise(wflo.EffectAudit)
	case err == nil || r.blocks():
		j.matched = true
		j.apply(p, r)
	}
}

func (j *judgement) raise(to wflo.Effect) {
	if to.Above(j.ruling.Effect) {
		j.ruling.Effect = to
	}
}

// apply adds what a policy asks for.
func (j *judgement) apply(p *compiled, r *Rule) {
	out := &j.ruling
	j.raise(p.effect)
	j.tell(r.Audit, r.Notify)
	j.ask(p.name, r.Approval)
	if r.Halt != nil {
		if out.Halt == nil {
			out.Halt = &wflo.Halt{By: "policy", Reason: r.Halt.Reason, Policy: p.name, KeepEffects: r.Halt.KeepEffects}
		}
		// Undoing what should stay can be done by hand; the reverse cannot.
		out.Halt.KeepEffects = out.Halt.KeepEffects || r.Halt.KeepEffects
	}
	if out.Model == "" {
		out.Model = r.RouteModel
	}
	if r.SetLimit != 0 && (out.Limit == 0 || r.SetLimit < out.Limit) {
		out.Limit = r.SetLimit
	}
}

func (j *judgement) tell(severity wflo.Severity, channels []string) {
	out := &j.ruling
	if rank(severity) > rank(out.Severity) {
		out.Severity = severity
	}
	for _, name := range channels {
		if !slices.Contains(out.Notify, name) {
			out.Notify = append(out.Notify, name)
		}
	}
}

func (j *judgement) ask(rule string, a *wflo.Approval) {
	if a == nil {
		return
	}
	c := cloneApproval(a)
	c.Rules = []string{rule}
	j.ruling.Approvals = append(j.ruling.Approvals, *c)
}

func rank(s wflo.Severity) int {
	return slices.Index([]wflo.Severity{"", wflo.SeverityInfo, wflo.SeverityWarning, wflo.SeverityError, wflo.SeverityCritical}, s)
}

// risk finds the first risk rule that matches. One that cannot be judged ends the
// search: people are asked, and where it would have asked nobody, the default counts
// besides.
func (j *judgement) risk(e *Env, s *Set) {
	for i := range s.risk {
		p, r := &s.risk[i], &s.rules.Risk[i]
		ok, err := p.test(e)
		if !ok && err == nil {
			continue
		}
		m := wflo.Match{Rule: p.name, Effect: p.effect, Inputs: p.inputs(e)}
		ask := r.Approval
		if err != nil {
			m.Error = cut(err.Error(), 300)
			if r.AutoApprove {
				m.Effect, ask = wflo.EffectApproval, &wflo.Approval{}
			}
		}
		j.matched = j.matched || err == nil || !r.AutoApprove
		j.ruling.Risk, j.ruling.AutoApprove = p.name, r.AutoApprove && err == nil
		j.ruling.Matches = append(j.ruling.Matches, m)
		j.raise(m.Effect)
		j.tell(r.Audit, r.Notify)
		j.ask(p.name, ask)
		return
	}
}

func (j *judgement) fallback(effect wflo.Effect) {
	j.raise(effect)
	switch effect {
	case wflo.EffectApproval:
		j.ask(defaultRule, &wflo.Approval{})
	case wflo.EffectHalt:
		j.ruling.Halt = &wflo.Halt{By: "policy", Reason: "no policy allows it", Policy: defaultRule}
	default:
		return
	}
	j.ruling.Matches = append(j.ruling.Matches, wflo.Match{Rule: defaultRule, Effect: effect})
}

// inputs are the values that the condition reads, by name, as text.
func (c *condition) inputs(e *Env) map[string]string {
	if len(c.leaves) == 0 {
		return nil
	}
	out := make(map[string]string, len(c.leaves))
	for _, l := range c.leaves {
		v, err := l.eval(e)
		if err != nil {
			out[l.name] = "(" + cutBytes(err.Error(), maxInput) + ")"
			continue
		}
		out[l.name] = cutBytes(v.String(), maxInput)
	}
	return out
}

// cutBytes keeps whole characters within so many bytes.
func cutBytes(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := 0
	for i := range s {
		if i > most-len("…") {
			break
		}
		end = i
	}
	return s[:end] + "…"
}
