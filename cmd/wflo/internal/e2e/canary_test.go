//go:build integration

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// TestCanaries plants a secret in every field that takes one, has each open
// something, and looks for all of them in everything that people, programs and disks
// are left with.
func TestCanaries(t *testing.T) {
	t.Parallel()
	p := newPlanted(t)
	id := p.useAll(t)
	if t.Failed() {
		t.Fatal("a secret that was not used proves nothing")
	}
	p.lookAtMetrics(t)
	p.lookAtHistories(t, id)
	p.stopAll(t)
	p.lookAtLogs(t, id)
	p.lookAtNotices(t, id)
	p.lookAtDisks(t, id)
}

// useAll has every secret open something, and gives the run that was told about on
// all channels.
func (p *planted) useAll(t *testing.T) string {
	t.Helper()
	p.useModels(t)
	p.useSandbox(t)
	if a := chat(t, p.workerAPI+"/v1", gatewayKey, plainChat); a.status != http.StatusOK {
		t.Errorf("the gateway's key: %d %s", a.status, a.body)
	}
	p.testLDAP(t)
	p.testOpenIDConnect(t)
	p.testSlack(t)
	id, g := p.atGate(t, "canaries", "ops")
	p.awaitNotices(t, id)
	ann := p.visitor(t)
	key := p.issue(t, "ann", "approver", "finance")
	if status, page := ann.page(http.MethodPost, "/login/key", url.Values{"key": {key}}); status != http.StatusOK {
		t.Fatalf("log in: %d %s", status, page)
	}
	p.plantCookies(t, ann)
	if status, page := ann.decide(g, "approve"); status != http.StatusOK {
		t.Errorf("approve: %d %s", status, page)
	}
	p.wantDone(t, id, "ann", "apikey") // which also says that console.key signed
	await(t, "a checkpoint that notary.key signed", func() bool {
		files, err := filepath.Glob(filepath.Join(p.dir, "checkpoints", "*"))
		return err == nil && len(files) > 0
	})
	if got := p.redis.say(t, "DBSIZE"); !strings.HasPrefix(got, "-NOAUTH") {
		t.Errorf("Redis answers anybody: %s", got)
	}
	if got := p.redis.say(t, "AUTH "+p.redis.password, "DBSIZE"); got == ":0\r\n" || !strings.HasPrefix(got, ":") {
		t.Errorf("nothing is in Redis: %s", got)
	}
	if got := strings.TrimSpace(p.sql(t, p.admin, "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename LIKE 'canary_%'")); got != "t" {
		t.Errorf("nobody is connected to PostgreSQL by the password: %s", got)
	}
	return id
}

// useModels asks a model of each vendor.
func (p *planted) useModels(t *testing.T) {
	t.Helper()
	for model, vendor := range p.vendors {
		id := unique("model")
		p.wflo(t, "run", "agent", "--id", id, "--task-queue", p.queue, "--model", model, "--prompt", "echo "+id).want(t, 0, id)
		if !slices.ContainsFunc(vendor.Calls(), func(c scripted.Call) bool { return c.Status == http.StatusOK }) {
			t.Errorf("the vendor of %s answered no call", model)
		}
	}
}

