package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

const (
	// maxFile bounds a file of policies, in bytes, and maxRules what it holds.
	maxFile  = 256 << 10
	maxRules = 1000
)

// allKinds are what policies judge. stepKinds are those of a rule that names none.
var (
	allKinds  = []wflo.FactsKind{wflo.FactsStep, wflo.FactsModel, wflo.FactsSandbox, wflo.FactsActivity, wflo.FactsGate, wflo.FactsTime}
	stepKinds = allKinds[:5]
)

// Rules are what a file of policies says, as Go values.
type Rules struct {
	// Default is the effect where nothing matches: EffectAllow, EffectApproval or
	// EffectHalt. Required; there is no silent permission.
	Default wflo.Effect
	// Policies are all judged; their order means nothing but for Rule.RouteModel.
	Policies []Rule
	// Risk says who decides at gates; the first that matches counts.
	Risk []RiskRule
}

// Mode says whether a policy is enforced.
type Mode string

// The modes. A policy in audit mode is judged and recorded, and changes nothing.
const (
	ModeEnforce Mode = "enforce"
	ModeAudit   Mode = "audit"
)

// Rule is one policy: when its condition holds, all that it says is done.
type Rule struct {
	// Name identifies the policy in records. Required, and unique in the set.
	Name string
	// When is the condition; "*" always holds. Required.
	When string
	// On is what it judges; none means everything but time. A condition on
	// execution_time is judged on time besides.
	On []wflo.FactsKind
	// Per is how far an approval reaches; empty means the step.
	Per wflo.Reach
	// Mode is ModeEnforce when empty.
	Mode Mode
	// Audit writes it down with a severity.
	Audit wflo.Severity
	// Notify tells channels, such as "slack://ops-channel".
	Notify []string
	// Approval asks people. Gate, Action and Payload are the step's and stay empty.
	Approval *wflo.Approval
	// Halt ends the run.
	Halt *Halt
	// RouteModel replaces the model that a call asks for. Of several policies the
	// first in the set counts.
	RouteModel string
	// SetLimit lowers the run's budget; zero leaves it. The lowest counts.
	SetLimit wflo.Money
}

// Halt ends a run.
type Halt struct {
	Reason string
	// KeepEffects leaves what the run did as it is; else compensations run.
	KeepEffects bool
}

// RiskRule says who decides at a gate of some risk.
type RiskRule struct {
	// Name identifies it; empty means "risk-1", "risk-2" and so on, by its place.
	Name string
	// When is the condition; "*" always holds. Required.
	When string
	// Approval asks people; AutoApprove asks nobody. One of them is required.
	Approval    *wflo.Approval
	AutoApprove bool
	// Audit and Notify are as those of Rule.
	Audit  wflo.Severity
	Notify []string
}

// effect is the strongest thing that the rule does.
func (r *Rule) effect() wflo.Effect {
	switch {
	case r.Halt != nil:
		return wflo.EffectHalt
	case r.Approval != nil:
		return wflo.EffectApproval
	case len(r.Notify) > 0:
		return wflo.EffectNotify
	case r.Audit != "":
		return wflo.EffectAudit
	}
	return wflo.EffectAllow
}

// blocks says that the rule holds a run back, so that an error in judging it counts
// as a match.
func (r *Rule) blocks() bool {
	return r.Halt != nil || r.Approval != nil || r.SetLimit != 0
}

func (r *RiskRule) effect() wflo.Effect {
	return (&Rule{Approval: r.Approval, Notify: r.Notify, Audit: r.Audit}).effect()
}

