package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) unary(n *ast.UnaryNode) *node {
	inner := c.compile(n.Node)
	switch n.Operator {
	case "not", "!":
		switch inner.kind {
		case boolKind, anyKind:
		case wrongKind:
			return inner
		default:
			return c.fail(n.Node, "not binds tighter than comparisons; write not (… == …)", "not stands before %s", inner.kind)
		}
		test := inner.bool()
		return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
			b, err := test(e)
			return !b, err
		}}
	case "-":
		if !c.want(n.Node, inner, numberKind) {
			return wrong()
		}
		if inner.lit != nil {
			negative, err := calculate("*", intValue(-1), *inner.lit)
			if inner.lit.form == isFloat {
				negative = floatValue(-inner.lit.f)
			}
			if err == nil {
				return literal(numberKind, negative)
			}
		}
		c.out.plain = false
		eval := inner.eval
		return &node{kind: numberKind, fact: -1, eval: func(e *Env) (value, error) {
			v, err := eval(e)
			if err != nil {
				return value{}, err
			}
			return calculate("-", intValue(0), v)
		}}
	}
	return c.fail(n, "write the number alone", "the sign %s is not a part of the language", n.Operator)
}

// want reports a part that is of another kind than needed. What is out of args is
// looked at when it is judged.
func (c *compiler) want(at ast.Node, n *node, k kind) bool {
	switch n.kind {
	case k, anyKind:
		return true
	case wrongKind:
		return false
	}
	hint := ""
	if k == boolKind {
		hint = "compare it with something"
	}
	c.fail(at, hint, "%s is %s, want %s", cut(at.String(), 40), n.kind, k)
	return false
}

func (c *compiler) binary(n *ast.BinaryNode) *node {
	left, right := c.compile(n.Left), c.compile(n.Right)
	if left.kind == wrongKind || right.kind == wrongKind {
		return wrong()
	}
	switch n.Operator {
	case "and", "&&", "or", "||":
		return c.join(n, left, right)
	case "==", "!=":
		return c.equality(n, left, right)
	case "<", "<=", ">", ">=":
		return c.ordering(n, left, right)
	case "+", "-", "*", "/", "%":
		return c.arithmetic(n, left, right)
	case "in":
		return c.in(n, left, right)
	case "contains", "startsWith", "endsWith":
		return c.search(n, left, right)
	case "matches":
		return c.matches(n, left)
	case "??":
		return c.otherwise(left, right)
	}
	return c.fail(n, "operators are and or not in == != < <= > >= + - * / % contains startsWith endsWith matches ??", "the operator %s is not a part of the language", n.Operator)
}

func (c *compiler) join(n *ast.BinaryNode, left, right *node) *node {
	okLeft, okRight := c.want(n.Left, left, boolKind), c.want(n.Right, right, boolKind)
	if !okLeft || !okRight {
		return wrong()
	}
	a, b := left.bool(), right.bool()
	or := n.Operator == "or" || n.Operator == "||"
	c.precedence(n, or)
	return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
		v, err := a(e)
		if err != nil || v == or {
			return v, err
		}
		return b(e)
	}}
}

// precedence notes `a or b and c`, which groups as few people read it.
func (c *compiler) precedence(n *ast.BinaryNode, or bool) {
	if !or {
		return
	}
	for _, side := range []ast.Node{n.Left, n.Right} {
		if b, ok := side.(*ast.BinaryNode); ok && (b.Operator == "and" || b.Operator == "&&") && !c.enclosed(b) {
			c.out.hints = append(c.out.hints, fault{b.Location().From, "and binds tighter than or", "write (" + b.String() + ") to say so"})
		}
	}
}

// enclosed says that the operator's part stands in parentheses of its own.
func (c *compiler) enclosed(n ast.Node) bool {
	runes, depth := []rune(c.out.text), 0
	for i := n.Location().From - 1; i >= 0; i-- {
		switch runes[i] {
		case ')':
			depth++
		case '(':
			depth--
		}
		if depth < 0 {
			return true
		}
	}
	return false
}

func (c *compiler) equality(n *ast.BinaryNode, left, right *node) *node {
	same := n.Operator == "=="
	switch {
	case left.kind == nullKind || right.kind == nullKind:
		other := left
		if left.kind == nullKind {
			other = right
		}
		if other.kind != anyKind {
			return c.fail(n, "only members of args can be nil", "%s is never nil", other.kind)
		}
		c.out.plain = false
		return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
			v, err := other.eval(e)
			return (v.form == isNull) == same, err
		}}
	case left.kind >= listKind || right.kind >= listKind:
		return c.fail(n, "use in, any, all or none", "lists and objects cannot be compared")
	case left.kind != right.kind && left.kind != anyKind && right.kind != anyKind:
		return c.fail(n, "compare values of one kind", "%s compares %s with %s", cut(n.String(), 60), left.kind, right.kind)
	}
	c.note(n, left, right)
	if left.fact >= 0 && right.lit != nil {
		i, lit := left.fact, right.lit
		return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
			eq, err := equal(&e.values[i], lit)
			if err != nil {
				return false, fmt.Errorf("%s %w", facts[i].name, err)
			}
			return eq == same, nil
		}}
	}
	what := cut(n.String(), 60)
	return c.pairTest(left, right, func(a, b *value) (bool, error) {
		eq, err := equal(a, b)
		if err != nil {
			return false, fmt.Errorf("%s %w", what, err)
		}
		return eq == same, nil
	})
}

