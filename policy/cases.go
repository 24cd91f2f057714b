package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/wflo-ai/wflo-go"
)

// Report is what the tests of a set came to.
type Report struct {
	Results []Result `json:"results"`
	// Untested are the rules that no test matched.
	Untested []string `json:"untested,omitempty"`
}

// Passed says that every test did what it wants.
func (r Report) Passed() bool {
	return !slices.ContainsFunc(r.Results, func(x Result) bool { return len(x.Differences) > 0 })
}

// Result is what one test came to.
type Result struct {
	Position
	Name string `json:"name"`
	// Differences say what was wanted and what came instead; none means passed.
	Differences []string    `json:"differences,omitempty"`
	Ruling      wflo.Ruling `json:"ruling"`
}

// want is what a test expects. What is not said is not looked at.
type want struct {
	effect      string
	rules       []string
	approvers   []string
	halt        string
	risk        string
	autoApprove *bool
	set         map[string]bool
}

// testCase is one test of a file.
type testCase struct {
	name  string
	facts wflo.Facts
	want  want
	at    Position
}

// RunTests judges the facts of a test file, in YAML, and compares the rulings with
// what it wants. Mistakes in the file, such as facts that do not exist, are a
// Problems. name is what errors call the file.
func RunTests(s *Set, name string, source []byte) (report Report, err error) {
	r := newReader(name, source)
	defer func() {
		if p := recover(); p != nil { // see Load
			err = Problems{{Position: Position{File: name}, Message: name + " cannot be parsed", Hint: "write it as plain block YAML"}}
		}
	}()
	root, err := r.parse(source)
	if err != nil {
		return Report{}, err
	}
	tests := r.tests(root, s)
	if len(r.problems) > 0 {
		r.problems.sort()
		return Report{}, r.problems
	}
	matched := map[string]bool{}
	for _, t := range tests {
		ruling := s.Judge(t.facts)
		for _, m := range ruling.Matches {
			matched[m.Rule] = true
		}
		report.Results = append(report.Results, Result{t.at, t.name, t.want.compare(ruling), ruling})
	}
	for _, name := range s.ruleNames() {
		if !matched[name] {
			report.Untested = append(report.Untested, name)
		}
	}
	return report, nil
}

// ruleNames are those of policies and risk rules, in their order.
func (s *Set) ruleNames() []string {
	var names []string
	for _, p := range slices.Concat(s.policies, s.risk) {
		names = append(names, p.name)
	}
	return names
}

func (r *reader) tests(root ast.Node, s *Set) []testCase {
	var tests []testCase
	seen := false
	r.mapping(root, "the file", nil, fieldReader{"tests", func(n ast.Node) {
		seen = true
		for _, item := range r.list(n, "tests") {
			tests = append(tests, r.testCase(item, s))
		}
	}})
	if !seen || len(tests) == 0 {
		r.badAt(r.place(root), "list them under tests:", true, "there are no tests")
	}
	return tests
}

func (r *reader) testCase(n ast.Node, s *Set) testCase {
	t := testCase{at: r.place(n), want: want{set: map[string]bool{}}}
	r.mapping(n, "a test", func(name string, _ Position) { t.want.set[name] = true },
		fieldReader{"name", func(n ast.Node) { r.text(n, "name", &t.name) }},
		fieldReader{"facts", func(n ast.Node) { t.facts = r.facts(n) }},
		fieldReader{"want", func(n ast.Node) { r.want(n, &t.want, s) }},
	)
	switch {
	case t.name == "":
		r.badAt(t.at, "name what it shows", true, "the test has no name")
	case !t.want.set["want"]:
		r.badAt(t.at, "say what is expected: want: {effect: halt}", true, "the test wants nothing")
	}
	if t.facts.Kind == "" {
		t.facts.Kind = wflo.FactsStep
	}
	return t
}

