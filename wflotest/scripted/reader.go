package scripted

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// refusal is a request that the vendor does not take.
type refusal struct {
	status  int
	message string
	param   string // where in the body, for the vendors that say
	code    string // the vendor's own code, for the vendors that have one
}

// reader walks a request body and keeps the first thing that is wrong with it.
// After that everything it gives is zero, so that a dialect reads from top to
// bottom without checking every step.
type reader struct {
	bad *refusal
	// unknown words the vendor's complaint about a field.
	unknown func(at, key string) string
	// dotted writes paths as a.0.b instead of a[0].b.
	dotted bool
	// camel takes snake_case keys for camelCase ones, as protobuf JSON does.
	camel bool
}

func (r *reader) refuse(param, format string, args ...any) {
	if r.bad == nil {
		r.bad = &refusal{status: 400, param: param, message: fmt.Sprintf(format, args...)}
	}
}

// object is a JSON object whose keys were checked. Its zero value is empty.
type object struct {
	r      *reader
	at     string
	fields map[string]json.RawMessage
}

func (r *reader) object(at string, raw json.RawMessage, allowed ...string) object {
	o := object{r: r, at: at}
	if r.bad != nil {
		return o
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		r.refuse(at, "%s: expected a JSON object", orBody(at))
		return o
	}
	o.fields = make(map[string]json.RawMessage, len(fields))
	for _, key := range sortedKeys(fields) {
		name := key
		if r.camel {
			name = camelCase(key)
		}
		if !slices.Contains(allowed, name) {
			r.refuse(o.path(key), "%s", r.unknown(at, key))
			return o
		}
		// A null is the same as no field to all four vendors.
		if string(fields[key]) != "null" {
			o.fields[name] = fields[key]
		}
	}
	return o
}

