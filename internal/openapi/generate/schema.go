package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// object is a JSON object; encoding/json writes its keys in order.
type object = map[string]any

// schemas turns Go types into JSON Schema, each struct once, under a name of its own.
type schemas struct {
	words *words
	types map[string]reflect.Type
	all   object
	err   error
}

func newSchemas(w *words) *schemas {
	return &schemas{words: w, types: map[string]reflect.Type{}, all: object{}}
}

// goType names the Go type of a schema where everybody can import it: the words of package
// wflo, and a few of the standard library. Other languages pass over it.
const goType = "x-go-type"

// goPointer says of a field that may be left out that this is not the same as its zero.
const goPointer = "x-go-pointer"

// as are types whose JSON their Go shape does not tell.
var as = map[reflect.Type]object{
	reflect.TypeFor[time.Time]():       {"type": "string", "format": "date-time"},
	reflect.TypeFor[time.Duration]():   {"type": "integer", "format": "int64", "description": "Nanoseconds.", goType: "time.Duration"},
	reflect.TypeFor[json.RawMessage](): {"description": "Any JSON.", goType: "json.RawMessage"},
	reflect.TypeFor[[]byte]():          {"type": "string", "contentEncoding": "base64", goType: "[]byte"},
	reflect.TypeFor[slog.Level]():      {"type": "string", "description": "DEBUG, INFO, WARN or ERROR."},
	reflect.TypeFor[wflo.Money]():      {"type": "string", "pattern": `^-?[0-9]+\.[0-9]{2,9}$`, "description": "US dollars, exact to a billionth.", goType: "wflo.Money"},
}

// named are types whose name another type has, too.
var named = map[reflect.Type]string{
	reflect.TypeFor[wflo.Run]():             "RunOrigin",
	reflect.TypeFor[desk.Request]():         "DecisionRequest",
	reflect.TypeFor[desk.Item]():            "ApprovalItem",
	reflect.TypeFor[desk.View]():            "ApprovalView",
	reflect.TypeFor[desk.Set]():             "ApproverSet",
	reflect.TypeFor[telemetry.LevelState](): "LogLevel",
}

// prefixes keep packages apart whose types have short names.
var prefixes = map[string]string{"story": "Story", "sandbox": "Sandbox", "policy": "Policy", "pricing": "Price"}

func (s *schemas) fail(format string, args ...any) object {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
	return object{}
}

// of is the schema of a type as encoding/json writes it.
func (s *schemas) of(t reflect.Type) object {
	if known, ok := as[t]; ok {
		out := object{}
		for k, v := range known {
			out[k] = v
		}
		return out
	}
	if t.Implements(reflect.TypeFor[json.Marshaler]()) {
		return s.fail("%s writes its own JSON: say in as what it is", t)
	}
	if t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.ref(t)
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Interface:
		return object{"description": "Any JSON."}
	}
	return s.plain(t)
}

// plain is the schema of a number, a word or a truth.
func (s *schemas) plain(t reflect.Type) object {
	switch t.Kind() {
	case reflect.String:
		if t.PkgPath() == module {
			return object{"type": "string", goType: "wflo." + t.Name()}
		}
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int64, reflect.Uint64, reflect.Int, reflect.Uint:
		return object{"type": "integer", "format": "int64"}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return object{"type": "integer", "format": "int32"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	}
	return s.fail("%s has no JSON", t)
}

// ref is a reference to a struct, which is described once.
func (s *schemas) ref(t reflect.Type) object {
	name := nameOf(t)
	if had, there := s.types[name]; there && had != t {
		return s.fail("%s and %s are both called %s: name one in named", had, t, name)
	}
	if _, there := s.types[name]; !there {
		s.types[name] = t // before its fields: types may be within themselves
		s.all[name] = s.structure(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func nameOf(t reflect.Type) string {
	if name, ok := named[t]; ok {
		return name
	}
	return prefixes[path.Base(t.PkgPath())] + t.Name()
}

func (s *schemas) structure(t reflect.Type) object {
	out := object{"type": "object"}
	if t.PkgPath() == module {
		out[goType] = "wflo." + t.Name()
	}
	if about := s.words.of(t, ""); about != "" {
		out["description"] = about
	}
	fields, must := object{}, []string{}
	s.fields(t, fields, &must)
	out["properties"] = fields
	if len(must) > 0 {
		slices.Sort(must)
		out["required"] = slices.Compact(must)
	}
	return out
}

// fields adds those of a struct, and of structs that are embedded in it.
func (s *schemas) fields(t reflect.Type, into object, must *[]string) {
	for f := range fieldsOf(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Tag.Get("json") == "-", !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			s.fields(f.Type, into, must)
			continue
		case name == "":
			name = f.Name
		}
		one := s.of(f.Type)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if !optional {
			*must = append(*must, name)
			one = orNull(one, f.Type)
		}
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() != reflect.Struct {
			one[goPointer] = true // none is not the same as zero
		}
		if about := s.words.of(t, f.Name); about != "" {
			one["description"] = about
		}
		into[name] = one
	}
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// orNull adds that a field may be null, where Go writes nothing else for its zero value.
func orNull(one object, t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
	default:
		return one
	}
	if kind, ok := one["type"].(string); ok {
		one["type"] = []string{kind, "null"}
		return one
	}
	if _, ok := one["$ref"]; ok {
		return object{"anyOf": []object{one, {"type": "null"}}}
	}
	return one
}
