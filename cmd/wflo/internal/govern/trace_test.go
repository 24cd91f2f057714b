package govern

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
	"github.com/wflo-ai/wflo-go/workflows"
	"github.com/wflo-ai/wflo-go/workflows/testdata/histories"
)

// private stands in everything that people, models and programs say: no span may have it.
const private = "MADAGASCAR"

// journey does a bit of everything, waits for a person, continues as new, and fails, so
// that what it did is undone.
func journey(ctx workflow.Context, leg int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 3},
	})
	if leg == 1 {
		_, err := workflows.Step(ctx, "book", workflows.StepOptions{
			Effect: wflo.EffectReversible, Compensation: &workflows.Compensation{Name: "book", Activity: histories.Do, Input: "cancel " + private},
		}, func(ctx workflow.Context) (string, error) {
			return "", workflow.ExecuteActivity(ctx, "stumble", private).Get(ctx, nil)
		})
		if err != nil {
			return err
		}
		return errors.New("the weather is bad")
	}
	if _, err := workflows.Step(ctx, "plan", workflows.StepOptions{Effect: wflo.EffectRead}, func(ctx workflow.Context) (string, error) {
		reply, err := workflows.Ask(ctx, wflo.Prompt{Model: model, System: private, Messages: []wflo.Message{{Role: wflo.RoleUser, Text: "how do I get to " + private}}, MaxTokens: 100})
		return reply.Text, err
	}); err != nil {
		return err
	}
	if _, err := workflows.Agent(ctx, wflo.Task{
		Name: "scout", Model: model, Prompt: "look at " + private, MaxTokens: 100,
		Activities: []wflo.ActivityTool{{Tool: wflo.Tool{Name: "look", Description: "look", Parameters: []byte(`{"type":"object"}`)}, Activity: "look"}},
	}); err != nil {
		return err
	}
	if _, err := workflows.RunSandboxed(ctx, sandbox.Spec{Argv: []string{"echo", private}}); err != nil {
		return err
	}
	if _, err := workflows.RequireApproval(ctx, wflo.Approval{Gate: "go", Action: "go to " + private, Approvers: []string{"ann", "ben"}}); err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, "journey", leg+1)
}

// lookOnce is a model that uses its tool once.
func lookOnce(t scripted.Turn) scripted.Answer {
	if len(t.Tools) > 0 && t.Messages[len(t.Messages)-1].Role != wflo.RoleTool {
		return scripted.Answer{ToolCalls: []wflo.ToolCall{{ID: "call_1", Name: "look", Arguments: `{"at":"` + private + `"}`}}}
	}
	return scripted.Answer{Text: "it is an island called " + private}
}

// travelling registers what a journey needs. The first try of stumble panics.
func travelling(r worker.Registry) {
	r.RegisterWorkflowWithOptions(journey, workflow.RegisterOptions{Name: "journey"})
	registerActivity(r, "look", func(context.Context, map[string]string) (string, error) { return "saw " + private, nil })
	registerActivity(r, "stumble", func(ctx context.Context, _ string) error {
		if activity.GetInfo(ctx).Attempt == 1 {
			panic(private)
		}
		return nil
	})
}

// exporting sends traces to a receiver for as long as the test runs.
func exporting(t *testing.T, endpoint string) {
	for _, name := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER"} {
		t.Setenv(name, "") // so that it is put back
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
}

// leave stops the worker, and exports what is left.
func (w *world) leave() {
	w.worker.Stop()
	w.guard.Close()
}

// above is the span of who starts a run, elsewhere.
func above(t *testing.T) (context.Context, trace.SpanContext) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2, 3}, SpanID: trace.SpanID{4, 5}, TraceFlags: trace.FlagsSampled, Remote: true})
	return trace.ContextWithRemoteSpanContext(t.Context(), sc), sc
}

