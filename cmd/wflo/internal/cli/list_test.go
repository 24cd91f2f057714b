package cli

import (
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"

	"github.com/wflo-ai/wflo-go"
)

// What flags ask for is Temporal's to find, but for text, which it cannot look for.
func TestListFilters(t *testing.T) {
	f := &fakeTemporal{runs: []*workflowpb.WorkflowExecutionInfo{
		info("refund-1", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, map[string]any{wflo.AttrUser: "ann"}),
		info("load-2", enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, map[string]any{wflo.AttrUser: "Refunder"}),
		info("load-3", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, map[string]any{wflo.AttrGates: []string{"refunds"}}),
		info("load-4", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil),
	}}
	invoke(t, f, "list", "--text", "REFUND", "--jq", ".[].id").want(t, 0, []string{"refund-1\nload-2\nload-3\n"}, nil)
	invoke(t, f, "list", "--text", "refund", "--limit", "2", "--jq", "length").want(t, 0, []string{"2\n"}, nil)
	invoke(t, f, "list", "--user", "ann", "--team", "ops", "--workflow", "wflo.Agent", "--since", "2d", "--state", "failed", "-o", "json").want(t, 0, []string{"load-4"}, nil)
	q := f.queries[len(f.queries)-1]
	for _, part := range []string{wflo.AttrUser + " = 'ann'", wflo.AttrTeam + " = 'ops'", "WorkflowType = 'wflo.Agent'", "StartTime >= '2", "'TimedOut'", " AND "} {
		if !strings.Contains(q, part) {
			t.Errorf("query lacks %s: %s", part, q)
		}
	}
}

// A filter sees the data as it is: whole numbers stay whole, and text is printed bare.
func TestJQ(t *testing.T) {
	f := &fakeTemporal{runs: []*workflowpb.WorkflowExecutionInfo{info("a\u202eb", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil)}}
	for expr, want := range map[string]string{
		".[0].state": "running\n", ".[0] | {id: .state}": "{\"id\":\"running\"}\n", ".[].nix": "null\n", "empty": "", "9007199254740993": "9007199254740993\n",
		".[0].id": "a\\u202eb\n",
	} {
		var parts []string
		if want != "" {
			parts = []string{want}
		}
		invoke(t, f, "list", "--jq", expr).want(t, 0, parts, nil)
	}
	invoke(t, f, "list", "--jq", ".[0] + 1").want(t, ExitError, nil, []string{"--jq: ", "hint: see what there is with -o json"})
	invoke(t, f, "list", "-o", "jsonl", "--jq", ".state").want(t, 0, []string{"running\n"}, nil)
	v, err := jqValue([]byte(`{"n":123456789012345678901234567890,"m":1.5,"l":[9007199254740993]}`))
	if err != nil {
		t.Fatal(err)
	}
	code, err := compileFilter(".n, .l[0], .m")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	a := &app{deps: Deps{Stdout: &out}, filter: code}
	if err := a.printFiltered(v); err != nil || out.String() != "123456789012345678901234567890\n9007199254740993\n1.5\n" {
		t.Errorf("%v: %s", err, out.String())
	}
}

// The shell is offered ids that it takes as one word, and nothing when nobody answers.
func TestCompletion(t *testing.T) {
	f := &fakeTemporal{runs: []*workflowpb.WorkflowExecutionInfo{
		info("refund-1", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, map[string]any{wflo.AttrGates: []string{"pay", "pay $(x)"}}),
		info("re$(rm)", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil), info("other", enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil),
	}}
	for line, want := range map[string]string{
		"debug re": "refund-1\twflo.Agent running\n:4\n", "trace re": "refund-1\t", "tail re": "refund-1\t", "status re": "refund-1\t", "halt re": "refund-1\t",
		"approve p": "pay\trun refund-1\n:4\n", "doctor --check cl": "clock\n", "list --state fa": "failed\n", "debug x ": ":4\n",
	} {
		r := invoke(t, f, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if !strings.Contains(r.out, want) || strings.Contains(r.out, "$(") {
			t.Errorf("%s: %q", line, r.out)
		}
	}
}
