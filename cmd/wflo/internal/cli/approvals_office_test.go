package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// office is a real console with real records and keys, over runs whose gates judge
// decisions as workflows do.
type office struct {
	t       *testing.T
	url     string
	runs    *desktest.Runs
	records activities.Records
	keys    *apikey.Keys
	home    string
	// secrets are keys that no output may hold, and said is all output.
	secrets []string
	said    strings.Builder
}

func newOffice(t *testing.T) *office {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	o := &office{t: t, records: ledger.Records(), home: t.TempDir()}
	logger := slog.New(slog.DiscardHandler)
	if o.runs, err = desktest.New(o.records, time.Now); err != nil {
		t.Fatal(err)
	}
	if o.keys, err = apikey.New(apikey.Config{Store: o.records, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	handler := console.NewHandler(console.Config{
		Client: o.runs, Ledger: ledger, Logger: logger, Auth: o.keys, Keys: o.keys, Metrics: http.NotFoundHandler(),
		Desk: &desk.Desk{Client: o.runs, Records: o.records, Sign: o.runs.Sign, Logger: logger},
	})
	s := httptest.NewServer(handler)
	t.Cleanup(func() {
		s.Close()
		handler.Wait()
		for _, secret := range o.secrets {
			if strings.Contains(o.said.String(), secret) {
				t.Error("a key is in the output")
			}
		}
	})
	o.url = s.URL
	return o
}

// key makes a key of somebody.
func (o *office) key(subject string, groups []string, roles ...wflo.AccessRole) string {
	o.t.Helper()
	plain, _, err := o.keys.Make(o.t.Context(), apikey.Spec{Name: "test", Subject: subject, Groups: groups, Roles: roles, MadeBy: "root"})
	if err != nil {
		o.t.Fatal(err)
	}
	o.secrets = append(o.secrets, plain)
	return plain
}

func (o *office) approver(subject string, groups ...string) string {
	return o.key(subject, groups, wflo.RoleApprover)
}

// gate opens a gate of a run for eve.
func (o *office) gate(run string, change func(*wflo.Approval)) wflo.Gate {
	o.t.Helper()
	a := wflo.Approval{
		Gate: "refunds", Action: "refund order 17", Risk: wflo.RiskHigh, Payload: json.RawMessage(`{"order":17,"amount":"25.00"}`),
		Approvers: []string{"ann", "group:ops"},
	}
	if change != nil {
		change(&a)
	}
	g, err := o.runs.Ask(o.t.Context(), wflo.Run{WorkflowID: run, FirstRunID: "first", User: "eve"}, "nonce-"+run, a)
	if err != nil {
		o.t.Fatal(err)
	}
	return g
}

// hangUp is the runs for commands that end their connection.
type hangUp struct{ *desktest.Runs }

func (hangUp) Close() {}

// does runs a command line with a key, which may be empty.
func (o *office) does(token string, line ...string) result {
	o.t.Helper()
	r := o.reads("", token, line...)
	o.said.WriteString(r.out + r.errOut)
	return r
}

// reads is does with something on standard input, and its output is not searched for
// keys.
func (o *office) reads(stdin, token string, line ...string) result {
	o.t.Helper()
	o.environment(token)
	var out, errOut bytes.Buffer
	code := Main(o.t.Context(), Deps{
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errOut,
		Dial: func(context.Context, client.Options) (client.Client, error) { return hangUp{o.runs}, nil },
	}, line)
	return result{code, out.String(), errOut.String()}
}

func (o *office) environment(token string) {
	for name, value := range map[string]string{
		"XDG_DATA_HOME": o.home, "XDG_CONFIG_HOME": o.home, "WFLO_USER": "bob", "TEMPORAL_CONFIG_FILE": "",
		"WFLO_API": o.url, "WFLO_TOKEN": token, "WFLO_TOKEN_FILE": "", "WFLO_APPROVER_KEY": "",
	} {
		o.t.Setenv(name, value)
	}
}

func (o *office) file(text string) string {
	o.t.Helper()
	path := filepath.Join(o.t.TempDir(), "file.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// stranger is an HTTP server that is no console: it keeps what comes with requests.
func stranger(t *testing.T, answer http.HandlerFunc) (url string, keys func() []string) {
	t.Helper()
	seen := make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Header.Get("Authorization")
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		var all []string
		for len(seen) > 0 {
			all = append(all, <-seen)
		}
		return all
	}
}
