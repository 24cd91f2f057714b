package pricing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Problem is one mistake in a price file.
type Problem struct {
	// Line is where it is, from 1 on: that of the field, or of the nearest thing
	// around it that is written down.
	Line int `json:"line"`
	// Message says what is wrong and in which row and field.
	Message string `json:"message"`
	// Hint says what to do.
	Hint string `json:"hint"`
}

// Check lists every mistake of a price file, by line. It finds what [Parse]
// refuses and, besides, fields that are there twice, of which only the last one
// would count. A file without problems parses.
func Check(data []byte) []Problem {
	c := &checker{data: data, offsets: map[string]int64{}, bad: map[string]bool{}}
	if len(data) > maxFile {
		c.add(0, wflo.Invalid("prices", "are larger than "+strconv.Itoa(maxFile)+" bytes", "keep the rows that differ from the embedded book"))
		return c.problems
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var whole json.RawMessage
	if err := dec.Decode(&whole); err != nil {
		c.syntax(err)
		return c.problems
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		c.add(int64(len(bytes.TrimRight(data, " \t\r\n")))-1, wflo.Invalid("prices", "go on after the closing brace", "keep one JSON object in the file"))
	}
	c.dec = json.NewDecoder(bytes.NewReader(data))
	c.dec.UseNumber()
	c.value("", reflect.TypeFor[file]())
	var f file
	// Its first mistake is among those that were found by walking.
	_ = json.Unmarshal(whole, &f)
	c.rows(f)
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return a.Line - b.Line })
	return c.problems
}

// checker finds mistakes and where they are.
type checker struct {
	data     []byte
	dec      *json.Decoder
	problems []Problem
	offsets  map[string]int64 // of paths such as models[0].rates[1].per_mtok
	bad      map[string]bool  // paths with a value of the wrong kind
}

func (c *checker) add(offset int64, err error) {
	offset = max(0, min(offset, int64(len(c.data))))
	message, hint := wflo.Explain(err)
	c.problems = append(c.problems, Problem{Line: 1 + bytes.Count(c.data[:offset], []byte("\n")), Message: message, Hint: hint})
}

func (c *checker) syntax(err error) {
	offset := int64(len(c.data))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset - 1
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the file is empty")
	}
	c.add(offset, wflo.Errorf(wflo.CodeInvalid, "write one JSON object; README.md of package pricing shows one", "prices: %w", err))
}

// value reads one value for a Go type as encoding/json would, or of any kind
// when t is nil. The text is known to be valid JSON, so tokens cannot fail.
func (c *checker) value(path string, t reflect.Type) {
	token, err := c.dec.Token()
	if err != nil {
		return
	}
	at := c.dec.InputOffset()
	if _, ok := c.offsets[path]; !ok {
		c.offsets[path] = at - 1
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if token != nil && t != nil && !fits(token, t) {
		c.bad[path] = true
		c.add(at-1, wflo.Invalid(place(path), "is "+kindOf(token), "write "+wanted(t)))
		t = nil
	}
	switch token {
	case json.Delim('{'):
		c.object(path, t)
	case json.Delim('['):
		for i := 0; c.dec.More(); i++ {
			var elem reflect.Type
			if t != nil {
				elem = t.Elem()
			}
			c.value(path+"["+strconv.Itoa(i)+"]", elem)
		}
	default:
		return
	}
	_, _ = c.dec.Token() // the end of it
}

func (c *checker) object(path string, t reflect.Type) {
	seen := map[string]bool{}
	for c.dec.More() {
		token, err := c.dec.Token()
		if err != nil {
			return
		}
		key, _ := token.(string)
		at := c.dec.InputOffset() - 1
		field, elem := key, reflect.Type(nil)
		if t != nil && t.Kind() == reflect.Struct {
			if field, elem = member(t, key); elem == nil {
				field = key
				c.add(at, wflo.Invalid(place(join(path, clip(key))), "is no field of a price file", "use "+members(t)))
			}
		} else if t != nil {
			elem = t.Elem()
		}
		if t != nil && seen[field] {
			c.add(at, wflo.Invalid(place(join(path, clip(field))), "is there twice, and only the last one would count", "keep one"))
		}
		seen[field] = true
		if t != nil {
			c.offsets[join(path, field)] = at
		}
		c.value(join(path, field), elem)
	}
}

// fits says whether a token may begin a value of the type.
func fits(token json.Token, t reflect.Type) bool {
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return t.Kind() == reflect.Struct || t.Kind() == reflect.Map
		}
		return t.Kind() == reflect.Slice || t.Kind() == reflect.Array
	case string:
		return t.Kind() == reflect.String
	case bool:
		return t.Kind() == reflect.Bool
	case json.Number:
		_, err := strconv.ParseInt(v.String(), 10, 64)
		return err == nil && (t.Kind() == reflect.Int || t.Kind() == reflect.Int64)
	}
	return false
}

func kindOf(token json.Token) string {
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return fmt.Sprintf("the text %q", clip(v))
	case json.Number:
		return "the number " + clip(v.String())
	}
	return fmt.Sprint(token)
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object in braces"
	case reflect.Slice, reflect.Array:
		return "a list in brackets"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text in quotes; rates are text too, so that none is rounded"
	}
	return "a whole number without quotes"
}

// member finds the field of a struct by its name in JSON, which encoding/json
// also takes in other cases.
func member(t reflect.Type, key string) (string, reflect.Type) {
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && strings.EqualFold(name, key) {
			return name, f.Type
		}
	}
	return "", nil
}

func members(t reflect.Type) string {
	var names []string
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

func place(path string) string {
	if path == "" {
		return "prices"
	}
	return "prices: " + path
}

// rows adds what the lint says of the rows, one by one so that each problem is
// known to be of that row.
func (c *checker) rows(f file) {
	l := &linter{owner: map[name]string{}}
	head := f
	head.Models = nil
	c.lints("prices: ", "", lint(head))
	for i, r := range f.Models {
		path := fmt.Sprintf("models[%d]", i)
		alone := lint(file{Version: formatVersion, Currency: "USD", Models: []row{r}})
		if alone != nil && strings.HasPrefix(alone.Error(), "prices: models[0] ") {
			if !c.bad[path] && !c.bad[path+".provider"] && !c.bad[path+".id"] {
				c.add(c.offsets[path], wflo.Invalid("prices: "+path, strings.TrimPrefix(firstMessage(alone), "prices: models[0] "), wflo.HintOf(alone)))
			}
			continue
		}
		l.problems = nil
		l.row(r)
		c.lints("price of "+r.name()+": ", path, errors.Join(l.problems...))
	}
}

func firstMessage(err error) string {
	message, _ := wflo.Explain(err)
	return message
}

// lints adds the problems of the row at path, or of the head of the file. Their
// messages are prefix, field and problem.
func (c *checker) lints(prefix, path string, joined error) {
	all, ok := joined.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range all.Unwrap() {
		message, _ := wflo.Explain(err)
		field, _, _ := strings.Cut(strings.TrimPrefix(message, prefix), " ")
		where := c.nearest(join(path, field))
		if !c.bad[where] {
			c.add(c.offsets[where], err)
		}
	}
}

// nearest cuts a path down to what is written in the file.
func (c *checker) nearest(path string) string {
	for path != "" {
		if _, ok := c.offsets[path]; ok {
			return path
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return ""
}
