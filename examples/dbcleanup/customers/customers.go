// Package customers is a small table of customers to try the example with: [Fill]
// makes it in an empty database, and [Model] is a model without a key.
package customers

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// Loyal is a customer whom a model takes for idle, and a person does not.
const Loyal = 5

// Before is the day that makes customers 2 to 5 idle.
const Before = "2025-01-01"

var rows = []struct {
	id                    int64
	name, lastOrder, note string
}{
	{1, "Arbor Ltd", "2026-10-30", ""},
	{2, "Birch & Sons", "2021-03-11", "bounced twice"},
	{3, "Cedar GmbH", "2022-08-02", ""},
	{4, "Dogwood SA", "2020-01-19", "closed down"},
	{Loyal, "Elm Hospital", "2024-12-31", "yearly contract, renewed by letter"},
}

// Fill makes the table where it is not there, with five customers.
func Fill(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, last_order TEXT NOT NULL, note TEXT NOT NULL)`); err != nil {
		return fmt.Errorf("make the table customers: %w", err)
	}
	for _, r := range rows {
		if _, err := db.ExecContext(ctx, `INSERT INTO customers (id, name, last_order, note) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, r.id, r.name, r.lastOrder, r.note); err != nil {
			return fmt.Errorf("add customer %d: %w", r.id, err)
		}
	}
	return nil
}

// IDs are the customers that are there, in order.
func IDs(ctx context.Context, db *sql.DB) (ids []int64, err error) {
	found, err := db.QueryContext(ctx, `SELECT id FROM customers ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list customers: %w", err)
	}
	defer func() { _ = found.Close() }() // reading reports its errors below
	for found.Next() {
		var id int64
		if err := found.Scan(&id); err != nil {
			return nil, fmt.Errorf("list customers: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, found.Err()
}

// Model wants to delete everybody on the list that it is shown, as an eager model
// does.
func Model(t scripted.Turn) scripted.Answer {
	var list []struct{ ID int64 }
	if err := json.Unmarshal([]byte(scripted.UserText(t)), &list); err != nil {
		return scripted.Answer{Text: "I see no list: " + err.Error()}
	}
	ids := make([]int64, 0, len(list))
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	answer, err := json.Marshal(map[string]any{"ids": ids, "reason": "no order for a long time"})
	if err != nil {
		return scripted.Answer{Text: err.Error()}
	}
	return scripted.Answer{Text: string(answer)}
}
