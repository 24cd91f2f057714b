package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/openapi"
)

// written is the part of the document that tests look at.
type written struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Role        string `json:"x-wflo-role"`
		Tenants     bool   `json:"x-wflo-tenants"`
		Parameters  []struct {
			Name string `json:"name"`
			In   string `json:"in"`
		} `json:"parameters"`
		Responses map[string]json.RawMessage `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]json.RawMessage `json:"schemas"`
	} `json:"components"`
}

func readWritten(t *testing.T) (doc written) {
	t.Helper()
	if err := json.Unmarshal(openapi.Document(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Readers, programs and the code must see the same API.
func TestDocumentIsUpToDate(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	want, err := build(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range targets {
		have, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s is behind the code: run go generate ./internal/openapi", name)
		}
	}
}

func TestEveryRouteIsInTheDocument(t *testing.T) {
	doc := readWritten(t)
	n, seen := 0, map[string]bool{}
	for _, rt := range routes() {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		op, ok := doc.Paths[path][strings.ToLower(method)]
		if !ok {
			t.Errorf("%s is missing", rt.Pattern)
			continue
		}
		if op.Role != string(rt.Role) || op.Tenants != rt.Tenants {
			t.Errorf("%s: %s, tenants %t; the console says %s, %t", rt.Pattern, op.Role, op.Tenants, rt.Role, rt.Tenants)
		}
		if seen[op.OperationID] || op.OperationID == "" {
			t.Errorf("%s: id %q is empty or taken", rt.Pattern, op.OperationID)
		}
		seen[op.OperationID] = true
		n++
	}
	total := 0
	for _, of := range doc.Paths {
		total += len(of)
	}
	// The console of this test must have all parts: the rarest of each is looked for.
	for _, part := range []string{"followRun", "decide", "restoreRun", "setLogLevel", "getLogs"} {
		if !seen[part] {
			t.Errorf("no %s", part)
		}
	}
	if total != n {
		t.Errorf("the document has %d operations, the console %d", total, n)
	}
}

// What a path takes is asked of the path: it refuses a parameter that it does not know,
// and says which ones it does.
func TestParametersAreThoseThatPathsTake(t *testing.T) {
	doc, handler := readWritten(t), console.NewHandler(everything())
	t.Cleanup(handler.Wait)
	// These take no query, and do not refuse one.
	silent := []string{"GET /api/v1/runs/{id}", "GET /api/v1/runs/{id}/ledger", "GET /api/v1/budgets/{id}", "GET /api/v1/openapi.json"}
	asked := 0
	for _, rt := range routes() {
		path, get := strings.CutPrefix(rt.Pattern, "GET ")
		if !get || slices.Contains(silent, rt.Pattern) {
			continue
		}
		var want []string
		for _, p := range doc.Paths[path]["get"].Parameters {
			if p.In == "query" {
				want = append(want, p.Name)
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+placeholder.ReplaceAllString(path, "x")+"?nonsense=1", nil))
		var p console.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusUnprocessableEntity || !strings.Contains(p.Message, "nonsense") {
			t.Errorf("%s: %d %s", rt.Pattern, w.Code, w.Body)
			continue
		}
		var have []string
		for name := range strings.SplitSeq(strings.TrimPrefix(p.Hint, "use "), ", ") {
			if name = strings.TrimSpace(name); name != "" && name != "use" {
				have = append(have, name)
			}
		}
		slices.Sort(want)
		slices.Sort(have)
		if diff := cmp.Diff(have, want); diff != "" {
			t.Errorf("%s takes (-), the document says (+)\n%s", rt.Pattern, diff)
		}
		asked++
	}
	if asked < 20 {
		t.Errorf("only %d paths were asked", asked)
	}
}

func TestReferencesLeadSomewhere(t *testing.T) {
	doc := readWritten(t)
	used := 0
	for part := range strings.SplitSeq(string(openapi.Document()), `"$ref": "#/components/schemas/`) {
		name, _, _ := strings.Cut(part, `"`)
		if used++; used == 1 {
			continue // before the first
		}
		if _, ok := doc.Components.Schemas[name]; !ok {
			t.Errorf("nothing is called %s", name)
		}
	}
	if used < 50 {
		t.Errorf("%d references", used)
	}
}
