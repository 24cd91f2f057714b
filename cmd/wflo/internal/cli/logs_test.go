package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
	"github.com/wflo-ai/wflo-go/internal/step"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// logShop is a real store of lines behind the real API. What happens to its run happens
// when Temporal is asked about it.
type logShop struct {
	*fakeTemporal
	store  activities.Logs
	level  *telemetry.Level
	mu     sync.Mutex
	asked  int
	script func(asked int, d *workflowservice.DescribeWorkflowExecutionResponse)
}

func (s *logShop) DescribeWorkflowExecution(ctx context.Context, id, first string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	d, err := s.fakeTemporal.DescribeWorkflowExecution(ctx, id, first)
	if err == nil && s.script != nil {
		s.script(s.asked, d)
	}
	return d, err
}

func newLogShop(t *testing.T) *logShop {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	s := &logShop{fakeTemporal: withRun(), store: ledger.Logs(), level: telemetry.NewLevel(slog.LevelInfo)}
	server := httptest.NewServer(console.NewHandler(console.Config{
		Client: s, Ledger: ledger, Logger: telemetry.NewLogger(io.Discard, telemetry.Config{Level: s.level}), Metrics: http.NotFoundHandler(),
	}))
	t.Cleanup(server.Close)
	s.api = server.URL
	return s
}

// say appends lines of r1, one a second.
func (s *logShop) say(t *testing.T, from int, messages ...string) {
	t.Helper()
	var lines []wflo.LogLine
	for i, m := range messages {
		lines = append(lines, wflo.LogLine{
			At: time.Date(2026, 11, 22, 10, 0, from+i, 5e6, time.UTC), Message: m, WorkflowID: "r1", FirstRunID: "run-r1", Step: "g0/charge#1",
			Attributes: json.RawMessage(`{"b":1,"activity":"Charge","error":"no such card","empty":"","nested":{"x":[1]}}`),
		})
	}
	if err := s.store.AppendLogs(t.Context(), 100_000, lines...); err != nil {
		t.Error(err)
	}
}

func TestLogs(t *testing.T) {
	s := newLogShop(t)
	ask := func(line ...string) result {
		t.Helper()
		return invoke(t, s.fakeTemporal, append([]string{"logs"}, line...)...)
	}
	ask("r1").want(t, 0, nil, []string{"no lines are kept"})
	s.say(t, 1, "second", "third")
	s.say(t, 0, "first", "evil\x1b[2J\nlevel=ERROR")
	ask("r1", "-n", "3").want(t, 0, []string{`2026-11-22T10:00:00.005Z INFO  [charge#1] first  b=1  activity=Charge  error="no such card"  empty=""  nested={"x":[1]}` + "\n"}, nil)
	r := ask("r1")
	if i, j, k := strings.Index(r.out, "first"), strings.Index(r.out, "second"), strings.Index(r.out, "third"); i < 0 || i > j || j > k || strings.Count(r.out, "\n") != 4 {
		t.Errorf("not in the order of time:\n%s", r.out)
	}
	if r := ask("r1", "-n", "1", "-o", "jsonl"); strings.Count(r.out, "\n") != 1 || !strings.Contains(r.out, `"message":"evil`) || !strings.Contains(r.out, `"execution_id":"run-r1"`) {
		t.Errorf("jsonl: %s", r.out)
	}
	var all []wflo.LogLine
	if err := json.Unmarshal([]byte(ask("r1", "-o", "json", "-n", "0").out), &all); err != nil || len(all) != 4 {
		t.Errorf("json: %d lines, %v", len(all), err)
	}
	ask("r1", "--level", "warn").want(t, 0, nil, []string{"no lines are kept"})
	ask("r1", "--step", "charge").want(t, 0, []string{"first"}, nil)
	ask("r1", "--step", "refund").want(t, 0, nil, []string{"no lines"})
	ask("r1", "--since", "10m").want(t, 0, nil, []string{"no lines"})
	ask("none").want(t, ExitError, nil, []string{"no such run"})
	for _, bad := range [][]string{{"r1", "--level", "loud"}, {"r1", "-n", "-1"}, {"r1", "--since", "soon"}, {"r1", "-f", "-o", "json"}, {}, {"r1", "r2"}} {
		if r := ask(bad...); r.code != ExitUsage {
			t.Errorf("%v gave %d: %s", bad, r.code, r.errOut)
		}
	}
}

func TestLogsOfManyPages(t *testing.T) {
	s := newLogShop(t)
	var messages []string
	for i := range 2*logPage + 7 {
		messages = append(messages, fmt.Sprint("line ", i, "."))
	}
	s.say(t, 0, messages...)
	for n, want := range map[string]int{"0": 2*logPage + 7, "1500": 1500, "1000": 1000, "5": 5} {
		r := invoke(t, s.fakeTemporal, "logs", "r1", "-n", n)
		if got := strings.Count(r.out, "\n"); got != want || !strings.Contains(r.out, messages[len(messages)-1]) || !strings.Contains(r.out, messages[len(messages)-want]) {
			t.Errorf("-n %s: %d lines", n, got)
		}
	}
}

