package docker

import (
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

func TestSmoke(t *testing.T) {
	r := open(t, nil)
	for i := range 3 {
		b := time.Now()
		res, err := r.Run(t.Context(), sandbox.Spec{Argv: []string{"sh", "-c", "echo hi; id; pwd; env; exit 3"}}, nil)
		t.Logf("%d %v %+v %v", i, time.Since(b), res, err)
	}
	for i := range 3 {
		b := time.Now()
		res, err := r.Run(t.Context(), sandbox.Spec{Box: "b", Key: "k", Argv: []string{"sh", "-c", "echo hi >> f; cat f; ls -la"}}, nil)
		t.Logf("%d %v %+v %v", i, time.Since(b), res, err)
	}
	data, err := r.ReadFile(t.Context(), "b", "f", 100)
	t.Logf("%q %v", data, err)
	if err := r.Close(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}
