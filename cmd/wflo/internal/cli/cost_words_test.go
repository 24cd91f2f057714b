package cli

import (
	"slices"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// A run goes by its workflow id, unless two runs of the report share that.
func TestShortNames(t *testing.T) {
	report := console.Costs{
		Query: wflo.CostQuery{By: "run"}, Total: wflo.CostRow{Key: "total"},
		Rows: []wflo.CostRow{{Key: "refund/1"}, {Key: "nightly/a/2"}, {Key: "nightly/a/3"}, {Key: wflo.CostOthers}},
	}
	if got, want := shortNames(report), []string{"refund", "nightly/a/2", "nightly/a/3", wflo.CostOthers, "total"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	// A model's provider is part of its name.
	report.Query.By = "model"
	if got := shortNames(report)[0]; got != "refund/1" {
		t.Errorf("a model is called %q", got)
	}
}
