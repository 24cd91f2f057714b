package house

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// wall says what the packages of a folder may reach. The standard library is
// always allowed here; depguard keeps the parts of it that are not deterministic
// out of workflows.
type wall struct {
	// folder is one package, or with /... everything under it. The longest
	// match counts.
	folder string
	// own are the folders of this module that the package may reach, directly or
	// through others. anything lifts the limit.
	own []string
	// never are folders that stay out of reach even where own is anything.
	never []string
	// foreign are import path prefixes outside the standard library. The package
	// may reach them and whatever they bring along, and nothing else.
	foreign []string
	reason  string
}

const anything = "*"

var walls = []wall{
	{
		folder: ".",
		reason: "the words are the JSON that approval tools send and dashboards read, so they must be importable with no dependency at all",
	},
	{
		folder: "pricing", own: []string{"."},
		reason: "prices are an engine that works without Temporal: tokens in, money out",
	},
	{
		folder: "policy", own: []string{".", "internal/strictyaml"}, foreign: []string{"github.com/expr-lang/expr", "github.com/goccy/go-yaml"},
		reason: "rules are an engine that works without Temporal: facts in, ruling out, and nothing in between that could ask or wait",
	},
	{
		folder: "sandbox", own: []string{"."},
		reason: "Spec and Result cross the workflow boundary, so they must not bring a container client along",
	},
	{
		folder: "sandbox/sandboxtest", own: []string{".", "sandbox"}, foreign: []string{"github.com/google/go-cmp"},
		reason: "the suite judges every Runner, so it must not know any of them",
	},
	{
		folder: "sandbox/admission", own: []string{".", "sandbox"},
		reason: "who may begin is decided from amounts and quotas alone, so it must not know containers or callers",
	},
	{
		folder: "sandbox/egress", own: []string{".", "sandbox", "internal/publicnet"},
		reason: "what a program may reach is decided in one place, which must not depend on how its bytes get there",
	},
	{
		folder: "sandbox/docker", own: []string{".", "sandbox", "sandbox/admission", "sandbox/egress", "sandbox/docker/...", "internal/frame", "internal/publicnet", "internal/faultpoint"},
		foreign: []string{"github.com/docker/", "github.com/opencontainers/", "github.com/distribution/reference", "github.com/containerd/errdefs"},
		reason:  "the one package that talks to Docker knows specifications and containers, not agents",
	},
	{
		folder: "sandbox/docker/profile", own: []string{},
		reason: "a profile is data: operators load it without anything else of ours",
	},
	{
		folder: "sandbox/docker/pid1", own: []string{},
		reason: "the binaries are data, and must not pull what they were built from into who carries them",
	},
	{
		folder: "deploy",
		reason: "the image's recipe is carried inside programs; it is files and nothing else",
	},
	{
		folder: "internal/frame", own: []string{".", "sandbox"},
		reason: "the language between worker and sandbox is spoken by PID 1, which lives with the program that it watches: the less it contains, the less can be wrong there",
	},
	{
		folder: "internal/warden", own: []string{".", "sandbox", "internal/frame"}, foreign: []string{"golang.org/x/sys/unix"},
		reason: "PID 1 lives with the program that it watches: the less it contains, the less can be wrong there",
	},
	{
		folder: "cmd/wflo-runner", own: []string{".", "sandbox", "internal/frame", "internal/warden"}, foreign: []string{"golang.org/x/sys/unix"},
		reason: "PID 1 lives with the program that it watches: the less it contains, the less can be wrong there",
	},
	{
		folder: "internal/audit", own: []string{"."},
		reason: "the rules of the trail are the same for stores, verifiers and auditors, so they know none of them",
	},
	{
		folder: "internal/auth", own: []string{"."}, foreign: []string{"golang.org/x/time/rate"},
		reason: "what proves who somebody is must not know what it is asked for",
	},
	{
		folder: "internal/auth/oidc", own: []string{".", "internal/auth"}, foreign: []string{"github.com/coreos/go-oidc/v3", "golang.org/x/oauth2", "golang.org/x/time/rate"},
		reason: "one way to prove who somebody is knows its protocol and nothing of the others",
	},
	{
		folder: "internal/auth/ldap", own: []string{".", "internal/auth"}, foreign: []string{"github.com/go-ldap/ldap/v3", "golang.org/x/time/rate"},
		reason: "one way to prove who somebody is knows its protocol and nothing of the others",
	},
	{
		folder: "internal/strictyaml", own: []string{"."}, foreign: []string{"github.com/goccy/go-yaml"},
		reason: "policies and configuration are read equally strictly, so what reads them must not know what they say",
	},
	{
		folder: "internal/undo", own: []string{".", "activities", "internal/step", "pricing", "sandbox"}, foreign: []string{"go.temporal.io/sdk", "go.temporal.io/api", "go.opentelemetry.io/otel"},
		reason: "what people do about dead letters is the same for API, command line and console, so it must not know them",
	},
	{
		folder: "internal/claims", own: []string{".", "activities", "envelope", "internal/step", "pricing", "sandbox"},
		foreign: []string{"go.temporal.io/sdk", "go.temporal.io/api", "go.opentelemetry.io/otel", "google.golang.org/"},
		reason:  "what deletes payloads reads histories and claims, and knows no store and no program",
	},
	{
		folder: "internal/collect", own: []string{".", "activities", "internal/step", "pricing", "sandbox"}, foreign: []string{"go.temporal.io/sdk", "go.temporal.io/api", "go.opentelemetry.io/otel"},
		reason: "what is deleted is decided from references alone, so it must not know stores",
	},
	{
		folder: "internal/pgtables", own: []string{".", "activities", "internal/step", "pricing", "sandbox"},
		foreign: []string{"github.com/jackc/pgx/v5", "github.com/klauspost/compress", "go.temporal.io/sdk/", "go.temporal.io/api", "go.opentelemetry.io/otel"},
		reason:  "tables of users are read and written here alone, and by nobody who knows agents",
	},
	{
		folder: "internal/tree", own: []string{".", "activities", "internal/step", "pricing", "sandbox"},
		foreign: []string{"github.com/klauspost/compress", "go.temporal.io/sdk/", "go.temporal.io/api", "go.opentelemetry.io/otel"},
		reason:  "trees are saved and brought back through two interfaces, so containers and stores stay out of sight",
	},
	{
		folder: "internal/faultpoint", own: []string{},
		reason: "a point where tests break things is in the way of everybody's work, so it brings nothing along",
	},
	{
		folder: "internal/faultpoint/faulty", own: []string{".", "activities", "internal/faultpoint", "internal/step", "pricing", "sandbox"},
		foreign: []string{"go.temporal.io/sdk", "go.temporal.io/api", "go.opentelemetry.io/otel"},
		reason:  "what is broken are the interfaces of activities, whoever implements them",
	},
	{
		folder: "internal/openapi", own: []string{},
		reason: "the console serves the document, so it must not know the console",
	},
	{
		folder: "internal/story", own: []string{".", "activities", "internal/step", "pricing", "sandbox"}, foreign: []string{"go.temporal.io/", "go.opentelemetry.io/otel", "google.golang.org/"},
		reason: "what happened to a run is told from histories and stores alone, so it must not know pages or programs",
	},
	{
		folder: "internal/rewind", own: []string{".", "activities", "internal/step", "pricing", "sandbox"}, foreign: []string{"go.temporal.io/sdk", "go.temporal.io/api", "go.opentelemetry.io/otel"},
		reason: "the rules of recovery are the same for both databases, so they know neither",
	},
	{
		folder: "internal/publicnet", own: []string{},
		reason: "which addresses are public is a table, and sandboxes and channels read the same one",
	},
	{
		folder: "internal/notify/outbound", own: []string{".", "internal/publicnet"},
		reason: "where connections may go is decided in one place, which must not depend on what they are for",
	},
	{
		folder: "internal/notify/render", own: []string{"."},
		reason: "everybody is shown the same, so the renderer must not know the channels",
	},
	{
		folder: "internal/step", own: []string{".", "sandbox"},
		foreign: []string{"go.temporal.io/sdk/workflow", "go.temporal.io/api/common", "go.temporal.io/api/failure"},
		reason:  "the halves meet here by name, so whatever this package reaches, workflow code reaches",
	},
	{
		folder: "workflows", own: []string{".", "sandbox", "internal/step"},
		foreign: []string{
			"go.temporal.io/sdk/workflow", "go.temporal.io/sdk/temporal", "go.temporal.io/sdk/interceptor",
			"go.temporal.io/sdk/converter", "go.temporal.io/sdk/log", "go.temporal.io/api/common", "go.temporal.io/api/failure",
			"github.com/santhosh-tekuri/jsonschema/v6",
		},
		reason: "workflow code is replayed: rules, prices and drivers change with a deploy and would answer differently the second time, so their verdicts are recorded by activities",
	},
	{
		folder: "activities", own: []string{".", "pricing", "sandbox", "internal/step"},
		foreign: []string{
			"go.temporal.io/sdk/activity", "go.temporal.io/sdk/temporal", "go.temporal.io/sdk/interceptor", "go.temporal.io/sdk/converter",
			"go.opentelemetry.io/otel",
		},
		reason: "side effects are written against interfaces that this package owns; a driver here could not be replaced or tested away",
	},
	{
		folder: "activities/storetest", own: []string{".", "activities", "pricing", "sandbox", "internal/step"},
		foreign: []string{"github.com/google/go-cmp", "pgregory.net/rapid", "go.temporal.io/sdk/"},
		reason:  "the suite judges every store, so it must not know any of them",
	},
	{
		folder: "wflotest/...", own: []string{anything}, foreign: []string{anything},
		never:  []string{"worker", "starter"},
		reason: "an agent's unit test runs the real door over fakes, without programs",
	},
	{
		folder: "internal/...", own: []string{anything}, foreign: []string{anything},
		never:  []string{"workflows", "plugin", "wflotest", "worker", "starter"},
		reason: "a driver knows its library and the interface that it serves; it never knows who calls it",
	},
	{
		folder: "plugin/...", own: []string{anything}, foreign: []string{anything},
		never:  []string{"wflotest", "worker", "starter"},
		reason: "the door joins both halves, the engines and the drivers, and is joined by programs only",
	},
	{
		folder: "console", own: []string{anything}, foreign: []string{anything},
		never:  []string{"wflotest", "worker", "starter"},
		reason: "the console as a library joins pages, desk and ways to log in, and is joined by programs only",
	},
	{
		folder: "worker/...", own: []string{anything}, foreign: []string{anything},
		never:  []string{"wflotest", "starter"},
		reason: "a program is wiring around the door",
	},
	{
		folder: "recovery", own: []string{"."}, foreign: []string{"go.temporal.io/"},
		reason: "who starts a restore needs the words and a client; the work is done where the workers are",
	},
	{
		folder: "envelope", own: []string{"."}, foreign: []string{"go.temporal.io/", "google.golang.org/grpc", "google.golang.org/protobuf"},
		reason: "what starts runs seals what it sends without the drivers behind the door",
	},
	{
		folder: "api/client", own: []string{"."},
		reason: "whoever asks the API gets the words and nothing else",
	},
	{
		folder: "starter/...", own: []string{".", "sandbox", "workflows", "internal/step", "envelope"}, foreign: []string{"go.temporal.io/"},
		reason: "starting a run needs the words and a client; a starter that needs more is not one to copy",
	},
	{
		folder: "examples/...", own: []string{anything}, foreign: []string{anything},
		never:  []string{"worker", "starter"},
		reason: "an example uses what a user can use",
	},
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Error      *struct{ Err string }
}

