package workflows

import (
	"cmp"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// union is one approval that stands for several: whoever it is granted by has
// granted each of them. own is the caller's, or nil where only policies ask; it
// keeps its gate, action, payload and answers. Nothing that one of them asks for is
// weakened by another.
func union(own *wflo.Approval, asks []wflo.Approval) wflo.Approval {
	all := asks
	if own != nil {
		all = append([]wflo.Approval{*own}, asks...)
	}
	first := leader(all)
	out := all[first]
	if own != nil && first != 0 {
		lead := out
		out = *own
		out.Approvers, out.Quorum, out.Escalation = lead.Approvers, lead.Quorum, lead.Escalation
	}
	out.Factors, out.Rules = factors(all, first), nil
	for _, a := range all {
		for _, rule := range a.Rules {
			if !slices.Contains(out.Rules, rule) {
				out.Rules = append(out.Rules, rule)
			}
		}
		out = stricter(out, a)
	}
	if own == nil {
		out.Answers = common(all)
	}
	out.Notify = channels(all)
	return bounded(out)
}

// leader is the approval whose approvers and escalation the union keeps. Levels
// add approvers to the first set only, so those of the others are given up. Several
// unnamed people are asked for by the first set only, too, and lead before all;
// one unnamed person is among those whom the others name.
func leader(all []wflo.Approval) int {
	named, crowd := -1, -1
	for i, a := range all {
		switch {
		case len(a.Approvers) == 0:
			if a.Quorum > 1 && (crowd < 0 || a.Quorum > all[crowd].Quorum) {
				crowd = i
			}
		case named < 0 || len(all[named].Escalation) == 0 && len(a.Escalation) > 0:
			named = i
		}
	}
	if crowd >= 0 {
		return crowd
	}
	return max(named, 0)
}

// factors are the sets of all approvals but the leader's first one.
func factors(all []wflo.Approval, leader int) []wflo.Factor {
	var out []wflo.Factor
	for i, a := range all {
		rule := ""
		if len(a.Rules) > 0 {
			rule = a.Rules[0]
		}
		if i != leader && len(a.Approvers) > 0 {
			out = append(out, wflo.Factor{Approvers: a.Approvers, Quorum: a.Quorum, Rule: rule})
		}
		for _, f := range a.Factors {
			f.Rule = cmp.Or(f.Rule, rule)
			out = append(out, f)
		}
	}
	return out
}

// stricter is out with what a asks for besides.
func stricter(out, a wflo.Approval) wflo.Approval {
	out.FourEyes = out.FourEyes || a.FourEyes
	out.ReasonRequired = out.ReasonRequired || a.ReasonRequired
	out.SignedOnly = out.SignedOnly || a.SignedOnly
	out.Timeout, out.Expiry = shorter(out.Timeout, a.Timeout, wflo.DefaultApprovalTimeout), shorter(out.Expiry, a.Expiry, wflo.DefaultApprovalExpiry)
	out.Denials = min(max(out.Denials, 1), max(a.Denials, 1))
	if rank(risks, a.Risk) > rank(risks, out.Risk) {
		out.Risk = a.Risk
	}
	if rank(ends, a.OnTimeout) > rank(ends, out.OnTimeout) {
		out.OnTimeout = a.OnTimeout
	}
	if a.Details != "" && a.Details != out.Details {
		if out.Details != "" {
			out.Details += "\n\n"
		}
		out.Details += a.Details
	}
	if out.Reminders == nil {
		out.Reminders = a.Reminders
	}
	if len(out.Form) == 0 {
		out.Form = a.Form
	}
	return out
}

// shorter is the lesser of two durations. Zero is the worker's default, which only the
// worker knows: it is taken to be wflo's, and stays zero where that is the lesser.
func shorter(a, b, usual time.Duration) time.Duration {
	if cmp.Or(b, usual) < cmp.Or(a, usual) {
		return b
	}
	return a
}

// From the mildest to the strictest; what is not there is a rejection.
var (
	risks = []wflo.Risk{"", wflo.RiskLow, wflo.RiskMedium, wflo.RiskHigh, wflo.RiskCritical}
	ends  = []wflo.OnTimeout{wflo.OnTimeoutApprove, wflo.OnTimeoutEscalate, wflo.OnTimeoutReject, wflo.OnTimeoutHalt}
)

func rank[T ~string](order []T, v T) int {
	i := slices.Index(order, v)
	if i < 0 {
		return slices.Index(order, T(wflo.OnTimeoutReject))
	}
	return i
}

// common are the answers that every one of them takes.
func common(all []wflo.Approval) []wflo.Verdict {
	usual := []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject}
	answers := func(a wflo.Approval) []wflo.Verdict {
		if len(a.Answers) == 0 {
			return usual
		}
		return a.Answers
	}
	var out []wflo.Verdict
	for _, v := range answers(all[0]) {
		if !slices.ContainsFunc(all[1:], func(a wflo.Approval) bool { return !slices.Contains(answers(a), v) }) {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return usual
	}
	return out
}

func channels(all []wflo.Approval) []string {
	var out []string
	for _, a := range all {
		for _, c := range a.Notify {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// bounded makes an approval valid again whose time became shorter or whose risk
// higher than what some of its parts were made for.
func bounded(a wflo.Approval) wflo.Approval {
	if a.OnTimeout == wflo.OnTimeoutApprove && a.Risk != wflo.RiskLow {
		a.OnTimeout = wflo.OnTimeoutReject
	}
	var last time.Duration
	timeout := cmp.Or(a.Timeout, wflo.DefaultApprovalTimeout)
	levels := []wflo.Level{}
	for _, l := range a.Escalation {
		if l.After == 0 || l.After > last && l.After < timeout {
			levels = append(levels, l)
			last = max(last, l.After)
		}
	}
	if a.Escalation = levels; len(levels) == 0 {
		a.Escalation = nil
		if a.OnTimeout == wflo.OnTimeoutEscalate {
			a.OnTimeout = wflo.OnTimeoutReject
		}
	}
	return a
}
