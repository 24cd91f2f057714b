package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// form is what a value is when a condition is judged.
type form uint8

const (
	isNull form = iota
	isBool
	isInt
	isFloat
	isMoney
	isText
	isList
	isObject
	isHuge // a number that neither an int64 nor a double holds
)

func (f form) String() string {
	return [...]string{"null", "true or false", "a number", "a number", "an amount", "text", "a list", "an object", "a number out of range"}[f]
}

func (f form) numeric() bool { return f == isInt || f == isFloat || f == isMoney || f == isHuge }

// value is what a part of a condition gives. It is small and has no pointer for
// scalars, because judging must not allocate.
type value struct {
	form form
	// exact says that n is a float's amount in nano-dollars.
	exact bool
	i     int64 // isInt, isMoney (nano-dollars), isBool (0 or 1)
	n     int64
	f     float64
	s     string // isText
	more  *compound
}

// compound is what lists and objects hold.
type compound struct {
	list    []value
	members map[string]value
}

func intValue(i int64) value           { return value{form: isInt, i: i} }
func moneyValue(m wflo.Money) value    { return value{form: isMoney, i: int64(m)} }
func textValue(s string) value         { return value{form: isText, s: s} }
func listValue(list ...value) value    { return value{form: isList, more: &compound{list: list}} }
func members(m map[string]value) value { return value{form: isObject, more: &compound{members: m}} }

func boolValue(b bool) value {
	v := value{form: isBool}
	if b {
		v.i = 1
	}
	return v
}

// floatValue keeps the amount that the shortest decimal of f is, so that 0.3 is 30
// cents and not the double next to it.
func floatValue(f float64) value {
	v := value{form: isFloat, f: f}
	if m, err := wflo.ParseMoney(strconv.FormatFloat(f, 'f', -1, 64)); err == nil {
		v.exact, v.n = true, int64(m)
	}
	return v
}

func textList(names []string) value {
	list := make([]value, len(names))
	for i, name := range names {
		list[i] = textValue(name)
	}
	return listValue(list...)
}

// jsonValue reads what encoding/json gives with UseNumber.
func jsonValue(data any) value {
	switch v := data.(type) {
	case bool:
		return boolValue(v)
	case string:
		return textValue(v)
	case json.Number:
		return numberValue(v.String())
	case []any:
		list := make([]value, len(v))
		for i, item := range v {
			list[i] = jsonValue(item)
		}
		return listValue(list...)
	case map[string]any:
		m := make(map[string]value, len(v))
		for name, item := range v {
			m[name] = jsonValue(item)
		}
		return members(m)
	}
	return value{}
}

func numberValue(literal string) value {
	if !strings.ContainsAny(literal, ".eE") {
		i, err := strconv.ParseInt(literal, 10, 64)
		if err != nil {
			return value{form: isHuge, s: literal}
		}
		return intValue(i)
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return value{form: isHuge, s: literal}
	}
	return floatValue(f)
}

