package policy_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/policy"
)

// halting is a set of one policy that halts.
func halting(t *testing.T, when string) *policy.Set {
	t.Helper()
	s, err := policy.New(policy.Rules{Default: wflo.EffectAllow, Policies: []policy.Rule{{Name: "p", When: when, Halt: &policy.Halt{Reason: "r"}}}})
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	return s
}

var known = wflo.Facts{
	Kind: wflo.FactsStep, Operation: "delete", Step: "drop table", User: "ann", Team: "ops", Risk: wflo.RiskHigh,
	Tags: map[string]string{"env": "prod"}, Cost: 100 * wflo.MicroUSD * 1000, EstimatedCost: 200 * wflo.MicroUSD * 1000,
	ExecutionTime: 600, Calls: 7, Budget: wflo.BudgetFacts{Limit: 5 * wflo.USD, Left: 4 * wflo.USD, Used: 20},
	Sandbox: wflo.SandboxFacts{Network: "open", Memory: 1 << 30, Secrets: []string{"DB_URL", "TOKEN"}}, Time: wflo.TimeFacts{Hour: 23, Weekday: 6},
	Args: []byte(`{"amount": 9007199254740993, "price": 0.3, "huge": 123456789012345678901234567890, "text": "100", "nothing": null, "yes": true,
		"items": [{"price": 5, "name": "a"}, {"price": 50, "name": "b"}], "ops": ["read", "delete"], "mixed": [1, "x"], "deep": {"a": {"b": 1}}, "0": "zero"}`),
}

// TestConditions is the language, case by case. "true" and "false" are outcomes;
// anything else is a part of the error, which counts as a match.
func TestConditions(t *testing.T) {
	for when, want := range map[string]string{
		"*": "true", " * ": "true", "true": "true", "false": "false",
		// The words of operators, in any case, and what only looks like them.
		"cost > 100 OR operation == 'delete'":              "true",
		"cost > 100 Or NOT (operation == 'read')":          "true",
		"operation == 'delete' AND team IN ['ops', 'dev']": "true",
		"operation NOT IN ['read', 'OR']":                  "true",
		"operation == 'x OR y' or user == `AND`":           "false",
		"not (user == 'ann') && true || !true":             "false",
		// Money: exact, in dollars, on either side.
		"cost + estimated_cost > 0.3":            "false",
		"cost + estimated_cost == 0.3":           "true",
		"cost + estimated_cost >= 0.300000001":   "false",
		"0.3 == cost + estimated_cost":           "true",
		"estimated_cost - cost == cost":          "true",
		"cost * 3 == 0.3":                        "true",
		"cost == 0.1 and cost != 0.10000001":     "true",
		"args.price == cost + estimated_cost":    "true",
		"cost / budget.limit < 0.5":              "true",
		"budget.used >= 20 and budget.left == 4": "true",
		"cost > -1 and -cost < 0":                "true",
		"cost < 9223372036854775807":             "true",
		"cost + 9223372036854775807 > 1":         "true",
		"1 < calls < 8":                          "true",
		"calls % 2 == 1 and calls * 2 + 1 == 15": "true",
		"cost > 1e300 or cost < 0.0000000001":    "false",
		"budget.limit * 9223372036854775807 > 1": "out of range",
		"calls / (calls - 7) > 1":                "divides by zero",
		"calls % (calls - 7) == 1":               "takes the remainder",
		// Arguments: whole numbers stay exact, and what is absent is an error.
		"args.amount == 9007199254740993":    "true",
		"args.amount > 9007199254740992":     "true",
		"args.amount == 9007199254740992.0":  "false",
		"args.huge > 5":                      "out of range",
		"args.text == 100":                   "compares text with a number",
		"args.text > 1":                      "has text where a number is needed",
		"args.nothing == 'x'":                "compares null with text",
		"args.nothing > 1":                   "has null where a number is needed",
		"args.nothing == nil":                "true",
		"args.missing == nil":                "args.missing is absent",
		"args.missing == 'x'":                "args.missing is absent",
		"args.missing != 'x'":                "args.missing is absent",
		"args.missing in ['x']":              "args.missing is absent",
		"args.missing contains 'x'":          "args.missing is absent",
		"not (args.missing == 'x')":          "args.missing is absent",
		"args?.missing == nil":               "true",
		"(args?.missing ?? 3) == 3":          "true",
		"(args?.deep?.x?.y ?? 'd') == 'd'":   "true",
		"(args?.deep?.a?.b ?? 'd') == 1":     "true",
		"args?.missing.x == 1":               "looks for text in null",
		"args.deep.a.b == 1":                 "true",
		"args['text'] == '100'":              "true",
		"args['0'] == 'zero'":                "true",
		"args[operation] == 'x'":             "is absent",
		"'text' in args and 'x' not in args": "true",
		"'a' in args.deep":                   "true",
		"args.yes and true":                  "true",
		"args.text and true":                 "true or false is needed",
		"args.ops[1] == 'delete'":            "true",
		"args.ops[2] == 'delete'":            "is absent",
		"args.text.more == 1":                "looks for text in text",
		"'x' in args.text":                   "where a list is needed",
		"tags.env == 'prod'":                 "true",
		"tags.region == 'eu'":                "tags.region is absent",
		"(tags?.region ?? 'eu') == 'eu'":     "true",
		"'region' in tags":                   "false",
		// Text.
		"lower(operation) startsWith 'DEL'":                             "false",
		"upper(operation) endsWith 'ETE'":                               "true",
		"trim(step) contains 'drop'":                                    "true",
		"step matches '^drop +t'":                                       "true",
		"step not matches 'x'":                                          "true",
		"len(operation) == 6 and len(args.ops) == 2 and len('äö') == 2": "true",
		"args.amount contains '9'":                                      "has a number where text is needed",
		// Lists.
		"operation in args.ops":                         "true",
		"'write' in args.ops":                           "false",
		"'x' in args.mixed":                             "true",
		"'y' in args.mixed":                             "compares text with a number",
		"any(args.items, .price > 10)":                  "true",
		"all(args.items, .price > 10)":                  "false",
		"none(args.items, #.name == 'c')":               "true",
		"any(args.items, .missing > 10)":                "is absent",
		"any(args.text, # == 'x')":                      "where a list is needed",
		"any(sandbox.secrets, # == 'TOKEN')":            "true",
		"'TOKEN' in sandbox.secrets":                    "true",
		"sandbox.network != 'none' and time.hour >= 22": "true",
		"sandbox.memory > 512 * 1024 * 1024":            "true",
		// and and or stop early, as everywhere.
		"cost > 0 or args.missing == 1":  "true",
		"cost > 9 and args.missing == 1": "false",
	} {
		got := "false"
		if r := halting(t, when).Judge(known); len(r.Matches) > 0 {
			if got = "true"; r.Matches[0].Error != "" {
				got = r.Matches[0].Error
			}
			if r.Effect != wflo.EffectHalt {
				t.Errorf("%s: a match has effect %s", when, r.Effect)
			}
		}
		if want == "true" || want == "false" {
			if got != want {
				t.Errorf("%s is %s, want %s", when, got, want)
			}
		} else if !strings.Contains(got, want) {
			t.Errorf("%s is %q, want an error with %q", when, got, want)
		}
	}
}