func (c *compiler) pairTest(left, right *node, test func(a, b *value) (bool, error)) *node {
	return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
		a, err := left.value(e)
		if err != nil {
			return false, err
		}
		b, err := right.value(e)
		if err != nil {
			return false, err
		}
		return test(&a, &b)
	}}
}

// holds says what an order means to an operator.
func holds(operator string, order int) bool {
	switch operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

func (c *compiler) ordering(n *ast.BinaryNode, left, right *node) *node {
	okLeft, okRight := c.want(n.Left, left, numberKind), c.want(n.Right, right, numberKind)
	if !okLeft || !okRight {
		return wrong()
	}
	c.note(n, left, right)
	// The outcome for less, equal and more, so that judging need not look at text.
	outcome := [3]bool{holds(n.Operator, -1), holds(n.Operator, 0), holds(n.Operator, 1)}
	if left.fact >= 0 && right.lit != nil {
		i, lit := left.fact, right.lit
		return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
			order, err := compare(&e.values[i], lit)
			if err != nil {
				return false, fmt.Errorf("%s %w", facts[i].name, err)
			}
			return outcome[order+1], nil
		}}
	}
	what := cut(n.String(), 60)
	return c.pairTest(left, right, func(a, b *value) (bool, error) {
		order, err := compare(a, b)
		if err != nil {
			return false, fmt.Errorf("%s %w", what, err)
		}
		return outcome[order+1], nil
	})
}

func (c *compiler) arithmetic(n *ast.BinaryNode, left, right *node) *node {
	okLeft, okRight := c.want(n.Left, left, numberKind), c.want(n.Right, right, numberKind)
	if !okLeft || !okRight {
		return wrong()
	}
	if left.lit != nil && right.lit != nil {
		v, err := calculate(n.Operator, *left.lit, *right.lit)
		if err != nil {
			return c.fail(n, "", "%s %s", cut(n.String(), 40), err)
		}
		if v.form == isFloat {
			v = floatValue(v.f)
		}
		return literal(numberKind, v)
	}
	c.out.plain = false
	operator, what := n.Operator, cut(n.String(), 60)
	return &node{kind: numberKind, fact: -1, eval: func(e *Env) (value, error) {
		a, err := left.eval(e)
		if err != nil {
			return value{}, err
		}
		b, err := right.eval(e)
		if err != nil {
			return value{}, err
		}
		v, err := calculate(operator, a, b)
		if err != nil {
			return value{}, fmt.Errorf("%s %w", what, err)
		}
		return v, nil
	}}
}

func (c *compiler) in(n *ast.BinaryNode, left, right *node) *node {
	switch {
	case right.kind == objectKind:
		return c.hasMember(n, left, right)
	case right.kind != listKind && right.kind != anyKind:
		return c.fail(n, "use contains for parts of a text, or a list such as ['a', 'b']", "%s is %s, want a list", cut(n.Right.String(), 40), right.kind)
	case left.kind >= listKind:
		return c.fail(n, "look for a text or a number", "%s is %s", cut(n.Left.String(), 40), left.kind)
	case right.kind == listKind && left.kind != anyKind && right.elem != anyKind && left.kind != right.elem:
		return c.fail(n, "list values of the same kind", "%s is %s, and the list holds %s", cut(n.Left.String(), 40), left.kind, right.elem)
	}
	if right.lit != nil {
		if len(right.lit.more.list) > maxItems {
			return c.fail(n, fmt.Sprintf("use at most %d", maxItems), "the list has %d values", len(right.lit.more.list))
		}
		for i := range right.lit.more.list {
			c.noteValue(n.Left, left, &right.lit.more.list[i])
		}
	} else {
		c.out.plain = false
	}
	what := cut(n.String(), 60)
	return c.pairTest(left, right, func(a, b *value) (bool, error) {
		found, err := inList(a, b)
		if err != nil {
			return false, fmt.Errorf("%s %w", what, err)
		}
		return found, nil
	})
}

