package house

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// library is a dependency that a person decided to take.
type library struct {
	// prefix is a module path, or what the modules of one family share.
	prefix string
	// folders are where it may be imported, tests apart, which may try us against
	// the real thing; none means wherever walls allow it.
	folders []string
	// integration marks the one client library of an integration, which does not
	// count against maxLibraries.
	integration bool
	// tests marks what only tests may import.
	tests  bool
	reason string
}

// maxLibraries bounds the root module's libraries without integrations.
const maxLibraries = 20

// knownLibraries is the reviewed list of what the root module depends on.
var knownLibraries = []library{
	{prefix: "go.temporal.io/sdk/contrib/envconfig", reason: "Temporal's own address, TLS and API key settings, so that a wflo worker starts like any other"},
	{prefix: "go.temporal.io/sdk/contrib/opentelemetry", reason: "Temporal's own trace propagation, so that one trace covers a run"},
	{prefix: "go.temporal.io/sdk", reason: "the platform that runs are workflows of"},
	{prefix: "go.temporal.io/api", reason: "the wire types behind the SDK: history events, failures, search attributes"},

	{prefix: "github.com/docker/docker", folders: []string{"sandbox/docker"}, integration: true, reason: "containers"},
	{prefix: "github.com/opencontainers/image-spec", folders: []string{"sandbox/docker"}, integration: true, reason: "platform types of the Docker client"},
	{prefix: "github.com/distribution/reference", folders: []string{"sandbox/docker"}, integration: true, reason: "image names, parsed as Docker does"},
	{prefix: "github.com/containerd/errdefs", folders: []string{"sandbox/docker"}, integration: true, reason: "error kinds of the Docker client"},

	{prefix: "github.com/jackc/pgx/v5", folders: []string{"internal/postgres", "internal/pgtables", "cmd/wflo/internal/clitest", "cmd/wflo/internal/survive"}, integration: true, reason: "PostgreSQL"},
	{prefix: "modernc.org/sqlite", folders: []string{"internal/sqlite", "cmd/wflo"}, integration: true, reason: "SQLite without cgo, so that one static binary is enough"},
	{prefix: "github.com/pressly/goose/v3", folders: []string{"internal/postgres", "internal/sqlite"}, reason: "migrations with a lock, the same for both databases"},
	{prefix: "github.com/minio/minio-go/v7", folders: []string{"internal/objectstore/s3"}, integration: true, reason: "blobs in S3, MinIO and what speaks like them"},
	{prefix: "github.com/klauspost/compress", folders: []string{"internal/tree", "internal/pgtables"}, reason: "zstd, which the standard library does not have"},
	{prefix: "github.com/getsentry/sentry-go", folders: []string{"internal/telemetry"}, integration: true, reason: "failures where people look for them already, in the wire format of its servers"},
	{prefix: "github.com/redis/go-redis/v9", folders: []string{"internal/cache/redis"}, integration: true, reason: "a response cache that all workers share"},
	{prefix: "github.com/goccy/go-yaml", folders: []string{"internal/strictyaml", "internal/config", "policy"}, reason: "configuration files whose mistakes are shown with their line, which other parsers do not"},
	{prefix: "github.com/openai/openai-go/v3", folders: []string{"internal/llm/openai", "examples/byosdk"}, integration: true, reason: "OpenAI and compatible servers"},
	{prefix: "github.com/anthropics/anthropic-sdk-go", folders: []string{"internal/llm/anthropic"}, integration: true, reason: "Anthropic"},
	{prefix: "google.golang.org/genai", folders: []string{"internal/llm/google"}, integration: true, reason: "Google"},
	{prefix: "github.com/cohere-ai/cohere-go/v2", folders: []string{"internal/llm/cohere"}, integration: true, reason: "Cohere"},

	{prefix: "github.com/coreos/go-oidc/v3", folders: []string{"internal/auth/oidc"}, integration: true, reason: "OpenID providers: discovery, keys that rotate, tokens"},
	{prefix: "golang.org/x/oauth2", folders: []string{"internal/auth/oidc"}, integration: true, reason: "the authorization code flow with PKCE"},
	{prefix: "github.com/go-ldap/ldap/v3", folders: []string{"internal/auth/ldap"}, integration: true, reason: "directories"},
	{prefix: "golang.org/x/time/rate", folders: []string{"internal/auth", "internal/console"}, reason: "token buckets per address"},
	{prefix: "github.com/expr-lang/expr", folders: []string{"policy"}, reason: "the language of conditions: its lexer and parser; judging is ours, because a guard must not pass quietly"},
	{prefix: "github.com/santhosh-tekuri/jsonschema/v6", folders: []string{"workflows", "internal/desk"}, reason: "answers to a gate's form fit its JSON schema"},
	{prefix: "github.com/slack-go/slack", folders: []string{"internal/notify/slack"}, integration: true, reason: "Slack's blocks and errors"},
	{prefix: "github.com/wneessen/go-mail", folders: []string{"internal/notify/email"}, integration: true, reason: "mail with STARTTLS policies and safe headers; the standard library's is frozen"},
	{prefix: "github.com/standard-webhooks/standard-webhooks/libraries", folders: []string{"internal/notify/webhook"}, integration: true, reason: "signatures that receivers verify with the library of their language"},

	{prefix: "golang.org/x/sys/unix", folders: []string{"internal/warden"}, reason: "PID 1 of a sandbox limits, reaps and watches by system calls that package syscall does not have"},

	{prefix: "github.com/prometheus/client_golang", folders: []string{"internal/telemetry", "plugin"}, reason: "metrics with exactly the documented names"},
	{prefix: "go.opentelemetry.io/", reason: "traces; a family of modules that are released together"},
	{prefix: "google.golang.org/protobuf", reason: "Temporal's payloads are protocol buffers, and their size is measured as such"},

	{prefix: "github.com/google/go-cmp", tests: true, reason: "readable differences, without an assertion language"},
	{prefix: "go.uber.org/goleak", tests: true, reason: "whoever starts a goroutine also waits for it"},
	{prefix: "pgregory.net/rapid", tests: true, reason: "state machines are tested against a model"},
	{prefix: "github.com/gowebpki/jcs", tests: true, reason: "another implementation of RFC 8785, to compare with"},
	{prefix: "github.com/emersion/go-smtp", tests: true, integration: true, reason: "a real SMTP server"},
	{prefix: "github.com/emersion/go-sasl", tests: true, integration: true, reason: "its logins"},
	{prefix: "github.com/chromedp/chromedp", tests: true, integration: true, reason: "the console's pages in a real browser"},
	{prefix: "google.golang.org/grpc", folders: []string{"envelope", "internal/connect", "internal/desk/desktest", "cmd/wflo"}, integration: true, reason: "sealing on the connection to Temporal, and what its errors are"},
}

