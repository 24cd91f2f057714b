package docker

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/volume"

	"github.com/wflo-ai/wflo-go"
)

// TestSecrets holds that a secret reaches the program and nothing else: not the
// engine, not the output, not who watches.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-value-\nwith two lines"
	r := open(t, func(c *Config) { c.Secrets = vault{"token": secret, "short": "abc"} })
	cli := dial(t)
	spec := shell(`test "${#TOKEN}" = 28 && test "$SHORT" = abc && echo reached; echo "$TOKEN"; echo "[$TOKEN]" >&2; printf %s "$TOKEN" | head -c 20; echo begun; until [ -e go ]; do sleep 0.02; done`)
	spec.Box, spec.Key = closing(t, r, "secret"), "k"
	spec.Secrets = map[string]string{"TOKEN": "token", "SHORT": "short"}
	watch, begun := listen("begun")
	ended := start(t.Context(), r, spec, watch)
	<-begun
	c, err := cli.ContainerInspect(t.Context(), byKey(t, r, "k").ID)
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := cli.VolumeList(t.Context(), volume.ListOptions{Filters: byLabel(r.config.Owner)})
	if err != nil {
		t.Fatal(err)
	}
	for what, v := range map[string]any{"the container": c, "the volumes": volumes} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "s3cret") {
			t.Errorf("%s show the secret", what)
		}
	}
	goOn(t, r, spec.Box)
	got := <-ended
	if got.err != nil || !got.res.OK() || !strings.HasPrefix(got.res.Stdout, "reached\n***\n") || got.res.Stderr != "[***]\n" {
		t.Errorf("Run = %+v, %v, want it reached and masked", got.res, got.err)
	}
	if strings.Contains(got.res.Stdout+got.res.Stderr, secret) {
		t.Errorf("the output shows it: %q", got.res.Stdout)
	}
}

func TestUnknownSecret(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	spec := shell("true")
	spec.Secrets = map[string]string{"A": "unknown"}
	_, err := r.Run(t.Context(), spec, nil)
	coded(t, err, wflo.CodeMissingKey)
}
