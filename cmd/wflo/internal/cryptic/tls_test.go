//go:build integration

package cryptic

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/codeccmd"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/consolecmd"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/payloadcmd"
	"github.com/wflo-ai/wflo-go/internal/connect"
	"github.com/wflo-ai/wflo-go/plugin"
)

// apiKey is a canary: it may be nowhere but in a header over TLS.
const apiKey = "tmprl_CANARY_77aa"

// settings are Temporal's variables, and no others.
func settings(t *testing.T, set map[string]string) {
	t.Helper()
	quiet(t)
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "TEMPORAL_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("TEMPORAL_CONFIG_FILE", filepath.Join(t.TempDir(), "none.toml"))
	for name, v := range set {
		t.Setenv(name, v)
	}
	// One that is set and empty turns TLS on as well.
	for _, line := range os.Environ() {
		if name, v, _ := strings.Cut(line, "="); strings.HasPrefix(name, "TEMPORAL_") && v == "" {
			if err := os.Unsetenv(name); err != nil { // Setenv brings it back
				t.Fatal(err)
			}
		}
	}
}

func configure(o *client.Options) { _ = plugin.ConfigureReader(o, os.Getenv("WFLO_DATA_DIR")) }

// command runs the command line beside the test.
func command(t *testing.T, args ...string) *clitest.Command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	return clitest.Begin(t, "wflo "+strings.Join(args[:min(2, len(args))], " "), func(out, errs io.Writer) int {
		return cli.Main(ctx, cli.Deps{
			Stdin: bytes.NewReader(nil), Stdout: out, Stderr: errs, Configure: configure,
			Commands: []*cobra.Command{consolecmd.Command(consolecmd.Config{Configure: configure}), codeccmd.Command(), payloadcmd.Command()},
		}, args)
	}, cancel)
}

func said(c *clitest.Command) string { return c.Out.String() + c.Err.String() }

// Worker, starter, command line and console reach a Temporal that wants certificates, and
// the certificate that is in their files when they connect is the one they show.
func TestMutualTLS(t *testing.T) {
	s := serve(t, "")
	ca := newAuthority(t, "the CA")
	f := newFront(t, s.HostPort(), ca, time.Now().Add(time.Hour), ca)
	cert, key := ca.issue("worker", time.Now().Add(time.Hour))
	env := map[string]string{
		"TEMPORAL_ADDRESS": f.address, "TEMPORAL_TLS_CLIENT_CERT_PATH": cert, "TEMPORAL_TLS_CLIENT_KEY_PATH": key, "TEMPORAL_TLS_SERVER_CA_CERT_PATH": ca.ca(),
	}
	settings(t, env)
	home := t.TempDir()
	given := []string{"WFLO_DATABASE=memory", "OPENAI_API_KEY=sk-nobody"}
	for name, v := range env {
		given = append(given, name+"="+v)
	}
	w := clitest.Start(t, clitest.Environment(home, given...), worker)
	await(t, "the worker", func() bool { return strings.Contains(said(w.Command), "worker started") })
	st := clitest.Start(t, clitest.Environment(home, given...), starter, "hello")
	await(t, "the starter", func() bool { return strings.Contains(said(st.Command), "started ") })
	st.Kill()
	list := command(t, "list", "--no-color")
	list.Want(t, 0, "wflo.Agent")
	o := console(t)
	await(t, "the console", func() bool { return strings.Contains(o.Out.String(), "Console http") })
	if !f.saw("worker") {
		t.Error("the certificate was not shown")
	}

	next, nextKey := ca.issue("renewed", time.Now().Add(time.Hour))
	replace(t, next, cert)
	replace(t, nextKey, key)
	f.hangUp()
	await(t, "the renewed certificate", func() bool { return f.saw("renewed") })
	if strings.Contains(said(w.Command)+said(o), "PRIVATE KEY") {
		t.Error("a key is in the log")
	}
}

// replace moves a file over another, as those do who renew certificates.
func replace(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(to, later, later); err != nil {
		t.Fatal(err)
	}
}