// serverOnly are libraries of the command's module. They must not show up in the
// go.sum of those who import the SDK.
var serverOnly = []library{
	{prefix: "go.temporal.io/server", folders: []string{"cmd/wflo"}, reason: "it brings 200 modules along, and only `wflo dev` embeds it"},
	{prefix: "github.com/temporalio/ui-server", folders: []string{"cmd/wflo"}, reason: "only `wflo dev` serves the Web UI"},
	{prefix: "github.com/spf13/", folders: []string{"cmd/wflo"}, reason: "flags are the command's business"},
	{prefix: "github.com/itchyny/gojq", folders: []string{"cmd/wflo"}, reason: "--jq, as people know it from gh"},
	{prefix: "github.com/modelcontextprotocol/go-sdk", folders: []string{"cmd/wflo"}, reason: "coding agents look at runs by it; only the command speaks it"},
	{prefix: "github.com/fsnotify/fsnotify", folders: []string{"cmd/wflo"}, reason: "wflo dev --watch notices what was saved"},
}

func libraryOf(importPath string) (library, bool) {
	var best library
	for _, l := range slices.Concat(knownLibraries, serverOnly) {
		if within(importPath, strings.TrimSuffix(l.prefix, "/")) && len(l.prefix) > len(best.prefix) {
			best = l
		}
	}
	return best, best.prefix != ""
}

