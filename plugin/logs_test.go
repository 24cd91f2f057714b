package plugin

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/telemetry"
)

// Ids that the test environment gives runs.
const (
	testWorkflow = "default-test-workflow-id"
	testRun      = "default-test-run-id"
)

// talk runs a workflow that logs in every way there is, and whose activity does as well.
func talk(t *testing.T, p *Plugin, act func(ctx context.Context) error) error {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(p.clientLogger(nil))
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: append(p.Interceptors(), &policied{}), DeadlockDetectionTimeout: time.Minute})
	Register(env, p)
	env.RegisterActivityWithOptions(act, activity.RegisterOptions{Name: "Charge"})
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		workflow.GetLogger(ctx).Info("the workflow says")
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 2, InitialInterval: time.Millisecond},
		})
		return workflow.ExecuteActivity(ctx, "Charge").Get(ctx, nil)
	})
	return env.GetWorkflowError()
}

// policied tells activities their retry policy, as Temporal does and its test
// environment does not.
type policied struct {
	interceptor.WorkerInterceptorBase
}

func (*policied) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &policiedIn{}
	in.Next = next
	return in
}

type policiedIn struct {
	interceptor.ActivityInboundInterceptorBase
}

func (in *policiedIn) Init(next interceptor.ActivityOutboundInterceptor) error {
	out := &policiedOut{}
	out.Next = next
	return in.Next.Init(out)
}

type policiedOut struct {
	interceptor.ActivityOutboundInterceptorBase
}

func (o *policiedOut) GetInfo(ctx context.Context) activity.Info {
	info := o.Next.GetInfo(ctx)
	info.RetryPolicy = &temporal.RetryPolicy{MaximumAttempts: 2, InitialInterval: time.Millisecond}
	return info
}

