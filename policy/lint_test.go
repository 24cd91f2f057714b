package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/policy"
)

func TestLint(t *testing.T) {
	s := load(t, `default: allow
policies:
  - {name: dead, when: cost > 10 and cost < 5, do: [audit: info]}
  - {name: narrow, when: cost > 10 and cost < 10.000001, do: [audit: info]}
  - {name: wide, when: calls > 10, do: [halt: {reason: r}]}
  - {name: part, when: calls > 20 and operation == 'delete', do: [halt: {reason: r}]}
  - {name: other, when: calls > 20, do: [halt: {reason: another}]}
  - {name: typo, when: risk == 'hihg', do: [audit: info]}
  - {name: mixed, when: cost > 10 or calls > 5 and user == 'ann', do: [audit: info]}
  - {name: clear, when: cost > 10 or (calls > 5 and user == 'bob'), do: [audit: info]}
  - {name: args, when: args.x > 1, do: [halt: {reason: r2}]}
  - {name: late, when: execution_time > args.x, on: step, do: [audit: error]}
  - {name: model, on: step, when: user == 'eve', do: [route_model: small]}
  - {name: quick, on: step, when: team == 'a', do: [require_approval: {risk: low, on_timeout: approve, quorum: 2}]}
risk:
  - {name: first, when: cost > 100, require_approval: {approvers: [ann]}}
  - {name: never, when: cost > 100 and operation == 'delete', require_approval: {approvers: [bob]}}
  - {name: rest, when: "*", auto_approve: true}
  - {name: after, when: cost > 1, auto_approve: true}
`)
	var got []string
	for _, f := range s.Lint() {
		text, _, _ := strings.Cut(f.String(), " (")
		got = append(got, strings.TrimPrefix(text, "policies.yaml:"))
	}
	want := []string{
		"3:24: error: dead: the condition is never true",
		"8:24: warning: typo: risk is never \"hihg\"",
		"8:24: error: typo: the condition is never true",
		"9:48: warning: mixed: and binds tighter than or",
		"11:24: warning: args: it reads args and judges every kind of call; where they are absent it counts as a match",
		"12:39: warning: late: no timer can be set for this comparison with execution_time",
		"12:24: warning: late: it reads args, which there are none of when it is judged on time",
		"12:24: warning: late: no timer can be set for it, so it fires with the next step only",
		"13:35: warning: model: route_model does nothing, because it judges no model calls",
		"14:35: warning: quick: nobody needs to look: when the time is up, the action happens",
		"14:35: warning: quick: no approvers are named, so anybody whom the worker admits may approve",
		"14:35: warning: quick: 2 people must approve, and nobody is named",
		"14:35: info: quick: 2 people must approve, and the one who asks may be among them",
		"4:26: warning: narrow: it adds nothing: mixed matches whenever it does, and does the same",
		"6:24: warning: part: it adds nothing: wide matches whenever it does, and does the same",
		"17:25: error: never: it is never reached: rules above it match whenever it does",
		"19:25: error: after: it is never reached: rules above it match whenever it does",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := load(t, "default: allow").Lint(); len(got) != 1 || !strings.Contains(got[0].Message, "everything is allowed") {
		t.Errorf("an empty set gives %v", got)
	}
	if got := load(t, "default: halt").Lint(); len(got) != 0 {
		t.Errorf("a set that halts everything gives %v", got)
	}
}

func TestExplain(t *testing.T) {
	s := load(t, `default: allow
policies:
  - {name: big, when: cost > 100 OR NOT (operation == 'read'), do: [audit: info]}
  - {name: model, on: model, when: "*", do: [audit: info]}
  - {name: broken, when: args.x > 1, do: [halt: {reason: r}]}
  - {name: noted, when: args.x > 1, do: [audit: info]}
risk:
  - {name: one, when: operation == 'delete', require_approval: {approvers: [ann]}}
  - {name: two, when: "*", auto_approve: true}
`)
	f := known
	f.Kind, f.Args = "gate", nil
	e := s.Explain(f)
	if diff := cmp.Diff(s.Judge(f), e.Ruling); diff != "" {
		t.Error(diff)
	}
	var why []string
	for _, r := range e.Rules {
		why = append(why, r.Rule+": "+r.Why)
	}
	want := []string{
		"big: the condition is true",
		"model: it does not judge the kind gate",
		"broken: the condition cannot be judged: args.x is absent, which counts as a match",
		"noted: the condition cannot be judged: args.x is absent, which is recorded",
		"one: the condition is true",
		"two: the rule one came first",
	}
	if diff := cmp.Diff(want, why); diff != "" {
		t.Error(diff)
	}
	big := e.Rules[0]
	if big.Condition != "cost > 100 or not (operation == 'read')" || big.At != "policies.yaml:3:23" {
		t.Errorf("the condition is %q at %s", big.Condition, big.At)
	}
	parts := []policy.Part{
		{Text: `cost > 100 or not (operation == "read")`, Value: "true"},
		{Text: `cost > 100`, Depth: 1, Value: "false"},
		{Text: `not (operation == "read")`, Depth: 1, Value: "true"},
		{Text: `operation == "read"`, Depth: 2, Value: "false"},
	}
	if diff := cmp.Diff(parts, big.Parts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"cost": "0.10", "operation": "delete"}, big.Inputs); diff != "" {
		t.Error(diff)
	}
}
