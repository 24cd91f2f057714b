package policy

import (
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// Change is a case that another set judges differently.
type Change struct {
	// Index is the place of the facts among those that were given.
	Index  int         `json:"index"`
	Facts  wflo.Facts  `json:"facts"`
	Before wflo.Ruling `json:"before"`
	After  wflo.Ruling `json:"after"`
	// Differences say in words what changed, such as "effect: allow, now halt".
	Differences []string `json:"differences"`
}

// Stricter says that the new set holds back more than the old one.
func (c Change) Stricter() bool { return c.After.Effect.Above(c.Before.Effect) }

// Simulate judges recorded facts by s and by next, and gives those whose ruling
// would have been another.
func (s *Set) Simulate(next *Set, recorded []wflo.Facts) []Change {
	var out []Change
	for i, f := range recorded {
		before, after := s.Judge(f), next.Judge(f)
		if d := differences(before, after); len(d) > 0 {
			out = append(out, Change{Index: i, Facts: f, Before: before, After: after, Differences: d})
		}
	}
	return out
}

func differences(before, after wflo.Ruling) []string {
	var out []string
	differ := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			out = append(out, fmt.Sprintf("%s: %s, now %s", what, orNone(x), orNone(y)))
		}
	}
	differ("effect", before.Effect, after.Effect)
	differ("rules", ruleNames(before), ruleNames(after))
	differ("errors", ruleErrors(before), ruleErrors(after))
	differ("approvals", approvalTexts(before), approvalTexts(after))
	differ("risk", before.Risk, after.Risk)
	differ("auto_approve", before.AutoApprove, after.AutoApprove)
	differ("notify", before.Notify, after.Notify)
	differ("severity", before.Severity, after.Severity)
	differ("halt", haltText(before.Halt), haltText(after.Halt))
	differ("model", before.Model, after.Model)
	differ("limit", before.Limit, after.Limit)
	return out
}

func orNone(s string) string {
	if s == "" || s == "[]" || s == "map[]" {
		return "none"
	}
	return s
}

func ruleNames(r wflo.Ruling) []string {
	var names []string
	for _, m := range r.Matches {
		name := m.Rule
		if m.Observed {
			name += " (audit mode)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func ruleErrors(r wflo.Ruling) map[string]string {
	out := map[string]string{}
	for _, m := range r.Matches {
		if m.Error != "" {
			out[m.Rule] = m.Error
		}
	}
	return out
}

// approvalTexts are the approvals in their canonical form, with the rules that ask.
func approvalTexts(r wflo.Ruling) []string {
	var out []string
	for _, a := range r.Approvals {
		out = append(out, fmt.Sprintf("%v %s", a.Rules, marshal(approvalFormOf(&a))))
	}
	slices.Sort(out)
	return out
}

func haltText(h *wflo.Halt) string {
	if h == nil {
		return ""
	}
	text := h.Policy + ": " + h.Reason
	if h.KeepEffects {
		text += " (keeps effects)"
	}
	return text
}
