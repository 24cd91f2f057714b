package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
)

// Bounds of an invoice.
const (
	maxInvoice      = 16 << 20 // bytes
	maxInvoiceLines = 100_000
	maxModelName    = 500 // bytes
)

// invoiceLine is what a provider billed for one model.
type invoiceLine struct {
	Model  string
	Amount wflo.Money // below zero for a credit
	Calls  int64      // -1 when the invoice does not say
}

// parseInvoice reads CSV with a header that names model, amount and perhaps
// calls, in any order. Lines of one model are added up.
func parseInvoice(data []byte) (map[string]invoiceLine, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff")))) // spreadsheets begin so
	r.ReuseRecord = true
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		return nil, invoiceProblem(1, "has no header")
	}
	columns, err := invoiceColumns(header)
	if err != nil {
		return nil, err
	}
	lines := map[string]invoiceLine{}
	for n := 0; ; n++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		row, _ := 0, 0
		if err == nil {
			row, _ = r.FieldPos(0)
		}
		var bad *csv.ParseError
		switch {
		case errors.As(err, &bad):
			return nil, invoiceProblem(bad.Line, bad.Err.Error())
		case err != nil:
			return nil, invoiceProblem(row, err.Error())
		case n >= maxInvoiceLines:
			return nil, invoiceProblem(row, fmt.Sprintf("is one of more than %d", maxInvoiceLines))
		}
		line, err := readInvoiceLine(record, columns)
		if err == nil {
			line, err = addLine(lines, line)
		}
		if err != nil {
			return nil, invoiceProblem(row, err.Error())
		}
		lines[line.Model] = line
	}
	if len(lines) == 0 {
		return nil, invoiceProblem(2, "is not there: nothing was billed")
	}
	return lines, nil
}

func invoiceProblem(line int, problem string) error {
	return wflo.Errorf(wflo.CodeInvalid, "the file is CSV with the columns model,amount or model,amount,calls and a header", "invoice: line %d: %s", line, escapeLine(problem))
}

// invoiceColumns says where the columns are; -1 is not there.
func invoiceColumns(header []string) (map[string]int, error) {
	columns := map[string]int{"model": -1, "amount": -1, "calls": -1}
	for i, name := range header {
		name = strings.ToLower(strings.TrimSpace(name))
		at, known := columns[name]
		switch {
		case !known:
			return nil, invoiceProblem(1, fmt.Sprintf("has the column %q", name))
		case at >= 0:
			return nil, invoiceProblem(1, fmt.Sprintf("has the column %q twice", name))
		}
		columns[name] = i
	}
	for _, name := range []string{"model", "amount"} {
		if columns[name] < 0 {
			return nil, invoiceProblem(1, fmt.Sprintf("lacks the column %q", name))
		}
	}
	return columns, nil
}

func readInvoiceLine(record []string, columns map[string]int) (invoiceLine, error) {
	line := invoiceLine{Model: strings.Clone(strings.TrimSpace(record[columns["model"]])), Calls: -1}
	if line.Model == "" || len(line.Model) > maxModelName {
		return line, fmt.Errorf("has a model of %d bytes", len(line.Model))
	}
	var err error
	if line.Amount, err = wflo.ParseMoney(record[columns["amount"]]); err != nil {
		return line, err
	}
	if at := columns["calls"]; at >= 0 {
		if line.Calls, err = strconv.ParseInt(strings.TrimSpace(record[at]), 10, 64); err != nil || line.Calls < 0 {
			return line, fmt.Errorf("calls are %q", record[at])
		}
	}
	return line, nil
}

// addLine adds what was billed for the same model before.
func addLine(lines map[string]invoiceLine, line invoiceLine) (invoiceLine, error) {
	before, ok := lines[line.Model]
	if !ok {
		return line, nil
	}
	var fits bool
	if line.Amount, fits = plus(line.Amount, before.Amount); !fits {
		return line, errors.New("amounts of " + line.Model + " are more than can be counted")
	}
	if line.Calls >= 0 {
		if before.Calls > math.MaxInt64-line.Calls {
			return line, errors.New("calls of " + line.Model + " are more than can be counted")
		}
		line.Calls += before.Calls
	}
	return line, nil
}

// plus adds amounts, and says whether the sum fits.
func plus(x, y wflo.Money) (wflo.Money, bool) {
	if y > 0 && x > math.MaxInt64-y || y < 0 && x < math.MinInt64-y {
		return 0, false
	}
	return x + y, true
}

// residual compares ledger and invoice for one model.
type residual struct {
	Model   string     `json:"model"`
	Ledger  wflo.Money `json:"ledger"`
	Unknown wflo.Money `json:"unknown"` // the part of Ledger that is
	Invoice wflo.Money `json:"invoice"`
	// Residual is Invoice less Ledger.
	Residual     wflo.Money `json:"residual"`
	LedgerCalls  int64      `json:"ledger_calls"`
	InvoiceCalls *int64     `json:"invoice_calls,omitempty"`
}

