package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// node is a part of a condition that was checked. Either test or eval is set.
type node struct {
	kind kind
	elem kind
	// fact is the place of the fact that it is, or -1.
	fact int
	// lit is its value where that is written in the condition.
	lit  *value
	test func(e *Env) (bool, error)
	eval func(e *Env) (value, error)
}

// value gives what the node is, whatever its kind.
func (n *node) value(e *Env) (value, error) {
	if n.test != nil {
		b, err := n.test(e)
		return boolValue(b), err
	}
	return n.eval(e)
}

// bool gives a node that stands where true or false is needed.
func (n *node) bool() func(e *Env) (bool, error) {
	if n.test != nil {
		return n.test
	}
	eval := n.eval
	return func(e *Env) (bool, error) {
		v, err := eval(e)
		if err == nil && v.form != isBool {
			err = fmt.Errorf("has %s where true or false is needed", v.form)
		}
		return v.i == 1, err
	}
}

// leaf is a fact, or a part of args or tags, that a condition reads.
type leaf struct {
	name string
	fact int // -1 for a part of args or tags
	path []string
	eval func(e *Env) (value, error)
	// kind is the fact's, and seen are the literals that it is compared with.
	kind kind
	seen []value
}

// part is a condition within a condition, for explanations.
type part struct {
	text  string
	depth int
	eval  func(e *Env) (value, error)
}

// moment is when a condition on execution_time changes: at so many seconds, or
// just after.
type moment struct {
	seconds float64
	after   bool
}

// condition is a compiled condition. It is never changed, so any number of
// goroutines may judge it, each with an Env of its own.
type condition struct {
	source string // as written, without spaces around it
	text   string // normalised
	test   func(e *Env) (bool, error)
	leaves []leaf
	parts  []part
	// moments are when execution_time changes it.
	moments  []moment
	readsArg bool
	// plain says that leaves are compared with literals only, so that trying values
	// around those literals tries everything.
	plain bool
	hints []fault // of lint
}

// fault is a mistake in a condition, so many characters after its beginning.
type fault struct {
	at            int
	message, hint string
}

// compile checks a condition and makes it ready, or says all that is wrong.
func compile(source string) (*condition, []fault) {
	source = strings.TrimSpace(source)
	switch {
	case source == "":
		return nil, []fault{{0, "the condition is empty", `write a condition, or "*" for always`}}
	case len(source) > maxSource:
		return nil, []fault{{0, fmt.Sprintf("the condition has %d bytes", len(source)), fmt.Sprintf("use at most %d; several policies may ask for the same", maxSource)}}
	}
	text := normalise(source)
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, []fault{syntaxFault(source, err)}
	}
	c := &compiler{out: &condition{source: source, text: text, plain: true}}
	if n := countNodes(tree.Node); n > maxNodes {
		return nil, []fault{{0, fmt.Sprintf("the condition has %d parts", n), fmt.Sprintf("use at most %d; several policies may ask for the same", maxNodes)}}
	}
	root := c.compile(tree.Node)
	if root.kind != boolKind && root.kind != wrongKind {
		hint := "compare it with something"
		if root.kind == anyKind {
			hint = "write " + text + " == true"
		}
		c.fail(tree.Node, hint, "the condition is %s, want true or false", root.kind)
	}
	if len(c.faults) > 0 {
		slices.SortStableFunc(c.faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
		return nil, c.faults
	}
	c.out.test = root.bool()
	c.explainParts(tree.Node, root, 0)
	return c.out, nil
}

func countNodes(root ast.Node) int {
	var n nodeCounter
	ast.Walk(&root, &n)
	return int(n)
}

type nodeCounter int

func (n *nodeCounter) Visit(*ast.Node) { *n++ }

// syntaxFault says what the parser could not read, with what was probably meant.
func syntaxFault(source string, err error) fault {
	at, message := 0, err.Error()
	if e, ok := err.(*file.Error); ok { //nolint:errorlint // the parser returns it bare
		at, message = e.From, e.Message
	}
	hint := "see docs/policies.md for the language"
	switch {
	case strings.Contains(message, `Operator("=")`):
		hint = "write == to compare"
	case strings.Contains(message, `Operator("&")`):
		hint = "write and"
	case strings.Contains(message, `Operator("<>")`), strings.Contains(message, `Operator("!")`):
		hint = "write != to compare"
	case strings.Contains(message, "literal not terminated"):
		hint = "close the quote"
	case strings.Contains(message, "EOF"), strings.Contains(message, "end of expression"):
		hint = "the condition ends too early"
	case strings.Contains(message, "Identifier("):
		hint = "join conditions with and or or, and put text in quotes"
	}
	message = strings.ReplaceAll(message, "token ", "")
	return fault{min(at, len([]rune(source))), message, hint}
}

// compiler turns the tree of a condition into functions.
type compiler struct {
	out    *condition
	faults []fault
	// inside says that any, all or none is being compiled, over items of this kind.
	inside bool
	item   kind
	nodes  map[ast.Node]*node
}

func (c *compiler) fail(n ast.Node, hint, format string, args ...any) *node {
	c.faults = append(c.faults, fault{n.Location().From, fmt.Sprintf(format, args...), hint})
	return wrong()
}

func wrong() *node {
	return &node{kind: wrongKind, fact: -1, eval: func(*Env) (value, error) { return value{}, fmt.Errorf("cannot be judged") }}
}

func (c *compiler) compile(n ast.Node) *node {
	out := c.compileNode(n)
	if c.nodes == nil {
		c.nodes = map[ast.Node]*node{}
	}
	c.nodes[n] = out
	return out
}