// TestTraces sends the spans of one run to a real collector: begun by who has a trace
// already, moved to another worker while it waits for a person, continued as new, and
// undone in the end.
func TestTraces(t *testing.T) {
	r := newReceiver(t)
	exporting(t, "http://"+r.http)
	dir := t.TempDir()
	cfg := config{script: lookOnce, register: travelling, plugin: func(c *plugin.Config) { c.DataDir, c.Database = dir, "" }}
	cfg.plugin = with(cfg.plugin, under(t, "default: allow\npolicies: [{name: watched, when: '*', do: [{audit: info}]}]"))
	first := newWorld(t, cfg)
	ctx, parent := above(t)
	run, err := first.ExecuteWorkflow(wflo.WithRun(ctx, wflo.Run{User: "ann", Team: "trips"}), client.StartWorkflowOptions{
		ID: first.queue, TaskQueue: first.queue, WorkflowExecutionTimeout: 2 * time.Minute,
	}, "journey", 0)
	if err != nil {
		t.Fatal(err)
	}
	g := first.gate(run, 1)
	first.leave()
	second := newWorld(t, cfg)
	second.signal(run, wflo.SignalDecide, wflotest.Approve(g, "ann"))
	if err := second.wait(run, nil); err == nil {
		t.Fatal("the journey ended well")
	}
	second.leave()

	all := r.forest()
	own := forest{parent.TraceID().String(): all[parent.TraceID().String()]}
	own.wantWhole(t, parent.SpanID().String())
	for id, spans := range all {
		for _, s := range spans {
			if id != parent.TraceID().String() && !strings.Contains(s.Name, "Signal") {
				t.Errorf("%s is in a trace of its own", s.Name)
			}
			if strings.Contains(s.String(), private) {
				t.Errorf("%s has content: %s", s.Name, s)
			}
		}
	}
	wantTree(t, own)
	wantWords(t, own)
}

func with(all ...func(*plugin.Config)) func(*plugin.Config) {
	return func(c *plugin.Config) {
		for _, f := range all {
			f(c)
		}
	}
}

// wantTree holds that spans are within what they are part of.
func wantTree(t *testing.T, f forest) {
	t.Helper()
	byID := map[string]*tracepb.Span{}
	for _, spans := range f {
		for _, s := range spans {
			byID[hex.EncodeToString(s.SpanId)] = s
		}
	}
	path := func(s *tracepb.Span) string {
		var names []string
		for ; s != nil; s = byID[hex.EncodeToString(s.ParentSpanId)] {
			names = append(names, s.Name)
		}
		slices.Reverse(names)
		return strings.Join(names, " > ")
	}
	have := map[string]int{}
	for _, s := range byID {
		have[path(s)]++
	}
	run := "StartWorkflow:journey > RunWorkflow:journey"
	agent := run + " > StartChildWorkflow:wflo.Agent > RunWorkflow:wflo.Agent"
	next := run + " > RunWorkflow:journey"
	for want, n := range map[string]int{
		run: 1, next: 1, agent: 1,
		run + " > step plan":           1,
		agent + " > execute_tool look": 1,
		agent + " > execute_tool look > StartActivity:look > RunActivity:look":                          1,
		agent + " > StartActivity:wflo.llm.Chat > RunActivity:wflo.llm.Chat > chat " + model:            2,
		run + " > step plan > StartActivity:wflo.llm.Chat > RunActivity:wflo.llm.Chat > chat " + model:  1,
		run + " > step plan > StartActivity:wflo.llm.Chat > RunActivity:wflo.llm.Chat > ledger reserve": 1,
		run + " > step plan > StartActivity:wflo.llm.Chat > RunActivity:wflo.llm.Chat > ledger settle":  1,
		run + " > StartActivity:wflo.sandbox.Run > RunActivity:wflo.sandbox.Run":                        1,
		run + " > approval go": 1,
		next + " > step book":  1,
		next + " > step book > StartActivity:stumble > RunActivity:stumble":          2,
		next + " > StartActivity:" + histories.Do + " > RunActivity:" + histories.Do: 1,
	} {
		if have[want] != n {
			t.Errorf("%d spans are at %s, want %d", have[want], want, n)
		}
	}
	if t.Failed() {
		t.Logf("the paths are:\n%s", strings.Join(slices.Sorted(maps.Keys(have)), "\n"))
	}
}

