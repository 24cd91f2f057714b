package script

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go/wflotest/scripted"
)

// Marks are comments of the programs, by which their results are recognised.
const (
	markLook  = "# Profile the file."
	markFind  = "# Find duplicate charges."
	markPlain = "# The plain way."
)

// look asks what the file holds, without assuming anything but CSV.
func look(file string) scripted.Answer {
	return python("First I will look at what is in the file.", `import csv, json

`+markLook+`
with open(`+quote(file)+`, newline="") as f:
    reader = csv.DictReader(f)
    rows = list(reader)
columns = []
for name in reader.fieldnames:
    values = sorted({row[name] for row in rows})
    columns.append({"name": name, "distinct": len(values), "values": values[:8] if len(values) <= 8 else values[:2]})
print(json.dumps({"rows": len(rows), "columns": columns}))
`)
}

// profile is what look printed.
type profile struct {
	Rows    int      `json:"rows"`
	Columns []column `json:"columns"`
}

// column is a column of the file with its values, or two of them when there are
// many.
type column struct {
	Name     string   `json:"name"`
	Distinct int      `json:"distinct"`
	Values   []string `json:"values"`
}

// fromText makes a poorer profile from the text of the file, of which a tool may
// have cut the middle.
func (p *profile) fromText(a action) bool {
	if a.failed {
		return false
	}
	r := csv.NewReader(strings.NewReader(a.result))
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	rows, err := r.ReadAll()
	if err != nil || len(rows) < 2 {
		return false
	}
	p.Rows, p.Columns = len(rows)-1, nil
	for i, name := range rows[0] {
		c := column{Name: name}
		for _, row := range rows[1:] {
			if len(row) == len(rows[0]) && !slices.Contains(c.Values, row[i]) && c.Distinct <= 8 {
				c.Values = append(c.Values, row[i])
				c.Distinct++
			}
		}
		p.Columns = append(p.Columns, c)
	}
	return true
}

// schema names the columns that the search needs, as the file calls them.
type schema struct {
	charge, order, customer, card, amount, currency, time, status string
	captured                                                      string // the status of money that was taken
}

// schema matches the columns by what their names say.
func (p profile) schema() (schema, error) {
	var s schema
	for _, want := range []struct {
		field *string
		what  string
		words []string
	}{
		{&s.charge, "charge", []string{"charge_id", "payment_id", "transaction_id", "charge", "transaction"}},
		{&s.order, "order", []string{"order_id", "order", "invoice"}},
		{&s.customer, "customer", []string{"customer", "client", "buyer", "account"}},
		{&s.card, "card", []string{"card_last4", "last4", "card", "pan"}},
		{&s.amount, "amount", []string{"amount", "total", "price", "gross"}},
		{&s.currency, "currency", []string{"currency", "ccy"}},
		{&s.time, "time", []string{"charged_at", "created", "timestamp", "time", "date"}},
		{&s.status, "status", []string{"status", "state"}},
	} {
		c, ok := p.column(want.words)
		if !ok {
			return s, fmt.Errorf("there is no column for the %s among %s", want.what, p.names())
		}
		*want.field = c.Name
	}
	c, _ := p.column([]string{s.status})
	for _, word := range []string{"captured", "paid", "succeeded", "settled", "completed"} {
		if i := slices.IndexFunc(c.Values, func(v string) bool { return strings.EqualFold(v, word) }); i >= 0 {
			s.captured = c.Values[i]
			return s, nil
		}
	}
	return s, fmt.Errorf("no value of %s among %q means that the money was taken", s.status, c.Values)
}

// column finds the column whose name has the first of the words.
func (p profile) column(words []string) (column, bool) {
	for _, word := range words {
		for _, c := range p.Columns {
			if strings.Contains(strings.ToLower(c.Name), strings.ToLower(word)) {
				return c, true
			}
		}
	}
	return column{}, false
}

func (p profile) names() string {
	var names []string
	for _, c := range p.Columns {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}