// compileNode knows all that a condition may hold; anything else is refused.
func (c *compiler) compileNode(n ast.Node) *node {
	switch n := n.(type) {
	case *ast.BoolNode:
		return literal(boolKind, boolValue(n.Value))
	case *ast.IntegerNode:
		return literal(numberKind, intValue(int64(n.Value)))
	case *ast.FloatNode:
		return literal(numberKind, floatValue(n.Value))
	case *ast.StringNode:
		return literal(textKind, textValue(n.Value))
	case *ast.NilNode:
		return literal(nullKind, value{})
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.ChainNode:
		return c.compile(n.Node)
	case *ast.MemberNode:
		return c.member(n, false)
	case *ast.PointerNode:
		if n.Name != "" {
			return c.fail(n, "use # for the item", "#%s is not a part of the language", n.Name)
		}
		return &node{kind: c.item, fact: -1, eval: func(e *Env) (value, error) { return e.item, nil }}
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.BuiltinNode:
		return c.function(n)
	case *ast.CallNode:
		return c.call(n)
	case *ast.ConditionalNode:
		return c.fail(n, "write it with and, or and not", "if and ? are not parts of the language")
	case *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return c.fail(n, "write one condition", "let and ; are not parts of the language")
	case *ast.SliceNode:
		return c.fail(n, "use contains, startsWith or endsWith", "slices are not a part of the language")
	}
	return c.fail(n, "see docs/policies.md for the language", "%s is not a part of the language", cut(n.String(), 40))
}

func literal(k kind, v value) *node {
	return &node{kind: k, fact: -1, lit: &v, eval: func(*Env) (value, error) { return v, nil }}
}

func (c *compiler) array(n *ast.ArrayNode) *node {
	items, elem, fixed := make([]*node, len(n.Nodes)), anyKind, true
	for i, item := range n.Nodes {
		items[i] = c.compile(item)
		switch k := items[i].kind; {
		case k == wrongKind:
			return items[i]
		case k != boolKind && k != numberKind && k != textKind && k != anyKind:
			return c.fail(item, "list texts or numbers", "a list cannot hold %s", k)
		case elem == anyKind:
			elem = k
		case k != anyKind && k != elem:
			return c.fail(item, "list values of one kind", "the list holds %s and %s", elem, k)
		}
		fixed = fixed && items[i].lit != nil
	}
	if fixed {
		list := make([]value, len(items))
		for i, item := range items {
			list[i] = *item.lit
		}
		out := literal(listKind, listValue(list...))
		out.elem = elem
		return out
	}
	return &node{kind: listKind, elem: elem, fact: -1, eval: func(e *Env) (value, error) {
		list := make([]value, len(items))
		for i, item := range items {
			v, err := item.value(e)
			if err != nil {
				return value{}, err
			}
			list[i] = v
		}
		return listValue(list...), nil
	}}
}

func (c *compiler) identifier(n *ast.IdentifierNode) *node {
	if i := factNamed(n.Value); i >= 0 {
		return c.fact(i)
	}
	if isGroup(n.Value) {
		return c.fail(n, "name one of its members, such as "+membersOf(n.Value)[0], "%s is a group of facts", n.Value)
	}
	return c.fail(n, nearest(n.Value, factNames(), "facts are "), "unknown name %q", cut(n.Value, 60))
}

// membersOf are the facts of a group.
func membersOf(group string) []string {
	return slices.DeleteFunc(factNames(), func(name string) bool { return !strings.HasPrefix(name, group+".") })
}

func (c *compiler) fact(i int) *node {
	f := facts[i]
	out := &node{kind: f.kind, elem: f.elem, fact: i, eval: func(e *Env) (value, error) { return e.values[i], nil }}
	if i == factArgs {
		c.out.readsArg = true
		out.eval = func(e *Env) (value, error) { return e.values[factArgs], e.argsErr }
	}
	c.leaf(leaf{name: f.name, fact: i, kind: f.kind, eval: out.eval})
	return out
}

// leaf notes what the condition reads, once.
func (c *compiler) leaf(l leaf) {
	if !slices.ContainsFunc(c.out.leaves, func(o leaf) bool { return o.name == l.name }) {
		c.out.leaves = append(c.out.leaves, l)
	}
}

// dropLeaf takes back a leaf of which only a part is read.
func (c *compiler) dropLeaf(name string) {
	c.out.leaves = slices.DeleteFunc(c.out.leaves, func(l leaf) bool { return l.name == name })
}

func (c *compiler) call(n *ast.CallNode) *node {
	name := n.Callee.String()
	hint := nearest(name, functionNames, "functions are ")
	if _, ok := n.Callee.(*ast.MemberNode); ok {
		hint = "facts have no methods; functions are " + strings.Join(functionNames, ", ")
	}
	return c.fail(n, hint, "unknown function %s", cut(name, 60))
}

// explainParts collects the conditions that and, or and not join, and the values
// of the leaves follow separately.
func (c *compiler) explainParts(n ast.Node, out *node, depth int) {
	text := n.String()
	c.out.parts = append(c.out.parts, part{text: text, depth: depth, eval: out.value})
	var below []ast.Node
	switch n := n.(type) {
	case *ast.BinaryNode:
		if n.Operator == "and" || n.Operator == "or" || n.Operator == "&&" || n.Operator == "||" {
			below = []ast.Node{n.Left, n.Right}
		}
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			below = []ast.Node{n.Node}
		}
	}
	for _, b := range below {
		c.explainParts(b, c.nodes[b], depth+1)
	}
}
