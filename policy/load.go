package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/wflo-ai/wflo-go"
)

// Load reads a file of policies, in YAML. name is what errors call it. All mistakes
// of the file are reported at once, as a Problems; a file with any is not loaded.
func Load(name string, source []byte) (set *Set, err error) {
	r := newReader(name, source)
	defer func() {
		// The parser is not ours; text that it cannot cope with is not a reason to
		// take the worker down.
		if p := recover(); p != nil {
			set, err = nil, Problems{{Position: Position{File: name}, Message: name + " cannot be parsed", Hint: "write it as plain block YAML"}}
		}
	}()
	root, err := r.parse(source)
	if err != nil {
		return nil, err
	}
	b := &builder{places: r}
	r.file(root, &b.rules)
	b.problems = r.problems
	return b.build()
}

// maxDepth bounds the brackets of flow style; the parser recurses with them.
const maxDepth = 1000

// dashes are lists within lists on one line, for which the parser takes time by the
// square of their number.
var dashes = regexp.MustCompile(`(?m)^[ \t]*(?:-[ \t]+){20}`)

// bareStar is a condition that is a * without quotes.
var bareStar = regexp.MustCompile(`(?m)^([ \t-]*when:[ \t]*)\*([ \t]*(?:#.*)?\r?)$`)

func (r *reader) parse(source []byte) (ast.Node, error) {
	switch {
	case len(source) > maxFile:
		return nil, Problems{{Position: Position{File: r.name}, Message: fmt.Sprintf("%s has %d bytes", r.name, len(source)), Hint: fmt.Sprintf("use at most %d", maxFile)}}
	case !utf8.Valid(source), strings.Contains(string(source), star):
		return nil, Problems{{Position: Position{File: r.name}, Message: r.name + " is not plain UTF-8", Hint: "save the file as UTF-8"}}
	}
	if depth(source) > maxDepth || dashes.Match(source) {
		return nil, Problems{{Position: Position{File: r.name}, Message: r.name + " is nested too deep", Hint: fmt.Sprintf("use at most %d levels of brackets", maxDepth)}}
	}
	text := bareStar.ReplaceAll(source, []byte("${1}"+star+"${2}"))
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		var at yaml.Error
		place, message := Position{r.name, 1, 1}, "this is not YAML"
		if errors.As(err, &at) {
			if t := at.GetToken(); t != nil && t.Position != nil {
				place = Position{r.name, t.Position.Line, t.Position.Column}
			}
			message += ": " + cut(at.GetMessage(), 100)
		}
		r.badAt(place, "mind the indentation, and put texts with : or # in quotes", true, message)
		return nil, r.problems
	}
	docs := 0
	var root ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil {
			docs, root = docs+1, d.Body
		}
	}
	switch docs {
	case 0:
		r.badAt(Position{r.name, 1, 1}, "begin with default: allow, require_approval or halt", true, "the file is empty")
		return nil, r.problems
	case 1:
		return root, nil
	}
	r.badAt(r.place(root), "use one file per document", true, "the file holds more than one document")
	return nil, r.problems
}

// depth is how deep brackets nest, those within texts included.
func depth(source []byte) int {
	level, deepest := 0, 0
	for _, c := range source {
		switch c {
		case '[', '{':
			level++
			deepest = max(deepest, level)
		case ']', '}':
			level = max(0, level-1)
		}
	}
	return deepest
}

func (r *reader) file(root ast.Node, out *Rules) {
	var effect string
	seen := false
	r.mapping(root, "the file", func(name string, at Position) {
		r.fields[place(false, -1, name)] = at
		seen = seen || name == "default"
	},
		fieldReader{"default", func(n ast.Node) { r.text(n, "default", &effect) }},
		fieldReader{"policies", func(n ast.Node) {
			for i, item := range r.list(n, "policies") {
				before := len(r.problems)
				out.Policies = append(out.Policies, r.policy(i, item))
				r.failed[place(false, i, "")] = len(r.problems) > before
			}
		}},
		fieldReader{"risk", func(n ast.Node) {
			for i, item := range r.list(n, "risk") {
				before := len(r.problems)
				out.Risk = append(out.Risk, r.riskRule(i, item))
				r.failed[place(true, i, "")] = len(r.problems) > before
			}
		}},
	)
	r.rule = ""
	out.Default = wflo.Effect(effect)
	if !seen || effect == "" {
		r.badAt(r.place(root), "say what happens where nothing matches: default: allow, require_approval or halt", true, "default is missing")
	}
}

