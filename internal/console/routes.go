package console

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/openapi"
)

// Bounds of one request's body, in bytes.
const (
	maxBody     = 64 << 10
	maxDecision = 1 << 20 // a payload of the largest size, encoded as a form
)

// writeTime is how long an answer may take, a client that reads slowly included.
const writeTime = 30 * time.Second

// Route is one path of the console with who may use it.
type Route struct {
	// Pattern is that of http.ServeMux, with the method.
	Pattern string
	// Role is what the caller must have. Empty means that the route is open to
	// everybody: it shows nothing of the installation, or has a proof of its own.
	Role wflo.AccessRole
	// Tenants says that callers who are bound to an org may use it, and see only
	// what is the org's.
	Tenants bool
	// page answers in HTML, and sends who is not logged in to the login page.
	page bool
	// lasts says that the answer goes on for as long as the client listens.
	lasts bool
	// most bounds the body, in bytes; zero means maxBody.
	most  int64
	serve http.HandlerFunc
}

// Routes lists every path that a console with this configuration serves, besides
// the gateway's.
func Routes(cfg Config) []Route { return newHandler(cfg).routes() }

const (
	viewer   = wflo.RoleViewer
	operator = wflo.RoleOperator
	approver = wflo.RoleApprover
	admin    = wflo.RoleAdmin
)

// routes is the table of who may do what. A path that is not in it is not served.
func (h *Handler) routes() []Route {
	all := []Route{
		{Pattern: "GET /healthz", serve: h.health},
		{Pattern: "GET /metrics", Role: viewer, serve: h.cfg.Metrics.ServeHTTP},
		{Pattern: "GET /api/v1/openapi.json", Role: viewer, Tenants: true, serve: openapi.Serve},
		{Pattern: "GET /api/v1/version", Role: viewer, Tenants: true, serve: h.json(h.version)},
		{Pattern: "GET /api/v1/whoami", Role: viewer, Tenants: true, serve: h.json(h.whoami)},
		{Pattern: "GET /api/v1/runs", Role: viewer, Tenants: true, serve: h.runs},
		{Pattern: "GET /api/v1/runs/{id}", Role: viewer, Tenants: true, serve: h.json(h.run)},
		{Pattern: "GET /api/v1/runs/{id}/ledger", Role: viewer, Tenants: true, serve: h.json(h.ledger)},
		{Pattern: "POST /api/v1/runs/{id}/decisions", Role: approver, Tenants: true, most: maxDecision, serve: h.json(h.forward)},
		{Pattern: "GET /api/v1/approvals", Role: viewer, Tenants: true, serve: h.json(h.approvals)},

		{Pattern: "GET /api/v1/budgets", Role: viewer, serve: h.json(h.budgets)},
		{Pattern: "GET /api/v1/budgets/{id}", Role: viewer, serve: h.json(h.budget)},
		{Pattern: "PUT /api/v1/budgets/{id}", Role: operator, serve: h.json(h.setBudget)},
		{Pattern: "DELETE /api/v1/budgets/{id}", Role: operator, serve: h.json(h.removeBudget)},
		{Pattern: "POST /api/v1/budgets/{id}/topups", Role: operator, serve: h.json(h.topUp)},
		{Pattern: "GET /api/v1/spends", Role: viewer, serve: h.json(h.spends)},
		{Pattern: "GET /api/v1/alerts", Role: viewer, serve: h.json(h.alerts)},
		{Pattern: "GET /api/v1/costs", Role: viewer, Tenants: true, serve: h.json(h.costs)},
		{Pattern: "GET /api/v1/holds", Role: viewer, serve: h.json(h.holds)},
		{Pattern: "POST /api/v1/holds/{key}/{attempt}/settlement", Role: operator, serve: h.json(h.settle)},

		{Pattern: "GET /assets/console.css", serve: h.asset("console.css", "text/css")},
		{Pattern: "GET /assets/console.js", serve: h.asset("console.js", "text/javascript")},
	}
	all = append(all, h.logRoutes()...)
	all = append(all, h.storyRoutes()...)
	all = append(all, h.controlRoutes()...)
	if h.cfg.Desk != nil {
		all = append(all, h.deskRoutes()...)
		all = append(all, h.moneyPages()...)
		all = append(all, h.runPages()...)
	}
	if h.back != nil {
		all = append(all, h.recoveryRoutes()...)
	}
	if h.cfg.Logins != nil {
		all = append(all, h.loginRoutes()...)
	}
	if h.cfg.Slack != nil {
		all = append(all, Route{Pattern: "POST /slack/interactions", most: maxDecision, serve: h.slack})
	}
	return all
}

