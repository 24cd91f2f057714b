package wflo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultApprovalTimeout is how long a gate waits when Approval.Timeout is zero.
	DefaultApprovalTimeout = time.Hour
	// DefaultApprovalExpiry is how long an approval may wait for its action when
	// Approval.Expiry is zero.
	DefaultApprovalExpiry = time.Hour
	// MaxApprovers bounds each list of approvers.
	MaxApprovers = 100
	// MaxLevels bounds the escalation.
	MaxLevels = 10
	// MaxFactors bounds the sets of approvers.
	MaxFactors = 100
	// MaxChannels bounds each list of channels.
	MaxChannels = 100
	// maxPayload bounds what people are asked to judge, in bytes; maxLine and
	// maxDetails bound the words around it.
	maxPayload = 256 << 10
	maxLine    = 4 << 10
	maxDetails = 64 << 10
)

// Approval asks people to decide on one action before it happens. The zero value
// of every field but Gate and Action means the safe and simple thing: one approval
// by anybody whom the worker admits, within an hour, or else no.
type Approval struct {
	// Gate names the question within the run, such as "refunds". Required.
	Gate string `json:"gate"`
	// Action says what will happen, in one line. Required.
	Action string `json:"action"`
	// Details is Markdown for the reviewer. It is shown, never parsed.
	Details string `json:"details,omitempty"`
	// Payload is exactly what will be done; the decision is bound to its hash.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Activity is the activity that Payload is the input of: its one argument, or
	// an array of several. It alone acts on the approval, once, and only with this
	// input. Empty means that the workflow acts, and that waiting is over when the
	// gate is.
	Activity string `json:"activity,omitempty"`
	// Risk is how much is at stake; it is shown, and low allows OnTimeoutApprove.
	Risk Risk `json:"risk,omitempty"`
	// Approvers are those who may decide: users, and groups as "group:NAME". None
	// means that anybody may whom the worker's key list or its allowance of
	// unsigned decisions admits.
	Approvers []string `json:"approvers,omitempty"`
	// Quorum is how many of them must approve; zero means one.
	Quorum int `json:"quorum,omitempty"`
	// Factors are further sets of approvers, each of which must approve too. One
	// person counts in every set that names them.
	Factors []Factor `json:"factors,omitempty"`
	// Denials is how many rejections end the gate; zero means one.
	Denials int `json:"denials,omitempty"`
	// FourEyes refuses approvals by those for whom the run acts, and by whoever
	// edited the payload. They may still reject.
	FourEyes bool `json:"four_eyes,omitempty"`
	// Timeout rejects the action when nobody decided; zero means an hour.
	Timeout time.Duration `json:"timeout,omitempty"`
	// OnTimeout says what the end of the time means; empty means OnTimeoutReject.
	OnTimeout OnTimeout `json:"on_timeout,omitempty"`
	// Escalation are further levels, who are asked later. Approvers of a level may
	// decide besides those before them.
	Escalation []Level `json:"escalation,omitempty"`
	// Reminders are when those who were asked are asked again, in ascending
	// percent of Timeout. Nil means 50 and 90; an empty list none.
	Reminders []int `json:"reminders,omitzero"`
	// Expiry is how long after the approval the action must begin; zero means an
	// hour. Later, nobody's approval covers it any more.
	Expiry time.Duration `json:"expiry,omitempty"`
	// Answers are the verdicts that make sense here, of approve, reject, respond
	// and edit; none means approve and reject. Escalate and ack always do.
	Answers []Verdict `json:"answers,omitempty"`
	// Form is a JSON schema that the data of VerdictRespond must fit.
	Form json.RawMessage `json:"form,omitempty"`
	// ReasonRequired refuses rejections without a reason.
	ReasonRequired bool `json:"reason_required,omitempty"`
	// SignedOnly refuses decisions without a signature also where the worker
	// allows them.
	SignedOnly bool `json:"signed_only,omitempty"`
	// Notify are the channels that are told, such as "slack://ops-channel". None
	// means those of the worker's configuration.
	Notify []string `json:"notify,omitempty"`
	// Routed lets the policy's risk rules say who decides, or that nobody needs
	// to. Without it they can only add approvers.
	Routed bool `json:"routed,omitempty"`
	// Rules are the policies that ask for this approval; the runtime fills them in.
	Rules []string `json:"rules,omitempty"`
}

// Factor is a set of approvers of whom some must approve.
type Factor struct {
	Approvers []string `json:"approvers"`
	Quorum    int      `json:"quorum,omitempty"` // zero means one
	// Rule is the policy that asks for it.
	Rule string `json:"rule,omitempty"`
}

