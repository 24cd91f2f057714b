package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/step"
)

// raiseTimeout is how long a run waits for somebody to raise a budget, unless
// the budget starts again from zero before.
const raiseTimeout = 24 * time.Hour

// windowSlack is how much later than the end of a budget's window a parked call
// is tried again: the database's clock decides about windows, not this worker's.
const windowSlack = 30 * time.Second

// raise is one question about one budget, which all calls of the run share that
// the budget has no room for.
type raise struct {
	open bool
	// turn orders the ends of raises among the beginnings of calls.
	turn int
	// err is why the budget was not raised; nil when trying again is worth it.
	err error
}

// raisePayload is what an approver sees and what the decision is bound to.
type raisePayload struct {
	Budget   string     `json:"budget"`
	Limit    wflo.Money `json:"limit"`
	Spent    wflo.Money `json:"spent"`
	Reserved wflo.Money `json:"reserved"`
	Asked    wflo.Money `json:"asked"`
	TopUp    wflo.Money `json:"top_up"`
}

// parked runs call, and again each time a budget that asks was raised for it. An
// error of a budget that does not ask is returned as it is.
func (st *state) parked(ctx workflow.Context, call func(workflow.Context) error) error {
	same := workflow.WithValue(ctx, fixedKey{}, &fixed{})
	for {
		begun := st.turn
		err := fromWire(call(same))
		var r *wflo.Refusal
		if !errors.As(err, &r) || r.OnExceeded != wflo.ExceedAsk {
			return err
		}
		if err := st.raise(ctx, r, begun); err != nil {
			return err
		}
	}
}

// raise waits until somebody has decided about the budget of r. begun is when
// the call that was refused began: what was decided later holds for it too. Nil
// means that the call is worth another try.
func (st *state) raise(ctx workflow.Context, r *wflo.Refusal, begun int) error {
	switch last := st.raises[r.Budget]; {
	case last != nil && last.open:
		if err := workflow.Await(ctx, func() bool { return !last.open }); err != nil {
			if refused := st.refusal(ctx); refused != nil {
				return refused
			}
			return err
		}
		return shared(last.err)
	case last != nil && last.turn > begun:
		return shared(last.err)
	}
	own := &raise{open: true}
	st.raises[r.Budget] = own
	doing := st.doing
	own.err = st.askForMore(ctx, r)
	st.turn++
	own.open, own.turn = false, st.turn
	st.doing = doing
	return own.err
}

// shared is how a raise ended for a call that did not open it. When the call that
// did was cancelled, nobody has decided: the others ask for themselves.
func shared(err error) error {
	if temporal.IsCanceledError(err) {
		return nil
	}
	return err
}

// askForMore opens the gate and does what the decision says.
func (st *state) askForMore(ctx workflow.Context, r *wflo.Refusal) error {
	a, err := raiseApproval(r, workflow.Now(ctx))
	if err != nil {
		return err
	}
	g, err := st.ask(silent(ctx), stepOf(ctx), a, func(d wflo.Decision) error {
		_, err := granted(d, r)
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, wflo.ErrHalted) || temporal.IsCanceledError(err):
		return err
	case errors.Is(err, wflo.ErrApprovalTimeout) && !r.WindowEnd.IsZero() && workflow.Now(ctx).After(r.WindowEnd):
		return nil // it has started again from zero
	default:
		return notRaised(r, err)
	}
	d := g.decision()
	amount, err := granted(d, r)
	if err != nil {
		return notRaised(r, err)
	}
	_, err = step.BudgetTopUp.Do(quick(ctx, fmt.Sprintf("raise budget %s by %s", r.Budget, amount)),
		wflo.TopUp{Budget: r.Budget, Amount: amount, By: d.By, Reason: d.Reason})
	if err = fromWire(err); err != nil {
		if temporal.IsCanceledError(err) || errors.Is(err, wflo.ErrHalted) {
			return err
		}
		return notRaised(r, err)
	}
	return nil
}

// raiseApproval is the question about a budget that has no room.
func raiseApproval(r *wflo.Refusal, now time.Time) (wflo.Approval, error) {
	payload, err := json.Marshal(raisePayload{
		Budget: r.Budget, Limit: r.Limit, Spent: r.Spent, Reserved: r.Reserved, Asked: r.Asked, TopUp: proposed(r),
	})
	if err != nil {
		return wflo.Approval{}, fmt.Errorf("encode refusal of budget %s: %w", r.Budget, err)
	}
	a := wflo.Approval{
		Gate: "budget/" + r.Budget, Action: fmt.Sprintf("Raise budget %s by %s", r.Budget, proposed(r)),
		Payload: payload, Timeout: raiseTimeout,
		Answers: []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictRespond, wflo.VerdictReject},
	}
	var b strings.Builder
	fmt.Fprintf(&b, "The run waits because its next call needs %s and the budget has no room: of %s it spent %s, and %s is reserved by calls that are running.\n\n",
		r.Asked, r.Limit, r.Spent, r.Reserved)
	fmt.Fprintf(&b, "Approve to add %s in the current window, or respond with another amount in dollars, such as 2.50. Reject to end the call with an error.\n", proposed(r))
	if left := r.WindowEnd.Sub(now) + windowSlack; !r.WindowEnd.IsZero() && left > 0 && left < raiseTimeout {
		a.Timeout = left
		fmt.Fprintf(&b, "\nThe budget starts again from zero at %s, and the run goes on by itself then.\n", r.WindowEnd.UTC().Format(time.RFC3339))
	}
	a.Details = b.String()
	return a, nil
}

// proposed is the amount that an approval adds: the limit once more, and enough
// for the call in any case.
func proposed(r *wflo.Refusal) wflo.Money {
	return max(r.Limit, needed(r))
}

// needed is the least amount that makes room for the call. A budget may be
// overdrawn, so that what the call asks for is not enough.
func needed(r *wflo.Refusal) wflo.Money {
	return max(r.Asked, r.Spent+r.Reserved+r.Asked-r.Limit, 1)
}

// granted is the amount that a decision adds: the proposed one, or what the
// approver wrote instead.
func granted(d wflo.Decision, r *wflo.Refusal) (wflo.Money, error) {
	switch {
	case d.Verdict == wflo.VerdictReject:
		return 0, nil
	case d.Text == "" && d.Verdict == wflo.VerdictApprove:
		return proposed(r), nil
	}
	amount, err := wflo.ParseMoney(d.Text)
	if err != nil || amount <= 0 {
		return 0, wflo.Invalid("decision.text", fmt.Sprintf("is %q, which is no amount to add", clip(d.Text, 40)), "give dollars above zero, such as 2.50")
	}
	return amount, nil
}

// notRaised is the budget's error with the reason why it stands.
func notRaised(r *wflo.Refusal, reason error) error {
	why, _ := wflo.Explain(reason)
	return &wflo.Error{
		Code: wflo.CodeBudgetExceeded, Message: r.Error() + "; it was not raised: " + why,
		Hint: "raise the budget with wflo budget topup and run it again", Err: r,
	}
}