// place is the key of a field's position.
func place(risk bool, i int, name string) string { return fmt.Sprint(risk, i, name) }

// begin notes where a rule is, and gives the function that notes its fields.
func (r *reader) begin(risk bool, i int, n ast.Node) func(name string, at Position) {
	r.rule = ""
	for _, v := range r.quietPairs(n) {
		if s, ok := v.Value.(*ast.StringNode); ok && keyOf(v) == "name" {
			r.rule = cut(s.Value, 100)
		}
	}
	r.fields[place(risk, i, "")] = r.place(n)
	return func(name string, at Position) { r.fields[place(risk, i, name)] = at }
}

// quietPairs are the fields of a mapping, or none; mistakes are reported elsewhere.
func (r *reader) quietPairs(n ast.Node) []*ast.MappingValueNode {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}
	}
	return nil
}

func (r *reader) policy(i int, n ast.Node) Rule {
	var out Rule
	var on []string
	var per, mode string
	at := r.begin(false, i, n)
	r.mapping(n, "a policy", at,
		fieldReader{"name", func(n ast.Node) { r.text(n, "name", &out.Name) }},
		fieldReader{"when", func(n ast.Node) { r.when(false, i, n, &out.When) }},
		fieldReader{"on", func(n ast.Node) { r.texts(n, "on", true, &on) }},
		fieldReader{"per", func(n ast.Node) { r.text(n, "per", &per) }},
		fieldReader{"mode", func(n ast.Node) { r.text(n, "mode", &mode) }},
		fieldReader{"do", func(n ast.Node) {
			seen := map[string]bool{}
			for _, action := range r.list(n, "do") {
				r.action(action, at, seen, &out)
			}
		}},
	)
	for _, k := range on {
		out.On = append(out.On, wflo.FactsKind(k))
	}
	out.Per, out.Mode = wflo.Reach(per), Mode(mode)
	return out
}

func (r *reader) when(risk bool, i int, n ast.Node, into *string) {
	r.conditions[place(risk, i, "")] = n
	r.text(n, "when", into)
}

// action reads one entry of do. Every action may be there once.
func (r *reader) action(n ast.Node, at func(name string, p Position), seen map[string]bool, out *Rule) {
	if pairs := r.quietPairs(n); len(pairs) == 0 {
		r.bad(n, "write an action such as audit: info", "an action is %s", nodeKind(n))
		return
	}
	for _, v := range r.quietPairs(n) {
		if key := keyOf(v); seen[key] {
			r.hidden(v.Key, "write each action once", "%s is there twice", cut(key, 60))
		} else {
			seen[key] = true
		}
	}
	r.mapping(n, "an action", at,
		fieldReader{"audit", func(n ast.Node) { r.severity(n, &out.Audit) }},
		fieldReader{"notify", func(n ast.Node) { r.texts(n, "notify", true, &out.Notify) }},
		fieldReader{"require_approval", func(n ast.Node) { out.Approval = r.approval(n) }},
		fieldReader{"halt", func(n ast.Node) { out.Halt = r.halt(n) }},
		fieldReader{"route_model", func(n ast.Node) { r.text(n, "route_model", &out.RouteModel) }},
		fieldReader{"set_limit", func(n ast.Node) { r.money(n, "set_limit", &out.SetLimit) }},
	)
}

