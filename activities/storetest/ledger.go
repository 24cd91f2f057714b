// Package storetest holds every store of package activities to its contract:
// [TestLedger] and [TestWindows] for ledgers, [TestBlobs] for blob stores. A
// driver's own test calls them with a function that opens an empty store:
//
//	func TestLedger(t *testing.T) {
//		storetest.TestLedger(t, func(t *testing.T) activities.Ledger { ... })
//	}
//
// The suites know nothing of the driver behind the interface, so whatever they
// assert holds for all of them. The ledger's suite has three parts: one test
// for each sentence of the contract, races in which up to 256 workers fight for
// the same money, and a random walk that is compared with a model of plain maps.
package storetest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// TestLedger runs the suite. open gives an empty ledger that is closed when the
// test it was opened for ends; it is called once for each subtest.
func TestLedger(t *testing.T, open func(t *testing.T) activities.Ledger) {
	for _, c := range []struct {
		name string
		test func(*books)
	}{
		{"ReserveMakesBudgets", reserveMakesBudgets},
		{"ReserveKeepsExistingLimits", reserveKeepsExistingLimits},
		{"ReserveIsAllOrNothing", reserveIsAllOrNothing},
		{"ReserveUpToTheLimit", reserveUpToTheLimit},
		{"ReserveWithoutLimit", reserveWithoutLimit},
		{"ReserveRepeated", reserveRepeated},
		{"ReserveAfterSettled", reserveAfterSettled},
		{"ReserveMakesEarlierAttemptsUnknown", reserveMakesEarlierUnknown},
		{"ReserveRefusedStillMakesEarlierUnknown", refusedStillMakesEarlierUnknown},
		{"ReserveAfterSettledStillMakesEarlierUnknown", settledStillMakesEarlierUnknown},
		{"ReserveRefusesNonsense", reserveRefusesNonsense},
		{"SettleWritesAnEntry", settleWritesAnEntry},
		{"SettleRepeated", settleRepeated},
		{"SettleUnknown", settleUnknown},
		{"SettleOverdraft", settleOverdraft},
		{"SettleWithoutHold", settleWithoutHold},
		{"ReleaseAndMarkUnknown", giveUp},
		{"SpendOfNothing", spendOfNothing},
		{"EntriesOfARoot", entriesOfARoot},
		{"OddText", oddText},
		{"LargestAmounts", largestAmounts},
		{"GrantWhatThereIs", grantWhatThereIs},
		{"GrantOfTheTightest", grantOfTheTightest},
		{"GrantUnknown", unknownOfAGrant},
		{"GrantReleased", releaseOfAGrant},
		{"RefusalHasNumbers", refusalHasNumbers},
		{"RefusalIsOfTheFirst", refusalIsOfTheFirst},
		{"RefusalHasTheWindow", refusalHasTheWindow},
		{"OnExceededOfLines", onExceededOfLines},
		{"OnExceededOfRules", onExceededOfRules},
		{"BusyBudgetsDoNotAlert", busyBudgetsDoNotAlert},
		{"AlertingBudgetsDoNotLetOthersPass", alertingBudgetsDoNotLetOthersPass},
		{"RefusedCallsStillAlert", refusedCallsStillAlert},
		{"RulesOfEveryScope", rulesOfEveryScope},
		{"RulesOfEveryPeriod", rulesOfEveryPeriod},
		{"NamedRuleBeatsEach", namedRuleBeatsEach},
		{"RulesComeBackAsTheyWere", rulesComeBackAsTheyWere},
		{"LineAndRule", lineAndRule},
		{"LineIsOneBudget", lineIsOneBudget},
		{"EightBudgets", eightBudgets},
		{"SetCountsTheWindow", setCountsTheWindow},
		{"SetCountsWhatIsUnderWay", setCountsWhatIsUnderWay},
		{"SetChangesTheLimitAtOnce", setChangesTheLimitAtOnce},
		{"DeclareDoesNotUndoOperators", declareDoesNotUndoOperators},
		{"RemoveBudget", removeBudget},
		{"TopUpRaisesOnce", topUpRaisesOnce},
		{"TopUpOfAMember", topUpOfAMember},
		{"TopUpOutlivesItsRule", topUpOutlivesItsRule},
		{"TopUpConcurrently", topUpConcurrently},
		{"ListBudgets", listBudgets},
		{"RollingByTheRealClock", rollingByTheRealClock},
		{"AlertOncePerThreshold", alertOncePerThreshold},
		{"AlertSaysWhatHappened", alertSaysWhatHappened},
		{"AlertsOfLines", alertsOfLines},
		{"AlertsOfEverySpending", alertsOfEverySpending},
		{"AlertOfEveryBudget", alertOfEveryBudget},
		{"AlertsAreRearmedByTopUp", alertsAreRearmedByTopUp},
		{"AlertsWithTheNextCharge", alertsWithTheNextCharge},
		{"ClaimOldestFirst", claimOldestFirst},
		{"ClaimAgainAfterTheLease", claimAgainAfterTheLease},
		{"SaveCostsNothing", saveCostsNothing},
		{"SaveOfAHold", saveOfAHold},
		{"EntriesHaveScopesAndPrices", entriesHaveScopesAndPrices},
		{"CostsByEveryKey", costsByEveryKey},
		{"CostsFilter", costsFilter},
		{"CostsLimit", costsLimit},
		{"CostsByTime", costsByTime},
		{"CostsEqualEntries", costsEqualEntries},
		{"OpenHolds", openHolds},
		{"UnknownHolds", unknownHolds},
		{"ReservationsRefuseNonsense", reservationsRefuseNonsense},
		{"SavingsRefuseNonsense", savingsRefuseNonsense},
		{"RulesRefuseNonsense", rulesRefuseNonsense},
		{"TopUpsRefuseNonsense", topUpsRefuseNonsense},
		{"ReportsRefuseNonsense", reportsRefuseNonsense},
		{"RaceOfAlerts", raceOfAlerts},
		{"RaceOfSavings", raceOfSavings},
		{"RaceOfACrowd", raceOfACrowd},
		{"RaceInRandomOrders", raceInRandomOrders},
		{"RefusalsHurtNobody", refusalsHurtNobody},
		{"Cancelled", cancelled},
		{"CancelledHalfWay", cancelledHalfWay},
		{"RaceOnOneBudget", raceOnOneBudget},
		{"RaceOnOneKey", raceOnOneKey},
		{"RaceInOppositeOrders", raceInOppositeOrders},
		{"RaceToMakeBudgets", raceToMakeBudgets},
		{"RaceOfSettleAndNextAttempt", raceOfSettleAndNextAttempt},
		{"Model", walkWithModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&books{T: t, Ledger: open(t)}) })
	}
}

