package devworker

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/dev"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
)

// ask sends a request as somebody, and reads what comes back into v, if any.
func ask(t *testing.T, method, url, as, body string, v any) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Wflo-User", as)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if v != nil && json.Unmarshal(text, v) != nil {
		t.Fatalf("%s answers %d %s", url, resp.StatusCode, text)
	}
	return resp.StatusCode, string(text)
}

// TestConsoleOfDev: the pages are at the address that is announced, and what somebody
// decides there is signed with the key that the worker trusts.
func TestConsoleOfDev(t *testing.T) {
	server, err := devserver.Start(t.Context(), devserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	dir := t.TempDir()
	key, err := approver.Ensure(dir)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	w, err := Start(t.Context(), dev.Info{
		HostPort: server.HostPort(), Namespace: server.Namespace(), IP: "127.0.0.1", DataDir: dir, Ephemeral: true, Scripted: true,
		Approver: key, Logger: slog.New(slog.DiscardHandler), Announce: func(name, value string) { said[name] = value },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	base, found := strings.CutSuffix(said["Console"], "/")
	if !found || !strings.HasPrefix(base, "http://127.0.0.1:") {
		t.Fatalf("announced %v", said)
	}
	if status, page := ask(t, http.MethodGet, base+"/inbox", "ann", "", nil); status != http.StatusOK || !strings.Contains(page, "<html") {
		t.Errorf("the inbox: %d %s", status, page)
	}
	run, err := w.Client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: cli.DefaultTaskQueue}, refund.Name, refund.Input{CSV: data.Orders()})
	if err != nil {
		t.Fatal(err)
	}
	var inbox []struct {
		Nonce  string `json:"nonce"`
		Digest string `json:"digest"`
	}
	var text string
	clitest.Await(t, "the gate", func() bool {
		_, text = ask(t, http.MethodGet, base+"/api/v1/approvals", "ann", "", &inbox)
		return len(inbox) == 1
	})
	gate := inbox[0]
	verdict := fmt.Sprintf(`{"verdict":"approve","digest":%q}`, gate.Digest)
	var after wflo.Gate
	if status, text := ask(t, http.MethodPost, base+"/api/v1/approvals/"+gate.Nonce+"/decisions", "ann", verdict, &after); status != http.StatusOK {
		t.Fatalf("approve: %d %s", status, text)
	}
	if len(after.Votes) != 1 || after.Votes[0].By != "ann" || after.Votes[0].Key != key.Name || after.Votes[0].Signature == "" {
		t.Errorf("votes %+v after %s", after.Votes, text)
	}
	// One of the charges is disputed, which the payment provider says when it is asked.
	if err := run.Get(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "charge_disputed") {
		t.Errorf("the run did not act on the approval: %v", err)
	}
}