// linesIn reads the lines of the test's run from a database that was closed.
func linesIn(t *testing.T, dir string, level slog.Level) []wflo.LogLine {
	t.Helper()
	ledger, _, err := OpenDatabase(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	lines, err := ledger.(interface{ Logs() activities.Logs }).Logs().ReadLogs(t.Context(),
		activities.LogQuery{WorkflowID: testWorkflow, FirstRunID: testRun, Level: level, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func find(t *testing.T, lines []wflo.LogLine, message string) wflo.LogLine {
	t.Helper()
	i := slices.IndexFunc(lines, func(l wflo.LogLine) bool { return l.Message == message })
	if i < 0 {
		t.Fatalf("no line %q in %+v", message, lines)
	}
	return lines[i]
}

func TestLogsOfARun(t *testing.T) {
	t.Setenv("WFLO_SECRET_CARDS", "hunter2-of-cards")
	dir := t.TempDir()
	var written bytes.Buffer
	p := newPlugin(t, func(c *Config) {
		c.DataDir, c.Database = dir, ""
		c.Logger = telemetry.NewLogger(&written, telemetry.Config{Level: telemetry.NewLevel(slog.LevelWarn), RunFromContext: wflo.RunFrom})
	})
	if p.LogLevel() != slog.LevelWarn {
		t.Errorf("the level is %s and not that of the logger", p.LogLevel())
	}
	if err := p.SetLogLevel(slog.LevelDebug, time.Minute); err != nil {
		t.Fatal(err)
	}
	err := talk(t, p, func(ctx context.Context) error {
		activity.GetLogger(ctx).Info("the activity says", "card", "hunter2-of-cards")
		run, _ := wflo.RunFrom(ctx)
		run.FirstRunID = testRun // which Temporal gives, and its test environment does not
		ctx = wflo.WithRun(ctx, run)
		p.Logger().With("a", 1).WarnContext(ctx, "slog says hunter2-of-cards")
		p.Logger().Info("of no run")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	lines := linesIn(t, dir, slog.LevelDebug)
	for _, message := range []string{"the activity says", "slog says " + telemetry.Redacted} {
		l := find(t, lines, message)
		if l.WorkflowID != testWorkflow || l.FirstRunID != testRun || l.Step != "g0/Charge#1" || l.Worker == "" {
			t.Errorf("%s: %+v", message, l)
		}
	}
	if l := find(t, lines, "the activity says"); !strings.Contains(string(l.Attributes), `"card":"`+telemetry.Redacted) || l.Level != slog.LevelInfo {
		t.Errorf("%+v", l)
	}
	all, _ := json.Marshal(lines)
	if bytes.Contains(all, []byte("hunter2")) || bytes.Contains(all, []byte("of no run")) || bytes.Contains(written.Bytes(), []byte("hunter2")) {
		t.Errorf("kept %s\nwritten %s", all, &written)
	}
	if !bytes.Contains(written.Bytes(), []byte("the activity says")) {
		t.Errorf("it is not written: %s", &written)
	}
}

func TestLogsOff(t *testing.T) {
	dir := t.TempDir()
	var written bytes.Buffer
	p := newPlugin(t, func(c *Config) {
		c.DataDir, c.Database, c.Logs.Off = dir, "", true
		c.Logger = slog.New(slog.NewJSONHandler(&written, nil))
	})
	if err := talk(t, p, func(ctx context.Context) error { activity.GetLogger(ctx).Info("said"); return nil }); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if lines := linesIn(t, dir, slog.LevelDebug); len(lines) != 0 {
		t.Errorf("kept %+v", lines)
	}
	if !strings.Contains(written.String(), `"workflow_id":"`+testWorkflow) || !strings.Contains(written.String(), `"step":"g0/Charge#1"`) {
		t.Errorf("a logger of the user's own has no ids: %s", &written)
	}
}

// TestLogsHoldNobodyUp: the table is gone, and runs go on as if nothing were.
func TestLogsHoldNobodyUp(t *testing.T) {
	dir := t.TempDir()
	var written bytes.Buffer
	var mu sync.Mutex
	p := newPlugin(t, func(c *Config) {
		c.DataDir, c.Database = dir, ""
		c.Logger = slog.New(slog.NewJSONHandler(lockedWriter{&mu, &written}, nil))
	})
	db, err := sql.Open("sqlite", filepath.Join(dir, "wflo.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "DROP TABLE logs"); err != nil {
		t.Fatal(err)
	}
	if err := talk(t, p, func(ctx context.Context) error { activity.GetLogger(ctx).Info("said"); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := p.logs.keeper.Close(); err != nil { // hands the last ones over
		t.Error(err)
	}
	rec := httptest.NewRecorder()
	p.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if text := rec.Body.String(); !strings.Contains(text, `wflo_log_lines_dropped_total{reason="store"}`) || strings.Contains(text, `wflo_log_lines_dropped_total{reason="store"} 0`) {
		t.Error("no line was counted as dropped")
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(written.String(), "were not kept"); n != 1 {
		t.Errorf("%d warnings: %s", n, &written)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// TestLogsBesidesAUsersLogger: a client with a logger of its own keeps it.
func TestLogsBesidesAUsersLogger(t *testing.T) {
	dir := t.TempDir()
	p := newPlugin(t, func(c *Config) { c.DataDir, c.Database = dir, "" })
	var own bytes.Buffer
	l := p.clientLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(&own, nil))))
	l = log.With(l, "workflow_id", testWorkflow, "execution_id", testRun)
	l.Info("said", "n", 1)
	l.Debug("quiet")
	l.Warn("louder")
	l.Error("loudest")
	p.Close()
	lines := linesIn(t, dir, slog.LevelInfo)
	if len(lines) != 3 || lines[0].Message != "said" || strings.Count(own.String(), "\n") != 3 || !strings.Contains(own.String(), "n=1") {
		t.Errorf("kept %+v, written %s", lines, &own)
	}
	off := newPlugin(t, func(c *Config) { c.Logs.Off = true })
	users := log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	if got := off.clientLogger(users); got != users {
		t.Errorf("the logger became %T though nothing is kept", got)
	}
}

func TestLogsConfig(t *testing.T) {
	for _, bad := range []Logs{{MaxAge: -1}, {MaxLines: -1}, {MaxBytes: -1}, {MaxBytes: 10}} {
		if _, err := New(Config{DataDir: t.TempDir(), Database: "memory", Logs: bad}); wflo.CodeOf(err) != wflo.CodeInvalid {
			t.Errorf("%+v gave %v", bad, err)
		}
	}
	got := secretsOf(Config{Database: "postgres://u:pg-password@h/d", Providers: []Provider{{APIKey: "provider-key"}}, GatewayKeys: []GatewayKey{{Secret: "gateway-key"}}},
		[]string{"OPENAI_API_KEY=env-key", "WFLO_SECRET_X=x-secret", "SHOP_URL=https://u:shop-password@h/", "TLS_KEY=/etc/key.pem", "PATH=/bin", "HOME=/root", "PGPASSWORD=pg", "MONKEY_NAME=joe"})
	got = slices.DeleteFunc(got, func(s string) bool { return s == "" })
	slices.Sort(got)
	if want := []string{"env-key", "gateway-key", "pg-password", "provider-key", "shop-password", "x-secret"}; !slices.Equal(got, want) {
		t.Errorf("secrets are %q, want %q", got, want)
	}
}

// handed gives one secret.
type handed struct{}

func (handed) Secret(context.Context, string) ([]byte, error) { return []byte("rotated-secret"), nil }

func TestSecretsAreLearnedWhenTheyAreHandedOut(t *testing.T) {
	p := newPlugin(t, nil)
	store := p.learning(handed{})
	if got := p.logs.redactor.String("rotated-secret"); got != "rotated-secret" {
		t.Errorf("known before: %q", got)
	}
	if _, err := store.Secret(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if got := p.logs.redactor.String("rotated-secret"); got != telemetry.Redacted {
		t.Errorf("%q", got)
	}
}

// TestFailuresAreReported: once for each activity that failed for good, and never with
// what the error says.
func TestFailuresAreReported(t *testing.T) {
	events := make(chan string, 20)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		events <- string(body)
	}))
	defer server.Close()
	t.Setenv("SENTRY_DSN", strings.Replace(server.URL, "http://", "http://public@", 1)+"/7")
	for name, c := range map[string]struct {
		err   error
		panic bool
		want  string // in the only event; empty for none
	}{
		"tried again":   {err: errors.New("the card of Ann Smith"), want: `"code":"*errors.errorString"`},
		"not retryable": {err: temporal.NewNonRetryableApplicationError("Ann Smith", "CardDeclined", nil), want: `"code":"CardDeclined"`},
		"of wflo":       {err: wflo.Invalid("Ann Smith", "is bad", "x"), want: `"code":"wflo.Invalid"`},
		"governed":      {err: wflo.Errorf(wflo.CodeBudgetExceeded, "", "no money")},
		"panic":         {panic: true, want: `"code":"panic"`},
		"fine":          {},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlugin(t, nil)
			err := talk(t, p, func(context.Context) error {
				if c.panic {
					panic("Ann Smith")
				}
				return c.err
			})
			if (err != nil) != (c.err != nil || c.panic) {
				t.Errorf("the run ended with %v", err)
			}
			p.Close() // sends what is left
			var got []string
			for len(events) > 0 {
				got = append(got, <-events)
			}
			if c.want == "" && len(got) > 0 || c.want != "" && len(got) != 1 {
				t.Fatalf("%d events: %s", len(got), got)
			}
			if c.want == "" {
				return
			}
			if !strings.Contains(got[0], c.want) || !strings.Contains(got[0], `"workflow_id":"`+testWorkflow) || strings.Contains(got[0], "Smith") {
				t.Errorf("event %s, want %s", got[0], c.want)
			}
		})
	}
}
