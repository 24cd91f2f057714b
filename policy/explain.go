package policy

import (
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Explanation says what the policies make of some facts, and why.
type Explanation struct {
	Ruling wflo.Ruling `json:"ruling"`
	// Rules are all policies and then all risk rules, in their order.
	Rules []RuleExplanation `json:"rules"`
}

// RuleExplanation is what became of one rule.
type RuleExplanation struct {
	Rule   string      `json:"rule"`
	At     string      `json:"at,omitempty"` // FILE:LINE:COLUMN of the condition
	Effect wflo.Effect `json:"effect"`
	// Risk says that it is a risk rule.
	Risk    bool `json:"risk,omitempty"`
	Matched bool `json:"matched"`
	// Why says in a sentence why it matched or not.
	Why string `json:"why"`
	// Condition is the normalised condition.
	Condition string `json:"condition"`
	// Parts are the condition, and those that and, or and not join, as a tree:
	// each is followed by its own parts, one deeper.
	Parts []Part `json:"parts,omitempty"`
	// Inputs are the values of the facts that it reads.
	Inputs map[string]string `json:"inputs,omitempty"`
}

// Part is a condition within a condition, and what it came to.
type Part struct {
	Text  string `json:"text"`
	Depth int    `json:"depth"`
	Value string `json:"value,omitempty"`
	// Error says why it could not be judged.
	Error string `json:"error,omitempty"`
}

// Explain judges facts and says how every rule came out, whether it matched or not.
func (s *Set) Explain(f wflo.Facts) Explanation {
	e := NewEnv(f)
	out := Explanation{Ruling: s.Judge(f)}
	for i := range s.policies {
		r := explainRule(e, &s.policies[i])
		switch rule := &s.rules.Policies[i]; {
		case r.Matched && strings.HasPrefix(r.Why, errorPrefix) && rule.blocks():
			r.Why += ", which counts as a match"
		case strings.HasPrefix(r.Why, errorPrefix):
			r.Matched, r.Why = false, r.Why+", which is recorded"
		case r.Matched && rule.Mode == ModeAudit:
			r.Why += "; it is in audit mode, so nothing is done"
		}
		out.Rules = append(out.Rules, r)
	}
	decided := ""
	for i := range s.risk {
		r := explainRule(e, &s.risk[i])
		r.Risk = true
		switch {
		case decided != "" && r.Matched:
			r.Matched, r.Why = false, "the rule "+decided+" came first"
		case r.Matched:
			decided = r.Rule
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}

const errorPrefix = "the condition cannot be judged: "

func explainRule(e *Env, p *compiled) RuleExplanation {
	r := RuleExplanation{Rule: p.name, At: p.at.String(), Effect: p.effect, Condition: p.text}
	if !p.judges(e.kind) {
		r.Why = "it does not judge the kind " + string(e.kind)
		return r
	}
	r.Inputs = p.inputs(e)
	for _, part := range p.parts {
		v, err := part.eval(e)
		out := Part{Text: part.text, Depth: part.depth, Value: cutBytes(v.String(), maxInput)}
		if err != nil {
			out.Value, out.Error = "", cut(err.Error(), 300)
		}
		r.Parts = append(r.Parts, out)
	}
	ok, err := p.test(e)
	switch {
	case err != nil:
		r.Matched, r.Why = true, errorPrefix+cut(err.Error(), 300)
	case ok:
		r.Matched, r.Why = true, "the condition is true"
	default:
		r.Why = "the condition is false"
	}
	return r
}
