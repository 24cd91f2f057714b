package notifytest

import (
	"encoding/json"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// At is when the notices of this package were written down.
var At = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// Gate is one that asks for a refund.
func Gate() wflo.Gate {
	run := wflo.Run{Namespace: "default", WorkflowID: "refund-7", FirstRunID: "run-1", Workflow: "Refunds", User: "carol"}
	return run.Ask("refunds", wflo.Approval{
		Gate: "refunds", Action: "Refund 250.00 EUR to order 1007", Details: "The customer was double charged.",
		Payload: json.RawMessage(`{"order":1007,"amount":"250.00","currency":"EUR"}`), Risk: wflo.RiskHigh,
		Approvers: []string{"alice", "group:finance"}, Quorum: 2, FourEyes: true,
	}, At).Seal("nonce-1")
}

// Notice is one about the gate.
func Notice(channel string, kind wflo.NoticeKind, seq int, g wflo.Gate) wflo.NoticeRecord {
	return wflo.NoticeRecord{Notice: wflo.Notice{
		ID: g.Nonce + "/" + string(kind) + "/" + channel, Channel: channel, Kind: kind, Thread: g.Nonce, Seq: seq,
		Title: "Approval needed: refunds", Link: "/gates/" + g.Nonce, Gate: &g, At: At,
	}, State: wflo.NoticePending}
}
