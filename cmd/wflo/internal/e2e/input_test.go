//go:build integration

package e2e

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	_ "modernc.org/sqlite" // to make a file of another version

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// Command lines that cannot work, with the exit code and what a person reads.
func (d *dev) testBadInput(t *testing.T) {
	t.Parallel()
	agent := func(more ...string) []string { return append([]string{"run", "agent", "--prompt", "echo"}, more...) }
	for _, tt := range []struct {
		name          string
		args          []string
		code          int
		message, hint string
	}{
		{"unknown model", agent("--model", "gpt-99-omega"), exitError, "has no price", "price"},
		{"model without a provider", agent("--model", "claude-haiku-4-5"), exitAuth, "provider anthropic is not configured", "ANTHROPIC_API_KEY"},
		{"no budget at all", agent("--model", modelName, "--budget", "0"), exitUsage, "--budget is $0", "positive"},
		{"negative budget", agent("--model", modelName, "--budget=-1"), exitUsage, "--budget is -$1", "positive"},
		{"no number", agent("--model", modelName, "--budget", "lots"), exitUsage, "--budget", "positive"},
		{"budget below one call", agent("--model", modelName, "--budget", "0.0000001"), exitBudget, "has no room", "raise the budget"},
		{"unknown tool", agent("--model", modelName, "--tools", "rm"), exitUsage, "task.tools[0]", "run_python"},
		{"no model", agent(), exitUsage, "task.model", "gpt-5.4-mini"},
		{"turns", []string{"run", "agent", "--input", `{"model":"m","prompt":"p","max_turns":-1}`}, exitError, "task.max_turns", "1 to"},
		{"unknown workflow", []string{"run", "no.such.workflow"}, exitUsage, "no workflow is called no.such.workflow", "example.Refund"},
		{"no JSON", []string{"run", "refund", "--input", "{"}, exitUsage, "--input is not JSON", "quote"},
		{"no file", []string{"run", "refund", "--input", "@/no/such/file"}, exitUsage, "no such file", "@-"},
		{"no CSV", []string{"run", "refund", "--input", `{"csv":"a,b\n1,2\n"}`}, exitError, "lacks the column", "charge_id"},
		{"no run", []string{"status", "nobody"}, exitError, "no run nobody", "wflo list"},
		{"no gate", []string{"approve", "nobody", "--yes"}, exitError, "no open gate", "wflo approvals"},
		{"unknown command", []string{"aprove"}, exitUsage, "aprove", "approve"},
		{"unknown flag", []string{"list", "--stat"}, exitUsage, "--stat", "wflo list --help"},
	} {
		t.Run(tt.name, func(t *testing.T) { d.wflo(t, tt.args...).wantHint(t, tt.code, tt.message, tt.hint) })
	}
}

// What models and programs do wrong is for the model to mend, and bounded.
func (d *dev) testUnrulyAgents(t *testing.T, model *scripted.Server) {
	t.Parallel()
	run := func(t *testing.T, part string) (prompt string, p *program) {
		t.Helper()
		t.Parallel()
		prompt = part + " " + unique(part)
		return prompt, d.wflo(t, "run", "agent", "--model", modelName, "--tools", "run_python", "--budget", "0.50", "--prompt", prompt)
	}
	t.Run("malformed arguments", func(t *testing.T) {
		prompt, p := run(t, "malformed")
		p.want(t, 0, "done")
		if text, failed := lastResult(t, model, prompt); !failed || !strings.Contains(text, "not a JSON object") {
			t.Errorf("the model saw failed %t, %q", failed, text)
		}
	})
	t.Run("five megabytes of output", func(t *testing.T) {
		prompt, p := run(t, "flood")
		p.want(t, 0, "done")
		text, failed := lastResult(t, model, prompt)
		if failed || len(text) > 20<<10 || !strings.Contains(text, "begin") || !strings.Contains(text, "bytes in the middle of stdout were dropped") {
			t.Errorf("the model saw failed %t and %d bytes: %.100q … %q", failed, len(text), text, text[max(0, len(text)-200):])
		}
	})
	t.Run("output that is no text", func(t *testing.T) {
		prompt, p := run(t, "bytes")
		p.want(t, 0, "done")
		text, failed := lastResult(t, model, prompt)
		if failed || !utf8.ValidString(text) || !strings.Contains(text, "a\uFFFD") {
			t.Errorf("the model saw failed %t, %q", failed, text)
		}
	})
	t.Run("never an answer", func(t *testing.T) {
		t.Parallel()
		prompt := "endless " + unique("endless")
		d.wflo(t, "run", "agent", "--input", fmt.Sprintf(`{"model":%q,"prompt":%q,"max_turns":3}`, modelName, prompt)).
			wantHint(t, exitError, "no answer within 3 turns", "max_turns")
		if n := len(turns(model, prompt)); n != 3 {
			t.Errorf("the model was called %d times, want 3", n)
		}
	})
}