func (p pkg) folder() string {
	if p.ImportPath == modulePath {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, modulePath+"/")
}

// listPackages gives the packages of the root module and everything that they
// reach. overlay is a file for go list's -overlay, or "".
func listPackages(t *testing.T, overlay string) map[string]pkg {
	t.Helper()
	args := []string{"list", "-e", "-deps", "-json=ImportPath,Standard,Imports,Error"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, "./...")...)
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Error != nil {
			// One is enough: a broken go.mod breaks every package in the same way.
			t.Fatalf("%s: %s", p.ImportPath, p.Error.Err)
		}
		all[p.ImportPath] = p
	}
	return all
}

func TestWalls(t *testing.T) {
	for _, f := range brokenWalls(listPackages(t, "")) {
		t.Errorf("%s: %s", f.where, f.what)
	}
}

// brokenWalls checks every package of the root module against its wall.
func brokenWalls(all map[string]pkg) []finding {
	var found []finding
	guards := map[string]bool{}
	for _, importPath := range sortedKeys(all) {
		p := all[importPath]
		if !isOurs(importPath) {
			continue
		}
		w, ok := wallOf(p.folder())
		if !ok {
			found = append(found, finding{p.folder(), "has no wall; say in internal/house/walls_test.go what it may reach, and why"})
			continue
		}
		guards[w.folder] = true
		for _, what := range w.broken(all, p) {
			found = append(found, finding{p.folder(), what + "\n  why the wall: " + w.reason})
		}
	}
	for _, w := range walls {
		if !guards[w.folder] {
			found = append(found, finding{w.folder, "this wall guards no package; remove it, or mend its name"})
		}
	}
	return found
}