// TestRefused are conditions that must not load: each with where the mistake is,
// what is said, and what is suggested.
func TestRefused(t *testing.T) {
	for when, want := range map[string][]string{
		"":                                       {"empty"},
		"   ":                                    {"empty"},
		"cots > 1":                               {`unknown name "cots"`, "did you mean cost?"},
		"operaton == 'x'":                        {"did you mean operation?"},
		"workflow.typ == 'x'":                    {"did you mean workflow.type?"},
		"workflow == 'x'":                        {"is a group"},
		"cost > '100'":                           {"text, want a number"},
		"operation > 3":                          {"text, want a number"},
		"operation == 3":                         {"compares text with a number"},
		"cost":                                   {"a number, want true or false"},
		"args.x":                                 {"want true or false", "args.x == true"},
		"args?.missing ?? 3 > 2":                 {"cannot be mixed"},
		"args.x ?? 1":                            {"want true or false"},
		"operation = 'x'":                        {"write =="},
		"operation <> 'x'":                       {"unexpected"},
		"operation == 'x":                        {"close the quote"},
		"cost > 1 or":                            {"too early"},
		"cost > 1 xor true":                      {"unexpected"},
		"not operation == 'x'":                   {"not binds tighter"},
		"now() > 3":                              {"use the time facts"},
		"cost.String() == 'x'":                   {"no methods"},
		"operation.x == 'y'":                     {"text and has no members"},
		"filter(args.x, true) == 1":              {"filter is not a function"},
		"any(args.x, any(.y, true))":             {"stands within"},
		"any(1..3, # == 2)":                      {"operator .. is not"},
		"let x = 1; x == 1":                      {"let and ;"},
		"true; false":                            {"let and ;"},
		"cost > 1 ? true : false":                {"if and ?"},
		"if cost > 1 {true} else {false}":        {"if and ?"},
		"operation[0:1] == 'x'":                  {"slices"},
		"{a: 1}.a == 1":                          {"not a part of the language"},
		"b'x' == operation":                      {"not a part of the language"},
		"args.x | upper() == 'X'":                nil, // a pipe of a listed function is that function
		"args.x | keys() == 'X'":                 {"keys is not a function"},
		"operation matches team":                 {"not a text in the condition"},
		"operation matches '('":                  {"pattern of matches is not one"},
		"operation in 'delete'":                  {"want a list", "contains"},
		"operation in [1]":                       {"the list holds a number"},
		"operation in ['a', 1]":                  {"list values of one kind"},
		"cost ** 2 > 1":                          {"operator ** is not"},
		"cost == nil":                            {"never nil"},
		"$env.cost > 1":                          {"unknown name"},
		"tags == tags":                           {"cannot be compared"},
		"1/0 > 1":                                {"divides by zero"},
		strings.Repeat("(", 5000):                {"has 5000 bytes"},
		"true" + strings.Repeat(" or true", 200): {"parts"},
		"any(args.x, #index > 1)":                {"#index"},
	} {
		_, err := policy.New(policy.Rules{Default: wflo.EffectAllow, Policies: []policy.Rule{{Name: "p", When: when, Audit: wflo.SeverityInfo}}})
		if (err == nil) != (want == nil) {
			t.Errorf("%q: got %v", when, err)
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: got %v, want %q in it", when, err, w)
			}
		}
	}
}

