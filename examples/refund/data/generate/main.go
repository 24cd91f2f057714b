// Command generate makes orders.csv and key.csv in the current folder. The same
// program makes the same bytes on every machine and with every version of Go,
// which is why it has its own random numbers.
package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"time"
)

// seed was not chosen for what it gives; only the committed files follow from it.
const seed = 20260301

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	charges := generate(seed)
	for _, f := range []struct {
		name string
		rows [][]string
	}{{"orders.csv", ordersTable(charges)}, {"key.csv", keyTable(charges)}} {
		text, err := encode(f.rows)
		if err != nil {
			return fmt.Errorf("encode %s: %w", f.name, err)
		}
		if err := os.WriteFile(f.name, text, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

func ordersTable(charges []*charge) [][]string {
	rows := [][]string{{"order_id", "charge_id", "customer", "card_last4", "amount", "currency", "charged_at", "status", "channel"}}
	for _, c := range charges {
		rows = append(rows, []string{
			c.order.id, c.id, c.customer, c.card, fmt.Sprintf("%d.%02d", c.cents/100, c.cents%100), c.currency,
			c.at.Format(time.RFC3339), c.status, c.channel,
		})
	}
	return rows
}

func keyTable(charges []*charge) [][]string {
	rows := [][]string{{"charge_id", "kind", "refund"}}
	for _, c := range charges {
		if c.kind != "" {
			rows = append(rows, []string{c.id, c.kind, strconv.FormatBool(c.refund)})
		}
	}
	return rows
}

func encode(rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
