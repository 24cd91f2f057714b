package refund_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.uber.org/goleak"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/refund"
	"github.com/wflo-ai/wflo-go/examples/refund/data"
	"github.com/wflo-ai/wflo-go/examples/refund/payments"
	"github.com/wflo-ai/wflo-go/examples/refund/script"
	"github.com/wflo-ai/wflo-go/sandbox"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// planted are the duplicates of the key, in the order of time.
func planted(t *testing.T) []string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(data.Key())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, row := range rows {
		if row[2] == "true" {
			ids = append(ids, row[0])
		}
	}
	return ids
}

// python is a sandbox for tests: it runs what the script wrote, and nothing
// else, with this machine's Python.
func python(t *testing.T) func(sandbox.Spec) sandbox.Result {
	return func(spec sandbox.Spec) sandbox.Result {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "orders.csv"), []byte(data.Orders()), 0o600); err != nil {
			t.Error(err)
		}
		cmd := exec.Command("python3", "-I", "-c", spec.Source)
		cmd.Dir = dir
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		res := sandbox.Result{Outcome: sandbox.Succeeded, Stdout: out.String(), Stderr: errs.String()}
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			res.Outcome, res.ExitCode = sandbox.Nonzero, exit.ExitCode()
		case err != nil:
			t.Errorf("run python3 (install it): %v", err)
		}
		return res
	}
}

// stage is a test's world: the environment with the workflow in it, and the
// payment provider.
type stage struct {
	*wflotest.Env
	pay *payments.Server
}

