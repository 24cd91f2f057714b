package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// functionNames are those that conditions may call.
var functionNames = []string{"len", "lower", "upper", "trim", "any", "all", "none"}

func (c *compiler) function(n *ast.BuiltinNode) *node {
	switch n.Name {
	case "any", "all", "none":
		return c.predicate(n)
	case "len", "lower", "upper", "trim":
	default:
		hint := nearest(n.Name, functionNames, "functions are ")
		if n.Name == "now" || n.Name == "date" {
			hint = "use the time facts: time.hour, time.weekday, time.unix"
		}
		return c.fail(n, hint, "%s is not a function of the language", n.Name)
	}
	if len(n.Arguments) != 1 {
		return c.fail(n, "", "%s takes one argument", n.Name)
	}
	inner := c.compile(n.Arguments[0])
	c.out.plain = false
	if n.Name == "len" {
		return c.length(n, inner)
	}
	if !c.want(n.Arguments[0], inner, textKind) {
		return wrong()
	}
	apply := map[string]func(string) string{"lower": strings.ToLower, "upper": strings.ToUpper, "trim": strings.TrimSpace}[n.Name]
	eval, what := inner.eval, cut(n.String(), 60)
	return &node{kind: textKind, fact: -1, eval: func(e *Env) (value, error) {
		v, err := eval(e)
		if err != nil {
			return value{}, err
		}
		if err := checkText(&v); err != nil {
			return value{}, fmt.Errorf("%s %w", what, err)
		}
		return textValue(apply(v.s)), nil
	}}
}

func (c *compiler) length(n *ast.BuiltinNode, inner *node) *node {
	switch inner.kind {
	case textKind, listKind, objectKind, anyKind:
	case wrongKind:
		return inner
	default:
		return c.fail(n, "", "%s has no length", inner.kind)
	}
	eval, what := inner.eval, cut(n.String(), 60)
	return &node{kind: numberKind, fact: -1, eval: func(e *Env) (value, error) {
		v, err := eval(e)
		if err != nil {
			return value{}, err
		}
		switch v.form {
		case isText:
			return intValue(int64(utf8.RuneCountInString(v.s))), nil
		case isList:
			return intValue(int64(len(v.more.list))), nil
		case isObject:
			return intValue(int64(len(v.more.members))), nil
		}
		return value{}, fmt.Errorf("%s takes the length of %s", what, v.form)
	}}
}

// predicate is any, all or none over a list.
func (c *compiler) predicate(n *ast.BuiltinNode) *node {
	if c.inside {
		return c.fail(n, "write two conditions", "%s stands within another any, all or none", n.Name)
	}
	list := c.compile(n.Arguments[0])
	if !c.want(n.Arguments[0], list, listKind) {
		return wrong()
	}
	body, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return c.fail(n, "write any(args.items, .price > 10)", "%s needs a condition on the items", n.Name)
	}
	c.inside, c.item, c.out.plain = true, list.elem, false
	inner := c.compile(body.Node)
	c.inside = false
	if !c.want(body.Node, inner, boolKind) {
		return wrong()
	}
	return &node{kind: boolKind, fact: -1, test: over(n.Name, cut(n.String(), 60), list.eval, inner.bool())}
}

// over judges the items. All of them are looked at until the answer is known.
func over(name, what string, list func(e *Env) (value, error), test func(e *Env) (bool, error)) func(e *Env) (bool, error) {
	stop := name != "all" // the outcome of an item that decides
	return func(e *Env) (bool, error) {
		v, err := list(e)
		switch {
		case err != nil:
			return false, err
		case v.form != isList:
			return false, fmt.Errorf("%s has %s where a list is needed", what, v.form)
		case len(v.more.list) > maxItems:
			return false, fmt.Errorf("%s has a list of %d values; at most %d are looked at", what, len(v.more.list), maxItems)
		}
		for i := range v.more.list {
			e.item = v.more.list[i]
			b, err := test(e)
			if err != nil {
				return false, err
			}
			if b == stop {
				return name == "any", nil
			}
		}
		return name != "any", nil
	}
}

// member is a fact of a group, or a part of args, tags or an item.
func (c *compiler) member(n *ast.MemberNode, inner bool) *node {
	if root, ok := n.Node.(*ast.IdentifierNode); ok && isGroup(root.Value) {
		property, ok := n.Property.(*ast.StringNode)
		if !ok {
			return c.fail(n, "name it, such as "+membersOf(root.Value)[0], "%s has only named members", root.Value)
		}
		name := root.Value + "." + property.Value
		if i := factNamed(name); i >= 0 {
			return c.fact(i)
		}
		return c.fail(n, nearest(name, membersOf(root.Value), "it has "), "unknown name %q", cut(name, 60))
	}
	var base *node
	switch b := unchain(n.Node).(type) {
	case *ast.MemberNode:
		base = c.member(b, true)
	default:
		base = c.compile(b)
	}
	key := c.compile(n.Property)
	if base.kind == wrongKind || key.kind == wrongKind {
		return wrong()
	}
	out := c.access(n, base, key)
	if path, fixed := pathParts(n); fixed && out.kind != wrongKind && !inner && (path[0] == "args" || path[0] == "tags") {
		c.dropLeaf(path[0])
		c.leaf(leaf{name: strings.Join(path, "."), fact: -1, path: path, kind: out.kind, eval: out.eval})
	}
	return out
}

