//go:build integration

package e2e

import (
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// What Temporal shows of a run as its current details, in its Web UI and on its command
// line, is what the run waits for.
func (b *bureau) testCurrentDetails(t *testing.T) {
	id, g := b.atGate(t, "details", "ops")
	b.temporal(t, "workflow", "metadata", "-w", id).want(t, 0, "Current Details", g.ID, "group:finance", g.Nonce, "wflo approve")
	if status, text := b.logIn(t).decide(g, "reject"); status != http.StatusOK {
		t.Errorf("reject: %d %s", status, text)
	}
	if err := b.client(t).GetWorkflow(t.Context(), id, "").Get(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "ann rejected") {
		t.Errorf("a rejected run ends with %v", err)
	}
}

// signal sends a decision as Temporal's command line does.
func (b *bureau) signal(t *testing.T, id string, g wflo.Gate) {
	t.Helper()
	b.temporal(t, "workflow", "signal", "-w", id, "--name", wflo.SignalDecide, "--input", decision(t, g, g.Digest, wflo.VerdictApprove)).want(t, 0)
}

// Whoever reaches Temporal can signal anything. A gate that wants signatures takes
// nothing of it.
func (b *bureau) testTemporalAtASignedGate(t *testing.T) {
	id, g := b.atGate(t, "signed", "ops")
	await(t, "the run in Temporal's list", func() bool {
		query := `WfloGates = "` + g.ID + `" AND WfloApprovers = "group:finance" AND WfloState = "waiting_approval"`
		return strings.Contains(b.temporal(t, "workflow", "list", "--query", query).want(t, 0).out.String(), id)
	})
	b.signal(t, id, g)
	c := b.client(t)
	var s wflo.Status
	await(t, "the refusal of an unsigned decision", func() bool {
		s, _ = status(t, c, id)
		return len(s.Gates) == 1 && s.Gates[0].Refused == 1
	})
	if got := s.Gates[0]; got.Status != wflo.GateOpen || !strings.Contains(got.LastRefusal, "decision.signature is missing") {
		t.Errorf("gate %s, %s", got.Status, got.LastRefusal)
	}
	if status, page := b.logIn(t).decide(s.Gates[0], "approve"); status != http.StatusOK {
		t.Errorf("approve: %d %s", status, page)
	}
	b.wantDone(t, id, "ann", "ldap")
}

func (b *bureau) testTemporalAtAnUnsignedGate(t *testing.T) {
	id, g := b.atGate(t, "unsigned", "open")
	b.signal(t, id, g)
	b.wantDone(t, id, "tom", "")
}

// wantNoSecrets looks for all that is secret in all that people and programs can read.
func (b *bureau) wantNoSecrets(t *testing.T) {
	t.Helper()
	secrets := append([]string{slackToken, slackSecret, ldapPassword, annPassword, oidcSecret, "ann-password", apiKey}, b.keys...)
	look := func(where, text string) {
		t.Helper()
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s has the secret that begins with %.9s", where, s)
			}
		}
	}
	look("the worker's log", b.workerProgram.said())
	look("the console's log", b.consoleProgram.said())
	look("the dev server's log", b.dev.said())
	exported := start(t, b.env(), bin.wflo, "audit", "export", "-", "--database", filepath.Join(b.dir, "wflo.db"), "--keys", filepath.Join(b.dir, "wflo.yaml")).want(t, 0).out.String()
	if !strings.Contains(exported, string(wflo.AuditGateDecided)) || !strings.Contains(exported, string(wflo.AuditLoginRefused)) {
		t.Errorf("the trail lacks decisions or refused logins:\n%.2000s", exported)
	}
	look("the audit trail", exported)
	resp, err := http.Get(b.workerAPI + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(metrics), "wflo_") {
		t.Fatalf("metrics: %v: %.200s", err, metrics)
	}
	look("the metrics", string(metrics))
	look("the list of runs", b.wflo(t, "list", "-o", "json").said())
	files, err := filepath.Glob(filepath.Join(b.mails, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(b.dir, "wflo.db*"))
	if err != nil || len(kept) == 0 || len(files) == 0 {
		t.Fatalf("%v: files of the database %v, mails %v", err, kept, files)
	}
	for _, name := range append(files, kept...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		look(filepath.Base(name), string(data))
	}
	for _, m := range b.slack.Messages() {
		for _, block := range m.Blocks {
			look("a message in Slack", string(block.Elements)+m.Text)
		}
	}
	list := b.temporal(t, "workflow", "list", "-o", "json").want(t, 0).out.String()
	look("Temporal's list", list)
	runs := 0
	for line := range strings.Lines(list) {
		_, id, found := strings.Cut(line, `"workflowId": "`)
		if !found {
			continue
		}
		runs++
		id, _, _ = strings.Cut(id, `"`)
		look("the history of "+id, decoded(t, b.temporal(t, "workflow", "show", "-w", id, "-o", "json").want(t, 0).out.String()))
	}
	if runs < 8 {
		t.Errorf("only %d runs are in the list:\n%s", runs, list)
	}
}

var payloadData = regexp.MustCompile(`"data": "([A-Za-z0-9+/=]+)"`)

// decoded is a history with the text of its payloads, which JSON has in base64.
func decoded(t *testing.T, history string) string {
	t.Helper()
	found := payloadData.FindAllStringSubmatch(history, -1)
	if len(found) == 0 {
		t.Errorf("a history without payloads:\n%.500s", history)
	}
	for _, m := range found {
		data, err := base64.StdEncoding.DecodeString(m[1])
		if err != nil {
			t.Fatal(err)
		}
		history += "\n" + string(data)
	}
	return history
}
