package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

const casesPolicies = `default: allow
policies:
  - {name: big, when: cost > 100, do: [require_approval: {approvers: ["group:senior-ops"]}]}
  - {name: stop, when: operation == 'wipe' and tags?.env != nil, do: [halt: {reason: never}]}
  - {name: unused, when: calls > 1000, do: [audit: info]}
`

func TestRunTests(t *testing.T) {
	s := load(t, casesPolicies)
	report, err := policy.RunTests(s, "tests.yaml", []byte(`tests:
  - name: cheap is allowed
    facts: {cost: 99.999999999, operation: read}
    want: {effect: allow, rules: []}
  - name: dear asks
    facts: {cost: 100.000000001, kind: activity, budget: {limit: "500"}}
    want: {effect: require_approval, rules: [big], approvers: ["group:senior-ops"]}
  - name: wiping stops
    facts: {operation: wipe, tags: {env: prod}, args: {n: 9007199254740993}}
    want: {effect: halt, halt: never, rules: stop}
  - name: this one fails
    facts: {cost: 101}
    want: {effect: halt, rules: [stop], approvers: [ann], halt: never, risk: x, auto_approve: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range report.Results {
		got = append(got, r.Name+": "+strings.Join(r.Differences, "; "))
	}
	want := []string{
		"cheap is allowed: ", "dear asks: ", "wiping stops: ",
		"this one fails: effect: want halt, got require_approval; rules: want stop, got big; approvers: want ann, got group:senior-ops; halt: want never, got none; risk: want x, got none; auto_approve: want true, got false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"unused"}, report.Untested); diff != "" {
		t.Error(diff)
	}
	if report.Passed() {
		t.Error("a report with a failure has passed")
	}
	if report.Results[1].Line != 5 {
		t.Errorf("the second test is on line %d, want 5", report.Results[1].Line)
	}
}

func TestRunTestsRefuses(t *testing.T) {
	s := load(t, casesPolicies)
	for source, want := range map[string]string{
		"tests: []": "there are no tests",
		"tests: [{name: a, facts: {cots: 1}, want: {effect: halt}}]":             "did you mean cost?",
		"tests: [{name: a, facts: {budget: {limt: 1}}, want: {effect: halt}}]":   "did you mean budget.limit?",
		"tests: [{name: a, facts: {calls: x}, want: {effect: halt}}]":            "calls is a string, want int",
		"tests: [{name: a, facts: {kind: stp}, want: {effect: halt}}]":           "did you mean step?",
		"tests: [{name: a, facts: {}, want: {effect: hlt}}]":                     "did you mean halt?",
		"tests: [{name: a, facts: {}, want: {rules: [bigg]}}]":                   "did you mean big?",
		"tests: [{name: a, facts: {}, wants: {rules: [big]}}]":                   "did you mean want?",
		"tests: [{name: a, facts: {cost: 0.0000000001}, want: {effect: allow}}]": "more than 9 decimals",
		"tests: [{facts: {}, want: {effect: allow}}]":                            "no name",
	} {
		_, err := policy.RunTests(s, "tests.yaml", []byte(source))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "tests.yaml:1:") {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

func TestSimulate(t *testing.T) {
	old := load(t, casesPolicies)
	next := load(t, strings.Replace(casesPolicies, "cost > 100", "cost > 50", 1))
	changes := old.Simulate(next, []wflo.Facts{
		{Kind: wflo.FactsStep, Cost: 20 * wflo.USD}, {Kind: wflo.FactsStep, Cost: 70 * wflo.USD}, {Kind: wflo.FactsStep, Cost: 170 * wflo.USD},
	})
	if len(changes) != 1 || changes[0].Index != 1 || !changes[0].Stricter() {
		t.Fatalf("got %+v, want one stricter change", changes)
	}
	want := []string{
		"effect: allow, now require_approval", "rules: none, now [big]",
		`approvals: none, now [[big] {"approvers":["group:senior-ops"]}]`,
	}
	if diff := cmp.Diff(want, changes[0].Differences); diff != "" {
		t.Error(diff)
	}
	if back := next.Simulate(old, []wflo.Facts{changes[0].Facts}); len(back) != 1 || back[0].Stricter() {
		t.Errorf("the other way round: %+v", back)
	}
}