func orBody(at string) string {
	if at == "" {
		return "request body"
	}
	return at
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func camelCase(key string) string {
	parts := strings.Split(key, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

func (o object) path(key string) string {
	if o.at == "" {
		return key
	}
	return o.at + "." + key
}

func (o object) has(key string) bool { return o.fields[key] != nil }

// need refuses the request when a field is missing.
func (o object) need(keys ...string) {
	for _, key := range keys {
		if !o.has(key) {
			o.r.refuse(o.path(key), "%s: field required", o.path(key))
		}
	}
}

// text is a string field, "" when it is missing.
func (o object) text(key string) string {
	var s string
	o.decode(key, &s, "a string")
	return s
}

// needText is a string field that must be there and must say something.
func (o object) needText(key string) string {
	o.need(key)
	s := o.text(key)
	if s == "" {
		o.r.refuse(o.path(key), "%s: must not be empty", o.path(key))
	}
	return s
}

func (o object) flag(key string) bool {
	var b bool
	o.decode(key, &b, "a boolean")
	return b
}

// positive is a whole number from 1, or 0 when the field is missing.
func (o object) positive(key string) int64 {
	if !o.has(key) {
		return 0
	}
	var n int64
	o.decode(key, &n, "an integer")
	if n < 1 {
		o.r.refuse(o.path(key), "%s: must be at least 1, is %s", o.path(key), o.fields[key])
	}
	return n
}

// within checks a number's range; vendors refuse temperatures outside theirs.
func (o object) within(key string, low, high float64) {
	if !o.has(key) {
		return
	}
	n := math.NaN()
	o.decode(key, &n, "a number")
	if !(n >= low && n <= high) {
		o.r.refuse(o.path(key), "%s: must be between %g and %g", o.path(key), low, high)
	}
}

func (o object) decode(key string, into any, kind string) {
	if o.r == nil || o.r.bad != nil || !o.has(key) {
		return
	}
	if err := json.Unmarshal(o.fields[key], into); err != nil {
		o.r.refuse(o.path(key), "%s: expected %s", o.path(key), kind)
	}
}

// list gives the elements of an array field with their paths.
func (o object) list(key string) []element {
	var raws []json.RawMessage
	o.decode(key, &raws, "an array")
	if o.r.bad != nil {
		return nil
	}
	elements := make([]element, len(raws))
	for i, raw := range raws {
		at := o.path(key) + "[" + strconv.Itoa(i) + "]"
		if o.r.dotted {
			at = o.path(key) + "." + strconv.Itoa(i)
		}
		elements[i] = element{at: at, raw: raw}
	}
	return elements
}

type element struct {
	at  string
	raw json.RawMessage
}

// object is an object field; a missing one is an empty object.
func (o object) object(key string, allowed ...string) object {
	if !o.has(key) {
		return object{r: o.r, at: o.path(key)}
	}
	return o.r.object(o.path(key), o.fields[key], allowed...)
}

// anyObject is the JSON of a field that must hold an object, whatever its keys.
func (o object) anyObject(key string) json.RawMessage {
	if !o.has(key) {
		return nil
	}
	var fields map[string]json.RawMessage
	o.decode(key, &fields, "a JSON object")
	return o.fields[key]
}

// isString says whether a field holds a string rather than an array of parts.
func (o object) isString(key string) bool {
	return o.has(key) && strings.HasPrefix(string(o.fields[key]), `"`)
}

// schema is a field that must hold a JSON Schema of an object.
func (o object) schema(key string) json.RawMessage {
	if !o.has(key) {
		return nil
	}
	var s struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(o.fields[key], &s); err != nil || !strings.EqualFold(s.Type, "object") {
		o.r.refuse(o.path(key), "%s: must be a JSON Schema of type \"object\"", o.path(key))
		return nil
	}
	return o.compact(key)
}

// compact is a field's JSON without white space, so that a client's
// indentation is not billed.
func (o object) compact(key string) json.RawMessage {
	var v json.RawMessage
	o.decode(key, &v, "JSON")
	return compactJSON(v)
}

// toolName checks a name against what the vendors take.
func (o object) toolName(key string, longest int, also string) string {
	name := o.needText(key)
	bad := strings.IndexFunc(name, func(r rune) bool {
		return r >= 0x80 || (!isWord(r) && r != '-' && !strings.ContainsRune(also, r))
	})
	if bad >= 0 || len(name) > longest {
		o.r.refuse(o.path(key), "%s: %q is not a valid name: use up to %d letters, digits, _ and -", o.path(key), name, longest)
	}
	return name
}

// pairTools checks that every tool call is answered right after it and every
// result answers a call, as all four vendors demand, and fills in the names of
// the tools that the results belong to.
func (r *reader) pairTools(at string, messages []wflo.Message) {
	open := map[string]string{} // id to name
	for i := range messages {
		m := &messages[i]
		if m.Role == wflo.RoleTool {
			name, ok := open[m.ToolCallID]
			if !ok {
				r.refuse(at, "%s: the tool result for %q does not follow a tool call with that id", at, m.ToolCallID)
				return
			}
			delete(open, m.ToolCallID)
			m.ToolName = name
			continue
		}
		if r.unanswered(at, open) {
			return
		}
		for _, c := range m.ToolCalls {
			if _, twice := open[c.ID]; twice {
				r.refuse(at, "%s: the tool call id %q is used twice", at, c.ID)
				return
			}
			open[c.ID] = c.Name
		}
	}
	r.unanswered(at, open)
}

func (r *reader) unanswered(at string, open map[string]string) bool {
	if len(open) == 0 {
		return false
	}
	ids := make([]string, 0, len(open))
	for id := range open {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	r.refuse(at, "%s: tool calls must be followed by their results; these have none: %s", at, strings.Join(ids, ", "))
	return true
}

// looksFailed guesses whether a tool's result is an error, for the formats that
// cannot say so. See LastToolResult.
func looksFailed(text string) bool {
	for _, prefix := range []string{"error:", "the tool failed:"} {
		if len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
			return true
		}
	}
	var fields map[string]json.RawMessage
	return json.Unmarshal([]byte(text), &fields) == nil && len(fields) == 1 && fields["error"] != nil
}