func reserveMakesBudgets(b *books) {
	r := ask("k", 1, 30, line("run", 100), line("team", 50), line("org", 0))
	want := wflo.Hold{Reservation: r, State: wflo.HoldOpen, Granted: 30, Room: 20}
	if diff := cmp.Diff(want, b.reserve(r), sameHold); diff != "" {
		b.Errorf("hold (-want +got):\n%s", diff)
	}
	b.spend(wflo.Spend{Budget: "run", Limit: 100, Reserved: 30})
	b.spend(wflo.Spend{Budget: "team", Limit: 50, Reserved: 30})
	b.spend(wflo.Spend{Budget: "org", Reserved: 30})
	if got := b.entries(run.RootID()); len(got) != 0 {
		b.Errorf("a hold is no entry: %+v", got)
	}
}

func reserveKeepsExistingLimits(b *books) {
	b.reserve(ask("a", 1, 10, line("x", 100)))
	if h := b.reserve(ask("b", 1, 10, line("x", 500))); h.Room != 80 {
		b.Errorf("room is %d, want 80 of the first limit", h.Room)
	}
	b.refused(ask("c", 1, 81, line("x", 0)), wflo.CodeBudgetExceeded)
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Reserved: 20})
	// A refused reservation makes its budgets too: the operator shall see the
	// limit that refused it.
	b.refused(ask("d", 1, 8, line("new", 7)), wflo.CodeBudgetExceeded)
	b.spend(wflo.Spend{Budget: "new", Limit: 7})
}

