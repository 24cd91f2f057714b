package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"

	commonpb "go.temporal.io/api/common/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers for one waiting run, "r1", and knows no other. What it does
// not implement panics.
type server struct {
	client.Client
	down  bool
	query string
	sent  *wflo.Decision
}

func (c *server) CheckHealth(context.Context, *client.CheckHealthRequest) (*client.CheckHealthResponse, error) {
	if c.down {
		return nil, errors.New("no route to 10.1.2.3")
	}
	return &client.CheckHealthResponse{}, nil
}

func info() *workflowpb.WorkflowExecutionInfo {
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: "r1", RunId: "run"}, Type: &commonpb.WorkflowType{Name: "wf"},
		Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, FirstRunId: "first",
	}
}

func (c *server) ListWorkflow(_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if c.down {
		return nil, errors.New("no route to 10.1.2.3")
	}
	c.query = r.GetQuery()
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: []*workflowpb.WorkflowExecutionInfo{info()}}, nil
}

func (c *server) DescribeWorkflowExecution(_ context.Context, id, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if id != "r1" {
		return nil, serviceerror.NewNotFound("no")
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: info()}, nil
}

func (c *server) QueryWorkflow(_ context.Context, _, _, name string, _ ...any) (converter.EncodedValue, error) {
	gates := []wflo.Gate{{ID: "g", Status: wflo.GateOpen}, {ID: "old", Status: wflo.GateRejected}}
	if name == wflo.QueryGates {
		return client.NewValue(payloads(gates)), nil
	}
	return client.NewValue(payloads(wflo.Status{State: wflo.StateWaiting, Gates: gates})), nil
}

func payloads(v any) *commonpb.Payloads {
	p, err := converter.GetDefaultDataConverter().ToPayloads(v)
	if err != nil {
		panic(err)
	}
	return p
}

func (c *server) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	d, ok := o.Args[0].(wflo.Decision)
	if !ok || o.UpdateName != wflo.UpdateDecide || o.WorkflowID != "r1" {
		return nil, serviceerror.NewNotFound("no")
	}
	c.sent = &d
	return nil, wflo.Invalid("decision.digest", "is not the gate's", "look again")
}

func serve(t *testing.T, c *server) *httptest.Server {
	t.Helper()
	ledger, err := sqlite.Open(context.Background(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	s := httptest.NewServer(NewHandler(Config{
		Client: c, Ledger: ledger, Logger: slog.New(slog.DiscardHandler),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "wflo_up 1\n") }),
	}))
	t.Cleanup(s.Close)
	return s
}

// TestGatewayIsServed below /v1/, to everybody but the pages of other sites, and
// nowhere when there is none.
func TestGatewayIsServed(t *testing.T) {
	endpoint := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	for name, tt := range map[string]struct {
		gateway http.Handler
		path    string
		origin  string
		status  int
	}{
		"served":            {endpoint, "/v1/chat/completions", "", http.StatusOK},
		"none":              {nil, "/v1/chat/completions", "", http.StatusNotFound},
		"from another site": {endpoint, "/v1/chat/completions", "https://evil.example", http.StatusForbidden},
		"elsewhere":         {endpoint, "/v2/chat/completions", "", http.StatusNotFound},
	} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tt.path, strings.NewReader("{}"))
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
		}
		NewHandler(Config{Metrics: http.NotFoundHandler(), Gateway: tt.gateway}).ServeHTTP(rec, req)
		if rec.Code != tt.status || tt.status == http.StatusOK && rec.Body.String() != tt.path {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
}