// residuals compares by model, what differs most first. Models that the invoice
// names without a provider are those of provider, or the only one of that name
// in the ledger.
func residuals(rows []wflo.CostRow, lines map[string]invoiceLine, provider string) ([]residual, error) {
	found := map[string]*residual{}
	for _, row := range rows {
		if provider == "" || strings.HasPrefix(row.Key, provider+"/") {
			found[row.Key] = &residual{Model: row.Key, Ledger: row.Spent, Unknown: row.Unknown, LedgerCalls: row.Calls}
		}
	}
	booked := slices.Sorted(maps.Keys(found))
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		line := lines[name]
		model, err := billedModel(name, provider, booked)
		if err != nil {
			return nil, err
		}
		r := found[model]
		if r == nil {
			r = &residual{Model: model}
			found[model] = r
		}
		var fits bool
		if r.Invoice, fits = plus(r.Invoice, line.Amount); !fits {
			return nil, wflo.Errorf(wflo.CodeInvalid, "check the amounts, which are in dollars", "invoice: amounts of %s are more than can be counted", model)
		}
		if line.Calls >= 0 {
			calls := line.Calls
			if r.InvoiceCalls != nil {
				calls = saturated(calls, *r.InvoiceCalls)
			}
			r.InvoiceCalls = &calls
		}
	}
	all := make([]residual, 0, len(found))
	for _, r := range found {
		var fits bool
		if r.Residual, fits = plus(r.Invoice, -r.Ledger); !fits {
			return nil, wflo.Errorf(wflo.CodeInvalid, "check the amounts, which are in dollars", "invoice: the difference for %s is more than can be counted", r.Model)
		}
		all = append(all, *r)
	}
	slices.SortFunc(all, func(x, y residual) int {
		return cmp.Or(cmp.Compare(distance(y.Residual), distance(x.Residual)), cmp.Compare(x.Model, y.Model))
	})
	return all, nil
}

func saturated(x, y int64) int64 {
	if x > math.MaxInt64-y {
		return math.MaxInt64
	}
	return x + y
}

// distance is how far an amount is from zero.
func distance(m wflo.Money) uint64 {
	if m < 0 {
		return -uint64(m)
	}
	return uint64(m)
}

// billedModel is the ledger's name of a model that an invoice names.
func billedModel(name, provider string, booked []string) (string, error) {
	if slices.Contains(booked, name) {
		return name, nil
	}
	if provider != "" {
		return provider + "/" + strings.TrimPrefix(name, provider+"/"), nil
	}
	var fits []string
	for _, key := range booked {
		if strings.HasSuffix(key, "/"+name) {
			fits = append(fits, key)
		}
	}
	switch len(fits) {
	case 0:
		return name, nil // billed, and not in the ledger at all
	case 1:
		return fits[0], nil
	}
	return "", wflo.Errorf(wflo.CodeInvalid, "name the invoice's with --provider, or write PROVIDER/MODEL in it", "invoice: model %s may be %s", name, strings.Join(fits, " or "))
}

func (a *app) compareInvoice(ctx context.Context, f reconcileFlags) error {
	if f.span.since == "" && (f.span.from == "" || f.span.to == "") {
		return Usage("such as --from 2026-11-01 --to 2026-12-01", "--invoice needs the time that was billed")
	}
	from, to, err := f.span.bounds(time.Now(), 0)
	if err != nil {
		return err
	}
	c, err := a.api()
	if err != nil {
		return err
	}
	data, err := a.readInput(ctx, f.invoice, maxInvoice)
	if err != nil {
		return err
	}
	lines, err := parseInvoice(data)
	if err != nil {
		return err
	}
	q := url.Values{"by": {string(wflo.ScopeModel)}, "limit": {strconv.Itoa(maxRows)}}
	bound(q, from, to)
	var report console.Costs
	if err := c.get(ctx, "/costs", q, &report); err != nil {
		return err
	}
	all, err := residuals(report.Rows, lines, f.provider)
	if err != nil {
		return err
	}
	return a.printResiduals(all, report.Query)
}

func (a *app) printResiduals(all []residual, q wflo.CostQuery) error {
	switch a.format {
	case formatCSV:
		var rows [][]string
		for _, r := range all {
			rows = append(rows, []string{r.Model, r.Ledger.Decimal(), r.Unknown.Decimal(), r.Invoice.Decimal(), r.Residual.Decimal(), strconv.FormatInt(r.LedgerCalls, 10), callsOf(r, "")})
		}
		return a.printCSV([]string{"model", "ledger", "unknown", "invoice", "residual", "ledger_calls", "invoice_calls"}, 1, rows)
	case formatText:
	default:
		return printAll(a, all, nil, nil)
	}
	w := tabwriter.NewWriter(a.deps.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tLEDGER\tUNKNOWN\tINVOICE\tRESIDUAL\tCALLS\tBILLED CALLS")
	total, fits := residual{Model: "total"}, true
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", escapeLine(r.Model), r.Ledger, r.Unknown, r.Invoice, r.Residual, r.LedgerCalls, callsOf(r, "-"))
		for _, sum := range []struct {
			into *wflo.Money
			add  wflo.Money
		}{{&total.Ledger, r.Ledger}, {&total.Unknown, r.Unknown}, {&total.Invoice, r.Invoice}, {&total.Residual, r.Residual}} {
			var ok bool
			*sum.into, ok = plus(*sum.into, sum.add)
			fits = fits && ok
		}
		total.LedgerCalls += r.LedgerCalls
	}
	if fits {
		fmt.Fprintf(w, "total\t%s\t%s\t%s\t%s\t%d\t-\n", total.Ledger, total.Unknown, total.Invoice, total.Residual, total.LedgerCalls)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	a.note("the ledger%s; the residual is what was billed and is not in the ledger", within(q))
	if total.Unknown > 0 {
		a.note("up to %s of the ledger may not have been billed; see: wflo cost reconcile", total.Unknown)
	}
	return nil
}

func callsOf(r residual, none string) string {
	if r.InvoiceCalls == nil {
		return none
	}
	return strconv.FormatInt(*r.InvoiceCalls, 10)
}