func reserveIsAllOrNothing(b *books) {
	b.reserve(ask("a", 1, 3*wflo.USD, line("small", 10*wflo.USD)))
	b.settle(bill("a", 1, 2*wflo.USD))
	b.reserve(ask("b", 1, 4*wflo.USD, line("small", 0)))
	err := b.refused(ask("c", 1, 5*wflo.USD, line("large", 100*wflo.USD), line("small", 0)), wflo.CodeBudgetExceeded)
	for _, word := range []string{`"small"`, "limit $10.00", "spent $2.00", "reserved $4.00", "$5.00", "raise the budget"} {
		if !strings.Contains(err.Error(), word) {
			b.Errorf("error %q does not say %s", err, word)
		}
	}
	b.spend(wflo.Spend{Budget: "large", Limit: 100 * wflo.USD})
	b.spend(wflo.Spend{Budget: "small", Limit: 10 * wflo.USD, Spent: 2 * wflo.USD, Reserved: 4 * wflo.USD})
	// A refusal leaves no hold behind: the same attempt may ask again for less.
	if h := b.reserve(ask("c", 1, 4*wflo.USD, line("large", 0), line("small", 0))); h.Room != 0 {
		b.Errorf("room is %s, want none", h.Room)
	}
	// Of several budgets without room, the first line is named.
	err = b.refused(ask("d", 1, 200*wflo.USD, line("small", 0), line("large", 0)), wflo.CodeBudgetExceeded)
	if !strings.Contains(err.Error(), `"small"`) {
		b.Errorf("error %q does not name the first line", err)
	}
}

func reserveUpToTheLimit(b *books) {
	b.refused(ask("a", 1, 101, line("x", 100)), wflo.CodeBudgetExceeded)
	if h := b.reserve(ask("a", 1, 100, line("x", 100))); h.Room != 0 {
		b.Errorf("room is %d, want 0", h.Room)
	}
	b.refused(ask("b", 1, 1, line("x", 100)), wflo.CodeBudgetExceeded)
	b.reserve(ask("free", 1, 0, line("x", 100)))
	b.settle(bill("a", 1, 99))
	b.reserve(ask("b", 1, 1, line("x", 100)))
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 99, Reserved: 1})
}

func reserveWithoutLimit(b *books) {
	for i, lines := range [][]wflo.BudgetLine{nil, {line("x", 0)}, {line("x", 0), line("y", 0)}} {
		h := b.reserve(ask(fmt.Sprint(i), 1, 7, lines...))
		if h.Room != math.MaxInt64 {
			b.Errorf("room of %v is %d, want the largest", lines, h.Room)
		}
	}
	if h := b.reserve(ask("tight", 1, 7, line("x", 0), line("z", 10), line("y", 0))); h.Room != 3 {
		b.Errorf("room is %d, want that of the only limit", h.Room)
	}
	b.settle(bill("0", 1, 5))
	if got := b.entries(run.RootID()); len(got) != 1 || got[0].Amount != 5 {
		b.Errorf("a call without budgets has entries %+v", got)
	}
}

func reserveRepeated(b *books) {
	r := ask("k", 1, 30, line("y", 100), line("x", 200))
	first := b.reserve(r)
	if first.Repeated {
		b.Error("the first hold is repeated")
	}
	again := b.reserve(r)
	if !again.At.Equal(first.At) {
		b.Errorf("the hold was made at %s, then at %s", first.At, again.At)
	}
	first.Repeated = true
	if diff := cmp.Diff(first, again, sameHold); diff != "" {
		b.Errorf("repeated hold (-first +second):\n%s", diff)
	}
	other := r
	other.Amount = 31
	b.refused(other, wflo.CodeConflict)
	b.spend(wflo.Spend{Budget: "y", Limit: 100, Reserved: 30})

	// Every state is returned as it is.
	s := bill("k", 1, 20)
	s.Outcome = []byte("answer")
	b.settle(s)
	want := first
	want.State, want.Outcome, want.Room = wflo.HoldSettled, s.Outcome, 80
	if diff := cmp.Diff(want, b.reserve(r), sameHold); diff != "" {
		b.Errorf("settled hold (-want +got):\n%s", diff)
	}
	b.reserve(ask("r", 1, 1, line("x", 0)))
	b.release("r", 1)
	if h := b.reserve(ask("r", 1, 1, line("x", 0))); h.State != wflo.HoldReleased {
		b.Errorf("released hold is %s", h.State)
	}
	b.reserve(ask("u", 1, 1, line("x", 0)))
	b.unknown("u", 1)
	if h := b.reserve(ask("u", 1, 1, line("x", 0))); h.State != wflo.HoldUnknown {
		b.Errorf("unknown hold is %s", h.State)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 200, Spent: 21, Unknown: 1})
}

