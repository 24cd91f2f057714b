package promrules

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// TestDashboardsAreRead parses every expression of the dashboards, with the variables as
// Grafana would fill them.
func TestDashboardsAreRead(t *testing.T) {
	files, err := filepath.Glob("../../deploy/grafana/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v: dashboards %v", err, files)
	}
	fill := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range board.Panels {
			if len(p.Targets) == 0 {
				t.Errorf("%s: %s asks nothing", file, p.Title)
			}
			for _, target := range p.Targets {
				if _, err := parser.ParseExpr(fill.Replace(target.Expr)); err != nil {
					t.Errorf("%s: %s: %v in %s", file, p.Title, err, target.Expr)
				}
			}
		}
	}
}
