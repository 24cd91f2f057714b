package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// file writes a file for a test and gives its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodPolicies = `default: allow
policies:
  - name: refunds
    when: operation == 'refund' AND args.amount > 100
    on: [step, activity]
    do:
      - require_approval: {approvers: ["group:finance"], quorum: 2, four_eyes: true}
      - notify: ["slack://finance"]
  - name: no-deletes
    when: operation == 'delete' AND tags.env == 'prod'
    do:
      - halt: {reason: nothing is deleted in production}
`

func TestPolicyCheck(t *testing.T) {
	good := file(t, "good.yaml", goodPolicies)
	bad := file(t, "bad.yaml", strings.NewReplacer("> 100", "> \"100\"", "halt:", "hatl:").Replace(goodPolicies))
	// Everybody may decide: a warning.
	warned := file(t, "warned.yaml", "default: allow\npolicies: []\n")
	never := file(t, "never.yaml", "default: allow\npolicies:\n  - name: never\n    when: cost > 10 and cost < 5\n    do: [{audit: info}]\n")
	set, err := policy.Load("good.yaml", []byte(goodPolicies))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeTemporal{}
	invoke(t, f, "policy", "check", good).want(t, ExitOK, []string{"2 policies, 0 risk rules, hash " + set.Hash()}, nil)
	invoke(t, f, "policy", "check", good, bad).want(t, ExitFindings, []string{
		"bad.yaml:4:51: \"100\" is text, want a number\n    4 |     when: operation", "\n      |                                                   ^\n",
		"bad.yaml:12:9: unknown field \"hatl\"", "did you mean halt?", "good.yaml: 2 policies",
	}, []string{"1 of 2 files failed the check"})
	invoke(t, f, "policy", "check", warned).want(t, ExitOK, []string{"warning: the default is allow and there are no policies"}, nil)
	invoke(t, f, "policy", "check", "--strict", warned).want(t, ExitFindings, []string{"warning: "}, []string{"failed"})
	invoke(t, f, "policy", "check", never).want(t, ExitFindings, []string{"never.yaml:4:11: error: never: the condition is never true"}, []string{"failed"})
	invoke(t, f, "policy", "check", good+"nope").want(t, ExitError, nil, []string{"no such file"})
	invoke(t, f, "policy", "check").want(t, ExitUsage, nil, []string{"FILE is missing"})

	var all []checkedPolicies
	r := invoke(t, f, "policy", "check", bad, good, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || r.code != ExitFindings || len(all) != 2 {
		t.Fatalf("%d, %v: %s", r.code, err, r.out)
	}
	if all[0].OK || len(all[0].Mistakes) != 2 || all[0].Mistakes[0].Line != 4 || !all[1].OK || all[1].Hash != set.Hash() {
		t.Errorf("got %+v", all)
	}
}

func TestPolicyTest(t *testing.T) {
	policies := file(t, "p.yaml", goodPolicies)
	passing := file(t, "passing.yaml", `tests:
  - name: a big refund asks finance
    facts: {kind: step, operation: refund, args: {amount: 900}}
    want: {effect: require_approval, rules: [refunds], approvers: ["group:finance"]}
`)
	failing := file(t, "failing.yaml", `tests:
  - name: production stays
    facts: {kind: step, operation: delete, tags: {env: prod}}
    want: {effect: require_approval}