func (r *reader) severity(n ast.Node, into *wflo.Severity) {
	var s string
	r.text(n, "audit", &s)
	*into = wflo.Severity(s)
	if s == "" {
		*into = "empty" // refused by the check of the rule, with the place of the field
	}
}

func (r *reader) halt(n ast.Node) *Halt {
	var out Halt
	compensate := true
	r.mapping(n, "halt", nil,
		fieldReader{"reason", func(n ast.Node) { r.text(n, "reason", &out.Reason) }},
		fieldReader{"compensate", func(n ast.Node) { r.boolean(n, "compensate", &compensate) }},
	)
	out.KeepEffects = !compensate
	return &out
}

func (r *reader) riskRule(i int, n ast.Node) RiskRule {
	var out RiskRule
	at := r.begin(true, i, n)
	r.mapping(n, "a risk rule", at,
		fieldReader{"name", func(n ast.Node) { r.text(n, "name", &out.Name) }},
		fieldReader{"when", func(n ast.Node) { r.when(true, i, n, &out.When) }},
		fieldReader{"require_approval", func(n ast.Node) { out.Approval = r.approval(n) }},
		fieldReader{"auto_approve", func(n ast.Node) { r.boolean(n, "auto_approve", &out.AutoApprove) }},
		fieldReader{"audit", func(n ast.Node) { r.severity(n, &out.Audit) }},
		fieldReader{"notify", func(n ast.Node) { r.texts(n, "notify", true, &out.Notify) }},
	)
	return out
}

// approval reads the template of an approval. `require_approval: {}` asks anybody
// whom the worker admits.
func (r *reader) approval(n ast.Node) *wflo.Approval {
	out := &wflo.Approval{}
	var risk, onTimeout string
	var answers []string
	r.mapping(n, "require_approval", nil,
		fieldReader{"details", func(n ast.Node) { r.text(n, "details", &out.Details) }},
		fieldReader{"risk", func(n ast.Node) { r.text(n, "risk", &risk) }},
		fieldReader{"approvers", func(n ast.Node) { r.texts(n, "approvers", true, &out.Approvers) }},
		fieldReader{"quorum", func(n ast.Node) { r.integer(n, "quorum", &out.Quorum) }},
		fieldReader{"factors", func(n ast.Node) { r.factors(n, &out.Factors) }},
		fieldReader{"denials", func(n ast.Node) { r.integer(n, "denials", &out.Denials) }},
		fieldReader{"four_eyes", func(n ast.Node) { r.boolean(n, "four_eyes", &out.FourEyes) }},
		fieldReader{"timeout", func(n ast.Node) { r.duration(n, "timeout", &out.Timeout) }},
		fieldReader{"on_timeout", func(n ast.Node) { r.text(n, "on_timeout", &onTimeout) }},
		fieldReader{"escalation", func(n ast.Node) { r.escalation(n, &out.Escalation) }},
		fieldReader{"reminders", func(n ast.Node) { r.reminders(n, &out.Reminders) }},
		fieldReader{"expiry", func(n ast.Node) { r.duration(n, "expiry", &out.Expiry) }},
		fieldReader{"answers", func(n ast.Node) { r.texts(n, "answers", true, &answers) }},
		fieldReader{"form", func(n ast.Node) { r.form(n, &out.Form) }},
		fieldReader{"reason_required", func(n ast.Node) { r.boolean(n, "reason_required", &out.ReasonRequired) }},
		fieldReader{"signed_only", func(n ast.Node) { r.boolean(n, "signed_only", &out.SignedOnly) }},
		fieldReader{"notify", func(n ast.Node) { r.texts(n, "notify", true, &out.Notify) }},
	)
	out.Risk, out.OnTimeout = wflo.Risk(risk), wflo.OnTimeout(onTimeout)
	for _, a := range answers {
		out.Answers = append(out.Answers, wflo.Verdict(a))
	}
	return out
}

