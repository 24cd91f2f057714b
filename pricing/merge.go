package pricing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Merge adds the rows of one price file to another and gives the new file. An
// empty own stands for a file without rows.
//
// No row and no span of dates gets lost. A row that both have takes what it says
// of the model from incoming and keeps its own aliases besides. Of its rates, one
// with the same first day and hours replaces its counterpart; a later one ends an
// open one before it, which then has effective_until; all others stay. What would
// then hold at the same time, or name two rows alike, is an *wflo.Error with
// CodeInvalid, as is a file that does not parse.
func Merge(own, incoming []byte) ([]byte, error) {
	into := file{Version: formatVersion, Currency: "USD"}
	if len(bytes.TrimSpace(own)) > 0 {
		if err := read(own, &into); err != nil {
			return nil, fmt.Errorf("the file to merge into: %w", err)
		}
	}
	var from file
	if err := read(incoming, &from); err != nil {
		return nil, err
	}
	into.Date = max(into.Date, from.Date)
	for _, r := range from.Models {
		i := slices.IndexFunc(into.Models, func(o row) bool { return o.Provider == r.Provider && o.ID == r.ID })
		if i < 0 {
			into.Models = append(into.Models, r)
			continue
		}
		into.Models[i] = mergeRow(into.Models[i], r)
	}
	for i := range into.Models {
		if into.Models[i].Rates == nil {
			into.Models[i].Rates = []rate{}
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(into); err != nil {
		return nil, fmt.Errorf("encode prices: %w", err)
	}
	if _, err := Parse(bytes.NewReader(out.Bytes())); err != nil {
		return nil, wflo.Errorf(wflo.CodeInvalid, "give the incoming rate the effective_from of the one that it replaces, or a later one; and each name one row",
			"the files do not fit together: %w", err)
	}
	return out.Bytes(), nil
}

// read parses a file that Parse takes.
func read(data []byte, into *file) error {
	if _, err := Parse(bytes.NewReader(data)); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func mergeRow(own, incoming row) row {
	merged := incoming
	for _, alias := range own.Aliases {
		if !slices.Contains(merged.Aliases, alias) {
			merged.Aliases = append(merged.Aliases, alias)
		}
	}
	merged.Rates = slices.Clone(own.Rates)
	for _, x := range incoming.Rates {
		same := func(o rate) bool { return o.From == x.From && sameWindows(o.Windows, x.Windows) }
		if i := slices.IndexFunc(merged.Rates, same); i >= 0 {
			if x.Until == "" {
				x.Until = merged.Rates[i].Until
			}
			merged.Rates[i] = x
			continue
		}
		for i, o := range merged.Rates {
			if o.Until == "" && o.From < x.From && (len(o.Windows) == 0) == (len(x.Windows) == 0) && windowsMeet(o.Windows, x.Windows) {
				merged.Rates[i].Until = x.From
			}
		}
		merged.Rates = append(merged.Rates, x)
	}
	slices.SortStableFunc(merged.Rates, func(a, b rate) int { return strings.Compare(a.From, b.From) })
	return merged
}

func sameWindows(a, b [][2]string) bool {
	order := func(x, y [2]string) int { return strings.Compare(x[0]+x[1], y[0]+y[1]) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}