// Level is a step of an escalation.
type Level struct {
	// After is when it is asked, counted from when the gate opened. Zero means
	// when the time is up (OnTimeoutEscalate) or when somebody escalates.
	After     time.Duration `json:"after,omitempty"`
	Approvers []string      `json:"approvers,omitempty"`
	Notify    []string      `json:"notify,omitempty"`
}

// OnTimeout says what happens when a gate's time is up.
type OnTimeout string

// What the end of the time may mean.
const (
	OnTimeoutReject OnTimeout = "reject"
	// OnTimeoutEscalate asks the next level, with the gate's timeout once more,
	// and rejects after the last.
	OnTimeoutEscalate OnTimeout = "escalate"
	// OnTimeoutHalt rejects and halts the run.
	OnTimeoutHalt OnTimeout = "halt"
	// OnTimeoutApprove lets the action happen. Only gates of low risk take it.
	OnTimeoutApprove OnTimeout = "approve"
)

// Risk is how much is at stake.
type Risk string

// The risks.
const (
	RiskLow      Risk = "low"
	RiskMedium   Risk = "medium"
	RiskHigh     Risk = "high"
	RiskCritical Risk = "critical"
)

// Validate says what is wrong with the approval, if anything.
func (a Approval) Validate() error {
	switch {
	case a.Gate == "":
		return Invalid("approval.gate", "is empty", "name the gate, such as \"refunds\"")
	case a.Action == "":
		return Invalid("approval.action", "is empty", "say in one line what will be done")
	case len(a.Payload) > maxPayload:
		return Invalid("approval.payload", fmt.Sprintf("has %d bytes", len(a.Payload)), fmt.Sprintf("ask about at most %d; nobody can judge more", maxPayload))
	}
	if err := a.validateSizes(); err != nil {
		return err
	}
	if len(a.Form) > 0 {
		if _, err := Canonical(a.Form); err != nil {
			return Invalid("approval.form", err.Error(), "give a JSON schema")
		}
	}
	if len(a.Payload) > 0 {
		if _, err := Canonical(a.Payload); err != nil {
			return Invalid("approval.payload", err.Error(), "marshal the value that will be acted on")
		}
	}
	for _, v := range a.Answers {
		if v != VerdictApprove && v != VerdictReject && v != VerdictRespond && v != VerdictEdit {
			return Invalid("approval.answers", fmt.Sprintf("has %q", string(v)), "use approve, reject, respond or edit")
		}
	}
	if err := a.validateTimes(); err != nil {
		return err
	}
	return a.validatePeople()
}

// validateSizes bounds what goes into the history of the run, and to everybody who is
// told of the gate.
func (a Approval) validateSizes() error {
	for _, text := range []struct {
		field     string
		has, most int
	}{
		{"gate", len(a.Gate), maxLine}, {"action", len(a.Action), maxLine}, {"details", len(a.Details), maxDetails},
		{"form", len(a.Form), maxForm}, {"activity", len(a.Activity), maxLine},
	} {
		if text.has > text.most {
			return Invalid("approval."+text.field, fmt.Sprintf("has %d bytes", text.has), fmt.Sprintf("use at most %d", text.most))
		}
	}
	if len(a.Factors) > MaxFactors {
		return Invalid("approval.factors", fmt.Sprintf("are %d", len(a.Factors)), fmt.Sprintf("use at most %d", MaxFactors))
	}
	if err := checkChannels("approval.notify", a.Notify); err != nil {
		return err
	}
	for i, l := range a.Escalation {
		if err := checkChannels(fmt.Sprintf("approval.escalation[%d].notify", i), l.Notify); err != nil {
			return err
		}
	}
	return nil
}

func checkChannels(field string, channels []string) error {
	if len(channels) > MaxChannels {
		return Invalid(field, fmt.Sprintf("are %d channels", len(channels)), fmt.Sprintf("use at most %d", MaxChannels))
	}
	for i, c := range channels {
		if nameProblem(c) != "" {
			return Invalid(fmt.Sprintf("%s[%d]", field, i), nameProblem(c), "name a channel, such as slack://ops-channel")
		}
	}
	return nil
}