func isOurs(importPath string) bool { return within(importPath, modulePath) }

func wallOf(folder string) (wall, bool) {
	var best wall
	for _, w := range walls {
		prefix, deep := strings.CutSuffix(w.folder, "/...")
		if (folder == prefix || deep && within(folder, prefix)) && len(w.folder) >= len(best.folder) {
			best = w
		}
	}
	return best, best.folder != ""
}

// broken says what p reaches that w does not allow, with the way it gets there.
func (w wall) broken(all map[string]pkg, p pkg) []string {
	var whats []string
	broughtAlong := map[string]bool{}
	for importPath := range all {
		if w.allowsForeign(importPath) {
			for dep := range reach(all, importPath) {
				broughtAlong[dep] = true
			}
		}
	}
	way := reach(all, p.ImportPath)
	for _, dep := range sortedKeys(way) {
		d, known := all[dep]
		switch {
		case dep == p.ImportPath, known && d.Standard, dep == "C", dep == "unsafe":
			continue
		case isOurs(dep):
			folder := d.folder()
			if w.allowsOwn(folder) || within(folder, p.folder()) && p.folder() != "." {
				continue
			}
		case broughtAlong[dep], slices.Contains(w.foreign, anything):
			continue
		}
		if reportedThrough(w, way, p, dep) {
			continue
		}
		whats = append(whats, fmt.Sprintf("must not reach %s (by %s)", dep, strings.Join(pathTo(way, dep), " -> ")))
	}
	return whats
}

