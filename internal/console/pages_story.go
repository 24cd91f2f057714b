package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/story"
)

// The sections of a run's page.
const (
	showStory     = "story"
	showSandbox   = "sandbox"
	showSnapshots = "snapshots"
	showPolicy    = "policy"
	showAudit     = "audit"
)

var storySections = []string{showStory, showSandbox, showSnapshots, showPolicy, showAudit}

// Bounds of a run's page.
const (
	storyRows  = 200 // rows at a time
	storyCards = 5   // gates that are shown in full
)

// storyKinds are what rows can be filtered by, in the order in which they are shown.
var storyKinds = []story.Kind{
	story.KindStep, story.KindModel, story.KindTool, story.KindSandbox, story.KindApproval, story.KindPolicy, story.KindSnapshot, story.KindRestore,
	story.KindCompensation, story.KindActivity, story.KindTimer, story.KindSignal, story.KindChild, story.KindRun,
}

func storyPath(id string) string { return "/runs/" + url.PathEscape(id) }

// storyQuery is what a run's page takes.
type storyQuery struct {
	ID, Run   string
	Show      string
	Kind      story.Kind
	At, After string
	// Gate and Did say what was decided just now.
	Gate, Did string
	// From and To are snapshots to compare.
	From, To string
}

func storyQueryOf(r *http.Request) (s storyQuery, err error) {
	q, err := queryOf(r, "run", "show", "kind", "at", "after", "gate", "did", "from", "to")
	if err != nil {
		return s, err
	}
	s = storyQuery{
		ID: r.PathValue("id"), Run: q.Get("run"), Show: cmp.Or(q.Get("show"), showStory), Kind: story.Kind(q.Get("kind")), At: q.Get("at"), After: q.Get("after"),
		Gate: q.Get("gate"), Did: q.Get("did"), From: q.Get("from"), To: q.Get("to"),
	}
	switch {
	case !slices.Contains(storySections, s.Show):
		return s, wflo.Invalid("show", fmt.Sprintf("is %q", s.Show), "use one of "+strings.Join(storySections, ", "))
	case s.Kind != "" && !slices.Contains(storyKinds, s.Kind):
		return s, wflo.Invalid("kind", fmt.Sprintf("is %q", s.Kind), "use one of "+fmt.Sprint(storyKinds))
	case s.At != "" && s.At != "first":
		return s, wflo.Invalid("at", fmt.Sprintf("is %q", s.At), "use first, or leave it out for the latest")
	}
	return s, nil
}