// useSandbox runs a program that has secrets.
func (p *planted) useSandbox(t *testing.T) {
	t.Helper()
	task, err := json.Marshal(wflo.Task{
		Model: modelName, Prompt: "digests " + unique("digests"), Tools: []string{wflo.ToolShell},
		Sandbox: wflo.Box{Secrets: map[string]string{"DEPLOY": "deploy", "FILED": "filed"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.wflo(t, "run", "agent", "--task-queue", p.queue, "--input", string(task)).want(t, 0, "done")
	calls := p.vendors[modelName].Calls()
	seen := fmt.Sprint(calls[len(calls)-1].Turn.Messages)
	for name, secret := range p.programs {
		if sum := sha256.Sum256([]byte(secret)); !strings.Contains(seen, hex.EncodeToString(sum[:])) {
			t.Errorf("the program did not have %s: %s", name, seen)
		}
	}
}

// issue makes an API key.
func (p *planted) issue(t *testing.T, subject, role, group string) string {
	t.Helper()
	made := start(t, p.consoleSide(), bin.wflo, "console", "key", "--subject", subject, "--role", role, "--group", group).want(t, 0)
	key := strings.TrimSpace(made.out.String())
	// What goes before the last part is the key's name.
	p.secrets.plant("API key of "+subject, key[strings.LastIndex(key, "_")+1:])
	return key
}

// plantCookies adds what a browser has to prove its login.
func (p *planted) plantCookies(t *testing.T, v *visitor) {
	t.Helper()
	base, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	cookies := v.Jar.Cookies(base)
	if len(cookies) == 0 {
		t.Error("a login without a cookie")
	}
	for _, c := range cookies {
		p.secrets.plant("cookie "+c.Name, c.Value)
	}
}

// awaitNotices waits until all channels have told of a run, which they do only with
// the right secrets.
func (p *planted) awaitNotices(t *testing.T, id string) {
	t.Helper()
	for name, all := range p.notices() {
		await(t, "a notice by "+name, func() bool { return strings.Contains(all(), id) })
	}
	for name, saw := range map[string]bool{
		"the SMTP password": p.smtp.saw("login"), "the webhook's path": p.hook.saw("path"),
		"the webhook's secret": p.hook.saw("key 0"), "the webhook's other secret": p.hook.saw("key 1"),
	} {
		if !saw {
			t.Errorf("%s was not used", name)
		}
	}
}

// notices are what the channels got, without the fields in which their protocols have
// the secret.
func (p *planted) notices() map[string]func() string {
	return map[string]func() string{
		"Slack": func() string {
			var all strings.Builder
			for _, r := range slices.Concat(p.slack.Requests(), p.replies.Requests()) {
				form, err := url.ParseQuery(r.Body)
				if err == nil && len(form["token"]) == 1 {
					form.Del("token") // where Slack's API has it
					r.Body = form.Encode()
				}
				fmt.Fprintln(&all, r.Path, r.Header, r.Body, form)
			}
			return all.String()
		},
		"e-mail": p.smtp.all,
		"PagerDuty": func() string {
			var all strings.Builder
			for _, e := range p.pager.Events() {
				e.RoutingKey = ""
				text, _ := json.Marshal(e)
				fmt.Fprintf(&all, "%s\n", text)
			}
			return all.String()
		},
		"webhook": p.hook.all,
		"SMS":     func() string { return fmt.Sprint(p.twilio.Sent()) },
	}
}

// lookAtMetrics asks both programs.
func (p *planted) lookAtMetrics(t *testing.T) {
	t.Helper()
	for base, key := range map[string]string{p.workerAPI: "", p.url: p.issue(t, "prometheus", "viewer", "machines")} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("metrics: %v, %d %s", err, resp.StatusCode, text)
		}
		p.secrets.wantNone(t, "metrics of "+base, string(text), "wflo_")
	}
}

// lookAtHistories reads Temporal's answers as they go over the wire.
func (p *planted) lookAtHistories(t *testing.T, id string) {
	t.Helper()
	c := p.client(t)
	list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	p.secrets.wantNone(t, "Temporal's list", raw(t, list), id)
	for _, run := range list.GetExecutions() {
		p.lookAtHistory(t, run)
	}
}

func (p *planted) lookAtHistory(t *testing.T, run *workflowpb.WorkflowExecutionInfo) {
	t.Helper()
	c, id := p.client(t), run.GetExecution().GetWorkflowId()
	var all strings.Builder
	events := c.GetWorkflowHistory(t.Context(), id, run.GetExecution().GetRunId(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(raw(t, e))
	}
	p.secrets.wantNone(t, "the history of "+id, all.String(), p.queue)
}

func raw(t *testing.T, m proto.Message) string {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// stopAll ends both programs as their host does, so that nothing is left unsaid.
func (p *planted) stopAll(t *testing.T) {
	t.Helper()
	for _, program := range []*program{p.workerProgram, p.consoleProgram} {
		if err := program.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		program.want(t, 0)
	}
}

func (p *planted) lookAtLogs(t *testing.T, id string) {
	t.Helper()
	p.secrets.wantNone(t, "the worker's log", p.workerProgram.said(), id)
	p.secrets.wantNone(t, "the console's log", p.consoleProgram.said(), "level=DEBUG")
	p.secrets.wantNone(t, "the dev server's log", p.dev.said(), "")
	p.secrets.wantNone(t, "the traces", p.spans.all(), id)
}

func (p *planted) lookAtNotices(t *testing.T, id string) {
	t.Helper()
	for name, all := range p.notices() {
		p.secrets.wantNone(t, "what came by "+name, all(), id)
	}
}

// lookAtDisks reads what is kept: the dump of the database, the exported trail, and
// files as they are.
func (p *planted) lookAtDisks(t *testing.T, id string) {
	t.Helper()
	dump, err := exec.Command("pg_dump", "--data-only", p.admin).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	p.secrets.wantNone(t, "the dump of PostgreSQL", string(dump), id)
	export := start(t, p.bureau.env(), bin.wflo, "audit", "export", "-", "--database", p.admin, "--keys", filepath.Join(p.dir, "wflo.yaml")).want(t, 0)
	for _, mark := range []string{id, string(wflo.AuditGateDecided), string(wflo.AuditLoginRefused)} {
		p.secrets.wantNone(t, "the exported trail", export.out.String(), mark)
	}
	if got := p.redis.say(t, "AUTH "+p.redis.password, "SAVE"); got != "+OK\r\n" {
		t.Fatalf("Redis does not save: %s", got)
	}
	for place, mark := range map[string]string{
		p.redis.file: "REDIS", filepath.Join(p.dir, "data"): "", filepath.Join(p.dir, "checkpoints"): `"key":"notary"`, filepath.Dir(p.dev.Database): id,
	} {
		var all strings.Builder
		err := filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			all.WriteString(path + "\n")
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			all.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		p.secrets.wantNone(t, "files in "+place, all.String(), mark)
	}
}
