package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// row is a gate in the inbox.
type row struct {
	desk.Item
	Left string
	Tick bool // it can be rejected together with others
}

type inboxView struct {
	page
	Show string // all, mine or closed
	// Yours wait for the person; Others are open to somebody else.
	Yours, Others      []row
	Workflow, Approver string
	Next               string // the address of the next page; empty on the last
	// Many says that several gates can be rejected at once; Once tells a form that is
	// sent twice from two forms.
	Many bool
	Once string
	// Done says what became of gates that were rejected together, Problems why some
	// were not.
	Done     string
	Problems []*wflo.Error
}

const inboxPage = 50

// filters are what the inbox is asked for.
var filters = []string{"show", "workflow", "approver", "after"}

func (h *Handler) inbox(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r, filters...)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	h.showInbox(w, r, http.StatusOK, q, inboxView{})
}

// showInbox answers with the inbox; v says what was done before.
func (h *Handler) showInbox(w http.ResponseWriter, r *http.Request, status int, q url.Values, v inboxView) {
	v.page, v.Show, v.Workflow, v.Approver = h.page(r, "Inbox"), q.Get("show"), q.Get("workflow"), q.Get("approver")
	if !slices.Contains([]string{"", "all", "mine", "closed"}, v.Show) {
		h.pageError(w, r, wflo.Invalid("show", fmt.Sprintf("is %q", v.Show), "use all, mine or closed"))
		return
	}
	items, err := h.cfg.Desk.Inbox(r.Context(), callerOf(r.Context()).id, desk.Query{
		Mine: v.Show == "mine", Closed: v.Show == "closed", WorkflowID: v.Workflow, Approver: v.Approver, After: q.Get("after"), Limit: inboxPage,
	})
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	now, signed, ticks := h.cfg.Now(), h.maySign(r.Context()) == nil, 0
	for _, item := range items {
		shown := row{Item: item, Left: left(item.ExpiresAt, now)}
		if !decidable(item.You) {
			v.Others = append(v.Others, shown)
			continue
		}
		if shown.Tick = signed && slices.Contains(item.You.Can, wflo.VerdictReject); shown.Tick {
			ticks++
		}
		v.Yours = append(v.Yours, shown)
	}
	if v.Many = ticks > 1; v.Many {
		v.Once = token()
	}
	for i := range v.Yours {
		v.Yours[i].Tick = v.Yours[i].Tick && v.Many
	}
	if len(items) == inboxPage {
		next := url.Values{}
		for _, name := range filters {
			if value := q.Get(name); value != "" {
				next.Set(name, value)
			}
		}
		next.Set("after", items[len(items)-1].Nonce)
		v.Next = "/inbox?" + next.Encode()
	}
	h.show(w, r, status, "inbox", v)
}

// rejectMany rejects the gates that were ticked in the inbox, for one reason. Each is a
// decision of its own; one that does not count stops no other.
func (h *Handler) rejectMany(w http.ResponseWriter, r *http.Request) {
	all, err := h.rejections(r)
	var out []desk.Outcome
	if err == nil {
		out, err = h.cfg.Desk.Batch(r.Context(), callerOf(r.Context()).id, all)
	}
	v, status := inboxView{}, http.StatusOK
	if err != nil {
		var problem *wflo.Error
		status, problem = h.explain(r, err)
		v.Problems = []*wflo.Error{problem}
	}
	for _, o := range out {
		if o.Err == nil {
			continue
		}
		code, problem := h.explain(r, o.Err)
		status = max(status, code)
		if o.Gate.ID != "" {
			problem.Message = fmt.Sprintf("gate %s of %s: %s", o.Gate.ID, o.Gate.WorkflowID, problem.Message)
		}
		v.Problems = append(v.Problems, problem)
	}
	if n := len(out) - len(v.Problems); n == 1 {
		v.Done = "1 gate is rejected."
	} else if n > 1 {
		v.Done = fmt.Sprintf("%d gates are rejected.", n)
	}
	h.showInbox(w, r, status, r.PostForm, v)
}

// rejections reads the form of the inbox. A gate is its nonce and the digest of what was
// shown, so that nobody rejects what changed meanwhile unseen.
func (h *Handler) rejections(r *http.Request) ([]desk.Request, error) {
	if err := h.maySign(r.Context()); err != nil {
		return nil, err
	}
	if err := r.ParseForm(); err != nil {
		return nil, wflo.Invalid("the form", "cannot be read", "load the page again")
	}
	if v := r.PostForm.Get("verdict"); v != string(wflo.VerdictReject) {
		return nil, wflo.Invalid("verdict", fmt.Sprintf("is %.20q", v), "several gates can be rejected, and nothing else")
	}
	reason := strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get("reason"), "\r\n", "\n"))
	if reason == "" {
		return nil, wflo.Invalid("reason", "is empty", "say why, for those whose runs stop")
	}
	var all []desk.Request
	for _, gate := range r.PostForm["gate"] {
		nonce, digest, ok := strings.Cut(gate, " ")
		if !ok {
			return nil, wflo.Invalid("gate", "is not one of the form", "load the page again")
		}
		all = append(all, desk.Request{
			Nonce: nonce, Digest: digest, Verdict: wflo.VerdictReject, Reason: reason, ID: r.PostForm.Get("id"),
			Origin: desk.Origin{Channel: channelPage, Address: address(r)},
		})
	}
	if len(all) == 0 {
		return nil, wflo.Invalid("gate", "is missing", "tick the gates that you reject")
	}
	return all, nil
}