// check says all that is wrong with the rule but its condition. report gets the
// field of the file that it is about.
func (r *Rule) check(report func(field, message, hint string)) {
	checkName(r.Name, report)
	for i, k := range r.On {
		if !slices.Contains(allKinds, k) {
			report("on", fmt.Sprintf("on has the unknown kind %q", cut(string(k), 60)), nearest(string(k), kindNames(), "kinds are "))
		}
		if slices.Contains(r.On[:i], k) {
			report("on", fmt.Sprintf("on names %s twice", cut(string(k), 60)), "name each once")
		}
	}
	if reaches := []string{"call", "step", "run"}; r.Per != "" && !slices.Contains(reaches, string(r.Per)) {
		report("per", fmt.Sprintf("per is %q", cut(string(r.Per), 60)), nearest(string(r.Per), reaches, "use "))
	}
	if modes := []string{string(ModeEnforce), string(ModeAudit)}; r.Mode != "" && !slices.Contains(modes, string(r.Mode)) {
		report("mode", fmt.Sprintf("mode is %q", cut(string(r.Mode), 60)), nearest(string(r.Mode), modes, "use "))
	}
	checkTold(r.Audit, r.Notify, report)
	checkTemplate(r.Approval, report)
	if r.Halt != nil && r.Halt.Reason == "" {
		report("halt", "halt has no reason", "say why, for whoever finds the run halted: halt: {reason: ...}")
	}
	if r.SetLimit < 0 {
		report("set_limit", "set_limit is below zero", `give dollars, such as "5.00"`)
	}
	if r.effect() == wflo.EffectAllow && r.RouteModel == "" && r.SetLimit == 0 {
		report("do", "the policy does nothing", "list actions under do, such as audit: info")
	}
}

func (r *RiskRule) check(report func(field, message, hint string)) {
	checkName(r.Name, report)
	checkTold(r.Audit, r.Notify, report)
	checkTemplate(r.Approval, report)
	switch {
	case r.AutoApprove && r.Approval != nil:
		report("require_approval", "the rule has require_approval and auto_approve", "say who decides, or that nobody needs to")
	case !r.AutoApprove && r.Approval == nil:
		report("do", "the rule needs either require_approval or auto_approve: true", "say who decides, or that nobody needs to")
	}
}

var plainName = regexp.MustCompile(`^[\pL\pN][\pL\pN ._:/-]{0,99}$`)

func checkName(name string, report func(field, message, hint string)) {
	switch {
	case name == "":
		report("name", "the name is missing", "name it, such as name: expensive-calls")
	case name == defaultRule:
		report("name", `"default" is the name of what happens when nothing matches`, "use another name")
	case !plainName.MatchString(name):
		report("name", fmt.Sprintf("the name is %q", cut(name, 60)), "use at most 100 letters, digits, spaces and . _ : / -")
	}
}

// channel is a channel's address: the kind, and the name that the configuration
// gives it.
var channel = regexp.MustCompile(`^[a-z][a-z0-9-]*://[A-Za-z0-9][A-Za-z0-9@._+-]{0,199}$`)

func checkTold(severity wflo.Severity, channels []string, report func(field, message, hint string)) {
	if severity != "" && severity.Validate() != nil {
		names := []string{"info", "warning", "error", "critical"}
		report("audit", fmt.Sprintf("audit is %q", cut(string(severity), 60)), nearest(string(severity), names, "use "))
	}
	checkChannels(channels, report)
}

// checkChannels never shows the value: an address of a web hook is a secret.
func checkChannels(channels []string, report func(field, message, hint string)) {
	for i, name := range channels {
		switch {
		case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
			report("notify", fmt.Sprintf("channel %d is an address of the web", i+1), "name a channel of the configuration, such as webhook://audit; addresses are secrets")
		case !channel.MatchString(name):
			report("notify", fmt.Sprintf("channel %d is not a channel's name", i+1), "write KIND://NAME, such as slack://ops-channel")
		}
	}
}

// checkTemplate holds an approval to the rules of the real thing.
func checkTemplate(a *wflo.Approval, report func(field, message, hint string)) {
	if a == nil {
		return
	}
	checkChannels(a.Notify, report)
	for _, l := range a.Escalation {
		checkChannels(l.Notify, report)
	}
	whole := *a
	if whole.Gate != "" || whole.Action != "" || len(whole.Payload) > 0 || whole.Activity != "" || whole.Routed || len(whole.Rules) > 0 {
		report("require_approval", "require_approval sets what is the step's", "leave gate, action, payload, activity, routed and rules out")
	}
	whole.Gate, whole.Action = "policy", "policy"
	whole.Payload = nil
	if err := whole.Validate(); err != nil {
		message, hint := wflo.Explain(err)
		report("require_approval", strings.ReplaceAll(message, "approval.", "require_approval."), hint)
	}
}
