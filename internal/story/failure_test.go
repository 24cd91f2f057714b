package story

import "testing"

// People read what went wrong, and not through how many hands it came.
func TestPlainWords(t *testing.T) {
	for message, want := range map[string]string{
		"refund ch_1: activity error (type: shop.Issue, scheduledEventID: 67, startedEventID: 68, identity: 6937@vm@): 409 disputed; the bank decides (type: shop.Refused, retryable: false)": "refund ch_1: 409 disputed; the bank decides",
		"agent: child workflow execution error (type: wflo.Agent, workflowID: a/b, runID: c, initiatedEventID: 1, startedEventID: 2): no money (type: budget, retryable: true)":               "agent: no money",
		"load: activity error (type: shop.Load, scheduledEventID: 5, startedEventID: 6, identity: 1@vm@)":                                                                                     "load",
		"activity error (type: shop.Load, scheduledEventID: 5, startedEventID: 6, identity: 1@vm@)":                                                                                           "activity error (type: shop.Load, scheduledEventID: 5, startedEventID: 6, identity: 1@vm@)",
		"the program ended (exit code 3)": "the program ended (exit code 3)",
	} {
		if got := plain(message); got != want {
			t.Errorf("%q:\n got %q\nwant %q", message, got, want)
		}
	}
}