// TestLogsFollow: what is there, what comes, what a program writes, and the lines that
// workers hand over after the end.
func TestLogsFollow(t *testing.T) {
	for _, format := range []string{formatText, formatJSONL} {
		t.Run(format, func(t *testing.T) {
			s := newLogShop(t)
			s.say(t, 0, "zero", "before")
			beat := func(d *workflowservice.DescribeWorkflowExecutionResponse, output int64, tail string) {
				details, err := converter.GetDefaultDataConverter().ToPayloads(step.Progress{Output: output, Tail: tail})
				if err != nil {
					t.Error(err)
				}
				d.PendingActivities = []*workflowpb.PendingActivityInfo{{
					ActivityId: "5", ActivityType: &commonpb.ActivityType{Name: string(step.SandboxRun)}, Attempt: 1, HeartbeatDetails: details,
				}}
			}
			s.script = func(asked int, d *workflowservice.DescribeWorkflowExecutionResponse) {
				info := d.WorkflowExecutionInfo
				info.Status = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
				switch asked {
				case 2:
					s.say(t, 2, "during")
					beat(d, 9, "one\ntwo\nth")
				case 3:
					beat(d, 14, "one\ntwo\nthree\nqu")
				case 4, 5, 6, 7:
					info.Status = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
					if asked == 5 {
						s.say(t, 3, "after")
					}
				}
			}
			r := invoke(t, s.fakeTemporal, "logs", "r1", "--follow", "-n", "1", "-o", format)
			if r.code != 0 || strings.Contains(r.out, "zero") {
				t.Errorf("exit code %d\n%s%s", r.code, r.out, r.errOut)
			}
			at := -1
			for _, want := range []string{"before", "one", "two", "during", "three", "qu", "after"} {
				next := strings.Index(r.out, want)
				if next < at || strings.Count(r.out, want) != 1 {
					t.Errorf("%q is at %d, after %d, in\n%s", want, next, at, r.out)
				}
				at = next
			}
			if format == formatText && !strings.Contains(r.out, "  | three\n") {
				t.Errorf("no line of its own:\n%s", r.out)
			}
			if format == formatJSONL && !strings.Contains(r.out, `{"output":{"activity_id":"5","attempt":1,"text":"three\n"}}`) {
				t.Errorf("no output:\n%s", r.out)
			}
			if s.asked < 6 {
				t.Errorf("the last lines were not waited for: asked %d times", s.asked)
			}
		})
	}
}

func TestLiveOutputIsShownOnce(t *testing.T) {
	p := &liveProgram{}
	for i, beat := range []struct {
		output     int64
		tail, want string
	}{
		{0, "", ""}, {4, "ab\nc", "ab\n"}, {4, "ab\nc", ""}, {7, "ab\ncde\n", "cde\n"}, {9, "cde\nf\n", "f\n"},
		{500, "xyz\n", "… (some output is not shown)\nxyz\n"}, {502, "xyz\nq", ""}, {503, "xyz\nq\n", "q\n"},
	} {
		if got := p.add(beat.output, beat.tail); got != beat.want {
			t.Errorf("beat %d gave %q, want %q", i, got, beat.want)
		}
	}
	if got := (&liveProgram{}).add(5000, "tail\n"); got != "… (some output is not shown)\ntail\n" {
		t.Errorf("a program that was found late gave %q", got)
	}
}

func TestLogsLevel(t *testing.T) {
	s := newLogShop(t)
	ask := func(line ...string) result {
		t.Helper()
		return invoke(t, s.fakeTemporal, append([]string{"logs", "level"}, line...)...)
	}
	ask().want(t, 0, []string{"info\n"}, nil)
	ask("debug", "--for", "10m").want(t, 0, []string{"debug until ", ", then info"}, nil)
	if s.level.Level() != slog.LevelDebug {
		t.Errorf("the level is %s", s.level.Level())
	}
	ask("warn", "-o", "json").want(t, 0, []string{`"level": "WARN"`}, nil)
	ask().want(t, 0, []string{"warn\n"}, nil)
	ask("debug", "--for", "25h").want(t, ExitUsage, nil, []string{"a day"})
	for _, bad := range [][]string{{"loud"}, {"--for", "10m"}, {"debug", "warn"}, {"debug", "--for", "soon"}} {
		if r := ask(bad...); r.code != ExitUsage {
			t.Errorf("%v gave %d: %s", bad, r.code, r.errOut)
		}
	}
}

func TestLogsHelp(t *testing.T) {
	for _, name := range []string{"logs", "logs level"} {
		golden(t, "help-"+strings.ReplaceAll(name, " ", "-")+".txt", invoke(t, &fakeTemporal{}, append(strings.Fields(name), "--help")...))
	}
}
