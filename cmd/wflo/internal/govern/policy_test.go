package govern

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/policy"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

func policies(t testing.TB, source string) *policy.Set {
	t.Helper()
	set, err := policy.Load("policies.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func under(t testing.TB, source string) func(*plugin.Config) {
	set := policies(t, source)
	return func(c *plugin.Config) { c.Policies, c.Strict = set, true }
}

const asksAboutLineTwo = `
default: allow
policies:
  - name: second
    when: args["0"] == "line 1"
    on: [activity]
    do: [{audit: info}, {require_approval: {approvers: [ben]}}]
`

const haltsAtDelete = `
default: allow
policies:
  - name: no deleting
    when: operation == "histories.Do" and args["0"] == "delete"
    do: [{halt: {reason: not today}}]
`

const haltsAfterASecond = `
default: allow
policies:
  - name: too long
    when: execution_time > 1
    on: [time]
    do: [{halt: {reason: it takes too long}}]
`

func benApproves(w *world, run client.WorkflowRun) {
	if _, err := w.decide(run, "", w.gate(run, 1).Decide(wflo.VerdictApprove, "ben")); err != nil {
		w.t.Error(err)
	}
}

// TestRecordedPolicyHistories runs workflows under policies against the real server,
// and replays what it recorded: with the policies, and on a worker that has none.
func TestRecordedPolicyHistories(t *testing.T) {
	for name, tt := range map[string]struct {
		policies string
		workflow any
		args     []any
		act      func(w *world, run client.WorkflowRun)
		code     string
	}{
		"policy allows":    {policies: asksAboutLineTwo, workflow: histories.Plain, args: []any{1}},
		"policy asks":      {policies: asksAboutLineTwo, workflow: histories.Plain, args: []any{3}, act: benApproves},
		"policy halts":     {policies: haltsAfterASecond, workflow: histories.Halted, code: string(wflo.CodePolicyDenied)},
		"policy of chains": {policies: haltsAtDelete, workflow: histories.Chain, args: []any{0}, code: "test"},
		"policy of agents": {policies: haltsAtDelete, workflow: histories.Parent, args: []any{agentTask()}},
		"policy of gates": {
			policies: "default: require_approval\nrisk: [{name: low, when: '*', auto_approve: true}]", workflow: histories.Gated,
			args: []any{time.Minute}, act: func(w *world, run client.WorkflowRun) {
				for n := 1; n <= 2; n++ {
					if _, err := w.decide(run, "", w.gate(run, n).Decide(wflo.VerdictApprove, "ben")); err != nil {
						w.t.Error(err)
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, config{script: countOnce, plugin: under(t, tt.policies)})
			run := w.start(wflo.Run{User: "ann", Team: "books", Budget: wflo.Budget{Limit: wflo.USD}}, tt.workflow, tt.args...)
			first := run.GetRunID()
			if tt.act != nil {
				tt.act(w, run)
			}
			if err := w.wait(run, nil); tt.code != "" {
				wantCode(t, err, wflo.Code(tt.code))
			} else if err != nil {
				t.Fatal(err)
			}
			keepChain(w, strings.ReplaceAll(name, " ", "-"), run.GetID(), first)
		})
	}
}

// keepChain replays and keeps the histories of a chain, which a worker that has no
// policies replays as well.
func keepChain(w *world, file, id, next string) {
	without := newWorld(w.t, config{})
	for ; next != ""; file += "-next" {
		h := w.history(id, next)
		w.keep(file, h)
		if err := without.replay(h); err != nil {
			w.t.Errorf("a worker without policies replays %s: %v", file, err)
		}
		next = successor(h)
	}
}

// TestPolicyFiresDuringALongActivity ends a run whose one activity would run for an
// hour: the activity is cancelled at its moment, and what was done is undone.
func TestPolicyFiresDuringALongActivity(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	w := newWorld(t, config{plugin: under(t, haltsAfterASecond), register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			if err := workflows.Compensate(ctx, workflows.Compensation{Name: "table", Activity: histories.Do, Input: "undo"}); err != nil {
				return err
			}
			ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
				StartToCloseTimeout: time.Hour, HeartbeatTimeout: 2 * time.Second, WaitForCancellation: true,
			})
			return workflow.ExecuteActivity(ctx, "long").Get(ctx, nil)
		}, workflow.RegisterOptions{Name: "patient"})
		registerActivity(r, "long", func(ctx context.Context) error {
			close(began)
			defer close(ended)
			return beatUntilCancelled(ctx)
		})
	}})
	run := w.start(wflo.Run{}, "patient")
	<-began
	app := wantCode(t, w.wait(run, nil), wflo.CodePolicyDenied)
	if !strings.Contains(app.Message(), "policy too long halted") {
		t.Errorf("error %q", app.Message())
	}
	<-ended
	w.wantLines("undo")
	if s := w.status(run); s.State != wflo.StateHalted || s.Halted.Policy != "too long" {
		t.Errorf("status %s", asJSON(t, s))
	}
	eventually(t, "finding the halted run", func() bool {
		return w.counts("WfloState = 'halted' AND WorkflowId = '"+run.GetID()+"'") == 1
	})
}

