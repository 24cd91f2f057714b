package workflows

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

func askedBy(rule string, a wflo.Approval) wflo.Approval {
	a.Rules = []string{rule}
	return a
}

var levels = []wflo.Level{{After: 10 * time.Minute, Approvers: []string{"boss"}}, {After: 40 * time.Minute, Approvers: []string{"chief"}}}

var unions = map[string]struct {
	own  *wflo.Approval
	asks []wflo.Approval
	want wflo.Approval
}{
	"one": {
		asks: []wflo.Approval{askedBy("a", wflo.Approval{Approvers: []string{"ann"}, Quorum: 1, Risk: wflo.RiskHigh})},
		want: wflo.Approval{Approvers: []string{"ann"}, Quorum: 1, Risk: wflo.RiskHigh, Rules: []string{"a"}, Denials: 1, Answers: yesOrNo},
	},
	"two groups": {
		asks: []wflo.Approval{
			askedBy("a", wflo.Approval{Approvers: []string{"group:ops"}, Quorum: 2, FourEyes: true, Timeout: 2 * time.Hour, Notify: []string{"slack://ops"}}),
			askedBy("b", wflo.Approval{Approvers: []string{"cfo"}, Timeout: time.Hour, ReasonRequired: true, SignedOnly: true, Notify: []string{"slack://ops", "email://cfo"}}),
		},
		want: wflo.Approval{
			Approvers: []string{"group:ops"}, Quorum: 2, Factors: []wflo.Factor{{Approvers: []string{"cfo"}, Rule: "b"}},
			FourEyes: true, ReasonRequired: true, SignedOnly: true, Timeout: time.Hour, Denials: 1, Answers: yesOrNo,
			Notify: []string{"slack://ops", "email://cfo"}, Rules: []string{"a", "b"},
		},
	},
	// The levels of one set must not let others decide in the name of another set.
	"escalation stays with its set": {
		asks: []wflo.Approval{
			askedBy("a", wflo.Approval{Approvers: []string{"cfo"}, Timeout: 30 * time.Minute}),
			askedBy("b", wflo.Approval{Approvers: []string{"ops"}, Escalation: levels, OnTimeout: wflo.OnTimeoutEscalate, Timeout: time.Hour}),
		},
		want: wflo.Approval{
			Approvers: []string{"ops"}, Factors: []wflo.Factor{{Approvers: []string{"cfo"}, Rule: "a"}}, Escalation: levels[:1],
			Timeout: 30 * time.Minute, Denials: 1, Answers: yesOrNo, Rules: []string{"a", "b"},
		},
	},
	"anybody is among those who are named": {
		own:  &wflo.Approval{Gate: "g", Action: "act", Payload: []byte("1"), Answers: []wflo.Verdict{wflo.VerdictRespond}},
		asks: []wflo.Approval{askedBy("a", wflo.Approval{Approvers: []string{"ann"}})},
		want: wflo.Approval{
			Gate: "g", Action: "act", Payload: []byte("1"), Answers: []wflo.Verdict{wflo.VerdictRespond},
			Approvers: []string{"ann"}, Denials: 1, Rules: []string{"a"},
		},
	},
	"three of anybody are not": {
		asks: []wflo.Approval{askedBy("a", wflo.Approval{Approvers: []string{"ann"}}), askedBy("b", wflo.Approval{Quorum: 3})},
		want: wflo.Approval{Quorum: 3, Factors: []wflo.Factor{{Approvers: []string{"ann"}, Rule: "a"}}, Denials: 1, Answers: yesOrNo, Rules: []string{"a", "b"}},
	},
	"time decides only where all let it": {
		asks: []wflo.Approval{
			askedBy("a", wflo.Approval{OnTimeout: wflo.OnTimeoutApprove, Risk: wflo.RiskLow}),
			askedBy("b", wflo.Approval{OnTimeout: wflo.OnTimeoutApprove, Risk: wflo.RiskHigh, Denials: 3}),
		},
		want: wflo.Approval{OnTimeout: wflo.OnTimeoutReject, Risk: wflo.RiskHigh, Denials: 1, Answers: yesOrNo, Rules: []string{"a", "b"}},
	},
	"a default that is shorter stays": {
		own:  &wflo.Approval{Gate: "g"},
		asks: []wflo.Approval{askedBy("a", wflo.Approval{Timeout: 24 * time.Hour, Expiry: 24 * time.Hour})},
		want: wflo.Approval{Gate: "g", Denials: 1, Rules: []string{"a"}},
	},
	"a default that is longer does not": {
		own:  &wflo.Approval{Gate: "g", Timeout: 24 * time.Hour},
		asks: []wflo.Approval{askedBy("a", wflo.Approval{Expiry: time.Minute}), askedBy("b", wflo.Approval{Timeout: 48 * time.Hour})},
		want: wflo.Approval{Gate: "g", Expiry: time.Minute, Denials: 1, Rules: []string{"a", "b"}},
	},
	"halting is the strictest end": {
		own:  &wflo.Approval{Gate: "g", OnTimeout: wflo.OnTimeoutEscalate, Escalation: levels[:1], Approvers: []string{"ann"}},
		asks: []wflo.Approval{askedBy("a", wflo.Approval{Approvers: []string{"ben"}, OnTimeout: wflo.OnTimeoutHalt})},
		want: wflo.Approval{
			Gate: "g", OnTimeout: wflo.OnTimeoutHalt, Escalation: levels[:1], Approvers: []string{"ann"},
			Factors: []wflo.Factor{{Approvers: []string{"ben"}, Rule: "a"}}, Denials: 1, Rules: []string{"a"},
		},
	},
}

// TestUnion puts approvals together: whatever one of them asks for, the union does.
func TestUnion(t *testing.T) {
	for name, tt := range unions {
		t.Run(name, func(t *testing.T) {
			got := union(tt.own, tt.asks)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.Gate == "" {
				got.Gate = "g"
			}
			got.Action = "act"
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}
