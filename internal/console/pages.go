package console

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/notify/render"
)

//go:embed pages
var files embed.FS

// templates are the pages. What others wrote goes through visible, line or json, so
// that nothing hides in it; html/template escapes besides.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"visible": wflo.Visible, "line": wflo.VisibleLine, "names": names, "via": withBack, "verb": verb,
	"bytes": byteCount, "pathseg": url.PathEscape, "state": stateText, "took": took, "number": number, "mild": mild, "add": func(a, b int) int { return a + b }, "pretty": pretty,
	"json": func(data json.RawMessage) string { return render.JSON(data) },
	"utc":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"iso":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
}).ParseFS(files, "pages/*.html"))

// pretty shows text that may be JSON: set in lines where it is, else as it stands.
func pretty(text string) string {
	if json.Valid([]byte(text)) {
		return render.JSON(json.RawMessage(text))
	}
	return wflo.Visible(text)
}

// Fields of forms.
const (
	formCSRF  = "csrf"
	formField = "field." // and the name of a field of the gate's form
)

// page is what every page shows.
type page struct {
	Title string
	// Who is logged in; empty for nobody.
	Who string
	// CSRF is what forms repeat, and Out says that there is a session to end.
	CSRF string
	Out  bool
	// Back says that there are pages about going back, Story that runs have a page.
	Back, Story bool
	// Section is the entry of the navigation that the page belongs to; Wide says that it
	// has tables.
	Section string
	Wide    bool
	// Waiting is how many gates wait for the person, at most mostWaiting.
	Waiting int
}

// mostWaiting bounds what the badge of the inbox counts to.
const mostWaiting = 100

func (h *Handler) page(r *http.Request, title string) page {
	c := callerOf(r.Context())
	p := page{Title: title, Who: c.id.Subject, CSRF: h.formToken, Back: h.back != nil, Story: h.tells != nil, Waiting: h.waiting(r)}
	if c.session || c.ambient {
		p.CSRF, p.Out = c.csrf, c.session
	}
	p.Section, _, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return p
}

// waiting counts the gates that the person may decide. A page is shown without it where
// it cannot be counted.
func (h *Handler) waiting(r *http.Request) (n int) {
	id := callerOf(r.Context()).id
	if h.cfg.Desk == nil || id.Subject == "" || !id.May(approver) {
		return 0
	}
	items, err := h.cfg.Desk.Inbox(r.Context(), id, desk.Query{Mine: true, Limit: mostWaiting})
	if err != nil {
		h.cfg.Logger.WarnContext(r.Context(), "count what waits", "error", err.Error())
		return 0
	}
	for _, item := range items {
		if decidable(item.You) {
			n++
		}
	}
	return n
}

// decidable says that a person may do more about a gate than to have others asked.
func decidable(you desk.Standing) bool {
	return slices.ContainsFunc(you.Can, func(v wflo.Verdict) bool { return v != wflo.VerdictAck && v != wflo.VerdictEscalate })
}

// show writes a page, whole or not at all.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, status int, name string, view any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name+".html", view); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "show page", "page", name, "error", err.Error())
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if _, err := b.WriteTo(w); err != nil {
		h.cfg.Logger.DebugContext(r.Context(), "write page", "error", err.Error())
	}
}

// asset serves one of our files.
func (h *Handler) asset(name, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := files.ReadFile("pages/" + name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(data)
	}
}

type problemView struct {
	page
	Problem *wflo.Error
	Login   bool
}

func (h *Handler) problemPage(w http.ResponseWriter, r *http.Request, status int, e *wflo.Error) {
	h.show(w, r, status, "problem", problemView{
		page: h.page(r, http.StatusText(status)), Problem: e, Login: status == http.StatusUnauthorized && h.cfg.Logins != nil,
	})
}

// pageError answers with why a page cannot be shown.
func (h *Handler) pageError(w http.ResponseWriter, r *http.Request, err error) {
	status, p := problem(err)
	if status == http.StatusInternalServerError {
		h.cfg.Logger.ErrorContext(r.Context(), "page", "path", r.URL.Path, "error", err.Error())
	}
	h.problemPage(w, r, status, &wflo.Error{Message: p.Message, Hint: p.Hint})
}

