package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// full has every field that a file can have.
const full = `# every field
default: require_approval
policies:
  - name: payments
    when: args.amount > 100 OR operation == 'refund'
    on: [step, gate]
    per: run
    mode: audit
    do:
      - audit: warning
      - notify: slack://ops-channel
      - require_approval:
          details: |
            Look at the *amount*.
          risk: low
          approvers: [ann, "group:senior-ops"]
          quorum: 2
          factors:
            - {approvers: ["group:security"], quorum: 1}
          denials: 2
          four_eyes: true
          timeout: 30m
          on_timeout: escalate
          escalation:
            - {after: 10m, approvers: ["group:leads"], notify: ["pagerduty://ops"]}
          reminders: [50, 90]
          expiry: 15m
          answers: [approve, reject, edit]
          form:
            type: object
            properties: {reason: {type: string, maxLength: 10}}
          reason_required: true
          signed_only: true
          notify: [email://ops@company.com]
      - halt: {reason: over, compensate: false}
      - route_model: small
      - set_limit: "5.00"
  - name: long-runs
    when: >-
      execution_time > 600
      and team == 'ops'
    do: [{notify: ["slack://ops", "sms://oncall"]}]
risk:
  - when: cost > 100 OR operation == 'delete'
    require_approval: {approvers: "group:senior-ops", quorum: 1}
    notify: slack://ops
  - name: small
    when: *   # everything else
    auto_approve: true
    audit: info
`

func fullRules() policy.Rules {
	return policy.Rules{
		Default: wflo.EffectApproval,
		Policies: []policy.Rule{{
			Name: "payments", When: "args.amount > 100 OR operation == 'refund'", On: []wflo.FactsKind{wflo.FactsStep, wflo.FactsGate},
			Per: wflo.ReachRun, Mode: policy.ModeAudit, Audit: wflo.SeverityWarning, Notify: []string{"slack://ops-channel"},
			Approval: &wflo.Approval{
				Details: "Look at the *amount*.\n", Risk: wflo.RiskLow, Approvers: []string{"ann", "group:senior-ops"}, Quorum: 2,
				Factors: []wflo.Factor{{Approvers: []string{"group:security"}, Quorum: 1}}, Denials: 2, FourEyes: true,
				Timeout: 30 * time.Minute, OnTimeout: wflo.OnTimeoutEscalate,
				Escalation: []wflo.Level{{After: 10 * time.Minute, Approvers: []string{"group:leads"}, Notify: []string{"pagerduty://ops"}}},
				Reminders:  []int{50, 90}, Expiry: 15 * time.Minute, Answers: []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictReject, wflo.VerdictEdit},
				Form:           []byte(`{"type":"object","properties":{"reason":{"type":"string","maxLength":10}}}`),
				ReasonRequired: true, SignedOnly: true, Notify: []string{"email://ops@company.com"},
			},
			Halt: &policy.Halt{Reason: "over", KeepEffects: true}, RouteModel: "small", SetLimit: 5 * wflo.USD,
		}, {
			Name: "long-runs", When: "execution_time > 600 and team == 'ops'", Notify: []string{"slack://ops", "sms://oncall"},
		}},
		Risk: []policy.RiskRule{
			{Name: "risk-1", When: "cost > 100 OR operation == 'delete'", Approval: &wflo.Approval{Approvers: []string{"group:senior-ops"}, Quorum: 1}, Notify: []string{"slack://ops"}},
			{Name: "small", When: "*", AutoApprove: true, Audit: wflo.SeverityInfo},
		},
	}
}

