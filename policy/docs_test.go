package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// docSets loads every block of the guide: policies, and the tests, which are those of
// the policies about refunds.
func docSets(t *testing.T) map[string]*policy.Set {
	t.Helper()
	data, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	sets, tests := map[string]*policy.Set{}, ""
	for _, block := range yamlBlock.FindAllStringSubmatch(string(data), -1) {
		if strings.HasPrefix(block[1], "tests:") {
			tests = block[1]
			continue
		}
		s, err := policy.Load("docs/policies.md", []byte(block[1]))
		if err != nil {
			t.Fatalf("%s\n%v", block[1], err)
		}
		for _, name := range append(names(s), "*") {
			sets[name] = s
		}
		for _, f := range s.Lint() {
			if f.Severity == wflo.SeverityError {
				t.Errorf("%s\n%s", block[1], f)
			}
		}
	}
	report, err := policy.RunTests(sets["refunds"], "docs/policies.md", []byte(tests))
	if err != nil {
		t.Fatal(err)
	}
	if !report.Passed() || len(report.Results) != 3 || len(report.Untested) != 0 {
		t.Errorf("the tests of the guide: %+v", report)
	}
	return sets
}

func names(s *policy.Set) (out []string) {
	for _, r := range s.Rules().Policies {
		out = append(out, r.Name)
	}
	for _, r := range s.Rules().Risk {
		out = append(out, r.Name)
	}
	return out
}

// TestGuide runs the examples of the guide.
func TestGuide(t *testing.T) {
	sets := docSets(t)
	for _, c := range []struct {
		set    string
		facts  wflo.Facts
		effect wflo.Effect
		risk   string
		auto   bool
	}{
		{"expensive-or-destructive", wflo.Facts{Kind: wflo.FactsStep, Operation: "delete"}, wflo.EffectApproval, "", false},
		{"expensive-or-destructive", wflo.Facts{Kind: wflo.FactsStep, Cost: 100 * wflo.USD}, wflo.EffectAllow, "", false},
		{"runaway", wflo.Facts{Kind: wflo.FactsTime, ExecutionTime: 600.001}, wflo.EffectHalt, "", false},
		{"reading-is-allowed", wflo.Facts{Kind: wflo.FactsActivity, Activity: "Search"}, wflo.EffectAudit, "", false},
		{"reading-is-allowed", wflo.Facts{Kind: wflo.FactsActivity, Activity: "Pay"}, wflo.EffectHalt, "", false},
		{"high", wflo.Facts{Kind: wflo.FactsGate, Cost: 101 * wflo.USD}, wflo.EffectApproval, "high", false},
		{"high", wflo.Facts{Kind: wflo.FactsGate, Cost: 11 * wflo.USD}, wflo.EffectAudit, "medium", true},
		{"high", wflo.Facts{Kind: wflo.FactsGate, Cost: wflo.USD}, wflo.EffectAllow, "low", true},
		{"clearly-safe", wflo.Facts{Kind: wflo.FactsGate, Args: []byte(`{"confidence":0.96,"verdict":"safe"}`)}, wflo.EffectAudit, "clearly-safe", true},
		{"clearly-safe", wflo.Facts{Kind: wflo.FactsGate, Args: []byte(`{"confidence":0.95,"verdict":"safe"}`)}, wflo.EffectApproval, "", false},
		{"clearly-safe", wflo.Facts{Kind: wflo.FactsGate, Args: []byte(`{}`)}, wflo.EffectApproval, "clearly-safe", false},
	} {
		r := sets[c.set].Judge(c.facts)
		if r.Effect != c.effect || r.Risk != c.risk || r.AutoApprove != c.auto {
			t.Errorf("%s with %+v: %+v", c.set, c.facts, r)
		}
	}
}
