// Package data is a month of charges of a web shop that does not exist, for the
// refund demo: [Orders] is the CSV that the agent gets, [Key] says which of its
// rows are the duplicate charges. The agent never sees the key; tests do.
//
// Both files are made by the program in the folder generate, from a fixed seed,
// and hold nothing about anybody. A duplicate is a captured charge that repeats
// a captured one within ten minutes: same customer, card, amount and currency.
// Some rows look like duplicates and are not, each kind for a reason that is in
// the generator.
package data

import _ "embed" // the data sets are part of the program

//go:generate go run ./generate

//go:embed orders.csv
var orders string

//go:embed key.csv
var key string

// Disputed is a duplicate charge that the card holder has disputed at the bank,
// which the CSV does not show: its refund fails. It is neither the first nor the
// last duplicate by time.
const Disputed = "ch_PEN8KTMG8U"

// Orders is the CSV with a header: order_id, charge_id, customer, card_last4,
// amount (with two decimals), currency, charged_at (RFC 3339, UTC), status
// (captured, refunded or failed), channel.
func Orders() string { return orders }

// Key is the CSV of all planted rows with a header: charge_id, kind, refund,
// where refund is true for duplicates.
func Key() string { return key }