func (h *Handler) home(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/inbox", http.StatusSeeOther)
}

type gateView struct {
	page
	card
	// Stale says that the link, or the form, was for another state of the gate.
	Stale bool
	// Done says what became of a decision that was just made, Problem why it does not
	// count.
	Done    string
	Problem *wflo.Error
	Sent    bool // and not confirmed
}

// card is a gate as it stands on its own page and on its run's.
type card struct {
	desk.View
	// Ref ends the ids of the card's elements, so that a page may have several cards.
	Ref string
	// Token is what the card's forms repeat; OnRun leads back to the run's page.
	Token   string
	OnRun   bool
	Left    string
	Levels  []level
	Changes []diffLine
	Fields  []desk.Field
	Simple  bool // the form is one of Fields
	// Once tells a form that is sent twice from two forms.
	Once   string
	Signed bool // decisions can be made here
}

// level is one of the escalation.
type level struct {
	wflo.Level
	Number int
	Asked  bool
	At     time.Time // zero when it follows from another
}

func (h *Handler) gate(w http.ResponseWriter, r *http.Request) {
	v, err := h.look(r)
	if err != nil {
		h.pageError(w, r, err)
		return
	}
	view := h.gateView(r, v)
	shown := r.URL.Query().Get("d")
	view.Stale = shown != "" && shown != v.Digest
	h.show(w, r, http.StatusOK, "gate", view)
}

// look reads the gate of the path, and keeps in the trail that somebody saw it, if
// anybody did.
func (h *Handler) look(r *http.Request) (desk.View, error) {
	id, nonce := callerOf(r.Context()).id, r.PathValue("nonce")
	if r.Method == http.MethodHead || prefetched(r) {
		return h.cfg.Desk.Peek(r.Context(), id, nonce)
	}
	return h.cfg.Desk.Gate(r.Context(), id, nonce)
}

// prefetched says that a browser asks before its user does.
func prefetched(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if strings.Contains(strings.ToLower(r.Header.Get(name)), "prefetch") {
			return true
		}
	}
	return false
}

func (h *Handler) gateView(r *http.Request, v desk.View) gateView {
	view := gateView{page: h.page(r, v.Approval.Gate)}
	view.Section = "inbox"
	view.card = h.card(r, v, view.CSRF)
	return view
}

func (h *Handler) card(r *http.Request, v desk.View, csrf string) card {
	view := card{View: v, Token: csrf, Left: left(v.ExpiresAt, h.cfg.Now()), Once: token(), Signed: h.maySign(r.Context()) == nil}
	for i, l := range v.Approval.Escalation {
		one := level{Level: l, Number: i + 1, Asked: i < v.Level}
		if l.After > 0 {
			one.At = v.OpenedAt.Add(l.After)
		}
		view.Levels = append(view.Levels, one)
	}
	if v.Revision > 0 {
		view.Changes = diff(render.JSON(v.Original), render.JSON(v.Approval.Payload))
	}
	view.Fields, view.Simple = desk.Fields(v.Approval.Form)
	return view
}

// decideOnPage takes a form of the gate's page. It answers with the gate, and a form
// that is sent twice is one decision.
func (h *Handler) decideOnPage(w http.ResponseWriter, r *http.Request) {
	ctx, id, nonce := r.Context(), callerOf(r.Context()).id, r.PathValue("nonce")
	req, err := h.formRequest(ctx, id, nonce, r)
	var g wflo.Gate
	if err == nil {
		g, err = h.cfg.Desk.Decide(ctx, id, req)
	}
	status, problem := http.StatusOK, (*wflo.Error)(nil)
	if err != nil {
		if errors.Is(err, desk.ErrNotFound) {
			h.pageError(w, r, err)
			return
		}
		status, problem = h.explain(r, err)
	}
	// The decision has been recorded; that the person sees its page is nothing new.
	v, lookErr := h.cfg.Desk.Peek(context.WithoutCancel(ctx), id, nonce)
	if lookErr != nil {
		if problem != nil {
			h.problemPage(w, r, status, problem)
			return
		}
		h.pageError(w, r, lookErr)
		return
	}
	view := h.gateView(r, v)
	view.Problem, view.Sent = problem, errors.Is(err, desk.ErrUnconfirmed)
	view.Stale = err != nil && req.Digest != v.Digest
	if err == nil {
		view.Done = outcome(g, req.Verdict)
		if r.PostFormValue("on") == "run" && h.tells != nil { // a form of the run's page leads back to it
			done := url.Values{"gate": {nonce}, "did": {string(req.Verdict)}}
			http.Redirect(w, r, storyPath(g.WorkflowID)+"?"+done.Encode(), http.StatusSeeOther)
			return
		}
	}
	h.show(w, r, status, "gate", view)
}

