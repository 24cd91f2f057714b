package refund

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Cents is an amount in the smallest unit of a currency that has cents.
type Cents int64

// String shows the amount with two decimals.
func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}

// maxWhole bounds amounts, so that sums of them cannot overflow.
const maxWhole = 1_000_000_000

// parseCents reads "12.30" exactly: digits, a dot, two digits.
func parseCents(s string) (Cents, error) {
	whole, cents, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	m, centsErr := strconv.ParseUint(cents, 10, 8)
	if !ok || err != nil || centsErr != nil || len(cents) != 2 || n > maxWhole {
		return 0, fmt.Errorf("amount %.40q: want one such as 12.30", s)
	}
	return Cents(n*100 + m), nil
}

// captured is the status of a charge whose money the shop has.
const captured = "captured"

// charge is a row of the CSV, as far as refunds need it.
type charge struct {
	id, order string
	// payer joins what two charges must share to be the same: customer, card
	// and currency.
	payer    [3]string
	amount   Cents
	at       time.Time
	captured bool
}

var columns = []string{"charge_id", "order_id", "customer", "card_last4", "currency", "amount", "charged_at", "status"}

// readCharges reads the CSV by the names of its columns. Further columns are
// ignored; a row that cannot be read is an error with its line.
func readCharges(text string) (map[string]charge, error) {
	bad := func(problem string, args ...any) (map[string]charge, error) {
		return nil, wflo.Invalid("input.csv", fmt.Sprintf(problem, args...), "export it again with "+strings.Join(columns, ", "))
	}
	r := csv.NewReader(strings.NewReader(text))
	header, err := r.Read()
	if err != nil {
		return bad("has no header: %v", err)
	}
	at := map[string]int{}
	for i, name := range header {
		at[name] = i
	}
	for _, name := range columns {
		if _, ok := at[name]; !ok {
			return bad("lacks the column %s", name)
		}
	}
	charges := map[string]charge{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return charges, nil
		}
		if err != nil {
			return bad("cannot be read: %v", err)
		}
		c, err := readCharge(func(name string) string { return row[at[name]] })
		line, _ := r.FieldPos(0)
		if err != nil {
			return bad("line %d: %v", line, err)
		}
		if _, ok := charges[c.id]; ok || c.id == "" {
			return bad("line %d: charge_id %.40q is empty or there twice", line, c.id)
		}
		charges[c.id] = c
	}
}

func readCharge(field func(string) string) (charge, error) {
	amount, err := parseCents(field("amount"))
	if err != nil {
		return charge{}, err
	}
	at, err := time.Parse(time.RFC3339, field("charged_at"))
	if err != nil {
		return charge{}, fmt.Errorf("charged_at %.40q: want a time such as 2026-03-01T12:00:00Z", field("charged_at"))
	}
	return charge{
		id: field("charge_id"), order: field("order_id"), amount: amount, at: at, captured: field("status") == captured,
		payer: [3]string{field("customer"), field("card_last4"), field("currency")},
	}, nil
}

func (c charge) currency() string { return c.payer[2] }

// repeats says that c charges again, within the window, what first charged.
func (c charge) repeats(first charge) bool {
	after := c.at.Sub(first.at)
	return c.captured && first.captured && c.payer == first.payer && c.amount == first.amount && after >= 0 && after <= Window
}