// TestPoliciesArePinned changes the file while a run waits: the run goes on under the
// policies that it began with, and the next one is under the new ones. A file that is
// wrong changes nothing.
func TestPoliciesArePinned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies.yaml")
	write(t, file, asksAboutLineTwo)
	w := newWorld(t, config{plugin: func(c *plugin.Config) { c.PolicyFile = file }})
	run := w.startAs("first", wflo.Run{}, histories.Plain, 2)
	before := w.status(run).Run.Bundle
	w.gate(run, 1)
	write(t, file, "default: halt\n")
	eventually(t, "the reload", func() bool {
		records, err := w.guard.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditPolicyLoaded})
		return err == nil && len(records) == 2
	})
	benApproves(w, run)
	if err := w.wait(run, nil); err != nil {
		t.Errorf("the run that began before: %v", err)
	}
	if after := w.status(run).Run.Bundle; after != before || after == "" {
		t.Errorf("bundle %q, and %q before", after, before)
	}
	wantCode(t, w.wait(w.startAs("second", wflo.Run{}, histories.Plain, 2), nil), wflo.CodePolicyDenied)
	write(t, file, "default: hlat\n")
	eventually(t, "the failure", func() bool { return metric(t, w.guard, `wflo_policy_reload_failed{kind="run"} 1`) })
	wantCode(t, w.wait(w.startAs("third", wflo.Run{}, histories.Plain, 2), nil), wflo.CodePolicyDenied)
	write(t, file, "default: allow\n")
	eventually(t, "the next good one", func() bool { return metric(t, w.guard, `wflo_policy_reload_failed{kind="run"} 0`) })
	if err := w.wait(w.startAs("fourth", wflo.Run{}, histories.Plain, 2), nil); err != nil {
		t.Error(err)
	}
}

// TestEmergencyHaltsWhatRuns writes an emergency policy while a run without any policy
// is between two activities. Its compensation runs all the same.
func TestEmergencyHaltsWhatRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "emergency.yaml")
	write(t, file, "default: allow\n")
	w := newWorld(t, config{
		plugin: func(c *plugin.Config) { c.EmergencyFile = file },
		register: func(r worker.Registry) {
			r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
				if err := workflows.Compensate(ctx, workflows.Compensation{Name: "table", Activity: histories.Do, Input: "undo"}); err != nil {
					return err
				}
				ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
				if err := workflow.ExecuteActivity(ctx, histories.Do, "one").Get(ctx, nil); err != nil {
					return err
				}
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				// It ignores what becomes of the call, and gets no further.
				_ = workflow.ExecuteActivity(ctx, histories.Do, "two").Get(ctx, nil)
				return workflow.ExecuteActivity(ctx, histories.Do, "three").Get(ctx, nil)
			}, workflow.RegisterOptions{Name: "steps"})
		},
	})
	run := w.start(wflo.Run{}, "steps")
	eventually(t, "the first activity", func() bool { lines, _ := w.did(); return len(lines) == 1 })
	write(t, file, "default: allow\npolicies:\n  - {name: stop it all, when: '*', do: [{halt: {reason: a breach}}]}\n")
	eventually(t, "the reload", func() bool {
		records, err := w.guard.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditPolicyLoaded})
		return err == nil && len(records) == 2
	})
	w.signal(run, "go on", nil)
	app := wantCode(t, w.wait(run, nil), wflo.CodePolicyDenied)
	if !strings.Contains(app.Message(), "stop it all") {
		t.Errorf("error %q", app.Message())
	}
	w.wantLines("one", "undo")
	if s := w.status(run); s.State != wflo.StateHalted || s.Halted == nil || s.Halted.Reason != "a breach" {
		t.Errorf("status %s", asJSON(t, s))
	}
	records, err := w.guard.Records().ReadAudit(t.Context(), wflo.AuditQuery{Type: wflo.AuditPolicyRuled})
	if err != nil || len(records) == 0 || !strings.HasPrefix(records[0].ID, "emergency:") {
		t.Errorf("records %+v, %v", records, err)
	}
}