func set(t *testing.T, cfg wflotest.Config, pay payments.Config) stage {
	t.Helper()
	server, err := payments.Start(pay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if cfg.Script == nil {
		cfg.Script = script.Accountant
	}
	if cfg.Sandbox == nil {
		cfg.Sandbox = python(t)
	}
	env := wflotest.New(t, cfg)
	refund.Register(env, activities(t, server))
	return stage{Env: env, pay: server}
}

func activities(t *testing.T, server *payments.Server) *refund.Activities {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &refund.Activities{URL: server.URL(), Client: &http.Client{Transport: transport}}
}

func (s stage) play(in refund.Input) error {
	in.CSV = data.Orders()
	return s.Run(refund.Refund, in)
}

// log is the provider's log: what was asked, what became of it, and the charge.
func (s stage) log() []string {
	var lines []string
	for _, e := range s.pay.Log() {
		lines = append(lines, e.Op+" "+e.Outcome+" "+e.ChargeID)
	}
	return lines
}

func TestApproved(t *testing.T) {
	s := set(t, wflotest.Config{Budget: 10 * wflo.Cent}, payments.Config{})
	if err := s.play(refund.Input{Reviewers: []string{"wflotest"}}); err != nil {
		t.Fatal(err)
	}
	var report refund.Report
	s.Result(&report)
	var refunded []string
	sums := map[string]refund.Cents{}
	for _, r := range report.Refunds {
		refunded = append(refunded, r.ChargeID)
		sums[r.Currency] += refund.Cents(r.Amount)
	}
	if diff := cmp.Diff(planted(t), refunded); diff != "" {
		t.Errorf("refunds (-planted +made):\n%s", diff)
	}
	if diff := cmp.Diff(report.Refunds, s.pay.Refunds()); diff != "" {
		t.Errorf("refunds (-reported +made):\n%s", diff)
	}
	for _, total := range report.Totals {
		if sums[total.Currency] != total.Amount {
			t.Errorf("total %+v, refunded %s", total, sums[total.Currency])
		}
	}
	if report.ApprovedBy != "wflotest" || report.Turns != 3 || report.Cost <= 0 || report.Cost != s.Spent() {
		t.Errorf("got %+v, spent %s", report, s.Spent())
	}
	if got := refund.StandingOf(s.Status()); len(got.Issued) != 13 || len(got.Undone)+len(got.Stuck)+len(got.Refused) != 0 {
		t.Errorf("got %+v", got)
	}
	keys := map[string]bool{}
	for _, e := range s.pay.Log() {
		keys[e.Key] = true
	}
	if len(keys) != 13 {
		t.Errorf("got %d idempotency keys, want 13", len(keys))
	}
	if len(s.Ran()) != 2 {
		t.Errorf("ran %d programs, want 2", len(s.Ran()))
	}
}

func TestGateShowsWhatIsDone(t *testing.T) {
	s := set(t, wflotest.Config{}, payments.Config{})
	if err := s.play(refund.Input{Reviewers: []string{"wflotest"}}); err != nil {
		t.Fatal(err)
	}
	gates := s.Gates()
	if len(gates) != 1 || gates[0].ID != refund.Gate {
		t.Fatalf("got %+v", gates)
	}
	a := gates[0].Approval
	var shown []refund.Proposal
	if err := json.Unmarshal(a.Payload, &shown); err != nil {
		t.Fatal(err)
	}
	for i, r := range s.pay.Refunds() {
		p := shown[i]
		if p.ChargeID != r.ChargeID || int64(p.Amount) != r.Amount || p.Currency != r.Currency {
			t.Errorf("approved %+v, refunded %+v", p, r)
		}
		if row := fmt.Sprintf("| %s | %s | %s %s | %s |", p.ChargeID, p.OrderID, p.Amount, p.Currency, p.DuplicateOf); !strings.Contains(a.Details, row) {
			t.Errorf("the details lack %s", row)
		}
	}
	if !strings.Contains(a.Details, "**Total: ") || !strings.Contains(a.Action, "refund 13 duplicate charges") {
		t.Errorf("got %s\n%s", a.Action, a.Details)
	}
	if diff := cmp.Diff([]string{"wflotest"}, a.Approvers); diff != "" {
		t.Error(diff)
	}
}

func TestRejected(t *testing.T) {
	s := set(t, wflotest.Config{Decide: func(g wflo.Gate) wflo.Decision { return wflotest.Reject(g, "ann", "not this month") }}, payments.Config{})
	err := s.play(refund.Input{})
	if err == nil || !strings.Contains(err.Error(), "not this month") {
		t.Errorf("got %v", err)
	}
	if got := s.log(); got != nil {
		t.Errorf("the provider was asked: %v", got)
	}
}

func TestNobodyDecides(t *testing.T) {
	for name, decide := range map[string]func(wflo.Gate) wflo.Decision{
		"silence":      func(wflo.Gate) wflo.Decision { return wflo.Decision{} },
		"a stranger":   func(g wflo.Gate) wflo.Decision { return wflotest.Approve(g, "mallory") },
		"other digest": func(g wflo.Gate) wflo.Decision { g.Digest = "0"; return wflotest.Approve(g, "ann") },
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, wflotest.Config{Decide: decide}, payments.Config{})
			err := s.play(refund.Input{Reviewers: []string{"ann"}})
			if err == nil || !strings.Contains(err.Error(), "nobody decided") {
				t.Errorf("got %v", err)
			}
			if got := s.log(); got != nil {
				t.Errorf("the provider was asked: %v", got)
			}
		})
	}
}

