//go:build integration

package cryptic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	querypb "go.temporal.io/api/query/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/plugin"
)

// canary is the word for one place where content may be kept.
func canary(place string) string { return "canary" + "-of-" + place }

// places are all of them.
var places = []string{
	"input", "result", "signal", "update", "update-answer", "query-answer", "activity-input", "activity-result", "activity-failure", "detail",
	"local", "side-effect", "memo", "memo-later", "header", "summary", "timer-summary", "activity-summary", "details-now", "child", "large", "failure", "cause",
}

type work struct{}

// Do fails at first, with content in the failure.
func (work) Do(_ context.Context, in string, attempt int) (string, error) {
	if attempt == 0 {
		return "", temporal.NewApplicationErrorWithOptions(canary("activity-failure"), "Mine", temporal.ApplicationErrorOptions{
			NonRetryable: true, Details: []any{canary("detail")}, Cause: errors.New(canary("cause")),
		})
	}
	return in + canary("activity-result"), nil
}

// Local answers on the spot.
func (work) Local(context.Context) (string, error) { return canary("local"), nil }

// Large answers with more than a history holds.
func (work) Large(context.Context) (string, error) {
	return strings.Repeat(canary("large")+" ", 20_000), nil
}

func child(_ workflow.Context, in string) (string, error) { return in, nil }

// everything puts content wherever a run can.
func everything(ctx workflow.Context, in string) (string, error) {
	var w work
	updated := false
	if err := workflow.SetQueryHandler(ctx, "look", func() (string, error) { return canary("query-answer"), nil }); err != nil {
		return "", err
	}
	if err := workflow.SetUpdateHandler(ctx, "change", func(_ workflow.Context, s string) (string, error) {
		updated = true
		return s + canary("update-answer"), nil
	}); err != nil {
		return "", err
	}
	workflow.SetCurrentDetails(ctx, canary("details-now"))
	if err := workflow.UpsertMemo(ctx, map[string]any{"later": canary("memo-later")}); err != nil {
		return "", err
	}
	act := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, Summary: canary("activity-summary")})
	if err := workflow.ExecuteActivity(act, w.Do, canary("activity-input"), 0).Get(ctx, nil); err == nil || !strings.Contains(err.Error(), canary("activity-failure")) {
		return "", fmt.Errorf("the activity's failure came back as %w", err)
	}
	var done, large, local, beside, nested string
	if err := workflow.ExecuteActivity(act, w.Do, canary("activity-input"), 1).Get(ctx, &done); err != nil {
		return "", err
	}
	if err := workflow.ExecuteActivity(act, w.Large).Get(ctx, &large); err != nil {
		return "", err
	}
	lctx := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
	if err := workflow.ExecuteLocalActivity(lctx, w.Local).Get(ctx, &local); err != nil {
		return "", err
	}
	if err := workflow.SideEffect(ctx, func(workflow.Context) any { return canary("side-effect") }).Get(&beside); err != nil {
		return "", err
	}
	if err := workflow.ExecuteChildWorkflow(ctx, child, canary("child")).Get(ctx, &nested); err != nil {
		return "", err
	}
	if err := workflow.NewTimerWithOptions(ctx, time.Millisecond, workflow.TimerOptions{Summary: canary("timer-summary")}).Get(ctx, nil); err != nil {
		return "", err
	}
	var signal string
	workflow.GetSignalChannel(ctx, "go").Receive(ctx, &signal)
	if err := workflow.Await(ctx, func() bool { return updated }); err != nil {
		return "", err
	}
	if strings.Contains(in, "fail") {
		return "", temporal.NewApplicationErrorWithOptions(canary("failure"), "Mine", temporal.ApplicationErrorOptions{Cause: errors.New(canary("cause"))})
	}
	return strings.Join([]string{canary("result"), in, done, local, beside, nested, signal, fmt.Sprint(len(large))}, " "), nil
}

// drive runs everything twice, to a result and to a failure, and checks what comes back.
func drive(t *testing.T, w *site, queue string) {
	t.Helper()
	for _, in := range []string{canary("input"), canary("input") + " fail"} {
		id := queue + "-" + in[len(in)-4:]
		ctx := wflo.WithRun(t.Context(), wflo.Run{User: "ann", Tags: map[string]string{"project": canary("header")}})
		run, err := w.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: id, TaskQueue: queue, Memo: map[string]any{"m": canary("memo")}, StaticSummary: canary("summary"), StaticDetails: canary("details-now"),
		}, everything, in)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.SignalWorkflow(t.Context(), id, "", "go", canary("signal")); err != nil {
			t.Fatal(err)
		}
		v, err := w.QueryWorkflow(t.Context(), id, "", "look")
		if err != nil {
			t.Fatal(err)
		}
		var said string
		if err := v.Get(&said); err != nil || said != canary("query-answer") {
			t.Errorf("the query answers %q, %v", said, err)
		}
		u, err := w.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
			WorkflowID: id, UpdateName: "change", Args: []any{canary("update")}, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Get(t.Context(), &said); err != nil || said != canary("update")+canary("update-answer") {
			t.Errorf("the update answers %q, %v", said, err)
		}
		err = ends(t, run, &said)
		if strings.HasSuffix(in, "fail") {
			if err == nil || !strings.Contains(err.Error(), canary("failure")) || !strings.Contains(err.Error(), canary("cause")) {
				t.Errorf("it ended with %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"result", "input", "activity-input", "activity-result", "local", "side-effect", "child", "signal"} {
			if !strings.Contains(said, canary(place)) {
				t.Errorf("the result lacks %s: %s", place, said)
			}
		}
	}
}

