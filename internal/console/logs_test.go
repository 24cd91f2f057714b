package console

import (
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// withLines is an office where a run of acme and one of rival have lines.
func withLines(t *testing.T) *backOffice {
	t.Helper()
	b := newBackOffice(t, func(_ *recoverytest.Runs, c *Config) {
		c.Logger = telemetry.NewLogger(io.Discard, telemetry.Config{Level: telemetry.NewLevel(slog.LevelInfo)})
	})
	store := b.cfg.Ledger.(interface{ Logs() activities.Logs }).Logs()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	var lines []wflo.LogLine
	for i, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		lines = append(lines, wflo.LogLine{At: at.Add(time.Duration(i) * time.Minute), Level: level, Message: "said at " + level.String(), WorkflowID: "refund-17", FirstRunID: "first-17", Step: "g0/charge#1"})
	}
	lines = append(lines, wflo.LogLine{At: at, Message: "of deal", WorkflowID: "deal-9", FirstRunID: "first-9"})
	if err := store.AppendLogs(t.Context(), 100, lines...); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogsOfAPI(t *testing.T) {
	b := withLines(t)
	path := "/api/v1/runs/refund-17/logs"
	wants(t, "info and above", b.api(b.looks, "GET", path, ""), 200, "said at INFO", "said at ERROR", "!said at DEBUG", "!of deal", `"next":4`, `"first_run_id":"first-17"`, `"ended":`, `"level":"WARN"`, `"execution_id":"first-17"`)
	wants(t, "debug", b.api(b.looks, "GET", path+"?level=debug", ""), 200, "said at DEBUG")
	wants(t, "on", b.api(b.looks, "GET", path+"?after=3&level=DEBUG", ""), 200, "said at ERROR", "!said at WARN")
	wants(t, "nothing new", b.api(b.looks, "GET", path+"?after=4", ""), 200, `"lines":[]`, `"next":4`)
	wants(t, "latest", b.api(b.looks, "GET", path+"?latest=true&limit=1", ""), 200, "said at ERROR", "!said at WARN")
	wants(t, "since", b.api(b.looks, "GET", path+"?since=2026-11-22T10:02:30Z", ""), 200, "said at ERROR", "!said at WARN")
	wants(t, "of a step", b.api(b.looks, "GET", path+"?step=charge", ""), 200, "said at INFO")
	wants(t, "of another step", b.api(b.looks, "GET", path+"?step=refund", ""), 200, `"lines":[]`)
	for _, bad := range []string{"?level=loud", "?level=INFO%2B1", "?after=-1", "?after=x", "?since=10m", "?limit=0", "?limit=1001", "?latest=perhaps", "?step=%00", "?run=x"} {
		wants(t, bad, b.api(b.looks, "GET", path+bad, ""), 422, "hint")
	}
	wants(t, "no such run", b.api(b.looks, "GET", "/api/v1/runs/none/logs", ""), 404, "not_found")
	wants(t, "nobody", b.api("", "GET", path, ""), 401, "unauthenticated")

	ann, rival := b.key("ann", "acme", wflo.RoleViewer), b.key("rex", "rival", wflo.RoleViewer)
	wants(t, "of the org", b.api(ann, "GET", path, ""), 200, "said at INFO")
	wants(t, "of another org", b.api(rival, "GET", path, ""), 404, "!said")
	wants(t, "of a first run of another org", b.api(rival, "GET", path+"?first_run=first-17", ""), 404, "!said")
	wants(t, "of rival", b.api(rival, "GET", "/api/v1/runs/deal-9/logs", ""), 200, "of deal")
}

func TestLogLevelOfAPI(t *testing.T) {
	b := withLines(t)
	const path = "/api/v1/log-level"
	level, _ := telemetry.LevelOf(b.cfg.Logger)
	wants(t, "now", b.api(b.looks, "GET", path, ""), 200, `"level":"INFO"`, `"then":"INFO"`, "!until")
	wants(t, "for a while", b.api(b.op, "PUT", path, `{"level":"debug","for":"10m"}`), 200, `"level":"DEBUG"`, `"then":"INFO"`, "until")
	if level.Level() != slog.LevelDebug {
		t.Errorf("the level is %s", level.Level())
	}
	wants(t, "for good", b.api(b.op, "PUT", path, `{"level":"warn"}`), 200, `"level":"WARN"`, `"then":"WARN"`, "!until")
	for _, bad := range []string{`{}`, `{"level":"loud"}`, `{"level":"debug","for":"soon"}`, `{"level":"debug","for":"-1m"}`, `{"level":"debug","for":"25h"}`, `{"level":"debug","until":"1h"}`, `x`} {
		wants(t, bad, b.api(b.op, "PUT", path, bad), 422, "hint")
	}
	wants(t, "a viewer", b.api(b.looks, "PUT", path, `{"level":"debug"}`), 403, "forbidden")
	wants(t, "of one org", b.api(b.key("olaf", "acme", wflo.RoleAdmin), "PUT", path, `{"level":"debug"}`), 403, "forbidden")
	if level.Level() != slog.LevelWarn {
		t.Errorf("the level is %s", level.Level())
	}
	fixed := newOffice(t, nil)
	for _, rt := range Routes(fixed.cfg) {
		if strings.Contains(rt.Pattern, "log-level") {
			t.Errorf("%s is served where the level is fixed", rt.Pattern)
		}
	}
}

func TestLiveOutput(t *testing.T) {
	details := func(v any) *commonpb.Payloads {
		p, err := converter.GetDefaultDataConverter().ToPayloads(v)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	activity := func(name string) *commonpb.ActivityType { return &commonpb.ActivityType{Name: name} }
	running := enumspb.PENDING_ACTIVITY_STATE_STARTED
	got := liveOutput([]*workflowpb.PendingActivityInfo{
		{ActivityId: "5", ActivityType: activity(string(step.SandboxRun)), State: running, Attempt: 2, HeartbeatDetails: details(step.Progress{Output: 7, Tail: "key=" + "sk-" + strings.Repeat("a1", 12)})},
		{ActivityId: "6", ActivityType: activity("Charge"), State: running, HeartbeatDetails: details("its own")},
		{ActivityId: "7", ActivityType: activity(string(step.SandboxRun)), State: running, HeartbeatDetails: details("sealed")},
		{ActivityId: "8", ActivityType: activity(string(step.SandboxRun)), State: running},
	})
	want := []LiveOutput{
		{ActivityID: "5", Activity: string(step.SandboxRun), Attempt: 2, Progress: step.Progress{Output: 7, Tail: "key=" + telemetry.Redacted}},
		{ActivityID: "7", Activity: string(step.SandboxRun)}, {ActivityID: "8", Activity: string(step.SandboxRun)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	data, err := json.Marshal(got[0])
	if err != nil || !strings.Contains(string(data), `"output":7`) || !strings.Contains(string(data), `"tail":`) {
		t.Errorf("%s, %v", data, err)
	}
}