// wantWords holds that spans say what the conventions and the documentation promise.
func wantWords(t *testing.T, f forest) {
	t.Helper()
	chat := f.named("chat " + model)[0]
	if chat.Kind != tracepb.Span_SPAN_KIND_CLIENT {
		t.Errorf("the model call is %s", chat.Kind)
	}
	wantAttributes(t, chat, map[string]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": model, "gen_ai.request.max_tokens": "100",
		"gen_ai.response.model": "*", "gen_ai.response.id": "*", "gen_ai.response.finish_reasons": "stop", "gen_ai.conversation.id": "*",
		"gen_ai.usage.input_tokens": "*", "gen_ai.usage.output_tokens": "*", "gen_ai.usage.cache_read.input_tokens": "0",
		"wflo.cost.usd": "*", "wflo.cost.nano_usd": "*", "wflo.budget.reserved.nano_usd": "*",
		"gen_ai.input.messages": "", "gen_ai.output.messages": "",
	})
	wantAttributes(t, f.one(t, "execute_tool look"), map[string]string{
		"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look", "gen_ai.tool.call.id": "call_1", "gen_ai.tool.call.arguments": "",
	})
	wantAttributes(t, f.one(t, "RunWorkflow:wflo.Agent"), map[string]string{
		"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "scout", "wflo.state": "completed", "wflo.cost.nano_usd": "*",
	})
	wantAttributes(t, f.one(t, "RunActivity:wflo.sandbox.Run"), map[string]string{"wflo.sandbox.outcome": "succeeded", "wflo.sandbox.exit_code": "0", "wflo.user": "ann"})
	wantAttributes(t, f.one(t, "approval go"), map[string]string{
		"wflo.approval.gate": "go", "wflo.approval.status": "approved", "wflo.approval.approvers": "2", "wflo.approval.decided_by": "1", "wflo.approval.wait_seconds": "*",
	})
	wantAttributes(t, f.one(t, "step book"), map[string]string{"wflo.step.name": "book", "wflo.step.effect": "reversible"})
	runs := f.named("RunWorkflow:journey")
	wantAttributes(t, runs[0], map[string]string{"wflo.user": "ann", "wflo.team": "trips", "wflo.generation": "0", "wflo.state": "", "error.type": ""})
	wantAttributes(t, runs[1], map[string]string{"wflo.generation": "1", "wflo.state": "failed", "error.type": "*", "wflo.policy.bundle": "*"})
	if runs[0].Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR || runs[1].Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("the runs ended with %s and %s", runs[0].Status, runs[1].Status)
	}
	ruled := f.named("RunActivity:wflo.policy.Judge")
	if !slices.ContainsFunc(ruled, func(s *tracepb.Span) bool {
		return attribute(s, "wflo.policy.rules") == "watched" && attribute(s, "wflo.policy.verdict") == "audit" && attribute(s, "wflo.policy.bundle") != ""
	}) {
		t.Errorf("none of %d spans says what the policy ruled", len(ruled))
	}
	tries := f.named("RunActivity:stumble")
	wantAttributes(t, tries[0], map[string]string{"wflo.attempt": "1"})
	wantAttributes(t, tries[1], map[string]string{"wflo.attempt": "2"})
	if tries[0].Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || len(tries[0].Events) != 1 || tries[0].Events[0].Name != "exception" ||
		!strings.Contains(tries[0].Events[0].String(), "trace_test.go") {
		t.Errorf("the panic is recorded as %s", tries[0])
	}
	wantAttributes(t, f.one(t, "RunActivity:"+histories.Do), map[string]string{"wflo.undoing": "true"})
}