func (r *reader) factors(n ast.Node, into *[]wflo.Factor) {
	for _, item := range r.list(n, "factors") {
		var f wflo.Factor
		r.mapping(item, "a factor", nil,
			fieldReader{"approvers", func(n ast.Node) { r.texts(n, "approvers", true, &f.Approvers) }},
			fieldReader{"quorum", func(n ast.Node) { r.integer(n, "quorum", &f.Quorum) }},
		)
		*into = append(*into, f)
	}
}

func (r *reader) escalation(n ast.Node, into *[]wflo.Level) {
	for _, item := range r.list(n, "escalation") {
		var l wflo.Level
		r.mapping(item, "a level", nil,
			fieldReader{"after", func(n ast.Node) { r.duration(n, "after", &l.After) }},
			fieldReader{"approvers", func(n ast.Node) { r.texts(n, "approvers", true, &l.Approvers) }},
			fieldReader{"notify", func(n ast.Node) { r.texts(n, "notify", true, &l.Notify) }},
		)
		*into = append(*into, l)
	}
}

func (r *reader) reminders(n ast.Node, into *[]int) {
	*into = []int{}
	for _, item := range r.list(n, "reminders") {
		var percent int
		r.integer(item, "a reminder", &percent)
		*into = append(*into, percent)
	}
}

// form reads a JSON schema, written as YAML or as JSON in a text.
func (r *reader) form(n ast.Node, into *json.RawMessage) {
	if _, ok := n.(*ast.MappingNode); ok {
		*into = r.json(n, "", nil)
		return
	}
	if _, ok := n.(*ast.MappingValueNode); ok {
		*into = r.json(n, "", nil)
		return
	}
	var text string
	r.text(n, "form", &text)
	if text != "" && !json.Valid([]byte(text)) {
		r.bad(n, "write the schema as YAML, or as JSON", "form is not JSON")
		return
	}
	*into = json.RawMessage(text)
}

// field is the place of a field, or, if it is not exact, of the rule that should
// have it.
func (r *reader) field(risk bool, i int, name string) (at Position, exact bool) {
	if at, ok := r.fields[place(risk, i, name)]; ok {
		return at, true
	}
	if at, ok := r.fields[place(risk, i, "")]; ok {
		return at, false
	}
	return Position{r.name, 1, 1}, false
}

// broken says that there were mistakes in reading a rule, so that what it lacks may
// be what could not be read.
func (r *reader) broken(risk bool, i int) bool { return r.failed[place(risk, i, "")] }

// condition is the place of a character of a condition.
func (r *reader) condition(risk bool, i, at int) Position {
	n, ok := r.conditions[place(risk, i, "")]
	if !ok {
		at, _ := r.field(risk, i, "when")
		return at
	}
	begin := r.place(n)
	var text string
	switch s := n.(type) {
	case *ast.StringNode:
		text = s.Value
	case *ast.LiteralNode:
		text = s.Value.Value
		begin.Line++ // after the mark of the block
	}
	// Find the line of the condition that holds the character, in the file.
	before := string([]rune(strings.TrimSpace(text))[:min(at, utf8.RuneCountInString(strings.TrimSpace(text)))])
	row := strings.Count(before, "\n")
	column := utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:])
	line := strings.Split(strings.TrimSpace(text), "\n")[row]
	cut := strings.TrimLeft(line, " \t")
	column = max(0, column-utf8.RuneCountInString(line)+utf8.RuneCountInString(cut))
	for number := begin.Line + row; number <= min(len(r.lines), begin.Line+row+3); number++ {
		from := 0
		if number == begin.Line && row == 0 && len(r.lines[number-1]) >= begin.Column {
			from = len(string([]rune(r.lines[number-1])[:min(begin.Column-1, utf8.RuneCountInString(r.lines[number-1]))]))
		}
		if j := strings.Index(r.lines[number-1][from:], cut); j >= 0 && cut != "" {
			return Position{r.name, number, utf8.RuneCountInString(r.lines[number-1][:from+j]) + column + 1}
		}
	}
	return r.place(n)
}
