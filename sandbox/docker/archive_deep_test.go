package docker

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/sandbox/sandboxtest"
)

// What was saved under limits above the defaults comes back.
func TestReplaceHasNoLimitsOfItsOwn(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	const levels = 400
	limits := sandbox.TreeLimits{Depth: levels}
	if limits.Depth <= (sandbox.TreeLimits{}).WithDefaults().Depth {
		t.Fatalf("%d levels are within the default", levels)
	}
	src := &sandboxtest.Source{}
	for i := range levels {
		src.Entries = append(src.Entries, sandbox.TreeEntry{
			Name: []byte("d" + strings.Repeat("/d", i)), Kind: sandbox.TreeDir, Mode: 0o755, MTime: time.Unix(1e9, 0),
		})
	}
	const box = "deep/1"
	t.Cleanup(func() { _ = r.Close(context.WithoutCancel(t.Context()), box) })
	if err := r.Replace(t.Context(), box, "restore-1", src); err != nil {
		t.Fatal(err)
	}
	s := &sandboxtest.Saved{}
	if _, _, err := r.Save(t.Context(), box, limits, s); err != nil || len(s.Entries) != levels {
		t.Errorf("%d levels came back (%v)", len(s.Entries), err)
	}
}