// link is the address of the run's page with other parameters, in pairs; an empty value
// leaves one out.
func (s storyQuery) link(pairs ...string) string {
	q := url.Values{}
	for _, p := range [][2]string{{"run", s.Run}, {"show", s.Show}, {"kind", string(s.Kind)}, {"at", s.At}, {"after", s.After}} {
		q.Set(p[0], p[1])
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	for name := range q {
		if q.Get(name) == "" || name == "show" && q.Get(name) == showStory {
			q.Del(name)
		}
	}
	if len(q) == 0 {
		return storyPath(s.ID)
	}
	return storyPath(s.ID) + "?" + q.Encode()
}

// choice is a link of several of which one is chosen.
type choice struct {
	Name, Href string
	Chosen     bool
	// Key names it to the style.
	Key string
}

type storyView struct {
	page
	story.Head
	May      may
	Elapsed  string
	Bar      meterBar
	Did      string // what became of a decision that was made on this page
	Cards    []card
	More     int    // open gates that are not shown in full
	Unread   string // why gates are not shown here
	Sections []choice
	Show     string
	Kinds    []choice
	Rows     waterfall
	First    string // addresses of other pages of rows; empty where there is none
	Next     string
	Latest   string
	// Here is the page's own address.
	Here string
	// Live is where events of the run come from; empty for one that is over.
	Live string
	// Temporal and Trace lead elsewhere; empty where that is not configured.
	Temporal, Trace string
	Snapshots       snapshotsView
	Records         []wflo.AuditRecord
	MayAudit        bool
}

// own refuses the story of a run of another org.
func (h *Handler) own(ctx context.Context, id, run string) error {
	d, err := h.cfg.Client.DescribeWorkflowExecution(ctx, id, run)
	if err != nil {
		return fmt.Errorf("describe %s: %w", id, err)
	}
	return ownRun(ctx, d.GetWorkflowExecutionInfo())
}

// storyPage is the page of a run: what it is, what waits, and what happened.
func (h *Handler) storyPage(w http.ResponseWriter, r *http.Request) {
	v, err := h.storyView(r)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	h.show(w, r, http.StatusOK, "story", v)
}

func (h *Handler) storyView(r *http.Request) (v storyView, err error) {
	ctx := r.Context()
	s, err := storyQueryOf(r)
	if err != nil {
		return v, err
	}
	if err := h.own(ctx, s.ID, s.Run); err != nil {
		return v, err
	}
	head, err := h.tells.Head(ctx, s.ID, s.Run)
	if err != nil {
		return v, untold(fmt.Errorf("tell the story of %s: %w", s.ID, err))
	}
	now := h.cfg.Now()
	v = storyView{page: h.page(r, s.ID), Head: head, May: mayOf(ctx), Bar: barOf(head.Spend), Show: s.Show, Here: r.URL.RequestURI(), Elapsed: took(now.Sub(head.Started)), MayAudit: callerOf(ctx).id.May(operator)}
	v.Wide = true
	if strings.Contains(head.Why, head.Error) {
		v.Error = "" // it is said already
	}
	if !head.Closed.IsZero() {
		v.Elapsed = took(head.Closed.Sub(head.Started))
	} else {
		v.Live = "/api/v1/runs/" + url.PathEscape(s.ID) + "/events"
		if s.Run != "" {
			v.Live += "?run=" + url.QueryEscape(s.Run)
		}
	}
	v.Temporal, v.Trace = h.cfg.Links.of(head)
	h.cards(r, &v, s)
	for _, name := range storySections {
		v.Sections = append(v.Sections, choice{Name: name, Href: s.link("show", name, "kind", "", "at", "", "after", ""), Chosen: s.Show == name})
	}
	return v, h.section(ctx, &v, s, now)
}

// section fills in the part of the page that was asked for.
func (h *Handler) section(ctx context.Context, v *storyView, s storyQuery, now time.Time) error {
	switch s.Show {
	case showSnapshots:
		return h.snapshotSection(ctx, v, s)
	case showAudit:
		return h.auditSection(ctx, v)
	}
	q := story.Query{WorkflowID: s.ID, RunID: s.Run, After: s.After, Latest: s.After == "" && s.At == "", Limit: storyRows}
	switch {
	case s.Show == showSandbox:
		q.Kinds = []story.Kind{story.KindSandbox}
	case s.Show == showPolicy:
		q.Kinds = []story.Kind{story.KindPolicy}
	case s.Kind != "":
		q.Kinds = []story.Kind{s.Kind}
	}
	rows, err := h.tells.Rows(ctx, q)
	if err != nil {
		return untold(fmt.Errorf("tell what happened to %s: %w", s.ID, err))
	}
	v.Rows = fall(rows, v.Head, now, func(row story.Row) string { return rowPath(s.ID, s.Run, row.ID) })
	full := len(rows.Rows) >= storyRows
	if full && rows.Next != "" && !q.Latest {
		v.Next = s.link("after", rows.Next, "at", "")
	}
	if !q.Latest || s.After != "" {
		v.Latest = s.link("at", "", "after", "")
	}
	if full && q.Latest || s.After != "" {
		v.First = s.link("at", "first", "after", "")
	}
	v.Kinds = append(v.Kinds, choice{Name: "all", Href: s.link("kind", "", "at", "", "after", ""), Chosen: s.Kind == ""})
	for _, k := range storyKinds {
		v.Kinds = append(v.Kinds, choice{Name: stateText(k), Href: s.link("kind", string(k), "at", "", "after", ""), Chosen: s.Kind == k, Key: string(k)})
	}
	return nil
}

// cards shows the open gates as their own pages do, and what was decided just now. The
// page is there without them, because it says more.
func (h *Handler) cards(r *http.Request, v *storyView, s storyQuery) {
	id, ctx := callerOf(r.Context()).id, r.Context()
	read := h.cfg.Desk.Gate // whoever sees it here has seen it
	if r.Method == http.MethodHead || prefetched(r) {
		read = h.cfg.Desk.Peek
	}
	for i, g := range v.Gates {
		if s.Show != showStory {
			break // the other sections say that there are some
		}
		if len(v.Cards) == storyCards {
			v.More = len(v.Gates) - i
			break
		}
		seen, err := read(ctx, id, g.Nonce)
		if err != nil {
			_, p := problem(err)
			v.Unread = p.Message
			continue
		}
		c := h.card(r, seen, v.CSRF)
		c.Ref, c.OnRun = fmt.Sprintf("-%d", i+1), true
		v.Cards = append(v.Cards, c)
	}
	if s.Gate == "" {
		return
	}
	if g, err := h.cfg.Desk.Peek(ctx, id, s.Gate); err == nil && g.WorkflowID == s.ID {
		v.Did = outcome(g.Gate, wflo.Verdict(s.Did))
	}
}

// of fills in the links for a run; empty where there is nothing to lead to.
func (l Links) of(head story.Head) (temporal, trace string) {
	fill := strings.NewReplacer(
		"{namespace}", url.PathEscape(head.Namespace), "{workflow_id}", url.PathEscape(head.WorkflowID),
		"{run_id}", url.PathEscape(head.RunID), "{trace_id}", url.PathEscape(head.TraceID),
	)
	if head.TraceID != "" {
		trace = fill.Replace(l.Trace)
	}
	return fill.Replace(l.Temporal), trace
}

// snapshotsView is what a run can go back to, and what differs between two of them.
type snapshotsView struct {
	All      []wflo.Snapshot
	More     bool
	From, To string
	Diff     *SnapshotDiff
	Problem  *wflo.Error
}

func (h *Handler) snapshotSection(ctx context.Context, v *storyView, s storyQuery) (err error) {
	if h.back == nil {
		return nil
	}
	v.Snapshots = snapshotsView{From: s.From, To: s.To}
	query := activities.SnapshotQuery{Org: callerOf(ctx).id.Org, WorkflowID: s.ID, Limit: someRecovery}
	if v.Snapshots.All, err = h.back.store.ListSnapshots(ctx, query); err != nil {
		return fmt.Errorf("list snapshots of %s: %w", s.ID, err)
	}
	v.Snapshots.More = len(v.Snapshots.All) == someRecovery
	if s.From == "" || s.To == "" {
		return nil
	}
	diff, err := h.diffSnapshots(ctx, s.From, s.To)
	if err != nil {
		_, p := problem(err)
		v.Snapshots.Problem = &wflo.Error{Message: p.Message, Hint: p.Hint}
		return nil
	}
	v.Snapshots.Diff = &diff
	return nil
}

// auditSection reads what the trail has about the run, the newest first. It is for
// operators, as the trail is.
func (h *Handler) auditSection(ctx context.Context, v *storyView) (err error) {
	if !v.MayAudit {
		return nil
	}
	v.Records, err = h.cfg.Desk.Records.ReadAudit(ctx, wflo.AuditQuery{Chain: callerOf(ctx).id.Org, WorkflowID: v.WorkflowID, Latest: true, Limit: someRecords})
	if err != nil {
		return fmt.Errorf("read the trail of %s: %w", v.WorkflowID, err)
	}
	return nil
}
