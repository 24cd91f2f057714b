// Package refund is the demo of wflo on real work: an agent gets a month of
// charges as a CSV, finds those that were charged twice by running Python in a
// sandbox, and proposes refunds; people approve exactly the proposals that were
// shown; then the refunds are made, one step each, and when one is refused for
// good, those already made are taken back, newest first.
//
// [Refund] is the workflow, [Activities] talk to the payment provider, and
// [Register] puts both into a worker. What the model says is never trusted: the
// workflow itself looks up every proposal in the CSV, and refuses one that is
// not a duplicate by the rule, or that is off by a cent.
//
// The folders beside it: data holds the CSV, payments a small payment provider,
// script a model without a key, worker and starter the two programs to copy.
package refund