// Without an engine, or without the image, nothing runs: least of all here.
func (d *dev) testNoSandbox(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, env, message, hint string }{
		{"no engine", "DOCKER_HOST=unix:///nonexistent/docker.sock", "no container engine answers", "start Docker"},
		{"no image", "WFLO_SANDBOX_IMAGE=wflo/no-such-image:0", "the image wflo/no-such-image:0 is not on the engine", "docker pull"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, env := vendor(t, cast)
			queue, trace := unique("nobox"), filepath.Join(t.TempDir(), "trace")
			d.worker(t, t.TempDir(), queue, append(env, tt.env)...)
			d.wflo(t, "run", "agent", "--task-queue", queue, "--model", modelName, "--tools", "run_shell", "--prompt", "host "+trace).
				wantHint(t, exitError, tt.message, tt.hint)
			if exists(trace) {
				t.Error("the program ran on the host")
			}
		})
	}
}

// What keeps `wflo dev` from starting is said with what to do about it.
func (d *dev) testDevRefuses(t *testing.T) {
	t.Parallel()
	port := d.Address[strings.LastIndex(d.Address, ":")+1:]
	_, api, _ := strings.Cut(strings.TrimPrefix(d.api, "http://"), ":")
	stale := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(stale, filepath.Base(d.Database)))
	if err == nil {
		_, err = db.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = 1003; CREATE TABLE t (a)", 0x57464C4F))
	}
	if err == nil {
		err = db.Close()
	}
	foreign := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(foreign, filepath.Base(d.Database)), []byte("not a database, much longer than a header"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	free := []string{"--port", "0", "--ui-port", "0", "--api-port", "0"}
	for _, tt := range []struct {
		name          string
		args          []string
		code          int
		message, hint string
	}{
		{"port in use", []string{"--port", port}, exitError, "port " + port + " for Temporal is taken", "--port"},
		{"UI port in use", []string{"--ui-port", port}, exitError, "is taken", "--ui-port"},
		{"API port in use", []string{"--api-port", api}, exitError, "listen on", "--api-port"},
		{"data of another version", []string{"--data-dir", stale}, exitError, "was made for Temporal server 1.3", "--data-dir"},
		{"data of another program", []string{"--data-dir", foreign}, exitError, "is not a SQLite database", "--data-dir"},
		{"data in use", []string{"--data-dir", filepath.Join(d.home, "wflo")}, exitError, "in use", "--data-dir"},
		{"port that is none", []string{"--port", "99999"}, exitError, "--port is 99999", "65535"},
		{"no approver key", []string{"--data-dir", unreadableKey(t)}, exitAuth, "can be read by others", "chmod 600"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{bin.wflo, "dev", "--data-dir", filepath.Join(t.TempDir(), "data")}, free...)
			start(t, environment(t.TempDir()), append(args, tt.args...)...).wantHint(t, tt.code, tt.message, tt.hint)
		})
	}
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.Close()
	t.Run("no server", func(t *testing.T) {
		start(t, environment(t.TempDir(), "TEMPORAL_ADDRESS="+down.Addr().String()), bin.wflo, "list").
			wantHint(t, exitError, "no Temporal server answers at "+down.Addr().String(), "wflo dev")
	})
}

// unreadableKey is a data directory whose key everybody can read.
func unreadableKey(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "approver.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "approver.key"), 0o644); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	return dir
}

// The secrets of the environment reach neither output nor history.
func (d *dev) testNoSecrets(t *testing.T) {
	t.Parallel()
	id := unique("secret")
	d.wflo(t, "run", "agent", "--id", id, "--model", modelName, "--tools", "run_shell", "--prompt", "host /tmp/x").want(t, 0)
	history := d.temporal(t, "workflow", "show", "-w", id, "-o", "json").want(t, 0)
	if strings.Contains(history.said(), apiKey) || strings.Contains(d.said(), apiKey) {
		t.Error("the API key is in the history or the log")
	}
	var entries []wflo.Entry
	get(t, d.api+"/api/v1/runs/"+id+"/ledger", &entries)
	if len(entries) != 2 {
		t.Errorf("got %d entries", len(entries))
	}
}