func (h *Handler) deskRoutes() []Route {
	return []Route{
		{Pattern: "GET /api/v1/approvals/{nonce}", Role: viewer, Tenants: true, serve: h.json(h.approval)},
		{Pattern: "POST /api/v1/approvals/{nonce}/decisions", Role: approver, Tenants: true, most: maxDecision, serve: h.json(h.decide)},
		{Pattern: "GET /api/v1/keys", Role: admin, Tenants: true, serve: h.json(h.keys)},
		{Pattern: "POST /api/v1/keys", Role: admin, Tenants: true, serve: h.json(h.makeKey)},
		{Pattern: "DELETE /api/v1/keys/{id}", Role: admin, Tenants: true, serve: h.json(h.revokeKey)},
		{Pattern: "GET /api/v1/notices", Role: operator, serve: h.json(h.notices)},
		{Pattern: "POST /api/v1/notices/{id}/retry", Role: admin, serve: h.json(h.retryNotice)},
		{Pattern: "GET /api/v1/audit", Role: operator, Tenants: true, serve: h.json(h.audit)},

		{Pattern: "GET /{$}", Role: viewer, Tenants: true, page: true, serve: h.home},
		{Pattern: "GET /inbox", Role: viewer, Tenants: true, page: true, serve: h.inbox},
		{Pattern: "POST /inbox", Role: approver, Tenants: true, page: true, most: maxDecision, serve: h.rejectMany},
		{Pattern: "GET /gates/{nonce}", Role: viewer, Tenants: true, page: true, serve: h.gate},
		{Pattern: "POST /gates/{nonce}", Role: approver, Tenants: true, page: true, most: maxDecision, serve: h.decideOnPage},
	}
}

func (h *Handler) loginRoutes() []Route {
	all := []Route{
		{Pattern: "GET /login", page: true, serve: h.loginPage},
		{Pattern: "POST /logout", Role: viewer, Tenants: true, page: true, serve: h.logout},
	}
	if h.takesKeys() {
		all = append(all, Route{Pattern: "POST /login/key", page: true, serve: h.loginByKey})
	}
	if h.cfg.Passwords != nil {
		all = append(all, Route{Pattern: "POST /login/password", page: true, serve: h.loginByPassword})
	}
	if len(h.cfg.Redirects) > 0 {
		all = append(all,
			Route{Pattern: "GET /login/via/{name}", page: true, serve: h.loginElsewhere},
			Route{Pattern: "GET /login/via/{name}/callback", page: true, serve: h.loginReturns})
	}
	return all
}

// guard lets only those through to a route who may use it.
func (h *Handler) guard(rt Route) http.HandlerFunc {
	most := rt.most
	if most == 0 {
		most = maxBody
	}
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) // recorders in tests have none
		if h.cfg.Auth != nil && rt.Pattern != "GET /healthz" && !h.limit.allow(r) {
			w.Header().Set("Retry-After", "1")
			h.refuse(w, r, rt, http.StatusTooManyRequests, &wflo.Error{Message: "too many requests from " + address(r), Hint: "wait a moment"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		if rt.Role == "" {
			rt.serve(w, r)
			return
		}
		ctx := r.Context()
		if !rt.lasts {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, deadline)
			defer cancel()
			r = r.WithContext(ctx)
		}
		c, err := h.identify(r)
		if err == nil {
			r = r.WithContext(withCaller(ctx, c))
			if err = admit(c, rt); err == nil {
				err = h.authentic(r, c, rt.page)
			}
		}
		if err != nil {
			h.record(r, rt, c, err)
			h.turnAway(w, r, rt, err)
			return
		}
		if h.cfg.Auth != nil && r.Method != http.MethodGet && r.Method != http.MethodHead && !h.changes.allowPerson(c.id) {
			w.Header().Set("Retry-After", "1")
			h.refuse(w, r, rt, http.StatusTooManyRequests, &wflo.Error{Message: "too many changes by " + c.id.Subject, Hint: "wait a moment"})
			return
		}
		rt.serve(w, r)
	}
}

// record puts an attempt to decide into the trail that did not come as far as the
// desk. Strangers are in the log only, because they would fill the trail.
func (h *Handler) record(r *http.Request, rt Route, c caller, why error) {
	if rt.Role != approver || h.cfg.Desk == nil || c.id.Subject == "" {
		return
	}
	channel := channelAPI
	if rt.page {
		channel = channelPage
	}
	h.cfg.Desk.TurnedAway(r.Context(), c.id, r.PathValue("nonce"), desk.Origin{Channel: channel, Address: address(r)}, why)
}

// turnAway answers a request of somebody who may not use the route.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, rt Route, err error) {
	status, p := problem(err)
	if status == http.StatusInternalServerError {
		h.cfg.Logger.WarnContext(r.Context(), "identify caller", "path", r.URL.Path, "address", address(r), "error", err.Error())
	}
	switch {
	case status == http.StatusUnauthorized && rt.page && h.cfg.Logins != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		http.Redirect(w, r, "/login?back="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		return
	case status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="wflo"`)
	}
	h.refuse(w, r, rt, status, &wflo.Error{Code: wflo.Code(p.Code), Message: p.Message, Hint: p.Hint})
}

// refuse answers in the language of the route.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, rt Route, status int, e *wflo.Error) {
	if rt.page {
		h.problemPage(w, r, status, e)
		return
	}
	h.write(w, r, status, Problem{Code: string(e.Code), Message: e.Message, Hint: e.Hint})
}

// secure sets the headers of every answer. A page loads its style and its one script and
// nothing else, is shown in no other page, and sends forms to us alone.
func secure(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Permissions-Policy", "interest-cohort=(), camera=(), microphone=(), geolocation=()")
	head.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		head.Set("Strict-Transport-Security", "max-age=31536000")
	}
}
