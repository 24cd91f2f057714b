package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// kind is what the check of a condition knows about a part of it.
type kind uint8

const (
	anyKind kind = iota // a value out of args, known when it is judged
	boolKind
	numberKind
	textKind
	listKind
	objectKind
	nullKind
	wrongKind // reported already
)

func (k kind) String() string {
	return [...]string{"a value", "true or false", "a number", "text", "a list", "an object", "nil", "an error"}[k]
}

// fact is one of the names that conditions may use.
type fact struct {
	name string
	kind kind
	elem kind // of a list's values and an object's members
	// step is the unit of the fact: the smallest difference that lint tries.
	money, whole bool
	// oneOf are all values that the fact ever has; empty means any.
	oneOf []string
	get   func(f *wflo.Facts) value
}

func textFact(name string, get func(f *wflo.Facts) string, oneOf ...string) fact {
	return fact{name: name, kind: textKind, oneOf: oneOf, get: func(f *wflo.Facts) value { return textValue(get(f)) }}
}

func moneyFact(name string, get func(f *wflo.Facts) wflo.Money) fact {
	return fact{name: name, kind: numberKind, money: true, get: func(f *wflo.Facts) value { return moneyValue(get(f)) }}
}

func intFact(name string, get func(f *wflo.Facts) int64) fact {
	return fact{name: name, kind: numberKind, whole: true, get: func(f *wflo.Facts) value { return intValue(get(f)) }}
}

func floatFact(name string, get func(f *wflo.Facts) float64) fact {
	return fact{name: name, kind: numberKind, get: func(f *wflo.Facts) value { return floatValue(get(f)) }}
}

// factArgs and factTime are the places of args and execution_time among the facts.
var (
	factArgs = factNamed("args")
	factTime = factNamed("execution_time")
)

// facts are those of wflo.Facts, by the names of its JSON form.
var facts = []fact{
	textFact("kind", func(f *wflo.Facts) string { return string(f.Kind) }, kindNames()...),
	textFact("operation", func(f *wflo.Facts) string { return f.Operation }),
	textFact("step", func(f *wflo.Facts) string { return f.Step }),
	textFact("tool", func(f *wflo.Facts) string { return f.Tool }),
	textFact("activity", func(f *wflo.Facts) string { return f.Activity }),
	textFact("effect", func(f *wflo.Facts) string { return string(f.Effect) },
		"", string(wflo.EffectPure), string(wflo.EffectRead), string(wflo.EffectReversible), string(wflo.EffectVerifiable), string(wflo.EffectIrreversible)),
	textFact("risk", func(f *wflo.Facts) string { return string(f.Risk) },
		"", string(wflo.RiskLow), string(wflo.RiskMedium), string(wflo.RiskHigh), string(wflo.RiskCritical)),
	textFact("user", func(f *wflo.Facts) string { return f.User }),
	textFact("team", func(f *wflo.Facts) string { return f.Team }),
	textFact("org", func(f *wflo.Facts) string { return f.Org }),
	textFact("agent", func(f *wflo.Facts) string { return f.Agent }),
	textFact("provider", func(f *wflo.Facts) string { return f.Provider }),
	textFact("model", func(f *wflo.Facts) string { return f.Model }),
	moneyFact("cost", func(f *wflo.Facts) wflo.Money { return f.Cost }),
	moneyFact("estimated_cost", func(f *wflo.Facts) wflo.Money { return f.EstimatedCost }),
	floatFact("execution_time", func(f *wflo.Facts) float64 { return f.ExecutionTime }),
	intFact("calls", func(f *wflo.Facts) int64 { return int64(f.Calls) }),
	textFact("workflow.id", func(f *wflo.Facts) string { return f.Workflow.ID }),
	textFact("workflow.type", func(f *wflo.Facts) string { return f.Workflow.Type }),
	textFact("workflow.namespace", func(f *wflo.Facts) string { return f.Workflow.Namespace }),
	intFact("workflow.generation", func(f *wflo.Facts) int64 { return int64(f.Workflow.Generation) }),
	intFact("workflow.epoch", func(f *wflo.Facts) int64 { return int64(f.Workflow.Epoch) }),
	moneyFact("budget.limit", func(f *wflo.Facts) wflo.Money { return f.Budget.Limit }),
	moneyFact("budget.spent", func(f *wflo.Facts) wflo.Money { return f.Budget.Spent }),
	moneyFact("budget.left", func(f *wflo.Facts) wflo.Money { return f.Budget.Left }),
	floatFact("budget.used", func(f *wflo.Facts) float64 { return f.Budget.Used }),
	textFact("sandbox.image", func(f *wflo.Facts) string { return f.Sandbox.Image }),
	textFact("sandbox.language", func(f *wflo.Facts) string { return f.Sandbox.Language }),
	textFact("sandbox.network", func(f *wflo.Facts) string { return f.Sandbox.Network }, "", "none", "allow-list", "open"),
	textFact("sandbox.runtime", func(f *wflo.Facts) string { return f.Sandbox.Runtime }),
	intFact("sandbox.memory", func(f *wflo.Facts) int64 { return f.Sandbox.Memory }),
	floatFact("sandbox.cpus", func(f *wflo.Facts) float64 { return f.Sandbox.CPUs }),
	floatFact("sandbox.timeout", func(f *wflo.Facts) float64 { return f.Sandbox.Timeout }),
	{name: "sandbox.secrets", kind: listKind, elem: textKind, get: func(f *wflo.Facts) value { return textList(f.Sandbox.Secrets) }},
	intFact("time.unix", func(f *wflo.Facts) int64 { return f.Time.Unix }),
	intFact("time.hour", func(f *wflo.Facts) int64 { return int64(f.Time.Hour) }),
	intFact("time.minute", func(f *wflo.Facts) int64 { return int64(f.Time.Minute) }),
	intFact("time.weekday", func(f *wflo.Facts) int64 { return int64(f.Time.Weekday) }),
	{name: "tags", kind: objectKind, elem: textKind, get: func(f *wflo.Facts) value {
		m := make(map[string]value, len(f.Tags))
		for name, tag := range f.Tags {
			m[name] = textValue(tag)
		}
		return members(m)
	}},
	{name: "args", kind: objectKind, elem: anyKind, get: func(*wflo.Facts) value { return value{} }},
}