func (r *reader) want(n ast.Node, w *want, s *Set) {
	effects := []string{}
	for _, e := range wflo.Effects() {
		effects = append(effects, string(e))
	}
	r.mapping(n, "want", func(name string, _ Position) { w.set["want."+name] = true },
		fieldReader{"effect", func(n ast.Node) {
			if r.text(n, "effect", &w.effect); !slices.Contains(effects, w.effect) {
				r.bad(n, nearest(w.effect, effects, "effects are "), "the effect is %q", cut(w.effect, 60))
			}
		}},
		fieldReader{"rules", func(n ast.Node) {
			r.texts(n, "rules", true, &w.rules)
			known := append(s.ruleNames(), defaultRule)
			for _, name := range w.rules {
				if !slices.Contains(known, name) {
					r.bad(n, nearest(name, known, "rules are "), "there is no rule %q", cut(name, 60))
				}
			}
		}},
		fieldReader{"approvers", func(n ast.Node) { r.texts(n, "approvers", true, &w.approvers) }},
		fieldReader{"halt", func(n ast.Node) { r.text(n, "halt", &w.halt) }},
		fieldReader{"risk", func(n ast.Node) { r.text(n, "risk", &w.risk) }},
		fieldReader{"auto_approve", func(n ast.Node) {
			var b bool
			r.boolean(n, "auto_approve", &b)
			w.autoApprove = &b
		}},
	)
}

// compare says what differs. Rules and approvers are sets.
func (w want) compare(got wflo.Ruling) []string {
	var out []string
	differ := func(what, want, got string) {
		if w.set["want."+what] && want != got {
			out = append(out, fmt.Sprintf("%s: want %s, got %s", what, orNone(want), orNone(got)))
		}
	}
	var rules, approvers []string
	for _, m := range got.Matches {
		rules = append(rules, m.Rule)
	}
	for _, a := range got.Approvals {
		approvers = append(approvers, a.Approvers...)
		for _, f := range a.Factors {
			approvers = append(approvers, f.Approvers...)
		}
	}
	halt := ""
	if got.Halt != nil {
		halt = got.Halt.Reason
	}
	differ("effect", w.effect, string(got.Effect))
	differ("rules", joined(w.rules), joined(rules))
	differ("approvers", joined(w.approvers), joined(approvers))
	differ("halt", w.halt, halt)
	differ("risk", w.risk, got.Risk)
	if w.autoApprove != nil {
		differ("auto_approve", fmt.Sprint(*w.autoApprove), fmt.Sprint(got.AutoApprove))
	}
	return out
}

func joined(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// facts reads facts by the names that conditions use. Amounts may be numbers: they
// are read digit by digit.
func (r *reader) facts(n ast.Node) wflo.Facts {
	before := len(r.problems)
	r.checkFactNames(n)
	data := r.json(n, "", func(path string) bool {
		i := factNamed(path)
		return i >= 0 && facts[i].money
	})
	var out wflo.Facts
	if len(r.problems) > before {
		return out
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		var wrongType *json.UnmarshalTypeError
		message := err.Error()
		if errors.As(err, &wrongType) {
			message = wrongType.Field + " is a " + wrongType.Value + ", want " + wrongType.Type.String()
		}
		r.bad(n, "write facts as docs/policies.md has them", "the facts cannot be read: %s", message)
	}
	if out.Kind != "" && !slices.Contains(allKinds, out.Kind) {
		r.bad(n, nearest(string(out.Kind), kindNames(), "kinds are "), "there is no kind %q", cut(string(out.Kind), 60))
	}
	return out
}

func (r *reader) checkFactNames(n ast.Node) {
	for _, v := range r.quietPairs(n) {
		key := keyOf(v)
		switch {
		case isGroup(key):
			for _, below := range r.quietPairs(v.Value) {
				if name := key + "." + keyOf(below); factNamed(name) < 0 {
					r.bad(below.Key, nearest(name, membersOf(key), "it has "), "unknown name %q", cut(name, 60))
				}
			}
		case factNamed(key) < 0:
			r.bad(v.Key, nearest(key, factNames(), "facts are "), "unknown name %q", cut(key, 60))
		}
	}
}