func TestAPI(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		down                     bool
		status                   int
		want                     string
		never                    string
	}{
		{name: "health", method: "GET", path: "/healthz", status: 200, want: "ok"},
		{name: "unhealthy", method: "GET", path: "/healthz", down: true, status: 503, want: "Temporal does not answer", never: "10.1.2.3"},
		{name: "metrics", method: "GET", path: "/metrics", status: 200, want: "wflo_up"},
		{name: "runs", method: "GET", path: "/api/v1/runs", status: 200, want: `"id":"r1"`},
		{name: "runs while Temporal is down", method: "GET", path: "/api/v1/runs", down: true, status: 500, want: "log says why", never: "10.1.2.3"},
		{name: "run", method: "GET", path: "/api/v1/runs/r1", status: 200, want: `"state":"waiting_approval"`},
		{name: "no such run", method: "GET", path: "/api/v1/runs/r2", status: 404, want: "no such run"},
		{name: "ledger", method: "GET", path: "/api/v1/runs/r1/ledger", status: 200, want: "[]"},
		{name: "approvals", method: "GET", path: "/api/v1/approvals", status: 200, want: `"id":"g"`, never: `"id":"old"`},
		{name: "decision refused", method: "POST", path: "/api/v1/runs/r1/decisions", body: `{"gate":"g","verdict":"approve","by":"ann"}`, status: 422, want: "look again"},
		{name: "decision with a typo", method: "POST", path: "/api/v1/runs/r1/decisions", body: `{"gaet":"g"}`, status: 422, want: "gaet"},
		{name: "decision that is none", method: "POST", path: "/api/v1/runs/r1/decisions", body: `approve`, status: 422, want: "send a JSON decision"},
		{name: "decision too large", method: "POST", path: "/api/v1/runs/r1/decisions", body: `{"reason":"` + strings.Repeat("x", maxDecision) + `"}`, status: 422, want: "too large"},
		{name: "link scanner", method: "GET", path: "/api/v1/runs/r1/decisions", status: 405},
		{name: "unknown path", method: "GET", path: "/api/v1/secrets", status: 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &server{down: tt.down})
			req, err := http.NewRequest(tt.method, s.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("%d %s; want %d with %q", resp.StatusCode, body, tt.status, tt.want)
			}
			if tt.never != "" && strings.Contains(string(body), tt.never) {
				t.Errorf("%s shows %q", body, tt.never)
			}
		})
	}
}

func TestOnlyWaitingRunsAreAskedForGates(t *testing.T) {
	c := &server{}
	resp, err := http.Get(serve(t, c).URL + "/api/v1/approvals")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var gates []wflo.Gate
	if err := json.NewDecoder(resp.Body).Decode(&gates); err != nil || len(gates) != 1 || !strings.Contains(c.query, "WfloState = 'waiting_approval'") {
		t.Errorf("gates %+v, query %q, %v", gates, c.query, err)
	}
}

// TestOtherSitesCannotDecide is a page that a reviewer's browser has open.
func TestOtherSitesCannotDecide(t *testing.T) {
	c := &server{}
	s := serve(t, c)
	req, err := http.NewRequest(http.MethodPost, s.URL+"/api/v1/runs/r1/decisions", strings.NewReader(`{"gate":"g"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://evil.example")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || c.sent != nil {
		t.Errorf("status %d, sent %+v", resp.StatusCode, c.sent)
	}
}

func TestStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:80", "example.com:80", ":7244", "7244", taken.Addr().String()} {
		s, err := Start(Config{Addr: addr, Metrics: http.NotFoundHandler()})
		if err == nil {
			s.Stop()
		}
		if !errors.Is(err, wflo.ErrInvalid) || wflo.HintOf(err) == "" {
			t.Errorf("%s: %v", addr, err)
		}
	}
	off, err := Start(Config{})
	if err != nil || off.URL() != "" {
		t.Errorf("off: %q, %v", off.URL(), err)
	}
	off.Stop()
	on, err := Start(Config{Addr: "127.0.0.1:0", Client: &server{}, Metrics: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	httpClient := &http.Client{Timeout: 5 * time.Second}
	resp, err := httpClient.Get(on.URL() + "/healthz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("health: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	httpClient.CloseIdleConnections()
	on.Stop()
}
