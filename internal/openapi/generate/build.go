package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/story"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// Parts of a console of which only the routes are asked: nothing calls them.
type (
	unaskedLedger   struct{ activities.Ledger }
	unaskedRecovery struct{ activities.Recovery }
	unaskedRecords  struct{ activities.Records }
)

func (unaskedLedger) Logs() activities.Logs { return nil }

// everything is a console with all that its API can have.
func everything() console.Config {
	return console.Config{
		Metrics: http.NotFoundHandler(), Ledger: unaskedLedger{}, Recovery: unaskedRecovery{},
		Desk: &desk.Desk{Records: unaskedRecords{}}, Story: &story.Teller{}, Insecure: true,
		Logger: telemetry.NewLogger(io.Discard, telemetry.Config{Level: telemetry.NewLevel(slog.LevelError)}),
	}
}

// routes are those of the API, in the order of the console's table.
func routes() []console.Route {
	return slices.DeleteFunc(console.Routes(everything()), func(rt console.Route) bool { return !strings.Contains(rt.Pattern, " /api/") })
}

// build makes the document, indented.
func build(root string) ([]byte, error) {
	w := &words{root: root, said: map[string]string{}, read: map[string]bool{}}
	s := newSchemas(w)
	paths, left := map[string]object{}, maps.Clone(operations)
	for _, rt := range routes() {
		op, ok := operations[rt.Pattern]
		if !ok {
			return nil, fmt.Errorf("%s has no operation: describe it in operations.go", rt.Pattern)
		}
		delete(left, rt.Pattern)
		method, path, _ := strings.Cut(rt.Pattern, " ")
		if paths[path] == nil {
			paths[path] = object{}
		}
		about, err := describe(rt, path, op, s)
		if err != nil {
			return nil, err
		}
		paths[path][strings.ToLower(method)] = about
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the console does not serve %v", slices.Sorted(maps.Keys(left)))
	}
	s.of(of[console.Problem]())
	if s.err != nil {
		return nil, s.err
	}
	if w.err != nil {
		return nil, w.err
	}
	return encode(paths, s.all)
}

func encode(paths map[string]object, shapes object) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "wflo", "version": "v1", "license": object{"name": "Apache License 2.0", "identifier": "Apache-2.0"},
			"description": "Runs, approvals, money, recovery and logs of AI agents on Temporal, as a worker and a console serve them. " +
				"A parameter that a path does not have is refused. Every failure is a Problem. Amounts are strings of dollars, never floating point.",
		},
		"servers":  []object{{"url": "http://127.0.0.1:7244", "description": "`wflo dev` on this machine."}},
		"security": []object{{"key": []string{}}, {"session": []string{}, "csrf": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": shapes, "securitySchemes": schemes(),
			"responses": object{"Problem": object{
				"description": "What went wrong, and what to do about it.",
				"content":     object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}},
			}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the document: %w", err)
	}
	return out.Bytes(), nil
}

func schemes() object {
	return object{
		"key":     object{"type": "http", "scheme": "bearer", "description": "An API key, wflo_..., or a token of the OIDC provider."},
		"session": object{"type": "apiKey", "in": "cookie", "name": "__Host-wflo_session", "description": "Somebody who logged in to the pages."},
		"csrf":    object{"type": "apiKey", "in": "header", "name": console.HeaderCSRF, "description": "What requests of a session repeat to change something; whoami says it."},
	}
}

var placeholder = regexp.MustCompile(`\{([a-z]+)\}`)