func kindNames() []string {
	var names []string
	for _, k := range allKinds {
		names = append(names, string(k))
	}
	return names
}

func factNamed(name string) int {
	return slices.IndexFunc(facts, func(f fact) bool { return f.name == name })
}

// factNames are all names, for suggestions.
func factNames() []string {
	var names []string
	for _, f := range facts {
		names = append(names, f.name)
	}
	return names
}

// isGroup says that a name has members among the facts, like budget.
func isGroup(name string) bool {
	return slices.ContainsFunc(facts, func(f fact) bool { return strings.HasPrefix(f.name, name+".") })
}

// Env is facts made ready for judging, so that judging them against any number of
// policies reads no JSON and allocates nothing. One goroutine at a time may use it.
type Env struct {
	kind wflo.FactsKind
	// values are those of the facts, in their order.
	values []value
	// argsErr says why args cannot be read; every look at them is then an error.
	argsErr error
	// item is what any, all or none are looking at.
	item value
}

// NewEnv makes facts ready. Args that are not one JSON object make every condition
// that reads them fail, and so count as a match.
func NewEnv(f wflo.Facts) *Env {
	e := &Env{kind: f.Kind, values: make([]value, len(facts))}
	for i := range facts {
		e.values[i] = facts[i].get(&f)
	}
	e.values[factArgs], e.argsErr = readArgs(f.Args)
	return e
}

func readArgs(data json.RawMessage) (value, error) {
	if len(data) == 0 {
		return members(nil), nil
	}
	// The canonical form refuses what readers of JSON disagree about, such as a
	// member that is there twice.
	if _, err := wflo.Canonical(data); err != nil {
		return value{}, fmt.Errorf("args %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var args map[string]any
	if err := dec.Decode(&args); err != nil || args == nil {
		return value{}, errors.New("args are not a JSON object")
	}
	return jsonValue(args), nil
}

// hashFacts is the SHA-256, in hex, of the canonical form of facts. Args without
// one are hashed as the text that they are.
func hashFacts(f wflo.Facts) string {
	if _, err := wflo.Canonical(f.Args); err != nil && len(f.Args) > 0 {
		f.Args = marshal(strconv.QuoteToASCII(string(f.Args)))
	}
	data, err := json.Marshal(f)
	if err != nil {
		// Numbers that are none are all that cannot be marshalled.
		data = fmt.Appendf(nil, "%+v", f)
	}
	if sum, err := wflo.CanonicalSHA256(data); err == nil {
		return sum
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