func TestFailedRefundTakesTheOthersBack(t *testing.T) {
	s := set(t, wflotest.Config{}, payments.Config{Disputed: []string{data.Disputed}})
	err := s.play(refund.Input{})
	if err == nil || !strings.Contains(err.Error(), payments.CodeDisputed) || !strings.Contains(err.Error(), data.Disputed) {
		t.Errorf("got %v", err)
	}
	ids := planted(t)
	before := ids[:slices.Index(ids, data.Disputed)]
	if len(before) < 3 {
		t.Fatalf("only %v come before the disputed charge", before)
	}
	var want []string
	for _, id := range before {
		want = append(want, "refund done "+id)
	}
	want = append(want, "refund "+payments.CodeDisputed+" "+data.Disputed)
	for _, id := range slices.Backward(before) {
		want = append(want, "cancel done "+id)
	}
	if diff := cmp.Diff(want, s.log()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	standing := refund.Standing{Undone: before, Refused: []string{data.Disputed}}
	if diff := cmp.Diff(standing, refund.StandingOf(s.Status())); diff != "" {
		t.Errorf("standing (-want +got):\n%s", diff)
	}
	for _, r := range s.pay.Refunds() {
		if r.Status != payments.Cancelled {
			t.Errorf("refund %s is %s", r.ID, r.Status)
		}
	}
}

func TestNoDoubleRefundWhenTheProviderStumbles(t *testing.T) {
	s := set(t, wflotest.Config{}, payments.Config{Outages: 2, LostReplies: 2})
	if err := s.play(refund.Input{}); err != nil {
		t.Fatal(err)
	}
	var charges []string
	for _, r := range s.pay.Refunds() {
		charges = append(charges, r.ChargeID)
	}
	if diff := cmp.Diff(planted(t), charges); diff != "" {
		t.Errorf("refunds (-planted +made):\n%s", diff)
	}
	var stumbles, repeated int
	for _, e := range s.pay.Log() {
		switch e.Outcome {
		case payments.CodeUnavailable:
			stumbles++
		case "repeated":
			repeated++
		}
	}
	if stumbles != 4 || repeated != 2 {
		t.Errorf("got %d stumbles and %d repeated requests, want 4 and 2", stumbles, repeated)
	}
}

func TestSecondRunRefundsNothingAgain(t *testing.T) {
	first := set(t, wflotest.Config{}, payments.Config{})
	if err := first.play(refund.Input{}); err != nil {
		t.Fatal(err)
	}
	second := wflotest.New(t, wflotest.Config{Script: script.Accountant, Sandbox: python(t)})
	second.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: "another"})
	refund.Register(second, activities(t, first.pay))
	err := second.Run(refund.Refund, refund.Input{CSV: data.Orders()})
	if err == nil || !strings.Contains(err.Error(), payments.CodeAlreadyRefunded) {
		t.Errorf("got %v", err)
	}
	for _, r := range first.pay.Refunds() {
		if r.Status != payments.Succeeded {
			t.Errorf("the second run took back refund %s of the first", r.ID)
		}
	}
}

// count answers as the runaway's program does.
func count(sandbox.Spec) sandbox.Result {
	return sandbox.Result{Outcome: sandbox.Succeeded, Stdout: "2953\n"}
}

func TestBudgetStopsTheRunaway(t *testing.T) {
	for name, by := range map[string]struct {
		run, task wflo.Money
		model     string
	}{
		"the run's budget":  {run: 3 * wflo.Cent},
		"the task's budget": {task: 3 * wflo.Cent},
		"a cheap model":     {run: wflo.Cent, model: script.RunawayModel},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, wflotest.Config{Script: script.Runaway, Budget: by.run, Sandbox: count}, payments.Config{})
			limit := by.run + by.task
			err := s.play(refund.Input{Budget: wflo.Budget{Limit: by.task}, Model: by.model, MaxRepeats: wflo.MaxTurnsLimit})
			if err == nil || !strings.Contains(err.Error(), "budget") {
				t.Errorf("got %v", err)
			}
			if n := len(s.Calls()); n < 3 {
				t.Errorf("only %d calls were made", n)
			}
			spent := s.Spent()
			if spent <= 0 || spent > limit {
				t.Errorf("spent %s of %s", spent, limit)
			}
			t.Logf("%d calls, %s of %s spent", len(s.Calls()), spent, limit)
			if s.Gates() != nil || s.log() != nil {
				t.Error("an agent without an answer reached the gate")
			}
		})
	}
}

// TestRunawayIsStoppedForRepeatingItself needs no budget: the answer that asks for
// the same count once more is paid, and not acted on.
func TestRunawayIsStoppedForRepeatingItself(t *testing.T) {
	s := set(t, wflotest.Config{Script: script.Runaway, Sandbox: count}, payments.Config{})
	err := s.play(refund.Input{})
	if app := (*temporal.ApplicationError)(nil); !errors.As(err, &app) || app.Type() != string(wflo.CodeLoop) {
		t.Errorf("got %v", err)
	}
	if calls, ran := len(s.Calls()), len(s.Ran()); calls != wflo.DefaultMaxRepeats+1 || ran != wflo.DefaultMaxRepeats {
		t.Errorf("%d calls and %d programs", calls, ran)
	}
	if s.Gates() != nil || s.log() != nil {
		t.Error("an agent without an answer reached the gate")
	}
}