// describe is one operation.
func describe(rt console.Route, path string, op operation, s *schemas) (object, error) {
	var all []object
	for _, m := range placeholder.FindAllStringSubmatch(path, -1) {
		all = append(all, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}, "description": pathWords(path, m[1])})
	}
	for _, key := range op.query {
		p, ok := parameter(key)
		if !ok {
			return nil, fmt.Errorf("%s: no parameter %q", rt.Pattern, key)
		}
		all = append(all, p)
	}
	if !strings.HasPrefix(rt.Pattern, "GET ") {
		all = append(all, object{
			"name": console.HeaderUser, "in": "header", "schema": object{"type": "string"},
			"description": "Who makes the change, where nobody can prove it; ignored of a caller who has proved who they are.",
		})
	}
	out := object{
		"operationId": op.id, "summary": op.summary, "tags": []string{tagOf(path)}, "description": whoMay(rt),
		"x-wflo-role": rt.Role, "x-wflo-tenants": rt.Tenants, "responses": answers(path, op, s),
	}
	if len(all) > 0 {
		out["parameters"] = all
	}
	if op.in != nil {
		out["requestBody"] = object{"required": !op.optional, "content": object{"application/json": object{"schema": bodyOf(op, s)}}}
	}
	return out, nil
}

// pathWords is what a part of a path names.
func pathWords(path, name string) string {
	switch {
	case name == "row":
		return "The id of a row of the story."
	case name == "nonce":
		return "The gate's nonce."
	case name == "key":
		return "The effect key of the call."
	case name == "attempt":
		return "The attempt of the call, from 1."
	case strings.HasPrefix(path, "/api/v1/runs/"):
		return "The workflow id of the run."
	case strings.HasPrefix(path, "/api/v1/budgets/"):
		return "The budget's id, as SCOPE:NAME; a slash is written %2F."
	}
	return "Its id."
}

func tagOf(path string) string {
	part, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/v1/"), "/")
	return strings.TrimSuffix(part, ".json")
}

// whoMay says who may use a route, for readers; its x- fields say it to programs.
func whoMay(rt console.Route) string {
	if rt.Tenants {
		return fmt.Sprintf("Needs the role %s. Callers who are bound to an org see what is the org's.", rt.Role)
	}
	return fmt.Sprintf("Needs the role %s, and is not for callers who are bound to an org.", rt.Role)
}

// answers are those of success and of failure.
func answers(path string, op operation, s *schemas) object {
	ok := object{"description": "As asked."}
	switch {
	case op.media == "text/event-stream":
		ok["content"] = object{op.media: object{"schema": object{"type": "string"}}}
	case op.media != "":
		ok["content"] = object{op.media: object{"schema": object{"type": "string", "format": "binary"}}}
	case op.out != nil:
		ok["content"] = object{"application/json": object{"schema": s.of(op.out)}}
	}
	if op.id == "listRuns" {
		ok["headers"] = object{"Link": object{"description": `The next page, with rel="next"; absent on the last.`, "schema": object{"type": "string"}}}
	}
	problem := object{"$ref": "#/components/responses/Problem"}
	out := object{"200": ok, "401": problem, "403": problem, "422": problem, "429": problem, "default": problem}
	if strings.Contains(path, "{") {
		out["404"] = problem
	}
	if op.clashes {
		out["409"] = problem
	}
	if op.later {
		out["202"] = object{"description": "It goes on.", "content": ok["content"]}
	}
	return out
}

// fromPath are fields of a body that the path says already, or that are the server's to
// write.
var fromPath = map[string][]string{
	"decide": {"nonce"}, "setBudget": {"scope", "name", "limit"},
	"restoreRun": {"id", "workflow_id", "by", "reason", "mode", "parts"},
}

// bodyOf is the schema of a body. Where the path says some of it, those fields may be
// left out.
func bodyOf(op operation, s *schemas) object {
	ref := s.of(op.in)
	free := fromPath[op.id]
	if len(free) == 0 {
		return ref
	}
	name := nameOf(op.in)
	whole, ok := s.all[name].(object)
	if !ok {
		return s.fail("%s: %s is no struct", op.id, op.in)
	}
	out := maps.Clone(whole)
	delete(out, goType) // it writes what may be left out
	must, _ := whole["required"].([]string)
	must = slices.DeleteFunc(slices.Clone(must), func(f string) bool { return slices.Contains(free, f) })
	if delete(out, "required"); len(must) > 0 {
		out["required"] = must
	}
	given := strings.ToUpper(op.id[:1]) + op.id[1:] + "Body"
	s.all[given] = out
	return object{"$ref": "#/components/schemas/" + given}
}
