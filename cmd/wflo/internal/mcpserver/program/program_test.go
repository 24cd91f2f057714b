//go:build integration

package program

import (
	"bufio"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// world is a console over a run that waits, and the program.
type world struct {
	program, api string
	runs         *desktest.Runs
	keys         *apikey.Keys
}

func newWorld(t *testing.T) *world {
	t.Helper()
	program, err := filepath.Abs("../../../../../bin/wflo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make bin/wflo", err)
	}
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	logger := slog.New(slog.DiscardHandler)
	w := &world{program: program}
	if w.runs, err = desktest.New(ledger.Records(), time.Now); err != nil {
		t.Fatal(err)
	}
	if w.keys, err = apikey.New(apikey.Config{Store: ledger.Records(), Logger: logger}); err != nil {
		t.Fatal(err)
	}
	handler := console.NewHandler(console.Config{
		Client: w.runs, Ledger: ledger, Logger: logger, Auth: w.keys, Keys: w.keys, Metrics: http.NotFoundHandler(),
		Desk: &desk.Desk{Client: w.runs, Records: ledger.Records(), Sign: w.runs.Sign, Logger: logger},
	})
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		handler.Wait()
	})
	w.api = server.URL
	if _, err := w.runs.Ask(t.Context(), wflo.Run{WorkflowID: "refund-1", FirstRunID: "first"}, "n1", wflo.Approval{Gate: "pay", Action: "pay ann"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) key(t *testing.T, subject string, role wflo.AccessRole) string {
	t.Helper()
	key, _, err := w.keys.Make(t.Context(), apikey.Spec{Name: "test", Subject: subject, Roles: []wflo.AccessRole{role}, MadeBy: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// command is the program, which knows nothing of whoever runs the test.
func (w *world) command(t *testing.T, key string, line ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.program, append([]string{"mcp"}, line...)...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "WFLO_API=" + w.api}
	if key != "" {
		cmd.Env = append(cmd.Env, "WFLO_TOKEN="+key)
	}
	cmd.Stderr = os.Stderr
	return cmd
}

func connect(t *testing.T, by mcp.Transport) *mcp.ClientSession {
	t.Helper()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), by, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// uses tries a tool and a resource, and what the caller may not do.
func (w *world) uses(t *testing.T, s *mcp.ClientSession, by string) {
	t.Helper()
	text := func(name string, in map[string]any) (string, bool) {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: in})
		if err != nil || len(res.Content) != 1 {
			t.Fatalf("%s: %+v, %v", name, res, err)
		}
		return res.Content[0].(*mcp.TextContent).Text, !res.IsError
	}
	if got, ok := text("get_approval", map[string]any{"nonce": "n1"}); !ok || !strings.Contains(got, "pay ann") {
		t.Errorf("get_approval: %s", got)
	}
	res, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "run://refund-1"})
	if err != nil || !strings.Contains(res.Contents[0].Text, `"id":"refund-1"`) {
		t.Errorf("resource: %+v, %v", res, err)
	}
	before := len(w.runs.Stops())
	if got, ok := text("halt_run", map[string]any{"run": "refund-1", "reason": "wrong customer"}); !ok || !strings.Contains(got, `"by":"`+by+`"`) {
		t.Errorf("halt_run: %s", got)
	}
	if told := w.runs.Stops(); len(told) != before+1 || told[before].Halt.By != by {
		t.Errorf("told %+v", told)
	}
}

func TestProgramOverStdio(t *testing.T) {
	w := newWorld(t)
	s := connect(t, &mcp.CommandTransport{Command: w.command(t, w.key(t, "olga", wflo.RoleOperator), "--allow-writes")})
	w.uses(t, s, "olga")
	if err := s.Close(); err != nil {
		t.Errorf("the program ends with %v", err)
	}
}

type bearing struct{ key string }

func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.key)
	return http.DefaultTransport.RoundTrip(r)
}

func TestProgramOverHTTP(t *testing.T) {
	w := newWorld(t)
	// The key of whoever serves is for nobody.
	cmd := w.command(t, w.key(t, "server", wflo.RoleAdmin), "--allow-writes", "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(said), "MCP ")
	if err != nil || !ok {
		t.Fatalf("it said %q, %v", said, err)
	}
	s := connect(t, &mcp.StreamableClientTransport{
		Endpoint: address, HTTPClient: &http.Client{Transport: bearing{w.key(t, "olga", wflo.RoleOperator)}}, DisableStandaloneSSE: true,
	})
	w.uses(t, s, "olga")
	_ = s.Close() // there is no session to end
	resp, err := http.Post(address, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %s", resp.Status)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) || err != nil {
		t.Errorf("after SIGTERM it ends with %v", err)
	}
}
