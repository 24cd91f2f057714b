package consolecmd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"github.com/wflo-ai/wflo-go/plugin"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
	"github.com/wflo-ai/wflo-go/workflows"
)

const queue = "consolecmd"

// refund asks ann or bob and says who it was.
func refund(ctx workflow.Context) (string, error) {
	d, err := workflows.RequireApproval(ctx, wflo.Approval{
		Gate: "refunds", Action: "refund order 17", Payload: json.RawMessage(`{"amount":"25.00","order":17}`), Approvers: []string{"group:ops"}, SignedOnly: true,
		Notify: []string{"test://ops"},
	})
	return d.By + " " + d.Method + " " + d.Key, err
}

// office is a directory with a console's configuration, key and database, and a
// worker that trusts the key.
type office struct {
	t           *testing.T
	dir, config string
	temporal    client.Client
	public      string
	told        told
	payloads    plugin.Payloads // the worker's
}

// told is a channel of the worker's: what people are told of gates.
type told chan wflo.NoticeRecord

func (c told) Deliver(ctx context.Context, n wflo.NoticeRecord) (string, error) {
	select {
	case c <- n:
		return "", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// next is the next notice.
func (c told) next(t *testing.T) wflo.NoticeRecord {
	t.Helper()
	select {
	case n := <-c:
		return n
	case <-time.After(clitest.Patience):
		t.Fatal("nobody is told")
	}
	return wflo.NoticeRecord{}
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir(), told: make(told, 10)}
	for _, name := range []string{"console.key", "checkpoints.key"} {
		if _, err := approver.Create(filepath.Join(o.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	key, err := approver.Load(filepath.Join(o.dir, "console.key"))
	if err != nil {
		t.Fatal(err)
	}
	o.public = key.Public()
	o.config = o.write("wflo.yaml", fmt.Sprintf(`approvals:
  keys: {office: %s}
audit: {checkpoints: %q, key: %q}
console:
  key: %q
`, o.public, filepath.Join(o.dir, "checkpoints"), filepath.Join(o.dir, "checkpoints.key"), filepath.Join(o.dir, "console.key")))
	t.Setenv("WFLO_DATA_DIR", o.dir)
	t.Setenv("WFLO_DATABASE", "")
	t.Setenv("WFLO_CONFIG", "")
	return o
}

func (o *office) write(name, text string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// add gives the console's configuration one part more.
func (o *office) add(part string) {
	o.t.Helper()
	text, err := os.ReadFile(o.config)
	if err != nil {
		o.t.Fatal(err)
	}
	o.write(filepath.Base(o.config), string(text)+part)
}

// configure is what the program does: see deps.go of wflo.
func configure(o *client.Options) { _ = plugin.ConfigureReader(o, os.Getenv("WFLO_DATA_DIR")) }

// begin runs the command line with the console in it.
func begin(t *testing.T, args ...string) *clitest.Command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	return clitest.Begin(t, "wflo "+strings.Join(args[:min(2, len(args))], " "), func(out, errs io.Writer) int {
		return cli.Main(ctx, cli.Deps{Stdout: out, Stderr: errs, Commands: []*cobra.Command{Command(Config{Configure: configure})}}, args)
	}, cancel)
}

// serve starts Temporal and a worker beside the console.
func (o *office) serve() {
	o.t.Helper()
	server, err := devserver.Start(o.t.Context(), devserver.Config{})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(server.Stop)
	o.t.Setenv("TEMPORAL_ADDRESS", server.HostPort())
	guard, err := plugin.New(plugin.Config{
		DataDir: o.dir, Providers: []plugin.Provider{}, Sandbox: &sandboxtest.Fake{}, Logger: slog.New(slog.DiscardHandler),
		Approvals: wflo.Terms{Keys: map[string]string{"office": o.public}}, Channels: map[string]plugin.Channel{"test://ops": o.told},
		Payloads: o.payloads,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(guard.Close)
	o.temporal, err = client.Dial(client.Options{HostPort: server.HostPort(), Plugins: []client.Plugin{guard}, Logger: nil})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(o.temporal.Close)
	w := worker.New(o.temporal, queue, worker.Options{})
	w.RegisterWorkflowWithOptions(refund, workflow.RegisterOptions{Name: "refund"})
	if err := w.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(w.Stop)
}

var (
	address = regexp.MustCompile(`Console (http://127\.0\.0\.1:\d+)`)
	hidden  = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)
	gates   = regexp.MustCompile(`/gates/[0-9a-f]+`)
)

// browser is somebody with cookies at a console.
type browser struct {
	t    *testing.T
	base string
	http *http.Client
}

func (o *office) browser(base string) *browser {
	o.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return &browser{o.t, base, &http.Client{Jar: jar}}
}

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	return b.read(b.http.Get(b.base + path))
}

func (b *browser) post(path string, form url.Values) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.base)
	return b.read(b.http.Do(req))
}

func (b *browser) read(resp *http.Response, err error) (int, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// decide posts the form of a page that has the verdict.
func (b *browser) decide(path, page, verdict string) (int, string) {
	b.t.Helper()
	for _, part := range strings.Split(page, "<form ")[1:] {
		form := url.Values{}
		for _, m := range hidden.FindAllStringSubmatch(part, -1) {
			form.Set(m[1], m[2])
		}
		if form.Get("verdict") == verdict {
			return b.post(path, form)
		}
	}
	b.t.Fatalf("no form to %s in %s", verdict, page)
	return 0, ""
}

// TestDecideInTheConsole: a worker that trusts the console's key waits at a gate. The
// first key is made in the database; its holder logs in, opens the gate's page and
// approves, and the run goes on with a decision that the console signed.
func TestDecideInTheConsole(t *testing.T) { decideInTheConsole(t, newOffice(t)) }

// TestDecideOnSealed: the same where payloads are sealed, with keys that only the file of
// --config names to the console.
func TestDecideOnSealed(t *testing.T) {
	o := newOffice(t)
	keys, err := envelope.NewKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	o.payloads = plugin.Payloads{Keys: keys, RefusePlain: true}
	o.add(fmt.Sprintf("payloads: {keys: {file: %q}, refuse_plain: true}\n", o.write("payload.keys", keys)))
	decideInTheConsole(t, o)
}

func decideInTheConsole(t *testing.T, o *office) {
	t.Helper()
	o.serve()
	made := begin(t, "console", "key", "--config", o.config, "--subject", "ann", "--role", "approver", "--group", "ops")
	made.Want(t, 0, "it is not shown again")
	key := strings.TrimSpace(made.Out.String())
	if !strings.HasPrefix(key, "wflo_") || strings.Contains(key, "\n") {
		t.Fatalf("standard output is %q, want the key alone", key)
	}
	c := begin(t, "console", "--config", o.config, "--listen", "127.0.0.1:0")
	base := c.Find(t, "its address", func(said string) (string, bool) {
		m := address.FindStringSubmatch(said)
		if m == nil {
			return "", false
		}
		return m[1], true
	})
	run, err := o.temporal.ExecuteWorkflow(wflo.WithRun(t.Context(), wflo.Run{User: "eve"}), client.StartWorkflowOptions{TaskQueue: queue}, "refund")
	if err != nil {
		t.Fatal(err)
	}

	asked := o.told.next(t)
	if asked.Kind != wflo.NoticeAsked || asked.Gate == nil || asked.Link != "/gates/"+asked.Gate.Nonce {
		t.Errorf("told %+v", asked.Notice)
	}
	ann := o.browser(base)
	if status, body := ann.get("/inbox"); !strings.Contains(body, "/login/key") {
		t.Fatalf("the inbox of nobody: %d %s", status, body)
	}
	if status, body := ann.post("/login/key", url.Values{"key": {key[:len(key)-1] + "x"}}); status == http.StatusOK || strings.Contains(body, "Log out") {
		t.Errorf("a key that is wrong: %d", status)
	}
	if status, body := ann.post("/login/key", url.Values{"key": {key}, "back": {"/inbox"}}); status != http.StatusOK {
		t.Fatalf("log in: %d %s", status, body)
	}
	var path, page string
	clitest.Await(t, "the gate in the inbox", func() bool {
		_, body := ann.get("/inbox")
		path = gates.FindString(body)
		return path != ""
	})
	if _, page = ann.get(path); !strings.Contains(page, "refund order 17") {
		t.Fatalf("the gate's page: %s", page)
	}
	if status, body := ann.decide(path, page, "approve"); status != http.StatusOK {
		t.Fatalf("approve: %d %s", status, body)
	}
	var by string
	if err := run.Get(t.Context(), &by); err != nil || by != "ann apikey office" {
		t.Errorf("decided by %q, %v; want ann, by her key, signed by the console under the name that workers have for it", by, err)
	}
	if end := o.told.next(t); end.Kind != wflo.NoticeClosed || end.Thread != asked.Thread {
		t.Errorf("after the end, told %+v", end.Notice)
	}
	store := &audit.Directory{Path: filepath.Join(o.dir, "checkpoints")}
	clitest.Await(t, "a checkpoint", func() bool {
		all, err := store.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(all) > 0
	})
	if said := c.Said() + made.Err.String(); strings.Contains(said, key) || strings.Contains(said, "not under approvals.keys") {
		t.Errorf("the key is in the log, or the console's key is not known: %s", said)
	}
}

// TestRefusesToStart: what would leave the office open, or of no use, is said before
// anything listens.
func TestRefusesToStart(t *testing.T) {
	o := newOffice(t)
	public := o.write("public.key", "")
	if err := os.Chmod(public, 0o644); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(o.dir, "console.key")
	seed := base64.StdEncoding.EncodeToString(make([]byte, 16))
	tests := []struct {
		name, file string
		args       []string
		want       []string
	}{
		{"no file", "", nil, []string{"no configuration file", "--config"}},
		{"a mistake", "console:\n  kez: a\n", nil, []string{"2:3", `did you mean "key"?`}},
		{"no key", "console:\n  listen: 127.0.0.1:0\n", nil, []string{"no key to sign", "wflo keygen"}},
		{"a key that is not there", "console:\n  key: " + key + ".gone\n", nil, []string{"console.key", "wflo keygen"}},
		{"a key for all to read", "console:\n  key: " + public + "\n", nil, []string{"can be read by others", "chmod 600"}},
		{"the key of checkpoints", "audit: {checkpoints: " + o.dir + ", key: " + key + "}\nconsole:\n  key: " + key + "\n", nil, []string{"checkpoints too", "make another"}},
		{"nobody may log in", "console:\n  key: " + key + "\n  api_keys: false\n", nil, []string{"lets nobody log in", "oidc or ldap"}},
		{"a secret that is not there", "console:\n  key: " + key + "\n  slack:\n    signing_secret: {env: WFLO_NO_SUCH_SECRET}\n", nil, []string{"signing_secret", "WFLO_NO_SUCH_SECRET"}},
		{"a seal of another size", "console:\n  key: " + key + "\n  url: https://wflo.example.com\n  oidc:\n    - {name: a, issuer: \"https://id.example.com\", client_id: wflo, seal: {env: SEAL}}\n", nil, []string{"oidc: key is not 32 bytes"}},
		{"an argument", "", []string{"start"}, []string{"takes no argument"}},
		{"a level", "", []string{"--log-level", "loud"}, []string{"--log-level", "debug, info"}},
	}
	t.Setenv("SEAL", seed)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"console"}, tt.args...)
			if tt.file != "" {
				args = append(args, "--config", o.write("other.yaml", tt.file))
			}
			c := begin(t, args...)
			if code := c.Wait(t); code == 0 {
				t.Error("it starts")
			}
			for _, want := range tt.want {
				if !strings.Contains(c.Said(), want) {
					t.Errorf("lacks %q:\n%s", want, c.Said())
				}
			}
			if strings.Contains(c.Out.String(), "Console") {
				t.Errorf("it listens: %s", c.Out.String())
			}
		})
	}
}

// TestKeysNeedAHolder: a key without a subject or a role opens nothing, and is not made.
func TestKeysNeedAHolder(t *testing.T) {
	o := newOffice(t)
	for _, args := range [][]string{{"--subject", "ann"}, {"--role", "admin"}, {"--subject", "ann", "--role", "king"}} {
		c := begin(t, append([]string{"console", "key", "--config", o.config}, args...)...)
		if code := c.Wait(t); code == 0 || strings.Contains(c.Out.String(), "wflo_") {
			t.Errorf("%v: exit code %d, %s", args, code, c.Said())
		}
	}
	ledger, records, err := plugin.OpenDatabase(t.Context(), plugin.Config{DataDir: o.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	keys, err := records.ListKeys(t.Context())
	if err != nil || len(keys) != 0 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}
