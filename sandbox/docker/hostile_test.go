package docker

import (
	"bytes"
	"testing"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// goodEnd is what PID 1 would send to report a program's success.
func goodEnd(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := frame.NewWriter(&b).Send(frame.Exit, frame.ExitMsg{Outcome: sandbox.Succeeded}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// leftovers lists the sandboxes that are neither idle nor kept.
func leftovers(t *testing.T, r *Runner) []string {
	list, err := r.List(t.Context())
	if err != nil {
		t.Errorf("list sandboxes: %v", err)
	}
	var names []string
	for _, b := range list {
		if b.State != "idle" && b.State != "kept" {
			names = append(names, b.State+" "+b.Name+" "+b.Key)
		}
	}
	return names
}

func TestHostile(t *testing.T) {
	secrets := sandboxtest.NewSecrets()
	var r *Runner
	sandboxtest.Hostile(t, func(t *testing.T) sandbox.Runner {
		r = open(t, func(c *Config) { c.Secrets = secrets; c.Pool.Size = 4 })
		return r
	}, sandboxtest.HostileOptions{
		Secrets: secrets, Frame: goodEnd(t),
		Leftovers: func() []string { return leftovers(t, r) },
	})
}