// TestEmergencyPoliciesOnlyStop refuses files that ask for more.
func TestEmergencyPoliciesOnlyStop(t *testing.T) {
	for _, source := range []string{
		"default: halt\n",
		"default: allow\npolicies: [{name: a, when: '*', do: [{require_approval: {approvers: [ben]}}]}]\n",
		"default: allow\nrisk: [{when: '*', auto_approve: true}]\n",
		"default: hlat\n",
	} {
		file := filepath.Join(t.TempDir(), "emergency.yaml")
		write(t, file, source)
		p, err := plugin.New(plugin.Config{DataDir: t.TempDir(), Database: "memory", Providers: []plugin.Provider{}, EmergencyFile: file, Logger: logger(t)})
		if err == nil {
			p.Close()
			t.Errorf("%q is taken", source)
		}
	}
}

// TestGovernedCallsCost counts the events of a governed call: one marker, and no
// workflow task, more than one without policies.
func TestGovernedCallsCost(t *testing.T) {
	events := func(name string, n int, change func(*plugin.Config)) (all, tasks int) {
		t.Run(name, func(t *testing.T) { // workers of one test share its queue
			w := newWorld(t, config{plugin: change})
			w.taskTimeout = time.Minute // a slow disk must not add tasks
			run := w.start(wflo.Run{}, histories.Plain, n)
			if err := w.wait(run, nil); err != nil {
				t.Fatal(err)
			}
			h := w.history(run.GetID(), run.GetRunID())
			all, tasks = len(h.Events), count(h, enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
		})
		return all, tasks
	}
	none := func(*plugin.Config) {}
	quiet := under(t, haltsAtDeleteLater)
	judged := under(t, asksAboutNothing)
	plain1, _ := events("p1", 1, none)
	plain9, tasks := events("p9", 9, none)
	judged1, _ := events("j1", 1, judged)
	judged9, judgedTasks := events("j9", 9, judged)
	quiet1, _ := events("q1", 1, quiet)
	quiet9, _ := events("q9", 9, quiet)
	if more := (judged9 - judged1) - (plain9 - plain1); more != 8 {
		t.Errorf("8 governed calls have %d more events", more)
	}
	if judgedTasks != tasks {
		t.Errorf("%d workflow tasks, %d without policies", judgedTasks, tasks)
	}
	if more := (quiet9 - quiet1) - (plain9 - plain1); more != 0 {
		t.Errorf("8 calls under quiet policies have %d more events", more)
	}
	t.Logf("events of a run with one call: %d plain, %d under policies, %d under quiet ones", plain1, judged1, quiet1)
}

const haltsAtDeleteLater = `
default: allow
policies:
  - {name: too long, when: execution_time > 3600, on: [time], do: [{halt: {reason: it takes too long}}]}
`

const asksAboutNothing = `
default: allow
policies:
  - {name: never, when: cost > 1000, do: [{halt: {reason: it costs too much}}]}
`

// beatUntilCancelled is an activity that goes on until its run ends it.
func beatUntilCancelled(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			activity.RecordHeartbeat(ctx)
		}
	}
}

// metric says whether a worker shows the line among its metrics.
func metric(t *testing.T, p *plugin.Plugin, line string) bool {
	t.Helper()
	answer := httptest.NewRecorder()
	p.Metrics().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return strings.Contains(answer.Body.String(), line)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	// As editors do it, so that nobody reads half of it.
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// hundredRules are policies of which none matches what the benchmark does.
func hundredRules() policy.Rules {
	r := policy.Rules{Default: wflo.EffectAllow}
	for i := range 100 {
		r.Policies = append(r.Policies, policy.Rule{
			Name: fmt.Sprint("rule ", i), When: fmt.Sprintf("cost > %d or operation == 'delete_%d' or (risk == 'high' and team == 'prod')", 1000+i, i),
			Halt: &policy.Halt{Reason: "too much"},
		})
	}
	return r
}

// BenchmarkPolicies is a workflow of ten activities that do nothing, under a hundred
// policies and without any, both with the plugin, on the same server.
func BenchmarkPolicies(b *testing.B) {
	set, err := policy.New(hundredRules())
	if err != nil {
		b.Fatal(err)
	}
	runners := map[string]*runner{}
	for name, change := range map[string]func(*plugin.Config){
		"with":    func(c *plugin.Config) { c.Database, c.Policies = "", set },
		"without": func(c *plugin.Config) { c.Database = "" },
	} {
		w := newWorld(b, config{plugin: change, queue: queueOf(b) + "-" + name})
		runners[name] = &runner{b: b, c: w.Client, queue: w.queue}
	}
	interleave(b, 10, runners["with"], runners["without"])
	with, without := p50(runners["with"].took), p50(runners["without"].took)
	b.ReportMetric(ms(with), "with-p50-ms")
	b.ReportMetric(ms(without), "without-p50-ms")
	b.ReportMetric(float64(with)/float64(without), "ratio")
}