func (a Approval) validateTimes() error {
	switch {
	case a.Timeout < 0:
		return Invalid("approval.timeout", "is "+a.Timeout.String(), "use 0 for one hour, or a positive duration")
	case a.Expiry < 0:
		return Invalid("approval.expiry", "is "+a.Expiry.String(), "use 0 for one hour, or a positive duration")
	case !slices.Contains([]OnTimeout{"", OnTimeoutReject, OnTimeoutEscalate, OnTimeoutHalt, OnTimeoutApprove}, a.OnTimeout):
		return Invalid("approval.on_timeout", fmt.Sprintf("is %q", string(a.OnTimeout)), "use reject, escalate, halt or approve")
	case a.OnTimeout == OnTimeoutApprove && a.Risk != RiskLow:
		return Invalid("approval.on_timeout", "is approve", "only gates of risk low may let time decide; use reject or escalate")
	case a.OnTimeout == OnTimeoutEscalate && len(a.Escalation) == 0:
		return Invalid("approval.on_timeout", "is escalate, and there is no level", "list levels under escalation")
	case !slices.Contains([]Risk{"", RiskLow, RiskMedium, RiskHigh, RiskCritical}, a.Risk):
		return Invalid("approval.risk", fmt.Sprintf("is %q", string(a.Risk)), "use low, medium, high or critical")
	case len(a.Escalation) > MaxLevels:
		return Invalid("approval.escalation", fmt.Sprintf("has %d levels", len(a.Escalation)), fmt.Sprintf("use at most %d", MaxLevels))
	}
	for i, percent := range a.Reminders {
		if percent < 1 || percent > 99 || i > 0 && percent <= a.Reminders[i-1] {
			return Invalid("approval.reminders", fmt.Sprintf("are %v", a.Reminders), "use ascending percentages from 1 to 99")
		}
	}
	var last time.Duration
	timeout := a.Timeout
	if timeout == 0 {
		timeout = DefaultApprovalTimeout
	}
	for i, l := range a.Escalation {
		if l.After < 0 || l.After > 0 && l.After <= last || l.After >= timeout {
			return Invalid(fmt.Sprintf("approval.escalation[%d].after", i), "is "+l.After.String(),
				fmt.Sprintf("use ascending durations from when the gate opens, below its timeout of %s; 0 waits for the timeout", timeout))
		}
		last = max(last, l.After)
	}
	return nil
}

func (a Approval) validatePeople() error {
	if a.Quorum < 0 || a.Denials < 0 {
		return Invalid("approval.quorum", "or denials is negative", "use 0 for one")
	}
	if err := checkApprovers("approval.approvers", a.Approvers, a.Quorum, false); err != nil {
		return err
	}
	for i, f := range a.Factors {
		field := fmt.Sprintf("approval.factors[%d]", i)
		if f.Quorum < 0 {
			return Invalid(field+".quorum", "is negative", "use 0 for one")
		}
		if err := checkApprovers(field+".approvers", f.Approvers, f.Quorum, true); err != nil {
			return err
		}
	}
	for i, l := range a.Escalation {
		if err := checkApprovers(fmt.Sprintf("approval.escalation[%d].approvers", i), l.Approvers, 0, false); err != nil {
			return err
		}
	}
	return nil
}

func checkApprovers(field string, approvers []string, quorum int, required bool) error {
	switch {
	case required && len(approvers) == 0:
		return Invalid(field, "are empty", "name users, or groups as group:NAME")
	case len(approvers) > MaxApprovers:
		return Invalid(field, fmt.Sprintf("are %d", len(approvers)), fmt.Sprintf("use at most %d, or a group", MaxApprovers))
	}
	groups := false
	for i, approver := range approvers {
		group, ok := GroupOf(approver)
		groups = groups || ok
		switch {
		case approver == "" || ok && group == "":
			return Invalid(fmt.Sprintf("%s[%d]", field, i), "is empty", "name a user, or a group as group:NAME")
		case strings.TrimSpace(approver) != approver || nameProblem(approver) != "":
			return Invalid(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("is %q", approver), "use a plain name")
		case slices.Contains(approvers[:i], approver):
			return Invalid(field, fmt.Sprintf("name %q twice", approver), "name each once")
		}
	}
	if !groups && len(approvers) > 0 && quorum > len(approvers) {
		return Invalid(field, fmt.Sprintf("are %d, and %d must approve", len(approvers), quorum), "name more approvers, or lower the quorum")
	}
	return nil
}

// allApprovers are those of all sets and levels.
func (a Approval) allApprovers() []string {
	all := slices.Clone(a.Approvers)
	for _, f := range a.Factors {
		all = append(all, f.Approvers...)
	}
	for _, l := range a.Escalation {
		all = append(all, l.Approvers...)
	}
	return all
}