`)
	f := &fakeTemporal{}
	invoke(t, f, "policy", "test", policies, "--tests", passing).want(t, ExitOK,
		[]string{"ok    a big refund asks finance", "1 test, 0 failed; 1 of 2 rules matched, not: no-deletes"}, nil)
	invoke(t, f, "policy", "test", policies, "--tests", passing, "--tests", failing).want(t, ExitFindings,
		[]string{"FAIL  production stays", "failing.yaml:2:5", "effect: want require_approval, got halt", "2 tests, 1 failed; 2 of 2 rules matched\n"}, nil)
	invoke(t, f, "policy", "test", policies).want(t, ExitUsage, nil, []string{"--tests is missing"})
	invoke(t, f, "policy", "test", policies, "--tests", policies).want(t, ExitFindings, nil, []string{"p.yaml:1:1", "unknown field"})

	var report policy.Report
	r := invoke(t, f, "policy", "test", policies, "--tests", failing, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || report.Passed() || !slices.Equal(report.Untested, []string{"refunds"}) {
		t.Errorf("%v: %s", err, r.out)
	}
}

func TestPolicyExplain(t *testing.T) {
	policies := file(t, "p.yaml", goodPolicies)
	facts := file(t, "facts.yaml", "operation: refund\ncost: 6.20\ntags: {env: prod}\nargs: {amount: 900}\n")
	f := &fakeTemporal{}
	invoke(t, f, "policy", "explain", policies, "--facts", facts).want(t, ExitOK, []string{
		"effect    require_approval\n", "approval  2 of group:finance, for refunds\n", "yes  refunds (require_approval): the condition is true\n",
		"args.amount > 100  = true\n", "     where args.amount is 900\n", "no   no-deletes (halt): the condition is false\n",
	}, nil)
	// What is absent cannot be judged, and asks.
	less := file(t, "less.yaml", "operation: refund\n")
	invoke(t, f, "policy", "explain", policies, "--facts", less).want(t, ExitOK, []string{"yes  refunds", "cannot be judged", "which counts as a match", "error: "}, nil)

	wrong := file(t, "wrong.yaml", "oparation: refund\n")
	invoke(t, f, "policy", "explain", policies, "--facts", wrong).want(t, ExitFindings, nil, []string{"wrong.yaml:1:1", "did you mean operation?"})
	list := file(t, "list.yaml", "- {}\n- {}\n")
	invoke(t, f, "policy", "explain", policies, "--facts", list).want(t, ExitUsage, nil, []string{"has 2 sets of facts"})
	invoke(t, f, "policy", "explain", policies).want(t, ExitUsage, nil, []string{"--facts is missing"})
	invoke(t, f, "policy", "explain", "-", "--facts", "-").want(t, ExitUsage, nil, []string{"both read standard input"})

	var e policy.Explanation
	r := invoke(t, f, "policy", "explain", policies, "--facts", facts, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &e); err != nil || e.Ruling.Effect != wflo.EffectApproval || len(e.Rules) != 2 {
		t.Errorf("%v: %s", err, r.out)
	}
}

func TestPolicySimulate(t *testing.T) {
	before := file(t, "before.yaml", goodPolicies)
	after := file(t, "after.yaml", strings.Replace(goodPolicies, "> 100", "> 50", 1))
	facts := file(t, "facts.yaml", "- {operation: refund, args: {amount: 80}}\n- {operation: refund, args: {amount: 900}}\n- {operation: mail}\n")
	f := &fakeTemporal{}
	invoke(t, f, "policy", "simulate", after, "--against", before, "--facts", facts).want(t, ExitOK,
		[]string{"step refund", "effect: allow, now require_approval", "refunds  1               2\n"},
		[]string{"1 of 3 judged would have come out differently, 1 of them stricter"})
	invoke(t, f, "policy", "simulate", before, "--facts", facts).want(t, ExitOK, []string{"effect: allow, now require_approval"}, []string{"1 of 3"})
	invoke(t, f, "policy", "simulate", before).want(t, ExitUsage, nil, []string{"give one of --facts, --run and --since"})
	invoke(t, f, "policy", "simulate", before, "--facts", facts, "--run", "x").want(t, ExitUsage, nil, []string{"give one of"})
	invoke(t, f, "policy", "simulate", before, "--run", "x").want(t, ExitError, nil, []string{"does not begin with a start"})

	var s simulation
	r := invoke(t, f, "policy", "simulate", after, "--against", before, "--facts", facts, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || s.Judged != 3 || len(s.Changes) != 1 || !s.Changes[0].Stricter() {
		t.Errorf("%v: %s", err, r.out)
	}
}