// TestAnswersThatAreNotTrusted gives the workflow answers that a model may make
// up. None may reach the gate.
func TestAnswersThatAreNotTrusted(t *testing.T) {
	honest := honestAnswer(t)
	change := func(edit func(p []refund.Proposal) []refund.Proposal) string {
		var p []refund.Proposal
		if err := json.Unmarshal([]byte(honest), &p); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(edit(p))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, c := range map[string]struct{ answer, want string }{
		"words":         {"I could not find the file.", "is not a JSON list"},
		"null":          {"null", "is null"},
		"object":        {`{"charge_id":"x"}`, "is not a JSON list"},
		"more":          {honest + " That is all.", "something follows"},
		"unknown field": {strings.Replace(honest, `"reason"`, `"iban":"x","reason"`, 1), "unknown field"},
		"one cent":      {change(each(func(p []refund.Proposal) { p[0].Amount++ })), "is over"},
		"invented":      {change(each(func(p []refund.Proposal) { p[0].ChargeID = "ch_INVENTED" })), "is not in the CSV"},
		"other order":   {change(each(func(p []refund.Proposal) { p[0].OrderID = p[1].OrderID })), "belongs to order"},
		"currency":      {change(each(func(p []refund.Proposal) { p[0].Currency = "JPY" })), "is over"},
		"of itself":     {change(each(func(p []refund.Proposal) { p[0].DuplicateOf = p[0].ChargeID })), "is no duplicate"},
		"of another":    {change(each(func(p []refund.Proposal) { p[0].DuplicateOf = p[1].DuplicateOf })), "is no duplicate"},
		"twice":         {change(func(p []refund.Proposal) []refund.Proposal { return append(p, p[0]) }), "is proposed twice"},
		"chain": {change(each(func(p []refund.Proposal) {
			p[len(p)-1].DuplicateOf = p[len(p)-2].ChargeID
		})), "which is to be refunded as well"},
		"backwards": {change(each(func(p []refund.Proposal) {
			p[0].ChargeID, p[0].DuplicateOf = p[0].DuplicateOf, p[0].ChargeID
		})), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, wflotest.Config{Script: say(c.answer)}, payments.Config{})
			err := s.play(refund.Input{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.Gates() != nil || s.log() != nil {
				t.Error("the answer reached the gate")
			}
		})
	}
}

func each(edit func(p []refund.Proposal)) func([]refund.Proposal) []refund.Proposal {
	return func(p []refund.Proposal) []refund.Proposal { edit(p); return p }
}

func say(text string) scripted.Script {
	return func(scripted.Turn) scripted.Answer { return scripted.Answer{Text: text} }
}

func honestAnswer(t *testing.T) string {
	t.Helper()
	s := set(t, wflotest.Config{}, payments.Config{})
	if err := s.play(refund.Input{}); err != nil {
		t.Fatal(err)
	}
	return string(s.Gates()[0].Approval.Payload)
}

func TestNothingToRefund(t *testing.T) {
	s := set(t, wflotest.Config{Script: say("```json\n[]\n```")}, payments.Config{})
	if err := s.play(refund.Input{}); err != nil {
		t.Fatal(err)
	}
	if s.Gates() != nil || s.log() != nil {
		t.Error("nothing to refund reached the gate")
	}
}

func TestBadCSV(t *testing.T) {
	header, _, _ := strings.Cut(data.Orders(), "\n")
	const row = "\no1,c1,a,1,1.00,EUR,2026-01-01T00:00:00Z,captured,web"
	for name, c := range map[string]struct{ csv, want string }{
		"empty":       {"", "has no header"},
		"no card":     {strings.Replace(header, "card_last4", "pan", 1), "lacks the column card_last4"},
		"ragged":      {header + row + ",more", "cannot be read"},
		"amount":      {header + strings.Replace(row, "1.00", "1", 1), "line 2: amount"},
		"negative":    {header + strings.Replace(row, "1.00", "-1.00", 1), "line 2: amount"},
		"huge":        {header + strings.Replace(row, "1.00", "99999999999999999.00", 1), "line 2: amount"},
		"time":        {header + strings.Replace(row, "T00:00:00Z", "", 1), "line 2: charged_at"},
		"there twice": {header + row + row, "line 3: charge_id"},
	} {
		t.Run(name, func(t *testing.T) {
			s := set(t, wflotest.Config{}, payments.Config{})
			err := s.Run(refund.Refund, refund.Input{CSV: c.csv})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.Calls() != nil {
				t.Error("a model was paid for a file that cannot be used")
			}
		})
	}
}
