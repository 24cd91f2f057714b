package policy

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// The shapes of the file, in the order that people write them.
type (
	fileForm struct {
		Default  wflo.Effect `json:"default"`
		Policies []ruleForm  `json:"policies,omitempty"`
		Risk     []riskForm  `json:"risk,omitempty"`
	}
	ruleForm struct {
		Name string           `json:"name"`
		When string           `json:"when"`
		On   []wflo.FactsKind `json:"on,omitempty"`
		Per  wflo.Reach       `json:"per,omitempty"`
		Mode Mode             `json:"mode,omitempty"`
		Do   []actionForm     `json:"do"`
	}
	actionForm struct {
		Audit      wflo.Severity `json:"audit,omitempty"`
		Notify     []string      `json:"notify,omitempty"`
		Approval   *approvalForm `json:"require_approval,omitempty"`
		Halt       *haltForm     `json:"halt,omitempty"`
		RouteModel string        `json:"route_model,omitempty"`
		SetLimit   wflo.Money    `json:"set_limit,omitempty"`
	}
	haltForm struct {
		Reason     string `json:"reason"`
		Compensate bool   `json:"compensate"`
	}
	riskForm struct {
		Name        string        `json:"name"`
		When        string        `json:"when"`
		Approval    *approvalForm `json:"require_approval,omitempty"`
		AutoApprove bool          `json:"auto_approve,omitempty"`
		Audit       wflo.Severity `json:"audit,omitempty"`
		Notify      []string      `json:"notify,omitempty"`
	}
	approvalForm struct {
		Details        string          `json:"details,omitempty"`
		Risk           wflo.Risk       `json:"risk,omitempty"`
		Approvers      []string        `json:"approvers,omitempty"`
		Quorum         int             `json:"quorum,omitempty"`
		Factors        []factorForm    `json:"factors,omitempty"`
		Denials        int             `json:"denials,omitempty"`
		FourEyes       bool            `json:"four_eyes,omitempty"`
		Timeout        string          `json:"timeout,omitempty"`
		OnTimeout      wflo.OnTimeout  `json:"on_timeout,omitempty"`
		Escalation     []levelForm     `json:"escalation,omitempty"`
		Reminders      []int           `json:"reminders,omitzero"`
		Expiry         string          `json:"expiry,omitempty"`
		Answers        []wflo.Verdict  `json:"answers,omitempty"`
		Form           json.RawMessage `json:"form,omitempty"`
		ReasonRequired bool            `json:"reason_required,omitempty"`
		SignedOnly     bool            `json:"signed_only,omitempty"`
		Notify         []string        `json:"notify,omitempty"`
	}
	factorForm struct {
		Approvers []string `json:"approvers"`
		Quorum    int      `json:"quorum,omitempty"`
	}
	levelForm struct {
		After     string   `json:"after,omitempty"`
		Approvers []string `json:"approvers,omitempty"`
		Notify    []string `json:"notify,omitempty"`
	}
)

// canonical is the one way to write the rules.
func (r Rules) canonical() ([]byte, error) {
	out := fileForm{Default: r.Default}
	for _, p := range r.Policies {
		f := ruleForm{Name: p.Name, When: strings.TrimSpace(p.When), On: p.On, Per: p.Per, Mode: p.Mode}
		for _, a := range []actionForm{
			{Audit: p.Audit}, {Notify: p.Notify}, {Approval: approvalFormOf(p.Approval)}, {Halt: haltFormOf(p.Halt)},
			{RouteModel: p.RouteModel}, {SetLimit: p.SetLimit},
		} {
			if a.Audit != "" || len(a.Notify) > 0 || a.Approval != nil || a.Halt != nil || a.RouteModel != "" || a.SetLimit != 0 {
				f.Do = append(f.Do, a)
			}
		}
		out.Policies = append(out.Policies, f)
	}
	for _, p := range r.Risk {
		out.Risk = append(out.Risk, riskForm{
			Name: p.Name, When: strings.TrimSpace(p.When), Approval: approvalFormOf(p.Approval), AutoApprove: p.AutoApprove, Audit: p.Audit, Notify: p.Notify,
		})
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return wflo.Canonical(data)
}

func haltFormOf(h *Halt) *haltForm {
	if h == nil {
		return nil
	}
	return &haltForm{h.Reason, !h.KeepEffects}
}

func approvalFormOf(a *wflo.Approval) *approvalForm {
	if a == nil {
		return nil
	}
	f := &approvalForm{
		Details: a.Details, Risk: a.Risk, Approvers: a.Approvers, Quorum: a.Quorum, Denials: a.Denials, FourEyes: a.FourEyes,
		Timeout: duration(a.Timeout), OnTimeout: a.OnTimeout, Reminders: a.Reminders, Expiry: duration(a.Expiry), Answers: a.Answers,
		Form: a.Form, ReasonRequired: a.ReasonRequired, SignedOnly: a.SignedOnly, Notify: a.Notify,
	}
	for _, x := range a.Factors {
		f.Factors = append(f.Factors, factorForm{x.Approvers, x.Quorum})
	}
	for _, l := range a.Escalation {
		f.Escalation = append(f.Escalation, levelForm{duration(l.After), l.Approvers, l.Notify})
	}
	return f
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
