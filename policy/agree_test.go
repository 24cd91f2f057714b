package policy_test

import (
	"fmt"
	"testing"

	"github.com/expr-lang/expr"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

// simple are facts whose kinds the virtual machine of expr treats as we do: no
// money, and nothing that may be absent.
type simple struct {
	Calls     int     `expr:"calls"`
	Time      float64 `expr:"execution_time"`
	Operation string  `expr:"operation"`
	Team      string  `expr:"team"`
}

// drawCondition writes a condition of some depth, with parentheses only at times,
// so that precedence is compared too.
func drawCondition(t *rapid.T, depth int) string {
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	if depth == 0 {
		number := func() string {
			return pick("number", "calls", "execution_time", "1", "2.5", "calls + 1", "calls * 2", "execution_time - 0.5", "-calls", "len(team)", "calls % 3")
		}
		text := func() string {
			return pick("text", "operation", "team", "'a'", `"ab"`, "'B'", "lower(team)", "upper(operation)", "trim(team)")
		}
		switch rapid.IntRange(0, 4).Draw(t, "leaf") {
		case 0:
			return number() + pick("compare", " < ", " <= ", " > ", " >= ", " == ", " != ") + number()
		case 1:
			return text() + pick("same", " == ", " != ") + text()
		case 2:
			return text() + pick("search", " contains ", " startsWith ", " endsWith ", " not contains ") + text()
		case 3:
			return text() + pick("in", " in ", " not in ") + "['a', 'b', 'AB']"
		}
		return pick("other", "true", "false", "team matches '^a'", "calls in [1, 2, 3]", "any(['a', 'b'], # == team)", "all([1, 2], # < calls)", "none(['x'], # == operation)")
	}
	left, right := drawCondition(t, depth-1), drawCondition(t, depth-1)
	return pick("form", left+" and "+right, left+" or "+right, left+" && "+right, "("+left+") or ("+right+")", "not ("+left+") and "+right, "!("+left+")")
}

// TestAgreesWithExpr compares judging with the virtual machine of the language that
// conditions are written in.
func TestAgreesWithExpr(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		when := drawCondition(rt, rapid.IntRange(0, 3).Draw(rt, "depth"))
		text := rapid.SampledFrom([]string{"", "a", "b", "ab", "AB", " a "})
		in := simple{rapid.IntRange(0, 4).Draw(rt, "calls"), rapid.SampledFrom([]float64{0, 0.5, 1, 2.5, 3}).Draw(rt, "time"), text.Draw(rt, "operation"), text.Draw(rt, "team")}
		program, err := expr.Compile(when, expr.Env(simple{}), expr.AsBool())
		if err != nil {
			rt.Fatalf("%s: %v", when, err)
		}
		want, err := expr.Run(program, in)
		if err != nil {
			rt.Fatalf("%s: %v", when, err)
		}
		r := halting(t, when).Judge(wflo.Facts{Kind: wflo.FactsStep, Calls: in.Calls, ExecutionTime: in.Time, Operation: in.Operation, Team: in.Team})
		if got := r.Effect == wflo.EffectHalt; got != want {
			rt.Fatalf("%s with %+v is %t, and %v in expr: %s", when, in, got, want, fmt.Sprint(r.Matches))
		}
	})
}