func reserveAfterSettled(b *books) {
	r := ask("k", 1, 30, line("x", 100))
	b.reserve(r)
	s := bill("k", 1, 20)
	s.Outcome = []byte{0, 0xff, 'a'}
	b.settle(s)
	want := wflo.Hold{Reservation: r, State: wflo.HoldSettled, Granted: 30, Repeated: true, Outcome: s.Outcome, Room: 80}
	for _, attempt := range []int{2, 3, 2} {
		got := b.reserve(ask("k", attempt, 500, line("x", 100), line("new", 5)))
		if diff := cmp.Diff(want, got, sameHold); diff != "" {
			b.Errorf("attempt %d (-want +got):\n%s", attempt, diff)
		}
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 20})
	b.spend(wflo.Spend{Budget: "new"}) // nothing new, so no budget either
	if got := b.entries(run.RootID()); len(got) != 1 {
		b.Errorf("entries: %+v", got)
	}
	// A later attempt that settled does not answer for an earlier one.
	b.reserve(ask("later", 2, 1, line("x", 0)))
	b.settle(bill("later", 2, 1))
	if h := b.reserve(ask("later", 1, 1, line("x", 0))); h.State != wflo.HoldOpen || h.Attempt != 1 {
		b.Errorf("hold is %+v, want a new one", h)
	}
}

func reserveMakesEarlierUnknown(b *books) {
	b.reserve(ask("k", 1, 30, line("x", 100), line("old", 40)))
	h := b.reserve(ask("k", 2, 20, line("x", 100)))
	if h.State != wflo.HoldOpen || h.Attempt != 2 || h.Room != 50 {
		b.Errorf("hold is %+v", h)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 30, Reserved: 20, Unknown: 30})
	b.spend(wflo.Spend{Budget: "old", Limit: 40, Spent: 30, Unknown: 30})
	want := []wflo.Entry{{Key: "k", Attempt: 1, State: wflo.HoldUnknown, Run: run, Provider: "openai", Model: "gpt", Reserved: 30, Amount: 30}}
	if diff := cmp.Diff(want, b.entries(run.RootID()), sameEntry); diff != "" {
		b.Errorf("entries (-want +got):\n%s", diff)
	}
	b.release("k", 2)
	b.reserve(ask("k", 9, 20, line("x", 100)))
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 30, Reserved: 20, Unknown: 30}) // released stays released
	b.reserve(ask("other", 1, 20, line("x", 100)))
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 30, Reserved: 40, Unknown: 30}) // other keys are left alone
}

func refusedStillMakesEarlierUnknown(b *books) {
	b.reserve(ask("k", 1, 80, line("x", 100)))
	b.refused(ask("k", 2, 80, line("x", 100)), wflo.CodeBudgetExceeded)
	// Nobody would ever close the first hold if the refusal undid this.
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 80, Unknown: 80})
	b.balanced("x", run.RootID())
}

func settledStillMakesEarlierUnknown(b *books) {
	b.reserve(ask("k", 1, 10, line("x", 100)))
	b.reserve(ask("k", 2, 20, line("x", 100))) // 1 becomes unknown
	b.settle(bill("k", 1, 5))                  // but was late only
	h := b.reserve(ask("k", 3, 30, line("x", 100)))
	if h.Attempt != 1 || h.State != wflo.HoldSettled {
		b.Errorf("hold is %+v, want the settled first", h)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 25, Unknown: 20})
	b.settle(bill("k", 2, 6))
	if h := b.reserve(ask("k", 3, 30, line("x", 100))); h.Attempt != 2 {
		b.Errorf("attempt %d answers, want the latest that settled", h.Attempt)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 11})
	b.balanced("x", run.RootID())
}