// TestTracesOfRestores goes back in a run, which stays one trace, and forks it, which is
// a trace of its own that is linked with the old one.
func TestTracesOfRestores(t *testing.T) {
	r := newReceiver(t)
	exporting(t, "http://"+r.http)
	p := newPaying(t)
	p.restore("")
	p.waits(p.run)
	fork, err := p.back.Do(t.Context(), wflo.Restore{
		ID: "fork-" + p.queue, WorkflowID: p.run.GetID(), To: wflo.RestorePoint{Snapshot: "before-payment"}, Mode: wflo.RestoreFork, By: "bob", Reason: "try",
	})
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(fork.Into, "/")
	forked := p.GetWorkflow(t.Context(), id, "")
	p.waits(forked)
	for _, run := range []client.WorkflowRun{p.run, forked} {
		if err := p.end(run, "well"); err != nil {
			t.Error(err)
		}
	}
	reopen, err := p.back.Do(t.Context(), wflo.Restore{
		ID: "reopen-" + p.queue, WorkflowID: p.run.GetID(), To: wflo.RestorePoint{Snapshot: "before-payment"}, By: "bob", Reason: "it was not well",
	})
	if err != nil {
		t.Fatal(err)
	}
	again := p.GetWorkflow(t.Context(), p.run.GetID(), "")
	p.waits(again)
	if err := p.end(again, "well"); err != nil {
		t.Error(err)
	}
	p.leave()
	all := r.forest()
	all.wantWhole(t)
	runs := all.named("RunWorkflow:payment")
	if len(runs) != 4 {
		t.Fatalf("%d runs, want the first, the restored, the forked and the reopened one:\n%s", len(runs), all)
	}
	first, restored := runs[0], runs[1]
	if string(first.TraceId) != string(restored.TraceId) || string(restored.ParentSpanId) != string(first.SpanId) {
		t.Error("the restored run is not in the trace of the run")
	}
	for i, restore := range []string{fork.Restore.ID, reopen.Restore.ID} {
		other := runs[2+i]
		if string(first.TraceId) == string(other.TraceId) || len(other.ParentSpanId) != 0 {
			t.Errorf("%s is in the trace of the run", restore)
		}
		if len(other.Links) != 1 || string(other.Links[0].TraceId) != string(first.TraceId) {
			t.Errorf("%s is linked with %v", restore, other.Links)
		}
		wantAttributes(t, other, map[string]string{"wflo.restore": restore})
	}
	if string(runs[2].TraceId) == string(runs[3].TraceId) {
		t.Error("the fork and the reopened run are one trace")
	}
	wantAttributes(t, restored, map[string]string{"wflo.epoch": "1"})
	wantAttributes(t, all.named("RunActivity:wflo.snapshot.Take")[0], map[string]string{"wflo.snapshot": "*", "wflo.snapshot.kind": "*", "wflo.snapshot.parts": "state", "wflo.snapshot.bytes": "*"})
	if begun := all.named("RunActivity:wflo.recovery.Begin"); len(begun) != 3 || attribute(begun[1], "wflo.restore.mode") != string(wflo.RestoreFork) {
		t.Errorf("%d restores have begun", len(begun))
	}
	// A step that the journal answered is no piece of work.
	if n := len(all.named("step look")); n != 1 {
		t.Errorf("the step before the snapshot has %d spans", n)
	}
	if n := len(all.named("step pay")); n != 4 {
		t.Errorf("the payment has %d spans, want one for each time", n)
	}
}

// questionOnce asks a model one question.
func questionOnce(ctx workflow.Context, question string) (string, error) {
	reply, err := workflows.Ask(ctx, wflo.Prompt{Model: model, System: "be brief", Messages: []wflo.Message{{Role: wflo.RoleUser, Text: question}}, MaxTokens: 100})
	return reply.Text, err
}

// TestTracesOverGRPC reaches the same collector the other way, with content because
// somebody asked for it, cut to what an attribute may hold.
func TestTracesOverGRPC(t *testing.T) {
	r := newReceiver(t)
	exporting(t, "http://"+r.grpc)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	t.Setenv("OTEL_SERVICE_NAME", "orders")
	w := newWorld(t, config{plugin: func(c *plugin.Config) { c.CaptureContent = true }, register: func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(questionOnce, workflow.RegisterOptions{Name: "question"})
	}})
	question := private + strings.Repeat(" and so on", 5000)
	// Who starts it has a trace, and neither the plugin nor a collector.
	spans, err := plugin.NewTraceInterceptor(nil)
	if err != nil {
		t.Fatal(err)
	}
	starter, err := client.DialContext(t.Context(), client.Options{
		HostPort: server.HostPort(), Namespace: server.Namespace(), Logger: logger(t), Interceptors: []interceptor.ClientInterceptor{spans, plugin.NewClientInterceptor()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer starter.Close()
	ctx, parent := above(t)
	run, err := starter.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: w.queue, TaskQueue: w.queue, WorkflowExecutionTimeout: time.Minute}, "question", question)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.wait(run, nil); err != nil {
		t.Fatal(err)
	}
	w.leave()
	f := r.forest()
	f.wantWhole(t, parent.SpanID().String())
	if s := f.one(t, "RunWorkflow:question"); hex.EncodeToString(s.TraceId) != parent.TraceID().String() || hex.EncodeToString(s.ParentSpanId) != parent.SpanID().String() {
		t.Error("the run is not within the span of who started it")
	}
	chat := f.one(t, "chat "+model)
	wantAttributes(t, chat, map[string]string{"gen_ai.system_instructions": `[{"type":"text","content":"be brief"}]`})
	in, out := attribute(chat, "gen_ai.input.messages"), attribute(chat, "gen_ai.output.messages")
	if !strings.HasPrefix(in, `[{"role":"user","parts":[{"type":"text","content":"`+private) || len(in) > 33<<10 || len(in) < 32<<10 {
		t.Errorf("%d bytes of input: %.100s", len(in), in)
	}
	if !strings.HasPrefix(out, `[{"role":"assistant","parts":[{"type":"text","content":"`) || !strings.HasSuffix(out, `"finish_reason":"length"}]`) {
		t.Errorf("output %.100s", out)
	}
}
