// Package shop is a small database of orders to try the example with: [Fill] makes it in
// an empty database, and [Model] is a model without a key, whose first program is wrong.
package shop

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// Day is the one that has orders. Its paid ones are Paid cents.
const (
	Day  = "2026-11-22"
	Paid = 40_200
)

var tables = []string{
	`CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, day TEXT NOT NULL, customer TEXT NOT NULL, cents BIGINT NOT NULL, status TEXT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS sales (day TEXT NOT NULL, customer TEXT NOT NULL, cents BIGINT NOT NULL, PRIMARY KEY (day, customer))`,
}

var orders = []struct {
	id       int64
	customer string
	cents    int64
	status   string
}{
	{1, "Arbor Ltd", 12_000, "paid"},
	{2, "Birch & Sons", 4_500, "paid"},
	{3, "Arbor Ltd", 3_700, "paid"},
	{4, "Cedar GmbH", 99_000, "cancelled"},
	{5, "Birch & Sons", 20_000, "paid"},
	{6, "Dogwood SA", 1_250, "refunded"},
}

// Fill makes the tables where they are not there, with the orders of Day, and without
// any sales.
func Fill(ctx context.Context, db *sql.DB) error {
	for _, t := range tables {
		if _, err := db.ExecContext(ctx, t); err != nil {
			return fmt.Errorf("make the tables: %w", err)
		}
	}
	for _, o := range orders {
		if err := Order(ctx, db, o.id, o.customer, o.cents, o.status); err != nil {
			return err
		}
	}
	return nil
}

// Order adds an order of Day, unless there is one with this number.
func Order(ctx context.Context, db *sql.DB, id int64, customer string, cents int64, status string) error {
	_, err := db.ExecContext(ctx, `INSERT INTO orders (id, day, customer, cents, status) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, id, Day, customer, cents, status)
	if err != nil {
		return fmt.Errorf("add order %d: %w", id, err)
	}
	return nil
}

// Tidy and Right are the programs that Model writes. Tidy sums up orders that nobody has
// paid, and does what it was told not to do: it writes into orders.csv.
const (
	Tidy = `import csv
rows = list(csv.DictReader(open("orders.csv")))
sums = {}
for r in rows:
    sums[r["customer"]] = sums.get(r["customer"], 0) + int(r["cents"])
with open("orders.csv", "w") as f:
    f.write("tidied up\n")
with open("sales.csv", "w", newline="") as f:
    w = csv.writer(f)
    w.writerow(["customer", "cents"])
    w.writerows(sorted(sums.items()))
`
	Right = `import csv
sums = {}
with open("orders.csv", newline="") as f:
    for r in csv.DictReader(f):
        if r["status"] == "paid":
            sums[r["customer"]] = sums.get(r["customer"], 0) + int(r["cents"])
with open("sales.csv", "w", newline="") as f:
    w = csv.writer(f)
    w.writerow(["customer", "cents"])
    w.writerows(sorted(sums.items()))
`
)

// Asked says that a model is asked for a program of the example.
func Asked(t scripted.Turn) bool { return strings.Contains(scripted.UserText(t), "Write sales.csv") }

// Model writes Tidy, and Right when it is told that a program was wrong.
func Model(t scripted.Turn) scripted.Answer {
	if strings.Contains(scripted.UserText(t), "got it wrong") {
		return scripted.Answer{Text: Right}
	}
	return scripted.Answer{Text: Tidy}
}
