package script

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// seconds is the window that the task names: ten minutes.
const seconds = 600

// program is the search; the words in capitals are filled in from the profile.
const program = `import csv, json
PARSER

MARK
rows = []
with open(FILE, newline="") as f:
    for row in csv.DictReader(f):
        if row[STATUS] == CAPTURED:
            rows.append((seconds(row[TIME]), row))
rows.sort(key=lambda r: (r[0], r[1][CHARGE]))

first = {}
found = []
for at, row in rows:
    key = (row[CUSTOMER], row[CARD], row[AMOUNT], row[CURRENCY])
    if key in first and at - first[key][0] <= WINDOW:
        whole, _, cents = row[AMOUNT].partition(".")
        found.append({
            "charge": row[CHARGE], "order": row[ORDER], "currency": row[CURRENCY],
            "cents": int(whole) * 100 + int((cents + "00")[:2]),
            "original": first[key][1][CHARGE], "original_order": first[key][1][ORDER],
            "after": round(at - first[key][0]),
        })
    else:
        first[key] = (at, row)
print(json.dumps(found))
`

// parsers read times. The plain one needs nothing that old Pythons lack.
const (
	parser = `from datetime import datetime

def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()`
	plainParser = `import calendar, time

` + markPlain + `
def seconds(text):
    return calendar.timegm(time.strptime(text[:19].replace(" ", "T"), "%Y-%m-%dT%H:%M:%S"))`
)

// find writes the search for the columns that the file has.
func find(facts profile, file string, plain bool) scripted.Answer {
	s, err := facts.schema()
	if err != nil {
		return scripted.Answer{Text: "I could not search " + file + ": " + err.Error() + ". I propose no refunds."}
	}
	thought := fmt.Sprintf("%d rows. Now I will search those with status %s for repeated charges.", facts.Rows, s.captured)
	how := parser
	if plain {
		thought, how = "That did not work. I will try it another way.", plainParser
	}
	fill := strings.NewReplacer(
		"PARSER", how, "MARK", markFind, "FILE", quote(file), "WINDOW", fmt.Sprint(seconds),
		"[CHARGE]", "["+quote(s.charge)+"]", "[ORDER]", "["+quote(s.order)+"]", "[CUSTOMER]", "["+quote(s.customer)+"]",
		"[CARD]", "["+quote(s.card)+"]", "[AMOUNT]", "["+quote(s.amount)+"]", "[CURRENCY]", "["+quote(s.currency)+"]",
		"[TIME]", "["+quote(s.time)+"]", "[STATUS]", "["+quote(s.status)+"]", "CAPTURED", quote(s.captured),
	)
	return python(thought, fill.Replace(program))
}

// finding is one line of what the search printed.
type finding struct {
	Charge        string `json:"charge"`
	Order         string `json:"order"`
	Currency      string `json:"currency"`
	Cents         int64  `json:"cents"`
	Original      string `json:"original"`
	OriginalOrder string `json:"original_order"`
	After         int64  `json:"after"` // seconds
}

// proposal is one object of the answer, with the names that the task asks for.
type proposal struct {
	ChargeID    string `json:"charge_id"`
	OrderID     string `json:"order_id"`
	AmountCents int64  `json:"amount_cents"`
	Currency    string `json:"currency"`
	DuplicateOf string `json:"duplicate_of"`
	Reason      string `json:"reason"`
}

// proposals writes the answer.
func proposals(found []finding) string {
	list := make([]proposal, 0, len(found))
	for _, f := range found {
		reason := fmt.Sprintf("the payment was repeated after %d s in the same order", f.After)
		if f.Order != f.OriginalOrder {
			reason = fmt.Sprintf("the order was sent again after %d s as %s", f.After, f.Order)
		}
		list = append(list, proposal{
			ChargeID: f.Charge, OrderID: f.Order, AmountCents: f.Cents, Currency: f.Currency, DuplicateOf: f.Original, Reason: reason,
		})
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and numbers always marshal; the server turns a panic into a 500
	}
	return string(text)
}
