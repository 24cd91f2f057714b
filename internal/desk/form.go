package desk

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wflo-ai/wflo-go"
)

// Bounds of forms.
const (
	mostForm   = 64 << 10 // bytes of a schema, and of an answer
	mostFields = 50
)

// closedLoader refuses every schema that is not in the gate itself: a form must not
// make the console read files or ask servers.
type closedLoader struct{}

func (closedLoader) Load(string) (any, error) {
	return nil, errors.New("schemas elsewhere are not read")
}

// CheckForm says why the data does not fit the gate's form, a JSON schema, or nil.
// References to other documents are refused.
func CheckForm(schema, data json.RawMessage) error {
	switch {
	case len(data) == 0:
		return wflo.Invalid("decision.form", "is empty", "fill in the form")
	case len(data) > mostForm || len(schema) > mostForm:
		return wflo.Invalid("decision.form", "is too large", fmt.Sprintf("forms and answers have at most %d bytes", mostForm))
	}
	if _, err := wflo.Canonical(data); err != nil {
		return wflo.Invalid("decision.form", err.Error(), "answer with JSON that can be read in one way only")
	}
	compiled, err := compile(schema)
	if err != nil {
		return wflo.Invalid("approval.form", "is not a JSON schema that can be used", "mend the workflow, and ask again")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return wflo.Invalid("decision.form", "is not JSON", "fill in the form")
	}
	var misfit *jsonschema.ValidationError
	switch err := compiled.Validate(value); {
	case errors.As(err, &misfit):
		return wflo.Invalid("decision.form", "does not fit: "+misfits(misfit), "mend the answer")
	case err != nil:
		return wflo.Invalid("decision.form", "does not fit", "mend the answer")
	}
	return nil
}

func compile(schema json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(closedLoader{})
	const name = "wflo:form"
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// misfits names the fields that do not fit, without what somebody wrote into them.
func misfits(e *jsonschema.ValidationError) string {
	var all []string
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) == 0 && len(all) < 5 {
			where := "/" + strings.Join(e.InstanceLocation, "/")
			all = append(all, where+" ("+strings.Join(e.ErrorKind.KeywordPath(), "/")+")")
		}
	}
	walk(e)
	return strings.Join(all, ", ")
}

// Field is one input of a form that a page can draw.
type Field struct {
	Name, Title, Help string
	// Kind is text, number, integer, boolean or choice.
	Kind     string
	Choices  []string
	Required bool
}

// property is the part of a schema that a page can draw.
type property struct {
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Enum        []string `json:"enum"`
}

// Fields gives the inputs for a schema that is one object of plain values. ok is
// false for others, which people answer in JSON.
func Fields(schema json.RawMessage) (fields []Field, ok bool) {
	var object struct {
		Type       string              `json:"type"`
		Properties map[string]property `json:"properties"`
		Required   []string            `json:"required"`
	}
	if json.Unmarshal(schema, &object) != nil || object.Type != "object" || len(object.Properties) == 0 || len(object.Properties) > mostFields {
		return nil, false
	}
	kinds := map[string]string{"string": "text", "number": "number", "integer": "integer", "boolean": "boolean"}
	for name, p := range object.Properties {
		f := Field{Name: name, Title: cmp.Or(p.Title, name), Help: p.Description, Kind: kinds[p.Type], Required: slices.Contains(object.Required, name)}
		if p.Type == "string" && len(p.Enum) > 0 {
			f.Kind, f.Choices = "choice", p.Enum
		}
		if f.Kind == "" || len(p.Enum) > 0 && p.Type != "string" {
			return nil, false
		}
		fields = append(fields, f)
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return fields, true
}

// ReadFields makes the JSON answer of what a page's form sent, under names that
// begin with prefix. Inputs that are left empty are left out, except check boxes.
func ReadFields(fields []Field, prefix string, sent url.Values) (json.RawMessage, error) {
	out := map[string]any{}
	for _, f := range fields {
		value := strings.ReplaceAll(sent.Get(prefix+f.Name), "\r\n", "\n")
		switch {
		case f.Kind == "boolean":
			out[f.Name] = value != ""
		case value == "":
		case f.Kind == "number" || f.Kind == "integer":
			n := json.Number(strings.TrimSpace(value))
			if !json.Valid([]byte(n)) {
				return nil, wflo.Invalid("decision.form", f.Name+" is not a number", "write digits, with a point for fractions")
			}
			out[f.Name] = n
		default:
			out[f.Name] = value
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, wflo.Invalid("decision.form", "cannot be read", "write plain text and numbers")
	}
	return data, nil
}