// console begins one with a configuration of its own.
func console(t *testing.T) *clitest.Command {
	t.Helper()
	dir := t.TempDir()
	if _, err := approver.Create(filepath.Join(dir, "console.key")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "wflo.yaml")
	if err := os.WriteFile(file, []byte("console:\n  key: "+filepath.Join(dir, "console.key")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WFLO_DATA_DIR", dir)
	return command(t, "console", "--config", file, "--listen", "127.0.0.1:0")
}

// What is wrong with a certificate is said in words, with a hint.
func TestWhatIsWrongIsSaid(t *testing.T) {
	s := serve(t, "")
	ca, other := newAuthority(t, "the CA"), newAuthority(t, "another CA")
	mutual := newFront(t, s.HostPort(), ca, time.Now().Add(time.Hour), ca).address
	expired := newFront(t, s.HostPort(), ca, time.Now().Add(-time.Hour), nil).address
	cert, key := ca.issue("me", time.Now().Add(time.Hour))
	old, oldKey := ca.issue("old", time.Now().Add(-time.Hour))
	strange, strangeKey := other.issue("strange", time.Now().Add(time.Hour))
	good := map[string]string{
		"TEMPORAL_ADDRESS": mutual, "TEMPORAL_TLS_CLIENT_CERT_PATH": cert, "TEMPORAL_TLS_CLIENT_KEY_PATH": key, "TEMPORAL_TLS_SERVER_CA_CERT_PATH": ca.ca(),
	}
	for _, tt := range []struct {
		name, message, hint string
		change              map[string]string
	}{
		{"nothing is wrong", "", "", nil},
		{"wrong CA", "signed by nobody who is trusted here", "TEMPORAL_TLS_SERVER_CA_CERT_PATH", map[string]string{"TEMPORAL_TLS_SERVER_CA_CERT_PATH": other.ca()}},
		{"the server's has expired", "is not valid now", "renew", map[string]string{"TEMPORAL_ADDRESS": expired}},
		{"another name", "is for another name", "TEMPORAL_TLS_SERVER_NAME", map[string]string{"TEMPORAL_TLS_SERVER_NAME": "temporal.example"}},
		{"no client certificate", "wants a client certificate", "TEMPORAL_TLS_CLIENT_CERT_PATH", map[string]string{"TEMPORAL_TLS_CLIENT_CERT_PATH": "", "TEMPORAL_TLS_CLIENT_KEY_PATH": ""}},
		{"ours has expired", "client certificate", "", map[string]string{"TEMPORAL_TLS_CLIENT_CERT_PATH": old, "TEMPORAL_TLS_CLIENT_KEY_PATH": oldKey}},
		{"ours is a stranger's", "client certificate", "", map[string]string{"TEMPORAL_TLS_CLIENT_CERT_PATH": strange, "TEMPORAL_TLS_CLIENT_KEY_PATH": strangeKey}},
		{"no TLS", "wants TLS", "TEMPORAL_TLS=true", map[string]string{"TEMPORAL_TLS_CLIENT_CERT_PATH": "", "TEMPORAL_TLS_CLIENT_KEY_PATH": "", "TEMPORAL_TLS_SERVER_CA_CERT_PATH": ""}},
		{"TLS for one that has none", "does not speak TLS", "TEMPORAL_TLS=false", map[string]string{"TEMPORAL_ADDRESS": s.HostPort()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := maps.Clone(good)
			maps.Copy(env, tt.change)
			settings(t, env)
			c := command(t, "list", "--no-color")
			code := c.Wait(t)
			if tt.message == "" {
				if code != 0 {
					t.Error(said(c))
				}
				return
			}
			mustContain(t, "wflo", c.Err.String(), tt.message, "hint: ", tt.hint)
			if code == 0 {
				t.Error("it succeeded")
			}
		})
	}
}

// An API key travels over TLS, and only there; a new one in its file counts at once.
func TestAPIKey(t *testing.T) {
	s := serve(t, "")
	ca := newAuthority(t, "the CA")
	f := newFront(t, s.HostPort(), ca, time.Now().Add(time.Hour), nil)
	path := filepath.Join(t.TempDir(), "key")
	put := func(text string, when time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	put(apiKey, time.Now())
	settings(t, map[string]string{"TEMPORAL_ADDRESS": f.address, "TEMPORAL_API_KEY_FILE": path, "TEMPORAL_TLS_SERVER_CA_CERT_PATH": ca.ca()})
	opts, err := connect.Load("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.DialContext(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !f.heard("Bearer " + apiKey) {
		t.Error("the key was not sent")
	}
	put(apiKey+"-2", time.Now().Add(time.Minute))
	if _, err := c.CheckHealth(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CountWorkflow(t.Context(), count()); err != nil {
		t.Fatal(err)
	}
	if !f.heard("Bearer " + apiKey + "-2") {
		t.Error("the new key was not sent")
	}
	// Without TLS nothing is sent, and nobody says the key.
	for _, set := range []map[string]string{{"TEMPORAL_API_KEY": apiKey}, {"TEMPORAL_API_KEY_FILE": path}} {
		settings(t, set)
		t.Setenv("TEMPORAL_ADDRESS", s.HostPort())
		t.Setenv("TEMPORAL_TLS", "false")
		bad := command(t, "list")
		if code := bad.Wait(t); code == 0 || !strings.Contains(bad.Err.String(), "without TLS") || strings.Contains(said(bad), apiKey) {
			t.Error(said(bad))
		}
	}
	// A server that refuses it is told of without it.
	settings(t, map[string]string{"TEMPORAL_API_KEY": apiKey, "TEMPORAL_ADDRESS": f.address})
	bad := command(t, "list")
	if code := bad.Wait(t); code == 0 || strings.Contains(said(bad), apiKey) {
		t.Error(said(bad))
	}
}
