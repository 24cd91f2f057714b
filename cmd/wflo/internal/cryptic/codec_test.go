//go:build integration

package cryptic

import (
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/devserver"
	"github.com/wflo-ai/wflo-go/envelope"
	"github.com/wflo-ai/wflo-go/internal/codecserver"
	"github.com/wflo-ai/wflo-go/plugin"
)

func count() *workflowservice.CountWorkflowExecutionsRequest {
	return &workflowservice.CountWorkflowExecutionsRequest{}
}

// shown is the input as the command line of Temporal shows it: bytes in base64.
var shown = base64.StdEncoding.EncodeToString([]byte(`"` + canary("input") + `"`))

const chromium = "/usr/bin/chromium"

// People with Temporal's own tools see what is sealed, through the codec server: the Web
// UI in a browser, and the command line. wflo's own commands see it with the keys.
func TestPeopleSee(t *testing.T) {
	quiet(t)
	keys := newKey(t, "k1")
	codec, err := envelope.New(envelope.Config{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	var log clitest.Buffer
	opener, err := codecserver.Start(codecserver.Config{Listen: "127.0.0.1:0", Codec: codec, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opener.Stop)
	s, err := devserver.Start(t.Context(), devserver.Config{CodecEndpoint: opener.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	opener.Allow(s.UIURL())
	w := begin(t, s, "", "people", plugin.Payloads{Keys: keys})
	run, err := w.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "people", TaskQueue: "people"}, child, canary("input"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ends(t, run, nil); err != nil {
		t.Fatal(err)
	}
	t.Run("the command line of Temporal", func(t *testing.T) {
		env := clitest.Environment(t.TempDir())
		ask := []string{temporalTool, "workflow", "show", "-w", "people", "--address", s.HostPort(), "-n", "default", "-o", "json"}
		sealed := clitest.Start(t, env, ask...)
		if sealed.Wait(t) != 0 || strings.Contains(said(sealed.Command), shown) {
			t.Error(said(sealed.Command))
		}
		clitest.Start(t, env, append(ask, "--codec-endpoint", opener.URL())...).Want(t, 0, shown)
		mustContain(t, "the log of the codec server", log.String(), "what=decode", "namespace=default")
	})
	t.Run("the Web UI", func(t *testing.T) { webUI(t, s.UIURL()) })
	t.Run("wflo", func(t *testing.T) {
		t.Setenv("TEMPORAL_ADDRESS", s.HostPort())
		t.Setenv("WFLO_PAYLOAD_KEYS", keys)
		command(t, "run", "child", "--task-queue", "people", "--id", "again", "--input", `"`+canary("input")+`"`, "--no-color").Want(t, 0, canary("input"))
		t.Setenv("WFLO_PAYLOAD_KEYS", newKey(t, "k9"))
		lost := command(t, "run", "child", "--task-queue", "people", "--id", "lost", "--input", `"x"`, "--detach")
		lost.Want(t, 0)
		await(t, "the worker to say which key it lacks", func() bool { return strings.Contains(w.log.String(), "k9") })
		t.Setenv("WFLO_PAYLOAD_KEYS", "k1:broken")
		bad := command(t, "list")
		if code := bad.Wait(t); code == 0 || !strings.Contains(bad.Err.String(), "payload key k1 is not 32 bytes") || strings.Contains(bad.Err.String(), "broken") {
			t.Error(said(bad))
		}
	})
	t.Run("wflo codec", func(t *testing.T) {
		t.Setenv("WFLO_PAYLOAD_KEYS", newKey(t, "k2")+","+keys)
		command(t, "codec", "keys", "check").Want(t, 0, "k2  seals and opens", "k1  opens")
		command(t, "codec", "keys", "new", "--id", "k3").Want(t, 0, "k3:")
		served := command(t, "codec", "serve", "--no-auth", "--listen", "127.0.0.1:0")
		await(t, "the codec server", func() bool { return strings.Contains(served.Out.String(), "Codec server http://127.0.0.1:") })
		url := strings.Fields(served.Out.String())[2]
		clitest.Start(t, clitest.Environment(t.TempDir()), temporalTool, "workflow", "show", "-w", "people", "--address", s.HostPort(), "-o", "json",
			"--codec-endpoint", url).Want(t, 0, shown)
		for _, args := range [][]string{{"--listen", "0.0.0.0:0", "--no-auth"}, {"--listen", "127.0.0.1:0"}} {
			c := command(t, append([]string{"codec", "serve"}, args...)...)
			if c.Wait(t) == 0 || !strings.Contains(c.Err.String(), "hint: ") {
				t.Error(args, said(c))
			}
		}
		t.Setenv("WFLO_PAYLOAD_KEYS", "")
		none := command(t, "codec", "keys", "check")
		if none.Wait(t) == 0 || !strings.Contains(none.Err.String(), "there is no payload key") {
			t.Error(said(none))
		}
	})
}

// webUI looks at the run in a browser.
func webUI(t *testing.T, url string) {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Fatal("Chromium is missing; run deploy/setup.sh tests, or apt-get install chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1400, 1600))...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(ctx)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"/namespaces/default/workflows/people")); err != nil {
		t.Fatal(err)
	}
	const everything = `[document, ...[...document.querySelectorAll("iframe")].map(f => f.contentDocument)].map(d => d?.body?.innerText ?? "").join("\n")`
	last := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the page shows:\n%s", last)
		}
	})
	await(t, "the page to show the input", func() bool {
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](everything))
		if err != nil {
			t.Fatal(err)
		}
		last = text
		return strings.Contains(text, canary("input"))
	})
}
