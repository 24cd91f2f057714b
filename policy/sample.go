package policy

import (
	"slices"

	"github.com/wflo-ai/wflo-go"
)

const (
	// maxGrid bounds the combinations that are tried for one question of lint, and
	// maxTried those of a whole set. Beyond them nothing is claimed.
	maxGrid  = 20_000
	maxTried = 2_000_000
)

// axis is a leaf with the values that are tried for it.
type axis struct {
	leaf   leaf
	values []value
}

// try judges conditions by every combination of values around their literals. see
// gets which of them hold, and says whether to go on. It is false when there are too
// many combinations to say anything.
func (l *linter) try(conditions []*compiled, see func(e *Env, hold []bool) bool) bool {
	if l.tried > maxTried {
		return false
	}
	axes := axesOf(conditions)
	size := 1
	for _, a := range axes {
		if size *= len(a.values); size > maxGrid {
			return false
		}
	}
	if l.tried += size * len(conditions); l.tried > maxTried {
		return false
	}
	e := NewEnv(wflo.Facts{Kind: wflo.FactsStep})
	hold, at := make([]bool, len(conditions)), make([]int, len(axes))
	for {
		e.set(axes, at) // the caller may keep e when it stops here
		for i, c := range conditions {
			ok, err := c.test(e)
			// An error is a match for what blocks, so nothing is claimed of it.
			hold[i] = ok || err != nil
		}
		if !see(e, hold) {
			return true
		}
		i := 0
		for ; i < len(at); i++ {
			if at[i]++; at[i] < len(axes[i].values) {
				break
			}
			at[i] = 0
		}
		if i == len(at) {
			return true
		}
	}
}

// axesOf joins the leaves of all conditions, with all literals of each.
func axesOf(conditions []*compiled) []axis {
	var axes []axis
	for _, c := range conditions {
		for _, l := range c.leaves {
			i := slices.IndexFunc(axes, func(a axis) bool { return a.leaf.name == l.name })
			if i < 0 {
				i = len(axes)
				axes = append(axes, axis{leaf: l})
			}
			axes[i].values = append(axes[i].values, l.seen...)
		}
	}
	for i := range axes {
		a := &axes[i]
		a.values = around(a.leaf, a.values)
		if a.leaf.fact >= 0 && facts[a.leaf.fact].oneOf != nil {
			a.values = nil
			for _, s := range facts[a.leaf.fact].oneOf {
				a.values = append(a.values, textValue(s))
			}
		}
		if len(a.values) == 0 {
			a.values = []value{boolValue(false), boolValue(true)}
		}
		a.values = distinct(a.values)
	}
	return axes
}

// around are what is tried for a leaf: its literals, and for text one that differs,
// for numbers one between each two and one on either side. Nothing else can make
// a comparison with those literals come out otherwise.
func around(l leaf, literals []value) []value {
	var out, numbers []value
	for _, v := range literals {
		switch v.form {
		case isText:
			out = append(out, v, textValue(v.s+"\x00other"))
		case isBool:
			out = append(out, boolValue(false), boolValue(true))
		default:
			numbers = append(numbers, v)
		}
	}
	if len(numbers) == 0 {
		return out
	}
	slices.SortFunc(numbers, func(a, b value) int {
		c, err := compare(&a, &b)
		if err != nil {
			return 0
		}
		return c
	})
	one := intValue(1)
	for _, edge := range []struct {
		op string
		of value
	}{{"-", numbers[0]}, {"+", numbers[len(numbers)-1]}} {
		if v, err := calculate(edge.op, edge.of, one); err == nil {
			out = append(out, v)
		}
	}
	whole := l.fact >= 0 && facts[l.fact].whole
	for i, v := range numbers {
		out = append(out, v)
		if i > 0 {
			out = append(out, between(numbers[i-1], v, whole)...)
		}
	}
	return out
}

// between is a number between two others, if there is one.
func between(a, b value, whole bool) []value {
	if a.isAmount() && b.isAmount() {
		x, y := a.nano(), b.nano()
		if whole {
			next := intValue(x/int64(wflo.USD) + 1)
			if c, err := compare(&next, &b); c < 0 && err == nil {
				return []value{next}
			}
			return nil
		}
		if y-x > 1 {
			return []value{moneyValue(wflo.Money(x + (y-x)/2))}
		}
	}
	return []value{floatValue(a.float() + (b.float()-a.float())/2)}
}

func distinct(values []value) []value {
	var out []value
	for _, v := range values {
		if !slices.ContainsFunc(out, func(o value) bool {
			same, err := equal(&o, &v)
			return same && err == nil
		}) {
			out = append(out, v)
		}
	}
	return out
}

// set puts one combination into the facts.
func (e *Env) set(axes []axis, at []int) {
	args, tags := map[string]value{}, map[string]value{}
	for i, a := range axes {
		v := a.values[at[i]]
		switch {
		case a.leaf.fact >= 0:
			e.values[a.leaf.fact] = v
		case a.leaf.path[0] == "args":
			put(args, a.leaf.path[1:], v)
		default:
			put(tags, a.leaf.path[1:], v)
		}
	}
	e.values[factArgs] = members(args)
	e.values[factNamed("tags")] = members(tags)
}

func put(into map[string]value, path []string, v value) {
	for ; len(path) > 1; path = path[1:] {
		below, ok := into[path[0]]
		if !ok || below.form != isObject {
			below = members(map[string]value{})
			into[path[0]] = below
		}
		into = below.more.members
	}
	into[path[0]] = v
}
