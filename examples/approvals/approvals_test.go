package approvals_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/examples/approvals"
	"github.com/wflo-ai/wflo-go/wflotest"
	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// bank keeps what was paid.
type bank struct{ paid []approvals.Payment }

func (b *bank) pay(_ context.Context, p approvals.Payment) (string, error) {
	b.paid = append(b.paid, p)
	return "receipt for " + p.Invoice, nil
}

func open(t *testing.T, cfg wflotest.Config) (*wflotest.Env, *bank) {
	t.Helper()
	b := &bank{}
	env := wflotest.New(t, cfg)
	env.RegisterActivityWithOptions(b.pay, activity.RegisterOptions{Name: "bank.Pay"})
	return env, b
}

// in says a decision in the name of somebody of a group.
func in(group string, d wflo.Decision) wflo.Decision {
	d.Groups = []string{group}
	return d
}

var invoice = approvals.Payment{Invoice: "17", Account: "DE1", Cents: 5000}

func TestPay(t *testing.T) {
	env, bank := open(t, wflotest.Config{User: "uma", Panel: func(g wflo.Gate) []wflo.Decision {
		return []wflo.Decision{
			in("finance", wflotest.Approve(g, "uma")), // who started it does not count
			in("finance", wflotest.Approve(g, "ann")),
			in("finance", wflotest.Approve(g, "ann")), // one person is one
			in("finance", wflotest.Approve(g, "bob")),
		}
	}})
	if err := env.Run(approvals.Pay, invoice); err != nil {
		t.Fatal(err)
	}
	g, _ := env.Gate("pay")
	if len(bank.paid) != 1 || bank.paid[0] != invoice || g.Refused != 2 || g.Status != wflo.GateApproved {
		t.Errorf("paid %v; gate %s refused %d: %s", bank.paid, g.Status, g.Refused, g.LastRefusal)
	}
}

func TestPayAsEdited(t *testing.T) {
	less := json.RawMessage(`{"invoice":"17","account":"DE1","cents":4000}`)
	env, bank := open(t, wflotest.Config{User: "uma", Panel: func(g wflo.Gate) []wflo.Decision {
		return []wflo.Decision{
			in("finance", wflotest.Approve(g, "ann")),
			in("finance", wflotest.Edit(g, "bob", less)), // voids ann's vote
		}
	}})
	for i, name := range []string{"ann", "bob", "cat"} { // bob changed it, and does not count
		env.After(time.Duration(i+1)*time.Minute, "pay", func(g wflo.Gate) wflo.Decision {
			return in("finance", wflotest.Approve(g, name))
		})
	}
	if err := env.Run(approvals.Pay, invoice); err != nil {
		t.Fatal(err)
	}
	if g, _ := env.Gate("pay"); len(bank.paid) != 1 || bank.paid[0].Cents != 4000 || g.Refused != 1 || g.Revision != 1 {
		t.Errorf("paid %v; gate %+v", bank.paid, g)
	}
}

func TestPayIsRejected(t *testing.T) {
	env, bank := open(t, wflotest.Config{User: "uma", Decide: func(g wflo.Gate) wflo.Decision {
		return in("finance", wflotest.Reject(g, "ann", "not our invoice"))
	}})
	if err := env.Run(approvals.Pay, invoice); err == nil || len(bank.paid) != 0 {
		t.Errorf("paid %v, %v", bank.paid, err)
	}
}

func TestRelease(t *testing.T) {
	env, _ := open(t, wflotest.Config{Decide: func(g wflo.Gate) wflo.Decision { return wflotest.Approve(g, "ann") }})
	if err := env.Run(approvals.Release, "1.2.0"); err != nil {
		t.Error(err)
	}
	// Nobody answers: the levels are asked, and time rejects in the end.
	env, _ = open(t, wflotest.Config{Decide: func(wflo.Gate) wflo.Decision { return wflo.Decision{} }})
	err := env.Run(approvals.Release, "1.2.0")
	if g, _ := env.Gate("release"); err == nil || g.Level != 2 || g.Status != wflo.GateTimedOut {
		t.Errorf("%v; gate %s at level %d", err, g.Status, g.Level)
	}
}

func TestIntake(t *testing.T) {
	env, _ := open(t, wflotest.Config{Panel: func(g wflo.Gate) []wflo.Decision {
		wrong, right := wflotest.Respond(g, "ann", ""), wflotest.Respond(g, "ann", "")
		wrong.Form, right.Form = json.RawMessage(`{"team":"mine"}`), json.RawMessage(`{"team":"billing"}`)
		return []wflo.Decision{wrong, right}
	}})
	if err := env.Run(approvals.Intake, "T-1"); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Team string }
	if env.Result(&answer); answer.Team != "billing" {
		t.Errorf("answered %+v", answer)
	}
}

func TestClerk(t *testing.T) {
	script := func(turn scripted.Turn) scripted.Answer {
		if receipt, _, ok := scripted.LastToolResult(turn, "pay"); ok {
			return scripted.Answer{Text: receipt}
		}
		return scripted.CallTool("c1", "pay", map[string]any{"invoice": "17", "account": "DE1", "cents": 5000})
	}
	env, bank := open(t, wflotest.Config{Script: script, Decide: func(g wflo.Gate) wflo.Decision {
		return in("finance", wflotest.Approve(g, "ann"))
	}})
	if err := env.Run(approvals.Clerk, "Pay invoice 17."); err != nil || len(bank.paid) != 1 || bank.paid[0] != invoice {
		t.Errorf("paid %v, %v", bank.paid, err)
	}
}