func (h *Handler) explain(r *http.Request, err error) (int, *wflo.Error) {
	status, p := problem(err)
	if status == http.StatusInternalServerError {
		h.cfg.Logger.ErrorContext(r.Context(), "decide", "error", err.Error())
	}
	return status, &wflo.Error{Message: p.Message, Hint: p.Hint}
}

// formRequest reads what a form of the gate's page decides.
func (h *Handler) formRequest(ctx context.Context, id wflo.Identity, nonce string, r *http.Request) (desk.Request, error) {
	req := desk.Request{Nonce: nonce, Origin: desk.Origin{Channel: channelPage, Address: address(r)}}
	if err := h.maySign(ctx); err != nil {
		return req, err
	}
	if err := r.ParseForm(); err != nil {
		return req, wflo.Invalid("the form", "cannot be read", "load the page again")
	}
	plain := func(name string) string { return strings.ReplaceAll(r.PostFormValue(name), "\r\n", "\n") }
	req.Digest, req.ID, req.Verdict = plain("digest"), plain("id"), wflo.Verdict(plain("verdict"))
	req.Reason = plain("reason")
	switch req.Verdict {
	case wflo.VerdictEdit:
		req.Edit = json.RawMessage(plain("edit"))
	case wflo.VerdictRespond:
		return req, h.formAnswer(ctx, id, &req, r.PostForm)
	}
	return req, nil
}

// formAnswer reads the answer to a gate's question: text, the fields of its form, or
// JSON where the form is more than fields.
func (h *Handler) formAnswer(ctx context.Context, id wflo.Identity, req *desk.Request, sent url.Values) error {
	v, err := h.cfg.Desk.Peek(ctx, id, req.Nonce)
	if err != nil {
		return err
	}
	if len(v.Approval.Form) == 0 {
		req.Text = strings.ReplaceAll(sent.Get("text"), "\r\n", "\n")
		return nil
	}
	fields, simple := desk.Fields(v.Approval.Form)
	if !simple {
		req.Form = json.RawMessage(sent.Get("form"))
		return nil
	}
	req.Form, err = desk.ReadFields(fields, formField, sent)
	return err
}

// left says how much time is left, to a minute.
func left(until, now time.Time) string {
	d := until.Sub(now)
	switch {
	case d <= 0:
		return "time is up"
	case d < time.Minute:
		return "less than a minute left"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min left", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h left", int(d.Hours()))
	}
	return fmt.Sprintf("%d days left", int(d.Hours()/24))
}

// names lists approvers for people.
func names(approvers []string) string {
	if len(approvers) == 0 {
		return "anybody who may approve"
	}
	shown := make([]string, 0, len(approvers))
	for _, a := range approvers {
		if group, ok := wflo.GroupOf(a); ok {
			a = "group " + group
		}
		shown = append(shown, wflo.VisibleLine(a))
	}
	return strings.Join(shown, ", ")
}

// verb says what a person did.
func verb(v wflo.Verdict) string {
	switch v {
	case wflo.VerdictApprove:
		return "approved"
	case wflo.VerdictReject:
		return "rejected"
	case wflo.VerdictEdit:
		return "edited"
	case wflo.VerdictRespond:
		return "answered"
	}
	return wflo.VisibleLine(string(v))
}