// TestNotANumber holds that facts which are not numbers never pass a guard.
func TestNotANumber(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		f := known
		f.ExecutionTime = bad
		for _, when := range []string{"execution_time > 600", "execution_time < 600", "not (execution_time > 5)", "execution_time == 1", "execution_time * 2 > cost"} {
			r := halting(t, when).Judge(f)
			if r.Effect != wflo.EffectHalt || r.Matches[0].Error == "" {
				t.Errorf("%s with %v: %s, want an error that halts", when, bad, r.Effect)
			}
			if r.Facts == "" {
				t.Errorf("facts with %v have no hash", bad)
			}
		}
	}
}

// TestUnreadableArgs holds that arguments which programs disagree about never pass.
func TestUnreadableArgs(t *testing.T) {
	for _, args := range []string{`{"a":1,"a":2}`, `[1]`, `null`, `{"a":`, "{\"a\":\"\xff\"}", `{"a":0.1000000000000000055511151231257827}`} {
		f := known
		f.Args = json.RawMessage(args)
		for _, when := range []string{"args.a == 7", "'a' in args and args.a == 7", "(args?.a ?? 1) == 7", "len(args) == 9"} {
			if r := halting(t, when).Judge(f); r.Effect != wflo.EffectHalt || r.Facts == "" {
				t.Errorf("%s with %q: %s, want halt", when, args, r.Effect)
			}
		}
		if r := halting(t, "cost > 100").Judge(f); r.Effect != wflo.EffectAllow {
			t.Errorf("%q: a policy that does not read args says %s", args, r.Effect)
		}
	}
}

// TestLimits holds the bounds of work.
func TestLimits(t *testing.T) {
	list := make([]int, 257)
	data, err := json.Marshal(map[string]any{"list": list, "text": strings.Repeat("x", 64<<10+1)})
	if err != nil {
		t.Fatal(err)
	}
	f := wflo.Facts{Kind: wflo.FactsStep, Args: data}
	for _, when := range []string{"any(args.list, # == 1)", "1 in args.list", "args.text matches 'y'", "args.text contains 'y'", "lower(args.text) == 'y'"} {
		if r := halting(t, when).Judge(f); r.Effect != wflo.EffectHalt || !strings.Contains(r.Matches[0].Error, "at most") {
			t.Errorf("%s: %+v, want an error about the bound", when, r.Matches)
		}
	}
}

// TestInputs shows what is recorded of a match.
func TestInputs(t *testing.T) {
	f := known
	f.Step = strings.Repeat("ä", 200)
	r := halting(t, "cost > 0 and tags.env == 'prod' and args.deep.a.b == 1 and step contains 'ä' and 'text' in args").Judge(f)
	want := map[string]string{
		"cost": "0.10", "tags.env": "prod", "args.deep.a.b": "1", "args.text": "100", "step": strings.Repeat("ä", 98) + "…",
	}
	if diff := cmp.Diff(want, r.Matches[0].Inputs); diff != "" {
		t.Error(diff)
	}
}
