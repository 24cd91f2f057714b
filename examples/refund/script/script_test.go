package script_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// desk plays the agent's side: it sends the conversation to the script, runs
// the programs that it writes with this machine's Python, and goes on until
// there is an answer.
type desk struct {
	t    *testing.T
	csv  string
	turn scripted.Turn
	// tool, if not nil, may answer a call instead of the machine.
	tool func(c wflo.ToolCall) (wflo.Message, bool)
	code []string // the programs that were run
}

func at(t *testing.T, csvText string) *desk {
	return &desk{t: t, csv: csvText, turn: scripted.Turn{Messages: []wflo.Message{
		{Role: wflo.RoleUser, Text: "The file orders.csv is an export. Find the duplicate charges."},
	}}}
}

func (d *desk) work() string {
	d.t.Helper()
	for range 10 {
		a := script.Accountant(d.turn)
		if len(a.ToolCalls) == 0 {
			return a.Text
		}
		call := a.ToolCalls[0]
		call.ID = fmt.Sprintf("call_%d", len(d.turn.Messages))
		d.turn.Messages = append(d.turn.Messages, wflo.Message{Role: wflo.RoleAssistant, Text: a.Text, ToolCalls: []wflo.ToolCall{call}}, d.run(call))
	}
	d.t.Fatal("no answer after ten turns")
	return ""
}

func (d *desk) run(c wflo.ToolCall) wflo.Message {
	d.t.Helper()
	if d.tool != nil {
		if m, ok := d.tool(c); ok {
			return result(c, m.Text, m.ToolFailed)
		}
	}
	var args struct{ Code, Path string }
	if err := json.Unmarshal([]byte(c.Arguments), &args); err != nil {
		d.t.Fatalf("arguments %s: %v", c.Arguments, err)
	}
	if c.Name == wflo.ToolRead {
		return result(c, d.csv, false)
	}
	d.code = append(d.code, args.Code)
	out, failure := runPython(d.t, d.csv, args.Code)
	if failure != "" {
		return result(c, "outcome: nonzero (exit code 1)\nstderr:\n"+failure, true)
	}
	return result(c, "outcome: succeeded (exit code 0)\nstdout:\n"+out+"\n", false)
}

func result(c wflo.ToolCall, text string, failed bool) wflo.Message {
	return wflo.Message{Role: wflo.RoleTool, Text: text, ToolFailed: failed, ToolCallID: c.ID, ToolName: c.Name}
}

func runPython(t *testing.T, csvText, code string) (stdout, failure string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "orders.csv"), []byte(csvText), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-I", "-c", code)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if errs.Len() == 0 {
			t.Fatalf("run python3 (install it): %v", err)
		}
		return "", errs.String()
	}
	return out.String(), ""
}

// proposed reads the charges of an answer, sorted.
func proposed(t *testing.T, answer string) []string {
	t.Helper()
	var list []struct {
		ChargeID string `json:"charge_id"`
	}
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	ids := []string{}
	for _, p := range list {
		ids = append(ids, p.ChargeID)
	}
	slices.Sort(ids)
	return ids
}

func duplicates(t *testing.T) []string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(data.Key())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, row := range rows {
		if row[2] == "true" {
			ids = append(ids, row[0])
		}
	}
	slices.Sort(ids)
	return ids
}

func TestFindsExactlyThePlantedDuplicates(t *testing.T) {
	d := at(t, data.Orders())
	answer := d.work()
	if diff := cmp.Diff(duplicates(t), proposed(t, answer)); diff != "" {
		t.Errorf("duplicates (-planted +found):\n%s", diff)
	}
	if len(d.code) != 2 {
		t.Errorf("ran %d programs, want 2", len(d.code))
	}
}

