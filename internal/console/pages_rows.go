package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// waterfall is a page of rows, placed on one scale of time.
type waterfall struct {
	Rows []fallRow
	// From and To are the ends of the scale; Span is how long it is, Half half of it.
	From, To   time.Time
	Span, Half string
}

// fallRow is a row as it is drawn.
type fallRow struct {
	story.Row
	Href  string
	Depth int
	// Earlier says that it began on an earlier page, and is here for those within it.
	Earlier bool
	// Wait and Bar begin at WaitX and BarX, in units of the whole of the scale.
	WaitX, Wait, BarX, Bar int
	// At is how long after the run it began, Took how long it lasted.
	At, Took string
	Tokens   string
	Cost     string
}

// Bounds of how a row is drawn.
const (
	deepest  = 6 // levels of indentation
	thinnest = 4 // units of the narrowest bar
)

// fall places rows. now is the end of what is not over.
func fall(p story.Page, head story.Head, now time.Time, href func(story.Row) string) waterfall {
	var w waterfall
	all := slices.Concat(p.Parents, p.Rows)
	if len(p.Rows) == 0 {
		return w
	}
	w.From, w.To = p.Rows[0].Start, p.Rows[0].Start
	for _, r := range p.Rows {
		if r.Start.Before(w.From) {
			w.From = r.Start
		}
		if end := endOf(r, now); end.After(w.To) {
			w.To = end
		}
	}
	span := w.To.Sub(w.From)
	w.Span, w.Half = took(span), took(span/2)
	place := func(t time.Time) int { return share(int64(t.Sub(w.From)), int64(span)) }
	depth := map[string]int{}
	for i, r := range all {
		if parent, there := depth[r.Parent]; there && r.Parent != "" {
			depth[r.ID] = min(parent+1, deepest)
		} else {
			depth[r.ID] = 0
		}
		row := fallRow{Row: r, Href: href(r), Depth: depth[r.ID], Earlier: i < len(p.Parents), At: took(max(r.Start.Sub(head.Started), 0))}
		row.draw(place, now)
		row.count()
		w.Rows = append(w.Rows, row)
	}
	return w
}

// endOf is when a row was over, or now.
func endOf(r story.Row, now time.Time) time.Time {
	switch {
	case !r.End.IsZero():
		return r.End
	case over(r.State):
		return latest(r.Start, r.Began)
	}
	return latest(r.Start, now)
}

// over says that a row in the state goes on no more.
func over(s story.State) bool { return s != story.StateRunning && s != story.StateWaiting }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// draw sets the bars: how long it waited to be taken up, and how long it was worked on.
func (r *fallRow) draw(place func(time.Time) int, now time.Time) {
	end := endOf(r.Row, now)
	began := r.Began
	if began.IsZero() {
		began = r.Start
		if r.State == story.StateWaiting {
			began = end // it waits still
		}
	}
	r.WaitX = place(r.Start)
	r.BarX = place(began)
	r.Wait = max(r.BarX-r.WaitX, 0)
	r.Bar = max(place(end)-r.BarX, 0)
	if r.Wait+r.Bar < thinnest { // an instant is to be seen, at the end of the scale too
		r.Bar = thinnest
		r.BarX = min(r.BarX, whole-thinnest)
	}
	if d := end.Sub(r.Start); d > 0 && (!r.End.IsZero() || !over(r.State)) {
		r.Took = took(d)
	}
}

// count says what a row used.
func (r *fallRow) count() {
	m := r.Model
	if m == nil {
		return
	}
	if m.Usage.Total() > 0 {
		r.Tokens = number(m.Usage.Prompt()) + " in, " + number(m.Usage.Output+m.Usage.Reasoning) + " out"
	}
	switch {
	case m.Amount > 0:
		r.Cost = m.Amount.String()
	case m.Reserved > 0:
		r.Cost = m.Reserved.String() + " held"
	case m.Saved > 0:
		r.Cost = m.Saved.String() + " saved"
	default:
		r.Cost = wflo.Money(0).String()
	}
}

// rowPath is where a row is told in full.
func rowPath(id, run, row string) string {
	path := storyPath(id) + "/rows/" + url.PathEscape(row)
	if run != "" {
		path += "?run=" + url.QueryEscape(run)
	}
	return path
}

type rowView struct {
	page
	story.Detail
	Of     string // the workflow id
	Back   string
	Waited string
	Took   string
	// Outputs is where the whole of what is cut can be downloaded.
	Outputs  string
	Temporal string
}

// rowPage tells one row in full, as far as a page can.
func (h *Handler) rowPage(w http.ResponseWriter, r *http.Request) {
	ctx, id, row := r.Context(), r.PathValue("id"), r.PathValue("row")
	q, err := queryOf(r, "run")
	run := q.Get("run")
	if err == nil {
		err = h.own(ctx, id, run)
	}
	var d story.Detail
	if err == nil {
		d, err = h.tells.Detail(ctx, id, run, row)
	}
	if err != nil {
		h.pageError(w, r, untold(err))
		return
	}
	v := rowView{page: h.page(r, d.Name), Detail: d, Of: id, Back: storyQuery{ID: id, Run: run}.link(), Outputs: "/api/v1/runs/" + url.PathEscape(id) + "/rows/" + url.PathEscape(row) + "/output"}
	v.Wide = true
	if run != "" {
		v.Outputs += "?run=" + url.QueryEscape(run)
	}
	if !d.Began.IsZero() {
		v.Waited = took(d.Began.Sub(d.Start))
	}
	if end := endOf(d.Row, h.cfg.Now()); !d.End.IsZero() || !over(d.State) {
		v.Took = took(end.Sub(d.Start))
	}
	v.Temporal, _ = h.cfg.Links.of(story.Head{Namespace: h.namespace(), WorkflowID: id, RunID: d.RunID})
	if strings.Contains(h.cfg.Links.Temporal, "{namespace}") && h.namespace() == "" {
		v.Temporal = ""
	}
	h.show(w, r, http.StatusOK, "row", v)
}

// namespace is that of the client, as far as the console knows it.
func (h *Handler) namespace() string {
	if h.cfg.Desk == nil {
		return ""
	}
	return h.cfg.Desk.Namespace
}