// inList is true when an item is equal. An item of another kind is an error unless
// one is equal, because it might have been meant.
func inList(item, list *value) (bool, error) {
	switch {
	case list.form == isObject && item.form == isText:
		_, ok := list.more.members[item.s]
		return ok, nil
	case list.form != isList:
		return false, fmt.Errorf("has %s where a list is needed", list.form)
	case len(list.more.list) > maxItems:
		return false, fmt.Errorf("has a list of %d values; at most %d are looked at", len(list.more.list), maxItems)
	case len(list.more.list) == 0:
		return false, nil
	}
	var first error
	for i := range list.more.list {
		eq, err := equal(item, &list.more.list[i])
		if eq {
			return true, nil
		}
		if err != nil && first == nil {
			first = err
		}
	}
	return false, first
}

// hasMember is `"x" in args`.
func (c *compiler) hasMember(n *ast.BinaryNode, left, right *node) *node {
	if !c.want(n.Left, left, textKind) {
		return wrong()
	}
	c.out.plain = false
	if right.fact >= 0 && left.lit != nil {
		name := facts[right.fact].name
		c.dropLeaf(name)
		c.leafOf(name, []string{left.lit.s})
	}
	what := cut(n.String(), 60)
	return c.pairTest(left, right, func(a, b *value) (bool, error) {
		if a.form != isText || b.form != isObject {
			return false, fmt.Errorf("%s looks for %s in %s", what, a.form, b.form)
		}
		_, ok := b.more.members[a.s]
		return ok, nil
	})
}

func (c *compiler) search(n *ast.BinaryNode, left, right *node) *node {
	okLeft, okRight := c.want(n.Left, left, textKind), c.want(n.Right, right, textKind)
	if !okLeft || !okRight {
		return wrong()
	}
	c.out.plain = false
	find := map[string]func(string, string) bool{"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix}[n.Operator]
	what := cut(n.String(), 60)
	return c.pairTest(left, right, func(a, b *value) (bool, error) {
		for _, v := range [...]*value{a, b} {
			if err := checkText(v); err != nil {
				return false, fmt.Errorf("%s %w", what, err)
			}
		}
		return find(a.s, b.s), nil
	})
}

// checkText refuses what is not text, and more of it than can be searched in time.
func checkText(v *value) error {
	switch {
	case v.form != isText:
		return fmt.Errorf("has %s where text is needed", v.form)
	case len(v.s) > maxText:
		return fmt.Errorf("has text of %d bytes; at most %d are searched", len(v.s), maxText)
	}
	return nil
}

func (c *compiler) matches(n *ast.BinaryNode, left *node) *node {
	pattern, ok := n.Right.(*ast.StringNode)
	switch {
	case !c.want(n.Left, left, textKind):
		return wrong()
	case !ok:
		return c.fail(n.Right, "write the pattern in quotes", "the pattern of matches is not a text in the condition")
	}
	compiled, err := regexp.Compile(pattern.Value)
	if err != nil {
		return c.fail(n.Right, "use the syntax of RE2", "the pattern of matches is not one: %s", err)
	}
	c.out.plain = false
	what, eval := cut(n.String(), 60), left.eval
	return &node{kind: boolKind, fact: -1, test: func(e *Env) (bool, error) {
		v, err := eval(e)
		if err != nil {
			return false, err
		}
		if err := checkText(&v); err != nil {
			return false, fmt.Errorf("%s %w", what, err)
		}
		return compiled.MatchString(v.s), nil
	}}
}

// otherwise is ??: what stands on the right where the left is nil.
func (c *compiler) otherwise(left, right *node) *node {
	c.out.plain = false
	k := left.kind
	if k == anyKind && right.kind != nullKind {
		k = anyKind
	}
	return &node{kind: k, elem: left.elem, fact: -1, eval: func(e *Env) (value, error) {
		v, err := left.value(e)
		if err != nil || v.form != isNull {
			return v, err
		}
		return right.value(e)
	}}
}

// note keeps the literal that a leaf is compared with, for lint and for timers.
func (c *compiler) note(n *ast.BinaryNode, left, right *node) {
	switch {
	case right.lit != nil:
		c.noteValue(n.Left, left, right.lit)
	case left.lit != nil:
		c.noteValue(n.Right, right, left.lit)
	default:
		c.out.plain = false
	}
	c.moments(n)
}

func (c *compiler) noteValue(at ast.Node, n *node, v *value) {
	name := ""
	if n.fact >= 0 {
		name = facts[n.fact].name
		if oneOf := facts[n.fact].oneOf; len(oneOf) > 0 && v.form == isText && !slices.Contains(oneOf, v.s) {
			c.out.hints = append(c.out.hints, fault{at.Location().From, name + " is never " + strconv.Quote(cut(v.s, 40)), nearest(v.s, oneOf, "values are ")})
		}
	} else {
		name = pathOf(at)
	}
	i := slices.IndexFunc(c.out.leaves, func(l leaf) bool { return l.name == name })
	if i < 0 {
		c.out.plain = false
		return
	}
	c.out.leaves[i].seen = append(c.out.leaves[i].seen, *v)
}