func TestReactsToTheFile(t *testing.T) {
	const file = `txn time,buyer,payment_id,card,gross,ccy,invoice,state,note
2026-01-01 10:00:00,ann,p1,1111,5.00,EUR,i1,Paid,
2026-01-01 10:03:20,ann,p2,1111,5.00,EUR,i1,Paid,"again, it seems"
2026-01-01 10:10:01,ann,p3,1111,5.00,EUR,i2,Paid,
2026-01-01 10:04:00,ann,p4,1111,5.00,USD,i3,Paid,
2026-01-01 10:05:00,ann,p5,1111,5.00,EUR,i4,Open,
`
	d := at(t, file)
	var got []map[string]any
	if err := json.Unmarshal([]byte(d.work()), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"charge_id": "p2", "order_id": "i1", "amount_cents": 500.0, "currency": "EUR", "duplicate_of": "p1",
		"reason": "the payment was repeated after 200 s in the same order",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(d.code[1], `row["state"] == "Paid"`) {
		t.Errorf("the second program does not use the file's words:\n%s", d.code[1])
	}
}

func TestNothingFound(t *testing.T) {
	header, _, _ := strings.Cut(data.Orders(), "\n")
	if got := at(t, header+"\no1,c1,a,1,1.00,EUR,2026-01-01T00:00:00Z,captured,web\n").work(); got != "[]" {
		t.Errorf("got %s", got)
	}
}

func TestSaysWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct{ csv, want string }{
		"column": {"charge_id,order_id,customer,amount,currency,charged_at,status\nc,o,a,1.00,EUR,2026-01-01T00:00:00Z,captured\n", "no column for the card"},
		"status": {"charge_id,order_id,customer,card,amount,currency,charged_at,status\nc,o,a,1,1.00,EUR,2026-01-01T00:00:00Z,odd\n", "no value of status"},
		"empty":  {"", "could not look at orders.csv"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := at(t, c.csv).work(); !strings.Contains(got, c.want) || !strings.HasSuffix(got, "I propose no refunds.") {
				t.Errorf("got %s", got)
			}
		})
	}
}

// failing makes the calls fail whose arguments hold the mark, so many times.
func failing(mark string, times int) func(wflo.ToolCall) (wflo.Message, bool) {
	return func(c wflo.ToolCall) (wflo.Message, bool) {
		if !strings.Contains(c.Arguments, mark) || times == 0 {
			return wflo.Message{}, false
		}
		times--
		return wflo.Message{Text: "The tool failed: outcome: nonzero (exit code 1)\nstderr:\nTraceback:\nMemoryError: out of luck\n", ToolFailed: true}, true
	}
}

func TestTriesAnotherWayOnce(t *testing.T) {
	for mark, want := range map[string]string{"# Profile": wflo.ToolRead, "# Find": wflo.ToolPython} {
		t.Run(mark, func(t *testing.T) {
			d := at(t, data.Orders())
			d.tool = failing(mark, 1)
			if diff := cmp.Diff(duplicates(t), proposed(t, d.work())); diff != "" {
				t.Errorf("duplicates (-planted +found):\n%s", diff)
			}
			called := 0
			for _, m := range d.turn.Messages {
				for _, c := range m.ToolCalls {
					if c.Name == want {
						called++
					}
				}
			}
			if want == wflo.ToolRead && called != 1 || want == wflo.ToolPython && called != 3 {
				t.Errorf("called %s %d times", want, called)
			}
		})
	}
}

func TestGivesUpInTheEnd(t *testing.T) {
	for _, mark := range []string{"# Find", "orders.csv"} {
		d := at(t, data.Orders())
		d.tool = failing(mark, 100)
		if got := d.work(); !strings.Contains(got, "MemoryError: out of luck") {
			t.Errorf("%s: got %s", mark, got)
		}
	}
}

func TestGoesOnWhereItWasCut(t *testing.T) {
	d := at(t, data.Orders())
	whole := d.work()
	d.turn.Messages = append(d.turn.Messages,
		wflo.Message{Role: wflo.RoleAssistant, Text: whole[:100]}, wflo.Message{Role: wflo.RoleUser, Text: "Continue exactly where it stopped."},
		wflo.Message{Role: wflo.RoleAssistant, Text: whole[100:300]}, wflo.Message{Role: wflo.RoleUser, Text: "Continue exactly where it stopped."})
	if got := whole[:300] + d.work(); got != whole {
		t.Errorf("the parts make %s", got)
	}
}

func TestRunawayNeverStops(t *testing.T) {
	d := at(t, data.Orders())
	var first string
	for i := range 5 {
		a := script.Runaway(d.turn)
		if len(a.ToolCalls) != 1 {
			t.Fatalf("turn %d: got %+v", i, a)
		}
		if first == "" {
			first = a.ToolCalls[0].Arguments
		}
		if a.ToolCalls[0].Arguments != first {
			t.Errorf("turn %d asks for something else", i)
		}
		m := d.run(a.ToolCalls[0])
		if !strings.Contains(m.Text, "stdout:\n2953\n") {
			t.Errorf("turn %d: got %s", i, m.Text)
		}
		d.turn.Messages = append(d.turn.Messages, wflo.Message{Role: wflo.RoleAssistant, ToolCalls: a.ToolCalls}, m)
	}
}