// String shows the value as JSON has it; amounts in dollars.
func (v value) String() string {
	switch v.form {
	case isBool:
		return strconv.FormatBool(v.i == 1)
	case isInt:
		return strconv.FormatInt(v.i, 10)
	case isFloat:
		return strconv.FormatFloat(v.f, 'f', -1, 64)
	case isMoney:
		return wflo.Money(v.i).Decimal()
	case isText, isHuge:
		return v.s
	case isList:
		parts := make([]string, len(v.more.list))
		for i, item := range v.more.list {
			parts[i] = item.quoted()
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case isObject:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v.more.members)) {
			parts = append(parts, strconv.Quote(name)+": "+v.more.members[name].quoted())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "null"
}

func (v value) quoted() string {
	if v.form == isText {
		return strconv.Quote(v.s)
	}
	return v.String()
}

// compare orders two numbers without rounding either. Amounts are dollars.
func compare(a, b *value) (int, error) {
	for _, v := range [...]*value{a, b} {
		switch {
		case !v.form.numeric():
			return 0, fmt.Errorf("has %s where a number is needed", v.form)
		case v.form == isHuge:
			return 0, fmt.Errorf("has the number %.40s, which is out of range", v.s)
		case v.form == isFloat && (math.IsNaN(v.f) || math.IsInf(v.f, 0)):
			return 0, fmt.Errorf("has %v, which is not a number that can be compared", v.f)
		}
	}
	switch {
	case a.form == b.form && a.form != isFloat:
		return order(a.i, b.i), nil
	case a.form == isFloat && b.form == isFloat:
		return order(a.f, b.f), nil
	case a.form == isInt && b.form == isFloat:
		return compareFloat(a.i, b.f), nil
	case a.form == isMoney && b.form == isInt:
		return compareDollars(a.i, b.i), nil
	case a.form == isMoney && b.exact:
		return order(a.i, b.n), nil
	case a.form == isMoney:
		return compareFloat(a.i, b.f*float64(wflo.USD)), nil
	}
	c, err := compare(b, a)
	return -c, err
}

func order[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareFloat orders an integer and a finite double, or an infinite one, exactly.
func compareFloat(i int64, f float64) int {
	switch {
	case f >= 1<<63:
		return -1
	case f < -(1 << 63):
		return 1
	}
	whole := math.Trunc(f)
	if c := order(i, int64(whole)); c != 0 {
		return c
	}
	return order(0, f-whole)
}

// compareDollars orders nano-dollars and whole dollars.
func compareDollars(nano, dollars int64) int {
	whole := nano / int64(wflo.USD)
	if c := order(whole, dollars); c != 0 {
		return c
	}
	return order(nano%int64(wflo.USD), 0)
}

// equal compares two scalars. Values of different kinds are an error: a rule that
// compares 100 with "100" must not quietly pass.
func equal(a, b *value) (bool, error) {
	switch {
	case a.form.numeric() && b.form.numeric():
		c, err := compare(a, b)
		return c == 0, err
	case a.form == isText && b.form == isText:
		return a.s == b.s, nil
	case a.form == isBool && b.form == isBool:
		return a.i == b.i, nil
	}
	return false, fmt.Errorf("compares %s with %s", a.form, b.form)
}

// calculate is a op b. Sums of amounts, and their whole multiples, are exact.
func calculate(op string, a, b value) (value, error) {
	if _, err := compare(&a, &b); err != nil {
		return value{}, err
	}
	switch op {
	case "+", "-":
		if a.form == isMoney || b.form == isMoney {
			x, y, ok := a.nano(), b.nano(), a.isAmount() && b.isAmount()
			if !ok {
				return floatResult(op, a, b)
			}
			sum, ok := sumInts(x, y, op)
			return moneyValue(wflo.Money(sum)), overflow(ok)
		}
		if a.form == isInt && b.form == isInt {
			sum, ok := sumInts(a.i, b.i, op)
			return intValue(sum), overflow(ok)
		}
	case "*":
		if a.form != isFloat && b.form != isFloat && (a.form == isInt || b.form == isInt) {
			product, ok := multiply(a.i, b.i)
			if a.form == isInt && b.form == isInt {
				return intValue(product), overflow(ok)
			}
			return moneyValue(wflo.Money(product)), overflow(ok)
		}
	case "%":
		if a.form != isInt || b.form != isInt || b.i == 0 {
			return value{}, fmt.Errorf("takes the remainder of %s by %s", a, b)
		}
		return intValue(a.i % b.i), nil
	}
	return floatResult(op, a, b)
}

func overflow(ok bool) error {
	if !ok {
		return fmt.Errorf("has a result that is out of range")
	}
	return nil
}

// isAmount says that the number is an exact amount of dollars.
func (v value) isAmount() bool {
	switch v.form {
	case isMoney:
		return true
	case isInt:
		_, ok := multiply(v.i, int64(wflo.USD))
		return ok
	}
	return v.exact
}

func (v value) nano() int64 {
	switch v.form {
	case isMoney:
		return v.i
	case isInt:
		return v.i * int64(wflo.USD)
	}
	return v.n
}

func (v value) float() float64 {
	switch v.form {
	case isMoney:
		return wflo.Money(v.i).Float()
	case isInt:
		return float64(v.i)
	}
	return v.f
}

func floatResult(op string, a, b value) (value, error) {
	x, y := a.float(), b.float()
	var f float64
	switch op {
	case "+":
		f = x + y
	case "-":
		f = x - y
	case "*":
		f = x * y
	case "/":
		if y == 0 {
			return value{}, fmt.Errorf("divides by zero")
		}
		f = x / y
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return value{}, overflow(false)
	}
	return value{form: isFloat, f: f}, nil
}

func sumInts(a, b int64, op string) (int64, bool) {
	if op == "-" {
		c := a - b
		return c, (c < a) == (b > 0)
	}
	c := a + b
	return c, (c > a) == (b > 0)
}

func multiply(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	c := a * b
	return c, c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
}
