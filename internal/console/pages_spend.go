package console

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// moneyPages are those about spending and the set-up.
func (h *Handler) moneyPages() []Route {
	return []Route{
		{Pattern: "GET /spend", Role: viewer, Tenants: true, page: true, serve: h.spendPage},
		{Pattern: "GET /spend.csv", Role: viewer, Tenants: true, page: true, serve: h.spendCSV},
		{Pattern: "POST /spend/topups", Role: operator, page: true, serve: h.topUpOnPage},
		{Pattern: "GET /settings", Role: viewer, Tenants: true, page: true, serve: h.settingsPage},
	}
}

// Bounds of the page about spending.
const (
	spendDays = 7   // without other times
	spendRows = 200 // on the page; the CSV file has more
)

// spendBys are what the page reports by, the first without being asked.
var spendBys = []string{"workflow", "step", "agent", "user", "team", "model", "provider", "tag", "day"}

type spendView struct {
	page
	May   may
	Costs Costs
	Rows  []spendRow
	By    []choice
	Days  []choice
	// Key is what By is called in the table; From and To are as they were given.
	Key      string
	From, To string
	Scopes   []choice // each leads to the page without it
	CSV      string
	// Budgets are not for callers of one org.
	Budgets []meterBar
	// Each are rules that make a budget for each name.
	Each   []wflo.Spend
	Bound  bool // the caller belongs to an org
	Once   string
	Raised string // the budget that was topped up just now
}

// spendRow is a row with its share of the largest.
type spendRow struct {
	wflo.CostRow
	Share int
	// Only leads to the page with nothing but this; empty where that is not possible.
	Only string
}

func (h *Handler) spendPage(w http.ResponseWriter, r *http.Request) {
	v, err := h.spendView(r)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	h.show(w, r, http.StatusOK, "spend", v)
}

// costsOnPage reads what the address asks for: by workflow and for a week, unless it says
// otherwise. Days are those of UTC, and the last one counts.
func (h *Handler) costsOnPage(r *http.Request, most int) (c Costs, q url.Values, err error) {
	if q, err = queryOf(r, "by", "from", "to", "scope", "raised"); err != nil {
		return c, nil, err
	}
	query := wflo.CostQuery{By: q.Get("by"), Scopes: q["scope"], Limit: most}
	if query.By == "" {
		query.By = spendBys[0]
	}
	if !slices.Contains(spendBys, query.By) {
		return c, nil, wflo.Invalid("by", fmt.Sprintf("is %q", query.By), "use "+strings.Join(spendBys, ", "))
	}
	if query.From, err = timeOf("from", q.Get("from")); err != nil {
		return c, nil, err
	}
	if query.To, err = timeOf("to", q.Get("to")); err != nil {
		return c, nil, err
	}
	if len(q.Get("to")) == len(time.DateOnly) {
		query.To = query.To.AddDate(0, 0, 1)
	}
	if query.From.IsZero() && query.To.IsZero() {
		query.From = h.cfg.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-spendDays)
	}
	if !query.From.IsZero() && !query.To.IsZero() && !query.From.Before(query.To) {
		return c, nil, wflo.Invalid("from", "is not before to", "give the earlier day as from")
	}
	if err := costScopes(query.Scopes); err != nil {
		return c, nil, err
	}
	c, err = h.report(r.Context(), query)
	return c, q, err
}

func (h *Handler) spendView(r *http.Request) (v spendView, err error) {
	ctx := r.Context()
	costs, q, err := h.costsOnPage(r, spendRows)
	if err != nil {
		return v, err
	}
	v = spendView{page: h.page(r, "Spend"), May: mayOf(ctx), Costs: costs, Key: costs.Query.By, From: q.Get("from"), To: q.Get("to"), Once: token(), Bound: callerOf(ctx).id.Org != "", Raised: q.Get("raised")}
	v.Wide = true
	link := func(path string, change func(url.Values)) string {
		next := url.Values{}
		for _, name := range []string{"by", "from", "to", "scope"} {
			if len(q[name]) > 0 && q.Get(name) != "" {
				next[name] = slices.Clone(q[name])
			}
		}
		change(next)
		return strings.TrimSuffix(path+"?"+next.Encode(), "?")
	}
	for _, by := range spendBys {
		v.By = append(v.By, choice{Name: by, Href: link("/spend", func(q url.Values) { q.Set("by", by) }), Chosen: by == v.Key})
	}
	for _, days := range []int{1, 7, 30, 90} {
		from := h.cfg.Now().UTC().AddDate(0, 0, 1-days).Format(time.DateOnly)
		v.Days = append(v.Days, choice{Name: plural(days, "day"), Href: link("/spend", func(q url.Values) { q.Set("from", from); q.Del("to") }), Chosen: v.To == "" && (v.From == from || v.From == "" && days == spendDays)})
	}
	for i, s := range q["scope"] {
		v.Scopes = append(v.Scopes, choice{Name: s, Href: link("/spend", func(q url.Values) { q["scope"] = slices.Delete(q["scope"], i, i+1) })})
	}
	v.CSV = link("/spend.csv", func(url.Values) {})
	v.rows(func(scope string) string {
		return link("/spend", func(q url.Values) { q.Add("scope", scope); q.Del("by") })
	})
	if v.Bound {
		return v, nil
	}
	return v, h.budgetsOnPage(r, &v)
}

