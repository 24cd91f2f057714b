package policy_test

import (
	"fmt"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// manyRules are n rules of the kind that people write, none of which matches
// quiet: every part of every condition is judged.
func manyRules(tb testing.TB, n int) *policy.Set {
	tb.Helper()
	r := policy.Rules{Default: wflo.EffectAllow}
	for i := range n {
		r.Policies = append(r.Policies, policy.Rule{
			Name: fmt.Sprintf("rule-%d", i),
			When: fmt.Sprintf("cost > %d or operation == 'delete_%d' or (risk == 'high' and team == 'prod')", 1000+i, i),
			Halt: &policy.Halt{Reason: "too much"},
		})
	}
	s, err := policy.New(r)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

var quiet = wflo.Facts{
	Kind: wflo.FactsStep, Operation: "read", Step: "fetch", User: "ann", Team: "dev", Risk: wflo.RiskHigh,
	Cost: 3 * wflo.USD, Args: []byte(`{"amount": 12, "to": "bob"}`),
}

func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		s := manyRules(b, n)
		b.Run(fmt.Sprintf("strongest/%d", n), func(b *testing.B) {
			e := policy.NewEnv(quiet)
			b.ReportAllocs()
			for b.Loop() {
				s.Strongest(e)
			}
		})
		b.Run(fmt.Sprintf("judge/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(quiet)
			}
		})
	}
}

func BenchmarkLoad100(b *testing.B) {
	source := manyRules(b, 100).Source()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Load("bench", source); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLint100(b *testing.B) {
	s := manyRules(b, 100)
	b.ReportAllocs()
	for b.Loop() {
		s.Lint()
	}
}

// TestNoAllocations holds the promise of Strongest for what nearly every call is:
// one that no policy matches.
func TestNoAllocations(t *testing.T) {
	s, e := manyRules(t, 100), policy.NewEnv(quiet)
	if got := testing.AllocsPerRun(100, func() { s.Strongest(e) }); got != 0 {
		t.Errorf("judging 100 rules allocates %v times, want 0", got)
	}
}
