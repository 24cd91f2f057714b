package refund

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/wflo-ai/wflo-go"
)

// Window is how long after a charge the same charge counts as a duplicate.
const Window = 10 * time.Minute

// Proposal is one refund that the agent proposes, people approve, and the
// activities make: the same value all the way.
type Proposal struct {
	ChargeID string `json:"charge_id"`
	OrderID  string `json:"order_id"`
	// Amount is in cents of Currency: all of the charge.
	Amount   Cents  `json:"amount_cents"`
	Currency string `json:"currency"`
	// DuplicateOf is the charge that this one repeats, and that stays.
	DuplicateOf string `json:"duplicate_of"`
	// Reason is the agent's own words. It is shown, never acted on.
	Reason string `json:"reason"`
}

// readProposals reads the agent's answer: a JSON array of proposals and nothing
// else, except that a fence of Markdown around it is forgiven.
func readProposals(answer string) ([]Proposal, error) {
	text := strings.TrimSpace(answer)
	if inside, ok := strings.CutPrefix(text, "```"); ok {
		inside = strings.TrimPrefix(inside, "json")
		text = strings.TrimSuffix(inside, "```")
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	proposals := []Proposal{}
	err := dec.Decode(&proposals)
	if err == nil {
		if _, end := dec.Token(); end != io.EOF {
			err = fmt.Errorf("something follows the list")
		}
	}
	switch {
	case err != nil:
		return nil, wflo.Invalid("the agent's answer", fmt.Sprintf("is not a JSON list of refunds: %v; it begins %.200q", err, answer), "look at the run, or try another model")
	case proposals == nil:
		return nil, wflo.Invalid("the agent's answer", "is null", "an agent that finds nothing answers []")
	}
	return proposals, nil
}

// check looks every proposal up in the charges. The first that is not a
// duplicate by the rule, or says something else than the CSV, is an error: one
// wrong proposal is reason enough to distrust the others.
func check(proposals []Proposal, charges map[string]charge) error {
	refunds := map[string]bool{}
	for _, p := range proposals {
		if refunds[p.ChargeID] {
			return wrong(p, "is proposed twice")
		}
		refunds[p.ChargeID] = true
	}
	for _, p := range proposals {
		c, ok := charges[p.ChargeID]
		if !ok {
			return wrong(p, "is not in the CSV")
		}
		first, ok := charges[p.DuplicateOf]
		switch {
		case p.OrderID != c.order:
			return wrong(p, fmt.Sprintf("belongs to order %s and not to %.40q", c.order, p.OrderID))
		case p.Amount != c.amount || p.Currency != c.currency():
			return wrong(p, fmt.Sprintf("is over %s %s and not over %s %.10q", c.amount, c.currency(), p.Amount, p.Currency))
		case !ok || p.DuplicateOf == p.ChargeID || !c.repeats(first):
			return wrong(p, fmt.Sprintf("is no duplicate of %.40q", p.DuplicateOf))
		case refunds[p.DuplicateOf]:
			return wrong(p, fmt.Sprintf("is a duplicate of %s, which is to be refunded as well", p.DuplicateOf))
		}
	}
	return nil
}

func wrong(p Proposal, problem string) error {
	return wflo.Invalid(fmt.Sprintf("the agent's proposal for charge %.40q", p.ChargeID), problem, "nothing was refunded; look at the run, or try another model")
}

// Total is the sum of one currency.
type Total struct {
	Currency string `json:"currency"`
	Amount   Cents  `json:"amount_cents"`
	Refunds  int    `json:"refunds"`
}

// totals sums per currency, in the order in which the currencies come up.
func totals(proposals []Proposal) []Total {
	var sums []Total
	at := map[string]int{}
	for _, p := range proposals {
		i, ok := at[p.Currency]
		if !ok {
			i = len(sums)
			at[p.Currency] = i
			sums = append(sums, Total{Currency: p.Currency})
		}
		sums[i].Amount += p.Amount
		sums[i].Refunds++
	}
	return sums
}

func totalsText(sums []Total) string {
	var parts []string
	for _, t := range sums {
		parts = append(parts, fmt.Sprintf("%s %s", t.Amount, t.Currency))
	}
	return strings.Join(parts, " + ")
}

// markdown is what reviewers read.
func markdown(proposals []Proposal) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The agent found %d duplicate charges. Each stands in the CSV, repeats a captured charge of the same customer, card, amount and currency within %.0f minutes, and was checked against the file by the workflow. The reasons are the agent's words.\n\n", len(proposals), Window.Minutes())
	b.WriteString("| charge | order | amount | repeats | reason |\n|---|---|---:|---|---|\n")
	for _, p := range proposals {
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s |\n", cell(p.ChargeID), cell(p.OrderID), p.Amount, cell(p.Currency), cell(p.DuplicateOf), cell(p.Reason))
	}
	fmt.Fprintf(&b, "\n**Total: %s**\n", totalsText(totals(proposals)))
	return b.String()
}

// cellBytes is the most of a text that a cell shows.
const cellBytes = 160

// cell makes a text safe inside a Markdown table: a model's words must not be
// able to draw another table, a link or HTML in front of the reviewer.
func cell(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case b.Len() > cellBytes:
			b.WriteString("…")
			return b.String()
		case !unicode.IsPrint(r): // newlines, and marks that turn the direction of text
			b.WriteByte(' ')
		case strings.ContainsRune("\\`*[]()<>|&!#~:@", r):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