func (c *compiler) access(n *ast.MemberNode, base, key *node) *node {
	what, optional := cut(n.String(), 60), n.Optional
	switch {
	case base.kind == objectKind || base.kind == anyKind:
	case base.kind == listKind && key.kind == numberKind:
	default:
		return c.fail(n, "", "%s is %s and has no members", cut(n.Node.String(), 40), base.kind)
	}
	if base.fact != factArgs && base.kind == objectKind && key.kind != textKind {
		return c.fail(n, `write tags.name or tags["name"]`, "%s is not a name", cut(n.Property.String(), 40))
	}
	k := base.elem
	if optional && k == textKind {
		k = anyKind // or nil
	}
	return &node{kind: k, fact: -1, eval: func(e *Env) (value, error) {
		b, err := base.eval(e)
		if err != nil {
			return value{}, err
		}
		name, err := key.value(e)
		if err != nil {
			return value{}, err
		}
		v, ok, err := pick(&b, &name)
		switch {
		case ok || err == nil && optional:
			return v, nil
		case err != nil && !(optional && b.form == isNull):
			return value{}, fmt.Errorf("%s %w", what, err)
		case optional:
			return value{}, nil
		}
		return value{}, fmt.Errorf("%s is absent", what)
	}}
}

// pick takes a member of an object or an item of a list. What is not there is no
// error yet.
func pick(from, key *value) (v value, ok bool, err error) {
	switch {
	case from.form == isObject && key.form == isText:
		v, ok = from.more.members[key.s]
		return v, ok, nil
	case from.form == isList && key.form == isInt:
		if i := key.i; i >= 0 && i < int64(len(from.more.list)) {
			return from.more.list[i], true, nil
		}
		return v, false, nil
	}
	return v, false, fmt.Errorf("looks for %s in %s", key.form, from.form)
}

func unchain(n ast.Node) ast.Node {
	if chain, ok := n.(*ast.ChainNode); ok {
		return chain.Node
	}
	return n
}

// pathParts are the names that lead from a fact to a part of it; fixed is false
// where one of them is worked out.
func pathParts(n ast.Node) (path []string, fixed bool) {
	switch n := unchain(n).(type) {
	case *ast.IdentifierNode:
		return []string{n.Value}, true
	case *ast.MemberNode:
		path, fixed = pathParts(n.Node)
		switch key := n.Property.(type) {
		case *ast.StringNode:
			return append(path, key.Value), fixed
		case *ast.IntegerNode:
			return append(path, fmt.Sprint(key.Value)), fixed
		}
	}
	return nil, false
}

func pathOf(n ast.Node) string {
	path, fixed := pathParts(n)
	if !fixed {
		return ""
	}
	return strings.Join(path, ".")
}

// leafOf notes a member that is looked for.
func (c *compiler) leafOf(fact string, path []string) {
	i := factNamed(fact)
	c.leaf(leaf{name: fact + "." + strings.Join(path, "."), fact: -1, path: append([]string{fact}, path...), eval: func(e *Env) (value, error) {
		if i == factArgs && e.argsErr != nil {
			return value{}, e.argsErr
		}
		key := textValue(path[0])
		v, ok, err := pick(&e.values[i], &key)
		if err == nil && !ok {
			err = fmt.Errorf("is absent")
		}
		return v, err
	}})
}

// moments works out when a comparison with execution_time changes.
func (c *compiler) moments(n *ast.BinaryNode) {
	a1, b1, ok1 := linear(n.Left)
	a2, b2, ok2 := linear(n.Right)
	switch {
	case !ok1 || !ok2:
		if readsTime(n) {
			c.out.hints = append(c.out.hints, fault{n.Location().From, "no timer can be set for this comparison with execution_time", "compare execution_time with a number; else it is judged with the next step only"})
		}
		return
	case a1 == a2:
		return
	}
	at := (b2 - b1) / (a1 - a2)
	switch n.Operator {
	case "==", "!=":
		c.out.moments = append(c.out.moments, moment{at, false}, moment{at, true})
	default:
		// t >= 600 and t < 600 change at 600; t > 600 and t <= 600 just after it.
		// With the time on the other side it is the other way round.
		after := n.Operator == ">" || n.Operator == "<="
		if a1 < a2 {
			after = n.Operator == "<" || n.Operator == ">="
		}
		c.out.moments = append(c.out.moments, moment{at, after})
	}
}

// linear writes a part of a condition as a*execution_time + b.
func linear(n ast.Node) (a, b float64, ok bool) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return 0, float64(n.Value), true
	case *ast.FloatNode:
		return 0, n.Value, true
	case *ast.IdentifierNode:
		return 1, 0, n.Value == facts[factTime].name
	case *ast.UnaryNode:
		a, b, ok = linear(n.Node)
		return -a, -b, ok && n.Operator == "-"
	case *ast.BinaryNode:
		a1, b1, ok1 := linear(n.Left)
		a2, b2, ok2 := linear(n.Right)
		if !ok1 || !ok2 {
			return 0, 0, false
		}
		switch {
		case n.Operator == "+":
			return a1 + a2, b1 + b2, true
		case n.Operator == "-":
			return a1 - a2, b1 - b2, true
		case n.Operator == "*" && a1 == 0:
			return b1 * a2, b1 * b2, true
		case n.Operator == "*" && a2 == 0:
			return b2 * a1, b2 * b1, true
		case n.Operator == "/" && a2 == 0 && b2 != 0:
			return a1 / b2, b1 / b2, true
		}
	}
	return 0, 0, false
}

func readsTime(n ast.Node) bool {
	var finder timeFinder
	ast.Walk(&n, &finder)
	return bool(finder)
}

type timeFinder bool

func (f *timeFinder) Visit(n *ast.Node) {
	if id, ok := (*n).(*ast.IdentifierNode); ok && id.Value == facts[factTime].name {
		*f = true
	}
}

// readsTime says that the condition looks at execution_time.
func (c *condition) readsTime() bool {
	return slices.ContainsFunc(c.leaves, func(l leaf) bool { return l.fact == factTime })
}