func reserveRefusesNonsense(b *books) {
	long := strings.Repeat("x", 10_000)
	longRun := ask("k", 1, 1)
	longRun.Run.WorkflowID = long
	for name, r := range map[string]wflo.Reservation{
		"no key":          ask("", 1, 1),
		"long key":        ask(long, 1, 1),
		"attempt 0":       ask("k", 0, 1),
		"attempt -1":      ask("k", -1, 1),
		"attempt 1<<40":   ask("k", 1<<40, 1),
		"negative amount": ask("k", 1, -1),
		"no budget id":    ask("k", 1, 1, line("", 5)),
		"long budget id":  ask("k", 1, 1, line(long, 5)),
		"NUL in id":       ask("k", 1, 1, line("a\x00b", 5)),
		"broken id":       ask("k", 1, 1, line("a\xffb", 5)),
		"negative limit":  ask("k", 1, 1, line("x", -5)),
		"budget twice":    ask("k", 1, 1, line("x", 5), line("y", 5), line("x", 5)),
		"long run":        longRun,
	} {
		b.Log(name)
		b.refused(r, wflo.CodeInvalid)
	}
	b.spend(wflo.Spend{Budget: "x"})
	b.reserve(ask("k", 1, 5, line("x", 5)))
	negative := bill("k", 1, -1)
	tokens := bill("k", 1, 1)
	tokens.Usage.Output = -1
	for _, s := range []wflo.Settlement{negative, tokens, bill("", 1, 1), bill("k", 0, 1)} {
		if err := b.Settle(b.Context(), s); !errors.Is(err, wflo.ErrInvalid) {
			b.Errorf("settle %+v gave %v", s, err)
		}
	}
	for _, err := range []error{b.Release(b.Context(), "", 1), b.Release(b.Context(), "k", 0), b.MarkUnknown(b.Context(), "", 1)} {
		if !errors.Is(err, wflo.ErrInvalid) {
			b.Errorf("a hold without a name gave %v", err)
		}
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 5, Reserved: 5})
}

// sampleBill fills every field of a settlement that a worker makes.
func sampleBill(key string, attempt int, amount wflo.Money) wflo.Settlement {
	return wflo.Settlement{
		Key: wflo.EffectKey(key), Attempt: attempt, Amount: amount, Provider: "azure", Model: "gpt-1-2026", ResponseID: "resp_1",
		Usage:   wflo.Usage{Input: 1, CacheRead: 2, CacheWrite5m: 3, CacheWrite1h: 4, Output: 5, Reasoning: 6},
		Price:   wflo.Price{ID: "azure/gpt-1@2026", Input: 1_000_001, CacheRead: 2, CacheWrite5m: 3, CacheWrite1h: 4, Output: math.MaxInt64, Reasoning: 6, PerRequest: 7},
		Outcome: []byte(`{"text":"hi"}`),
	}
}

func settleWritesAnEntry(b *books) {
	before := time.Now().Add(-time.Minute) // the store's clock may be another
	b.reserve(ask("k", 1, 30, line("x", 100), line("y", 0)))
	s := sampleBill("k", 1, 12)
	b.settle(s)
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 12})
	b.spend(wflo.Spend{Budget: "y", Spent: 12})
	got := b.entries(run.RootID())
	want := []wflo.Entry{{Key: "k", Attempt: 1, State: wflo.HoldSettled, Run: run, Provider: s.Provider, Model: s.Model,
		ResponseID: s.ResponseID, Usage: s.Usage, Price: s.Price, Reserved: 30, Amount: 12}}
	if diff := cmp.Diff(want, got, sameEntry); diff != "" {
		b.Fatalf("entries (-want +got):\n%s", diff)
	}
	if at := got[0].At; at.Before(before) || at.After(before.Add(time.Hour)) || at.Location() != time.UTC {
		b.Errorf("entry is of %s", at)
	}
}

func settleRepeated(b *books) {
	b.reserve(ask("k", 1, 30, line("x", 100)))
	s := sampleBill("k", 1, 12)
	b.settle(s)
	b.settle(s)
	again := s
	again.Outcome, again.ResponseID, again.By = []byte("other"), "other", "eve" // only the amount is compared
	b.settle(again)
	again.Amount = 13
	if err := b.Settle(b.Context(), again); wflo.CodeOf(err) != wflo.CodeConflict {
		b.Errorf("another amount gave %v", err)
	}
	b.spend(wflo.Spend{Budget: "x", Limit: 100, Spent: 12})
	if got := b.entries(run.RootID()); len(got) != 1 || got[0].ResponseID != s.ResponseID || got[0].By != "" {
		b.Errorf("entries: %+v", got)
	}
	if h := b.reserve(ask("k", 2, 1)); string(h.Outcome) != string(s.Outcome) {
		b.Errorf("outcome became %q", h.Outcome)
	}
}
