package plugin

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestRequiredActivities come from the file, or from the environment, which counts where
// both say something.
func TestRequiredActivities(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wflo.yaml")
	if err := os.WriteFile(path, []byte("approvals:\n  required_activities: [pay, \"rows.Delete\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := FromFile(path)
	if err != nil || !slices.Equal(c.RequireApproval, []string{"pay", "rows.Delete"}) {
		t.Errorf("%v, %v", c.RequireApproval, err)
	}
	t.Setenv("WFLO_REQUIRE_APPROVAL", "pay, refund")
	if c, err = FromFile(path); err != nil || !slices.Equal(c.RequireApproval, []string{"pay", "refund"}) {
		t.Errorf("%v, %v", c.RequireApproval, err)
	}
	// A comma too many must not pass for a name.
	t.Setenv("WFLO_REQUIRE_APPROVAL", "pay,")
	if c, err = FromEnv(); err == nil {
		c.DataDir, c.Database = t.TempDir(), "memory"
		_, err = New(c)
	}
	if wflo.CodeOf(err) != wflo.CodeInvalid {
		t.Errorf("a name that is empty: %v", err)
	}
}