// rows gives each row its share of the largest one.
func (v *spendView) rows(only func(scope string) string) {
	var most wflo.Money
	for _, row := range v.Costs.Rows {
		most = max(most, row.Spent)
	}
	for _, row := range v.Costs.Rows {
		one := spendRow{CostRow: row, Share: share(int64(row.Spent), int64(most))}
		if scope := v.Key + ":" + row.Key; row.Key != "" && costScopes([]string{scope}) == nil && len(v.Scopes) < mostScopes {
			one.Only = only(scope)
		}
		v.Rows = append(v.Rows, one)
	}
}

// budgetsOnPage reads the budgets, the fullest first.
func (h *Handler) budgetsOnPage(r *http.Request, v *spendView) error {
	all, err := h.cfg.Ledger.ListBudgets(r.Context())
	if err != nil {
		return fmt.Errorf("list budgets: %w", err)
	}
	for _, s := range all {
		if s.Rule != nil && s.Rule.ID() == s.Budget && (s.Rule.Name == "" || s.Rule.Name == wflo.Each) {
			v.Each = append(v.Each, s)
			continue
		}
		v.Budgets = append(v.Budgets, barOf(s))
	}
	slices.SortStableFunc(v.Budgets, func(a, b meterBar) int { return b.Spends + b.Reserves - a.Spends - a.Reserves })
	return nil
}

// spendCSV is the report as a file.
func (h *Handler) spendCSV(w http.ResponseWriter, r *http.Request) {
	costs, _, err := h.costsOnPage(r, mostRows)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="wflo-spend.csv"`)
	out := csv.NewWriter(w)
	_ = out.Write([]string{costs.Query.By, "calls", "cache_hits", "tokens_in", "tokens_out", "spent_usd", "unknown_usd", "reserved_usd", "saved_usd"})
	for _, row := range costs.Rows {
		_ = out.Write([]string{
			cell(row.Key), strconv.FormatInt(row.Calls, 10), strconv.FormatInt(row.Hits, 10), strconv.FormatInt(row.Usage.Prompt(), 10),
			strconv.FormatInt(row.Usage.Output+row.Usage.Reasoning, 10), row.Spent.Decimal(), row.Unknown.Decimal(), row.Reserved.Decimal(), row.Saved.Decimal(),
		})
	}
	out.Flush()
	if err := out.Error(); err != nil {
		h.cfg.Logger.DebugContext(r.Context(), "write report", "error", err.Error())
	}
}

// cell is a name that somebody chose, for a file that spreadsheets open: they would run
// what begins like a formula.
func cell(name string) string {
	name = wflo.VisibleLine(name)
	if name != "" && strings.ContainsRune("=+-@", rune(name[0])) {
		return "'" + name
	}
	return name
}

// topUpOnPage raises a budget's window, and shows the page again. The key is the form's, so
// that one that is sent twice raises once.
func (h *Handler) topUpOnPage(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	field := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	id, key, reason := field("budget"), field("key"), strings.ReplaceAll(field("reason"), "\r\n", " ")
	amount, err := amountOf(field("amount"))
	if err == nil {
		_, err = h.raise(ctx, id, callerOf(ctx).id.Subject, TopUp{Key: key, Amount: amount, Reason: reason})
	}
	h.backTo(w, r, "/spend?raised="+url.QueryEscape(id)+"#budgets", err)
}

// amountOf reads dollars as people write them.
func amountOf(given string) (wflo.Money, error) {
	amount, err := wflo.ParseMoney(strings.TrimPrefix(given, "$"))
	if err != nil {
		return 0, wflo.Invalid("amount", fmt.Sprintf("is %q", given), "give dollars, such as 5.00")
	}
	return amount, nil
}

// plural is a count with its noun.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
