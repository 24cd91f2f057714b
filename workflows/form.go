package workflows

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wflo-ai/wflo-go"
)

// maxForm bounds a form, and an answer to one, in bytes.
const maxForm = 64 << 10

// formURL is the form's own name, which its references are relative to.
const formURL = "wflo:form"

// nothing refuses to load what a form refers to: a form is whole, and workflow code
// reads neither files nor the network.
type nothing struct{}

// Load refuses.
func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("%.100q is outside of the form", url)
}

// form is a JSON schema that answers must fit.
type form = jsonschema.Schema

// compileForm reads the JSON schema of a form; nil where there is none.
func compileForm(text json.RawMessage) (schema *form, err error) {
	if len(text) == 0 {
		return nil, nil
	}
	if len(text) > maxForm {
		return nil, wflo.Invalid("approval.form", fmt.Sprintf("has %d bytes", len(text)), fmt.Sprintf("use at most %d", maxForm))
	}
	// The library is given what people write; a fault of it must not end the run.
	defer func() {
		if r := recover(); r != nil {
			schema, err = nil, wflo.Invalid("approval.form", "cannot be read as a JSON schema", "use plain JSON schema, draft 2020-12")
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return nil, wflo.Invalid("approval.form", "is not JSON: "+err.Error(), "give a JSON schema")
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nothing{})
	err = c.AddResource(formURL, doc) //workflowcheck:ignore the name is ours, and nothing is loaded
	if err != nil {
		return nil, wflo.Invalid("approval.form", err.Error(), "give a JSON schema")
	}
	schema, err = c.Compile(formURL) //workflowcheck:ignore the order in which a schema is walked does not show in it
	if err != nil {
		return nil, wflo.Invalid("approval.form", "is no JSON schema: "+firstLine(err.Error()), "use plain JSON schema, draft 2020-12, without references to other documents")
	}
	return schema, nil
}

// fits says why the answer to the gate's form does not fit it.
func (g *openGate) fits(d wflo.Decision) (err error) {
	if g.form == nil || d.Verdict != wflo.VerdictRespond {
		return nil
	}
	if len(d.Form) == 0 || len(d.Form) > maxForm {
		return wflo.Invalid("decision.form", fmt.Sprintf("has %d bytes", len(d.Form)), fmt.Sprintf("fill in the gate's form, with at most %d bytes", maxForm))
	}
	defer func() {
		if r := recover(); r != nil {
			err = wflo.Invalid("decision.form", "cannot be compared with the form", "answer in plain JSON")
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(d.Form)))
	if err != nil {
		return wflo.Invalid("decision.form", "is not JSON", "answer with a JSON value")
	}
	err = g.form.Validate(doc) //workflowcheck:ignore which fault is named first may differ, whether there is one does not
	if err != nil {
		return wflo.Invalid("decision.form", "does not fit the form: "+firstLine(err.Error()), "look at the form again")
	}
	return nil
}

// firstLine is what the library says is wrong, without the name of the schema, which
// is ours.
func firstLine(s string) string {
	head, rest, ok := strings.Cut(s, "\n")
	if ok && strings.HasPrefix(head, "jsonschema") {
		head = strings.TrimPrefix(strings.TrimSpace(rest), "- ")
	}
	return wflo.VisibleLine(clip(oneLine(head, 300), 300))
}
