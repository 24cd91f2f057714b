package openapi

import (
	"bytes"
	"os"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// problems are what the validator finds in a document.
func problems(t *testing.T, data []byte) (all []string) {
	t.Helper()
	doc, err := libopenapi.NewDocument(data)
	if err != nil {
		return []string{err.Error()}
	}
	v, errs := validator.NewValidator(doc)
	for _, err := range errs {
		all = append(all, err.Error())
	}
	if len(errs) > 0 {
		return all
	}
	_, bad := v.ValidateDocument()
	for _, p := range bad {
		all = append(all, p.Message+": "+p.Reason)
	}
	return all
}

func TestDocumentIsOpenAPI(t *testing.T) {
	data, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(`"openapi": "3.1.0"`)) {
		t.Error("it is another version")
	}
	for _, p := range problems(t, data) {
		t.Error(p)
	}
	// The validator must see what is wrong.
	broken := bytes.Replace(data, []byte(`"in": "path"`), []byte(`"in": "road"`), 1)
	if len(problems(t, broken)) == 0 {
		t.Error("a parameter that is nowhere was not found")
	}
}
