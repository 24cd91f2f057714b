package console

import (
	"context"
	"fmt"
	"strings"

	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
)

// ofOrg is the query for the runs of an org; empty for all.
func ofOrg(org string) (string, error) {
	if org == "" {
		return "", nil
	}
	if strings.ContainsAny(org, `'"\`) {
		return "", denied("runs of this org cannot be selected by its name", "give the org a name without quotes")
	}
	return fmt.Sprintf("%s = '%s'", wflo.AttrOrg, org), nil
}

// ownRun refuses the run of another org as if it did not exist.
func ownRun(ctx context.Context, info *workflowpb.WorkflowExecutionInfo) error {
	want := callerOf(ctx).id.Org
	if want == "" {
		return nil
	}
	var org string
	if p := info.GetSearchAttributes().GetIndexedFields()[wflo.AttrOrg]; p != nil {
		if err := converter.GetDefaultDataConverter().FromPayload(p, &org); err != nil {
			org = ""
		}
	}
	if org != want {
		return &absent{"no such run", "list the runs at /api/v1/runs"}
	}
	return nil
}