func load(t *testing.T, source string) *policy.Set {
	t.Helper()
	s, err := policy.Load("policies.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLoad reads every field, and shows that files and Go values are the same thing.
func TestLoad(t *testing.T) {
	s := load(t, full)
	if diff := cmp.Diff(fullRules(), s.Rules()); diff != "" {
		t.Error(diff)
	}
	made, err := policy.New(fullRules())
	if err != nil {
		t.Fatal(err)
	}
	again := load(t, string(s.Source()))
	if made.Hash() != s.Hash() || again.Hash() != s.Hash() || len(s.Hash()) != 64 {
		t.Errorf("hashes differ: file %s, Go %s, source %s", s.Hash(), made.Hash(), again.Hash())
	}
	other := load(t, strings.Replace(full, "quorum: 2", "quorum: 1", 1))
	if other.Hash() == s.Hash() {
		t.Error("another quorum has the same hash")
	}
}

// TestSetIsFixed shows that nobody changes a set through what it was made of or
// what it gave out.
func TestSetIsFixed(t *testing.T) {
	r := fullRules()
	s, err := policy.New(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Policies[0].Approval.Approvers[0] = "mallory"
	s.Rules().Policies[0].Approval.Factors[0].Approvers[0] = "mallory"
	s.Rules().Policies[0].Halt.Reason = "none"
	if diff := cmp.Diff(fullRules(), s.Rules()); diff != "" {
		t.Error(diff)
	}
}

// TestMistakes shows all mistakes of a file: where, what, and what to do.
func TestMistakes(t *testing.T) {
	const source = `default: alow
policies:
  - name: one
    when: cots > 100 AND operaton == 'x'
    on: [steps]
    per: cal
    mode: audits
    do:
      - audit: inf
      - notfy: slack://ops
      - require_approval: {quorum: 3, approvers: [a, b]}
  - name: one
    when: "*"
    do: []
  - when: |
      cost > 100 and
        toool == 'x'
    do: [set_limit: 5]
  - name: four
    do: [audit: info, audit: error]
risk:
  - when: cost = 3
    auto_approve: yes
  - when: cost > 3
    auto_approve: true
    require_approval: {approvers: [a], timeout: soon}
polices: []
`
	_, err := policy.Load("p.yaml", []byte(source))
	var got []string
	var problems policy.Problems
	if !errors.As(err, &problems) || !errors.Is(err, wflo.ErrInvalid) {
		t.Fatalf("got %v, want Problems that match ErrInvalid", err)
	}
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d:%d %s (%s)", p.Line, p.Column, p.Message, p.Hint))
	}
	want := []string{
		`1:10 default is "alow" (use allow, require_approval or halt)`,
		`4:11 unknown name "cots" (did you mean cost?)`,
		`4:26 unknown name "operaton" (did you mean operation?)`,
		`5:9 on has the unknown kind "steps" (did you mean step?)`,
		`6:10 per is "cal" (did you mean call?)`,
		`7:11 mode is "audits" (did you mean audit?)`,
		`9:16 audit is "inf" (did you mean info?)`,
		`10:9 unknown field "notfy" of an action (did you mean notify?)`,
		`11:27 require_approval.approvers are 2, and 3 must approve (name more approvers, or lower the quorum)`,
		`12:11 the name "one" is used twice (use another name)`,
		`14:9 the policy does nothing (list actions under do, such as audit: info)`,
		`15:5 the name is missing (name it, such as name: expensive-calls)`,
		`17:9 unknown name "toool" (did you mean tool?)`,
		`18:21 set_limit is a number (write it in quotes, such as "5.00": numbers of YAML are rounded)`,
		`19:5 the condition is empty (write a condition, or "*" for always)`,
		`20:23 audit is there twice (write each action once)`,
		`22:16 unexpected Operator("=") (write == to compare)`,
		`23:19 auto_approve is text (write true or false)`,
		`26:23 the rule has require_approval and auto_approve (say who decides, or that nobody needs to)`,
		`26:49 timeout is "soon" (use a duration such as 90s, 10m or 24h)`,
		`27:1 unknown field "polices" of the file (did you mean policies?)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	text := "p.yaml:4:26: unknown name \"operaton\" (did you mean operation?)\n    4 |     when: cots > 100 AND operaton == 'x'\n      |                          ^"
	if !strings.Contains(err.Error(), text) {
		t.Errorf("the error is not shown as\n%s\nbut\n%s", text, err)
	}
}

// TestFiles are files that are wrong as a whole.
func TestFiles(t *testing.T) {
	for source, want := range map[string]string{
		"":                                   "empty",
		"policies: []":                       "default is missing",
		"default:":                           "default is missing",
		"default: allow\n---\ndefault: halt": "more than one document",
		"default: [":                         "not YAML",
		"- default: allow":                   "the file is a list",
		"default: allow\ndefault: halt":      "default",
		"default: &a allow":                  "cannot use",
		"default: allow\npolicies: {a: b}":   "policies is a mapping",
		"default: audit":                     "use allow, require_approval or halt",
		"default: allow\npolicies: [1]":      "a policy is a number",
		"default: allow # " + strings.Repeat("x", 256<<10):                                                  "bytes",
		"default: allow\npolicies: " + strings.Repeat("[", 20000):                                           "too deep",
		"default: allow\nrisk: [{when: '*'}]":                                                               "either require_approval or auto_approve",
		"default: allow\npolicies: [{name: default, when: '*', do: [audit: info]}]":                         "use another name",
		"default: allow\npolicies: [{name: a, when: true, do: [audit: info]}]":                              "want text",
		"default: allow\npolicies: [{name: a, when: '*', do: [notify: ops]}]":                               "KIND://NAME",
		"default: allow\npolicies: [{name: a, when: '*', do: [halt: {}]}]":                                  "no reason",
		"default: allow\npolicies: [{name: a, when: '*', do: [explode: true]}]":                             "unknown field",
		"default: allow\npolicies: [{name: a, when: '*', do: [require_approval: {gate: x}]}]":               "unknown field",
		"default: allow\npolicies: [{name: a, when: '*', do: [require_approval: {on_timeout: approve}]}]":   "only gates of risk low",
		"default: allow\npolicies:\n" + strings.Repeat("- {name: a, when: '*', do: [audit: info]}\n", 1001): "there are 1001 rules",
		"default: allow\n\xff": "UTF-8",
	} {
		_, err := policy.Load("p.yaml", []byte(source))
		if err == nil || !errors.Is(err, wflo.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %.200v, want %q", source, err, want)
		}
	}
}

// TestNoSecretsInErrors plants what could be one wherever people paste them.
func TestNoSecretsInErrors(t *testing.T) {
	const canary = "CANARY-7f3a"
	for _, source := range []string{
		"default: allow\ntoken: " + canary,
		"default: allow\npolicies: [{name: a, when: '*', do: [notify: https://hooks.slack.com/" + canary + "]}]",
		"default: allow\npolicies:\n  - name: a\n    when: '*'\n    do:\n      - notify: [slack://ops, 'https://x/" + canary + "']\n",
		"default: allow\npolicies:\n  - name: a\n    when: '*'\n    do:\n      - notify:\n          - https://x/" + canary + "\n",
		"default: allow\npolicies:\n  - name: a\n    when: '*'\n    do:\n      - webhook: https://x/" + canary + "\n",
		"default: allow\npolicies:\n  - name: a\n    when: '*'\n    do:\n      - require_approval: {quorum: 2, approvers: [a], notify: ['https://x/" + canary + "']}\n",
		"default: allow\npolicies:\n  - name: a\n    when: '*'\n    do:\n      - require_approval: {notify: ['https://x/" + canary + "']}\n",
	} {
		_, err := policy.Load("p.yaml", []byte(source))
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: got %v, want an error without the canary", source, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("default: allow\npolicies:\n- name: a\n  when: *\n  do: [audit: info]\n"))
	f.Add([]byte(`{"default":"halt","risk":[{"when":"args.x > 1","auto_approve":true}]}`))
	f.Fuzz(func(t *testing.T, source []byte) {
		s, err := policy.Load("p.yaml", source)
		if err != nil {
			if !errors.Is(err, wflo.ErrInvalid) {
				t.Fatalf("%v is no error that a user can act on", err)
			}
			return
		}
		again, err := policy.Load("p.yaml", s.Source())
		if err != nil || again.Hash() != s.Hash() {
			t.Fatalf("the canonical form does not load as the same: %v\n%s", err, s.Source())
		}
		s.Lint()
		s.Judge(quiet)
	})
}