// reportedThrough spares the reader what a forbidden package brings along: only
// the first forbidden step of a way is a finding.
func reportedThrough(w wall, way map[string]string, p pkg, dep string) bool {
	for via := way[dep]; via != "" && via != p.ImportPath; via = way[via] {
		if !isOurs(via) && !w.allowsForeign(via) {
			return true
		}
		if isOurs(via) && !w.allowsOwn(strings.TrimPrefix(via, modulePath+"/")) && via != modulePath {
			return true
		}
	}
	return false
}

func (w wall) allowsOwn(folder string) bool {
	if withinAny(folder, w.never) {
		return false
	}
	return slices.Contains(w.own, anything) || slices.Contains(w.own, folder)
}

func (w wall) allowsForeign(importPath string) bool {
	return slices.ContainsFunc(w.foreign, func(prefix string) bool {
		return within(importPath, strings.TrimSuffix(prefix, "/")) && !isOurs(importPath)
	})
}

// reach gives every package that start imports, directly or not, with the
// package through which it was found first.
func reach(all map[string]pkg, start string) map[string]string {
	found := map[string]string{start: ""}
	for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
		for _, next := range all[queue[0]].Imports {
			if _, seen := found[next]; !seen {
				found[next] = queue[0]
				queue = append(queue, next)
			}
		}
	}
	return found
}

func pathTo(way map[string]string, dep string) []string {
	var steps []string
	for at := dep; at != ""; at = way[at] {
		steps = append(steps, at)
	}
	slices.Reverse(steps)
	return steps
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