// libraries is the source rule: a library is imported only in its folders.
func libraries(s source) []finding {
	var found []finding
	for _, importPath := range s.imports() {
		l, known := libraryOf(importPath)
		switch {
		case !known:
		case len(l.folders) > 0 && !withinAny(s.dir(), l.folders) && !strings.HasSuffix(s.path, "_test.go"):
			found = append(found, finding{s.path, fmt.Sprintf("imports %s, which belongs in %s (%s)", importPath, strings.Join(l.folders, ", "), l.reason)})
		case l.tests && !s.forTests() && !otherModule(s):
			found = append(found, finding{s.path, fmt.Sprintf("imports %s, which is for tests (%s)", importPath, l.reason)})
		}
	}
	return found
}

// otherModule is true for files of the modules that live in this repository
// besides the root module.
func otherModule(s source) bool { return withinAny(s.dir(), []string{"cmd/wflo", "tools"}) }

func TestDirectDependencies(t *testing.T) {
	used, unknown := directLibraries(goSources(t))
	report(t, "every dependency is a decision: name it in knownLibraries with its reason, or do without it", unknown)
	counted := 0
	for _, l := range knownLibraries {
		if used[l.prefix] && !l.integration {
			counted++
		}
	}
	if counted > maxLibraries {
		t.Errorf("%d libraries, %d is the most\nwhy the rule: everything that we import is in the go.sum, the scanner and the audit of those who import us", counted, maxLibraries)
	}
	for _, l := range knownLibraries {
		if !used[l.prefix] {
			t.Errorf("knownLibraries names %s, which nothing imports; remove the row", l.prefix)
		}
	}
}

// directLibraries gives the known libraries that files of the root module
// import, and the imports that no row explains.
func directLibraries(all []source) (used map[string]bool, unknown []finding) {
	used = map[string]bool{}
	for _, s := range all {
		if otherModule(s) {
			continue
		}
		for _, importPath := range s.imports() {
			first, _, _ := strings.Cut(importPath, "/")
			if !strings.Contains(first, ".") || isOurs(importPath) {
				continue
			}
			l, ok := libraryOf(importPath)
			if !ok {
				unknown = append(unknown, finding{s.path, "imports " + importPath + ", which is not in knownLibraries"})
			}
			used[l.prefix] = true
		}
	}
	return used, unknown
}

// goMod is what `go mod edit -json` says.
type goMod struct {
	Require []struct {
		Path     string
		Indirect bool
	}
	Replace []struct{ Old struct{ Path string } }
}

func readGoMod(t *testing.T, file string) goMod {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", file).Output()
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var mod goMod
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	return mod
}

func TestNoReplace(t *testing.T) {
	dir := root(t)
	commands := map[string]bool{}
	for _, s := range goSources(t) {
		if s.file.Name.Name == "main" {
			commands[s.dir()] = true
		}
	}
	files := moduleFiles(t, dir)
	if len(files) < 2 {
		t.Fatalf("found only %v", files)
	}
	for _, file := range files {
		mod := readGoMod(t, filepath.Join(dir, file))
		if hasCommand(path.Dir(file), commands) && len(mod.Replace) > 0 {
			t.Errorf("%s replaces %s\nwhy the rule: `go install ...@latest` refuses a module with replace directives; go.work joins the modules of this repository",
				file, mod.Replace[0].Old.Path)
		}
	}
}

func hasCommand(moduleDir string, commands map[string]bool) bool {
	for dir := range commands {
		if moduleDir == "." || within(dir, moduleDir) {
			return true
		}
	}
	return false
}

func moduleFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := walkTree(dir, func(rel string, d fs.DirEntry) error {
		if d.Name() == "go.mod" && !strings.Contains(rel, "testdata/") {
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestGoModMarks holds the part of `go mod tidy` that readers see.
func TestGoModMarks(t *testing.T) {
	var found []finding
	imports := map[string]bool{}
	for _, s := range goSources(t) {
		if otherModule(s) {
			continue
		}
		for _, importPath := range s.imports() {
			imports[importPath] = true
		}
	}
	required := readGoMod(t, filepath.Join(root(t), "go.mod")).Require
	direct := map[string]bool{}
	for importPath := range imports {
		best := ""
		for _, r := range required {
			if within(importPath, r.Path) && len(r.Path) > len(best) {
				best = r.Path
			}
		}
		direct[best] = true
	}
	for _, r := range required {
		if r.Indirect == direct[r.Path] {
			found = append(found, finding{"go.mod", fmt.Sprintf("%s: marked indirect is %t, imported here is %t; run make tidy", r.Path, r.Indirect, direct[r.Path])})
		}
	}
	report(t, "go.mod is the list that people read before they import us", found)
}

// TestNoScriptSkips keeps testscript files from skipping, as noSkips does for Go.
func TestNoScriptSkips(t *testing.T) {
	dir := root(t)
	var found []finding
	err := walkTree(dir, func(rel string, _ fs.DirEntry) error {
		kept := strings.Contains(rel, "testdata/") && (strings.HasSuffix(rel, ".txt") || strings.HasSuffix(rel, ".txtar"))
		if !kept || strings.HasPrefix(path.Base(rel), "help-") { // what --help prints is no script
			return nil
		}
		text, err := os.ReadFile(filepath.Join(dir, rel))
		found = append(found, scriptSkips(rel, string(text))...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	report(t, "a missing part is a failure with a hint, never a skip", found)
}

var scriptSkip = regexp.MustCompile(`(?m)^\s*(\[[^\]]*\]\s*)*(skip|exec sleep)\b`)

func scriptSkips(name, text string) []finding {
	script, _, _ := strings.Cut("\n"+text, "\n-- ")
	var found []finding
	for _, at := range scriptSkip.FindAllStringIndex(script, -1) {
		found = append(found, finding{name, strings.TrimSpace(script[at[0]:at[1]])})
	}
	return found
}

// TestNoMachinePaths keeps the tree free of paths that exist on one machine.
func TestNoMachinePaths(t *testing.T) {
	dir := root(t)
	marks := machineMarks(dir)
	var found []finding
	err := walkTree(dir, func(rel string, d fs.DirEntry) error {
		info, err := d.Info()
		if err != nil || info.Size() > 4<<20 || strings.HasSuffix(rel, ".sum") {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, rel))
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			return err
		}
		found = append(found, machinePaths(rel, string(text), marks)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	report(t, "a path of one machine is wrong on every other, and tells strangers how that machine is laid out", found)
}

// common are the first folders that every Unix machine may have.
var common = strings.Fields("bin boot dev etc home lib lib64 media mnt opt private proc root run sbin srv sys tmp usr var Users Volumes workspace")

// machineMarks are the texts that would give this machine away: the checkout, and
// the folder at the top that holds it if that is an unusual one.
func machineMarks(dir string) []string {
	marks := []string{filepath.ToSlash(dir) + "/"}
	first, _, _ := strings.Cut(strings.TrimPrefix(filepath.ToSlash(dir), "/"), "/")
	if !slices.Contains(common, first) {
		marks = append(marks, "/"+first+"/")
	}
	return marks
}

// personal finds what somebody's machine looks like on any machine.
var personal = regexp.MustCompile(`/Users/\w+/|/home/\w+/(go|src|code|work|dev|projects)/|/root/go/|/tmp/\w+_jobs\b`)

func machinePaths(name, text string, marks []string) []finding {
	var found []finding
	for i, line := range strings.Split(text, "\n") {
		where := fmt.Sprintf("%s:%d", name, i+1)
		if hit := personal.FindString(line); hit != "" && !strings.Contains(line, "personal = regexp") {
			found = append(found, finding{where, hit})
		}
		for _, mark := range marks {
			if at := strings.Index(line, mark); at >= 0 && !partOfLonger(line, at) {
				found = append(found, finding{where, mark})
			}
		}
	}
	return found
}

// partOfLonger is true when the path at that place goes on to the left, as in a
// URL or in a folder of the repository.
func partOfLonger(line string, at int) bool {
	if at == 0 {
		return false
	}
	c := line[at-1]
	return c == '/' || c == '.' || c == '-' || c == '_' || c == '}' || c == ')' ||
		'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
