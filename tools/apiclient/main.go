// Command apiclient writes api/client/*.gen.go from docs/openapi.json: the types that the
// API takes and gives, and a method for each of its operations.
//
// oapi-codegen reads the document and makes the types; the methods come from a template
// of ours, which needs no library at run time and gives errors as Go does. A few
// operations have methods that are written by hand, because their answers are no JSON.
package main

import (
	"bytes"
	_ "embed" // the templates
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/codegen"
)

//go:embed client.tmpl
var clientTemplate string

//go:embed imports.tmpl
var importsTemplate string

// emptyTemplate stands for a part that is not wanted. One that is empty does not take the
// place of another, and one without a line end is taken for the name of a file.
const emptyTemplate = "{{\"\"}}\n"

// wordsPackage has the Go types that the document names as wflo.NAME.
const wordsPackage = "github.com/wflo-ai/wflo-go"

// byHand are the operations whose methods are written by hand.
var byHand = []string{"followRun", "downloadOutput", "getDocument"}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "apiclient:", err)
		os.Exit(1)
	}
}

// run takes the root of the wflo module, and writes the client there. With -check it only
// says whether what is there is what it would write.
func run(args []string) error {
	check := len(args) == 2 && args[0] == "-check"
	if !check && len(args) != 1 {
		return fmt.Errorf("usage: apiclient [-check] ROOT")
	}
	root := args[len(args)-1]
	data, err := os.ReadFile(filepath.Join(root, "docs", "openapi.json"))
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	code, err := generate(data)
	if err != nil {
		return err
	}
	files, err := split(code)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "api", "client")
	for name, text := range files {
		if !check {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // source
				return fmt.Errorf("write the client: %w", err)
			}
			continue
		}
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("read the client: %w", err)
		}
		if !bytes.Equal(have, text) {
			return fmt.Errorf("%s is behind docs/openapi.json: run go generate ./api/client", name)
		}
	}
	return nil
}

// generate is the Go source of a client for a document.
func generate(document []byte) (string, error) {
	var tree map[string]any
	if err := json.Unmarshal(document, &tree); err != nil {
		return "", fmt.Errorf("decode the document: %w", err)
	}
	simplify(tree)
	data, err := json.Marshal(tree)
	if err != nil {
		return "", fmt.Errorf("encode the document: %w", err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return "", fmt.Errorf("read the document: %w", err)
	}
	code, err := codegen.Generate(doc, codegen.Configuration{
		PackageName: "client",
		Generate:    codegen.GenerateOptions{Client: true, Models: true},
		OutputOptions: codegen.OutputOptions{
			SkipPrune: true, SkipEnumValidate: true,
			PreferSkipOptionalPointer: true, PreferSkipOptionalPointerWithOmitzero: true,
			NameNormalizer:        string(codegen.NameNormalizerFunctionToCamelCaseWithInitialisms),
			AdditionalInitialisms: []string{"CPU", "USD", "SHA256"},
			ExcludeOperationIDs:   byHand,
			UserTemplates:         map[string]string{"client.tmpl": clientTemplate, "imports.tmpl": importsTemplate, "client-with-responses.tmpl": emptyTemplate, "request-bodies.tmpl": emptyTemplate},
		},
	})
	if err != nil {
		return "", fmt.Errorf("generate: %w", err)
	}
	return once(code), nil
}

// doubled is a name that stands twice: the generator puts a name before every comment, and ours begin with it.
var doubled = regexp.MustCompile(`(?m)^(\s*// )(\w+) (\w+)\b`)

func once(code string) string {
	return doubled.ReplaceAllStringFunc(code, func(found string) string {
		m := doubled.FindStringSubmatch(found)
		if m[2] != m[3] {
			return found
		}
		return m[1] + m[2]
	})
}

// simplify takes out of a document what says more than Go's types can, and says the rest
// as the generator understands it.
func simplify(node any) {
	switch n := node.(type) {
	case map[string]any:
		nothing(n)
		named(n)
		pointed(n)
		emptied(n)
		unsaid(n)
		free(n)
		for _, child := range n {
			simplify(child)
		}
	case []any:
		for _, child := range n {
			simplify(child)
		}
	}
}

// nothing drops null as an alternative: a slice, a map and a pointer of Go have it. A
// struct that may be null is not required, which makes it a pointer.
func nothing(schema map[string]any) {
	if kinds, ok := schema["type"].([]any); ok {
		kinds = slices.DeleteFunc(kinds, func(k any) bool { return k == "null" })
		schema["type"] = kinds[0]
	}
	fields, ok := schema["properties"].(map[string]any)
	if !ok {
		return
	}
	must, _ := schema["required"].([]any)
	for name, f := range fields {
		field, ok := f.(map[string]any)
		if !ok {
			continue
		}
		either, ok := field["anyOf"].([]any)
		if !ok {
			continue
		}
		for _, one := range either {
			if ref, ok := one.(map[string]any)["$ref"]; ok {
				field["$ref"] = ref
			}
		}
		delete(field, "anyOf")
		must = slices.DeleteFunc(must, func(m any) bool { return m == name })
	}
	for name, f := range fields {
		field, ok := f.(map[string]any)
		if ref, isRef := field["$ref"].(string); ok && isRef && !slices.Contains(must, any(name)) && ref != "" {
			// What may be left out and is an object of its own: a pointer. Beside a $ref
			// nothing else counts.
			fields[name] = map[string]any{"allOf": []any{map[string]any{"$ref": ref}}, "description": field["description"], "x-go-type-skip-optional-pointer": false}
		}
	}
	if len(must) == 0 {
		delete(schema, "required")
	} else {
		schema["required"] = must
	}
}

// pointed keeps what may be left out apart from its zero, where the document says so.
func pointed(schema map[string]any) {
	if schema["x-go-pointer"] == true {
		schema["x-go-type-skip-optional-pointer"] = false
	}
}

// emptied has an empty list sent as one: the API may tell it from none, as it does for the
// thresholds of a budget.
func emptied(schema map[string]any) {
	if schema["type"] == "array" {
		schema["x-omitempty"] = false
	}
}

// named says where the Go types come from that the document names.
func named(schema map[string]any) {
	name, ok := schema["x-go-type"].(string)
	if !ok {
		return
	}
	switch pkg, _, _ := strings.Cut(name, "."); pkg {
	case "wflo":
		schema["x-go-type-import"] = map[string]any{"name": "wflo", "path": wordsPackage}
	case "json":
		schema["x-go-type-import"] = map[string]any{"path": "encoding/json"}
	}
}

// unsaid drops the header of who asks, which the client sends by itself.
func unsaid(operation map[string]any) {
	all, ok := operation["parameters"].([]any)
	if !ok {
		return
	}
	all = slices.DeleteFunc(all, func(p any) bool { return p.(map[string]any)["in"] == "header" })
	if operation["parameters"] = all; len(all) == 0 {
		delete(operation, "parameters")
	}
}

// free lets a parameter be any word: the API refuses those that it does not know, and a
// list of constants per parameter would be longer than all else.
func free(parameter map[string]any) {
	if _, ok := parameter["in"].(string); !ok {
		return
	}
	if schema, ok := parameter["schema"].(map[string]any); ok {
		delete(schema, "enum")
	}
}
