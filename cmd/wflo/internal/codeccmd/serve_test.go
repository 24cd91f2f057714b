package codeccmd

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/cli"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/clitest"
	"github.com/wflo-ai/wflo-go/envelope"
)

// TestConfigNamesTheKeys: the file that --config names is where the payload keys are,
// whatever else the environment says.
func TestConfigNamesTheKeys(t *testing.T) {
	keys, err := envelope.NewKey("k1")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "wflo.yaml")
	if err := os.WriteFile(config, []byte("payloads:\n  keys: {env: KEYS_OF_THE_FILE}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEYS_OF_THE_FILE", keys)
	t.Setenv("WFLO_CONFIG", "") // and put back after the test, because the command sets it
	ctx, stop := context.WithCancel(context.Background())
	c := clitest.Begin(t, "wflo codec serve", func(out, errs io.Writer) int {
		return cli.Main(ctx, cli.Deps{Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Commands: []*cobra.Command{Command()}},
			[]string{"codec", "serve", "--no-auth", "--listen", "127.0.0.1:0", "--config", config})
	}, stop)
	said := regexp.MustCompile(`Codec server (\S+) \(key k1\)`)
	url := c.Find(t, "where it serves", func(text string) (string, bool) {
		if m := said.FindStringSubmatch(text); m != nil {
			return m[1], true
		}
		return "", false
	})
	codec, err := envelope.New(envelope.Config{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := codec.Encode([]*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"refund"`)}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := protojson.Marshal(&commonpb.Payloads{Payloads: sealed})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/decode", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var opened commonpb.Payloads
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", resp.Status, answer, err)
	}
	if err := protojson.Unmarshal(answer, &opened); err != nil || len(opened.Payloads) != 1 || !strings.Contains(string(opened.Payloads[0].Data), "refund") {
		t.Errorf("the server gave %s, %v", answer, err)
	}
}
