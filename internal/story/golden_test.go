package story

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the stories are now")

// chains are the recorded histories that are of one chain, the oldest first.
var chains = [][]string{
	{"agent"}, {"agent-loop"}, {"agent-over-budget"}, {"agent-refused"}, {"agent-repeats"}, {"budget-raised"}, {"budget-refused-by-a-reviewer"},
	{"chain", "chain-next"}, {"forked"}, {"gate-approved"}, {"gate-approved-by-update"}, {"gate-rejected"}, {"gate-timed-out"},
	{"grant-by-signal"}, {"grant-of-an-edited-payload"}, {"grant-taken-back"}, {"grant-used"}, {"halted"}, {"parent-of-an-agent"}, {"plain"},
	{"policy-allows"}, {"policy-asks"}, {"policy-halts"}, {"policy-of-agents"}, {"policy-of-chains", "policy-of-chains-next"}, {"policy-of-gates"},
	{"reopened-by"}, {"reopened"}, {"restored", "restored-next"}, {"saga"}, {"saved"}, {"step-budget"},
	{"forked-1"}, {"reopened-1-by"}, {"reopened-1"}, {"restored-1", "restored-1-next"}, {"saved-1"},
}

// TestGoldenStories tells every recorded history. A golden file that changes shows what
// people would see change.
func TestGoldenStories(t *testing.T) {
	covered := map[string]bool{}
	for _, names := range chains {
		for _, name := range names {
			covered[name+".json"] = true
		}
		t.Run(names[0], func(t *testing.T) {
			s := tape(t, names...)
			teller := teller(t, s)
			got := golden(t, teller, s.id())
			file := filepath.Join("testdata", names[0]+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; run with -update", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the story has changed (-want +got):\n%s", diff)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "workflows", "testdata", "histories", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recorded histories, %v", len(files), err)
	}
	for _, f := range files {
		if !covered[filepath.Base(f)] {
			t.Errorf("%s has no golden story", filepath.Base(f))
		}
	}
}

// golden is a story as text: the head, and a line for each row.
func golden(t *testing.T, teller *Teller, id string) string {
	t.Helper()
	h, err := teller.Head(t.Context(), id, "")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s steps=%d calls=%d events=%d user=%s bundle=%.8s code=%s\n", h.Workflow, h.State, h.Status, h.Steps, h.Calls, h.Events, h.Run.User, h.Bundle, h.Code)
	fmt.Fprintf(&b, "why: %s\nnext: %s\nnote: %s\n", h.Why, h.Next, h.Note)
	depth, start := map[string]int{}, map[string]time.Time{}
	for r, err := range teller.All(t.Context(), id, "") {
		if err != nil {
			t.Fatal(err)
		}
		depth[r.ID] = 0
		if r.Parent != "" {
			depth[r.ID] = depth[r.Parent] + 1
		}
		if _, ok := start[r.RunID]; !ok {
			start[r.RunID] = r.Start
		}
		b.WriteString(rowText(r, depth[r.ID], start[r.RunID]))
	}
	return b.String()
}

func rowText(r Row, depth int, from time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%d %s %q %s %dms", strings.Repeat("  ", depth), r.EventID, r.Kind, r.Name, r.State, r.Start.Sub(from).Milliseconds())
	if !r.End.IsZero() {
		fmt.Fprintf(&b, "+%dms", r.End.Sub(r.Start).Milliseconds())
	}
	add := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%s", name, value)
		}
	}
	if r.Attempts > 1 {
		add("attempts", fmt.Sprint(r.Attempts))
	}
	add("step", r.Step)
	add("summary", r.Summary)
	add("error", r.Error)
	add("code", string(r.Code))
	if r.Model != nil {
		add("model", fmt.Sprintf("%s/%s %d tokens %s", r.Model.Provider, r.Model.Model, r.Model.Usage.Total(), r.Model.Amount))
	}
	if r.Sandbox != nil {
		add("sandbox", fmt.Sprintf("%s exit=%d network=%s memory=%s", r.Sandbox.Outcome, r.Sandbox.ExitCode, r.Sandbox.Network, r.Sandbox.Limits["memory"]))
	}
	if r.Gate != nil {
		add("gate", fmt.Sprintf("%s by=%v risk=%s", r.Gate.Status, r.Gate.By, r.Gate.Risk))
	}
	if r.Policy != nil {
		add("policy", fmt.Sprintf("%s %v %s", r.Policy.Verdict, r.Policy.Rules, r.Policy.Inputs))
	}
	if r.Snapshot != nil {
		add("snapshot", fmt.Sprintf("%s %s", r.Snapshot.ID, r.Snapshot.Kind))
	}
	return b.String() + "\n"
}