// seen is everything that a client is told of all runs, on the wire.
func seen(t *testing.T, c client.Client, queue string) string {
	t.Helper()
	var all strings.Builder
	add := func(m proto.Message) {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	add(list)
	for _, e := range list.GetExecutions() {
		if !strings.HasPrefix(e.GetExecution().GetWorkflowId(), queue) && e.GetType().GetName() != "child" {
			continue
		}
		d, err := c.DescribeWorkflowExecution(t.Context(), e.GetExecution().GetWorkflowId(), "")
		if err != nil {
			t.Fatal(err)
		}
		add(d)
		for _, event := range history(t, c, e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId()) {
			add(event)
		}
		// The server asks a worker, which seals its answer.
		for _, query := range []string{"look", "__temporal_workflow_metadata"} {
			q, err := c.WorkflowService().QueryWorkflow(t.Context(), &workflowservice.QueryWorkflowRequest{
				Namespace: "default", Execution: e.GetExecution(), Query: &querypb.WorkflowQuery{QueryType: query},
				QueryRejectCondition: enumspb.QUERY_REJECT_CONDITION_NONE,
			})
			if err == nil {
				add(q)
			}
		}
	}
	return all.String()
}

// kept is everything below directories.
func kept(t *testing.T, dirs ...string) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a journal that was just folded in
			}
			all.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// Whoever has the server's database, its answers or the blobs reads none of the words. The
// same search finds all of them where there is no key, so it would find them.
func TestNothingShows(t *testing.T) {
	quiet(t)
	for name, p := range map[string]plugin.Payloads{"plain": {}, "sealed": {Keys: newKey(t, "k1")}} {
		t.Run(name, func(t *testing.T) {
			data, blobs := t.TempDir(), t.TempDir()
			s := serve(t, data)
			queue := "q-" + name
			w := begin(t, s, blobs, queue, p)
			drive(t, w, queue)
			dump := seen(t, bare(t, s), queue) + kept(t, data, filepath.Join(blobs, "blobs"))
			if !strings.Contains(dump, queue) {
				t.Fatal("the search does not see the runs")
			}
			for _, place := range places {
				shows := strings.Contains(dump, canary(place))
				if p.Keys != "" && shows {
					t.Errorf("%s shows", place)
				}
				if p.Keys == "" && !shows {
					t.Errorf("%s is not looked for in the right place", place)
				}
			}
			if p.Keys != "" {
				whoHasKeysReads(t, s, w, queue, blobs, p.Keys)
			}
		})
	}
}

// whoHasKeysReads checks readers that are no workers.
func whoHasKeysReads(t *testing.T, s *devserver.Server, w *site, queue, blobs, keys string) {
	t.Helper()
	text := seen(t, w.Client, queue)
	for _, place := range places {
		if place != "large" && !strings.Contains(text, canary(place)) {
			t.Errorf("a client with keys does not read %s", place)
		}
	}
	t.Setenv("WFLO_PAYLOAD_KEYS", keys)
	opts := client.Options{HostPort: s.HostPort()}
	if err := plugin.ConfigureReader(&opts, blobs); err != nil {
		t.Fatal(err)
	}
	c, err := client.DialContext(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var said string
	if err := c.GetWorkflow(t.Context(), queue+"-nput", "").Get(t.Context(), &said); err != nil || !strings.Contains(said, canary("result")) {
		t.Errorf("%q %v", said, err)
	}
	d, err := c.DescribeWorkflowExecution(t.Context(), queue+"-nput", "")
	if err != nil {
		t.Fatal(err)
	}
	wantMemo(t, d.GetWorkflowExecutionInfo().GetMemo(), "m", canary("memo"))
	wantMemo(t, d.GetWorkflowExecutionInfo().GetMemo(), "later", canary("memo-later"))
}

func wantMemo(t *testing.T, m *commonpb.Memo, name, want string) {
	t.Helper()
	var got string
	if err := converter.GetDefaultDataConverter().FromPayload(m.GetFields()[name], &got); err != nil || got != want {
		t.Errorf("memo %s is %q, %v", name, got, err)
	}
}
