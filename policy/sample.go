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
	// smallest is the difference that is tried for numbers that are not whole, far
	// below any that people write.
	smallest = 1e-6
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
			for _, v := range l.seen {
				axes[i].values = append(axes[i].values, around(l, v)...)
			}
		}
	}
	for i := range axes {
		a := &axes[i]
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

// around are a literal and its neighbours, and for text one that differs.
func around(l leaf, v value) []value {
	switch v.form {
	case isText:
		return []value{v, textValue(v.s + "\x00other")}
	case isBool:
		return []value{boolValue(false), boolValue(true)}
	}
	whole := l.fact >= 0 && facts[l.fact].whole
	if v.isAmount() {
		step := int64(1000) // nano-dollars, and so the smallest difference of numbers
		if whole {
			step = int64(wflo.USD)
		}
		below, ok1 := sumInts(v.nano(), step, "-")
		above, ok2 := sumInts(v.nano(), step, "+")
		if ok1 && ok2 {
			out := []value{v}
			for _, n := range []int64{below, above} {
				if whole {
					out = append(out, intValue(n/int64(wflo.USD)))
				} else {
					out = append(out, moneyValue(wflo.Money(n)))
				}
			}
			return out
		}
	}
	f := v.float()
	return []value{v, floatValue(f - smallest*max(1, f)), floatValue(f + smallest*max(1, f))}
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
