package policybench

import (
	"fmt"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"github.com/cedar-policy/cedar-go"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

var sizes = []int{1, 10, 100, 1000}

func BenchmarkWflo(b *testing.B) {
	for _, n := range sizes {
		r := policy.Rules{Default: wflo.EffectAllow}
		for i := range n {
			r.Policies = append(r.Policies, policy.Rule{
				Name: fmt.Sprintf("rule-%d", i), Halt: &policy.Halt{Reason: "refused"},
				When: fmt.Sprintf("cost > %d or operation == 'delete_%d' or (risk == 'high' and team == 'prod')", 1000+i, i),
			})
		}
		s, err := policy.New(r)
		if err != nil {
			b.Fatal(err)
		}
		e := policy.NewEnv(wflo.Facts{Kind: wflo.FactsStep, Operation: "read", Risk: wflo.RiskHigh, Team: "dev", Cost: 3 * wflo.USD})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if s.Strongest(e) != wflo.EffectAllow {
					b.Fatal("matched")
				}
			}
		})
	}
}

type facts struct {
	Cost      float64 `expr:"cost" cel:"cost"`
	Operation string  `expr:"operation"`
	Risk      string  `expr:"risk"`
	Team      string  `expr:"team"`
}

// BenchmarkExpr is the virtual machine of the language that wflo's conditions are
// written in.
func BenchmarkExpr(b *testing.B) {
	for _, n := range sizes {
		programs := make([]*vm.Program, n)
		for i := range programs {
			p, err := expr.Compile(fmt.Sprintf("cost > %d or operation == 'delete_%d' or (risk == 'high' and team == 'prod')", 1000+i, i), expr.Env(facts{}), expr.AsBool())
			if err != nil {
				b.Fatal(err)
			}
			programs[i] = p
		}
		var env any = facts{3, "read", "high", "dev"}
		var machine vm.VM
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				for _, p := range programs {
					if out, err := machine.Run(p, env); out != false || err != nil {
						b.Fatal(out, err)
					}
				}
			}
		})
	}
}

func BenchmarkCEL(b *testing.B) {
	env, err := cel.NewEnv(cel.Variable("cost", cel.DoubleType), cel.Variable("operation", cel.StringType), cel.Variable("risk", cel.StringType), cel.Variable("team", cel.StringType))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range sizes {
		programs := make([]cel.Program, n)
		for i := range programs {
			tree, issues := env.Compile(fmt.Sprintf("cost > %d.0 || operation == 'delete_%d' || (risk == 'high' && team == 'prod')", 1000+i, i))
			if issues.Err() != nil {
				b.Fatal(issues.Err())
			}
			if programs[i], err = env.Program(tree, cel.EvalOptions(cel.OptOptimize)); err != nil {
				b.Fatal(err)
			}
		}
		in, err := cel.NewActivation(map[string]any{"cost": 3.0, "operation": "read", "risk": "high", "team": "dev"})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				for _, p := range programs {
					if out, _, err := p.Eval(in); err != nil || out.Value() != false {
						b.Fatal(out, err)
					}
				}
			}
		})
	}
}

func BenchmarkCedar(b *testing.B) {
	for _, n := range sizes {
		var text strings.Builder
		text.WriteString("permit (principal, action, resource);\n")
		for i := range n {
			fmt.Fprintf(&text, "forbid (principal, action, resource) when { context.cost > %d || context.operation == \"delete_%d\" || (context.risk == \"high\" && context.team == \"prod\") };\n", 1000+i, i)
		}
		set, err := cedar.NewPolicySetFromBytes("rules.cedar", []byte(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		request := cedar.Request{
			Principal: cedar.NewEntityUID("User", "ann"), Action: cedar.NewEntityUID("Action", "call"), Resource: cedar.NewEntityUID("Tool", "x"),
			Context: cedar.NewRecord(cedar.RecordMap{"cost": cedar.Long(3), "operation": cedar.String("read"), "risk": cedar.String("high"), "team": cedar.String("dev")}),
		}
		entities := cedar.EntityMap{}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if decision, _ := cedar.Authorize(set, entities, request); decision != cedar.Allow {
					b.Fatal("matched")
				}
			}
		})
	}
}

func BenchmarkOPA(b *testing.B) {
	for _, n := range sizes {
		var text strings.Builder
		text.WriteString("package p\n\ndefault halt := false\n")
		for i := range n {
			fmt.Fprintf(&text, "halt if input.cost > %d\nhalt if input.operation == \"delete_%d\"\nhalt if { input.risk == \"high\"; input.team == \"prod\" }\n", 1000+i, i)
		}
		query, err := rego.New(rego.Query("data.p.halt"), rego.Module("p.rego", text.String())).PrepareForEval(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		in := rego.EvalParsedInput(ast.MustInterfaceToValue(map[string]any{"cost": 3, "operation": "read", "risk": "high", "team": "dev"}))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if out, err := query.Eval(b.Context(), in); err != nil || len(out) != 1 || out[0].Expressions[0].Value != false {
					b.Fatal(out, err)
				}
			}
		})
	}
}
