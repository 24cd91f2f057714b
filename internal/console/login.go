package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
)

// keyID is how much of a key says which one it is, in bytes.
const keyID = len(apikey.Prefix) + 16

// loginView is what the login page shows.
type loginView struct {
	page
	Back      string
	Keys      bool
	Passwords bool
	// Elsewhere are the names of providers.
	Elsewhere []string
	Problem   *wflo.Error
}

func (h *Handler) loginPage(w http.ResponseWriter, r *http.Request) {
	h.showLogin(w, r, http.StatusOK, r.URL.Query().Get("back"), nil)
}

func (h *Handler) showLogin(w http.ResponseWriter, r *http.Request, status int, back string, problem *wflo.Error) {
	v := loginView{
		page: page{Title: "Log in"}, Back: auth.LocalPath(back), Problem: problem,
		Keys: h.takesKeys(), Passwords: h.cfg.Passwords != nil,
	}
	for name := range h.cfg.Redirects {
		v.Elsewhere = append(v.Elsewhere, name)
	}
	slices.Sort(v.Elsewhere)
	h.show(w, r, status, "login", v)
}

// takesKeys says that a key or a token of a program opens something.
func (h *Handler) takesKeys() bool { return h.cfg.Auth != nil && h.cfg.Auth != auth.Nobody }

// loginByKey opens a session for the holder of an API key.
func (h *Handler) loginByKey(w http.ResponseWriter, r *http.Request) {
	h.loginBy(w, r, "", "key", func(r *http.Request, _, key string) (wflo.Identity, error) {
		probe := r.Clone(r.Context())
		probe.Header = http.Header{"Authorization": {"Bearer " + strings.TrimSpace(key)}}
		id, err := h.cfg.Auth.Authenticate(probe)
		if errors.Is(err, auth.ErrNone) {
			return id, auth.Refused("give a key that begins with wflo_")
		}
		return id, err
	})
}

func (h *Handler) loginByPassword(w http.ResponseWriter, r *http.Request) {
	h.loginBy(w, r, "name", "password", func(r *http.Request, name, password string) (wflo.Identity, error) {
		return h.cfg.Passwords.Login(r.Context(), name, password)
	})
}

// loginBy proves somebody by a form of the login page, which has a field for their
// name, if any, and one for a secret.
func (h *Handler) loginBy(w http.ResponseWriter, r *http.Request, nameField, secretField string, prove func(r *http.Request, name, secret string) (wflo.Identity, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), deadline)
	defer cancel()
	r = r.WithContext(ctx)
	if err := r.ParseForm(); err != nil {
		h.problemPage(w, r, http.StatusBadRequest, wflo.Invalid("the form", "cannot be read", "load the page again"))
		return
	}
	back, name := r.PostFormValue("back"), r.PostFormValue(nameField)
	secret := r.PostFormValue(secretField)
	guessed := name
	if nameField == "" {
		guessed = secret[:min(len(secret), keyID)] // a key names itself
	}
	id, err := h.attempts.Do(r.RemoteAddr, guessed, func() (wflo.Identity, error) { return prove(r, name, secret) })
	if err == nil {
		err = h.enter(w, r, id)
	} else {
		h.recordRefusal(r, name, err)
	}
	if err != nil {
		status, p := problem(err)
		if status == http.StatusInternalServerError {
			h.cfg.Logger.ErrorContext(ctx, "log in", "error", err.Error())
		}
		h.showLogin(w, r, status, back, &wflo.Error{Message: p.Message, Hint: p.Hint})
		return
	}
	http.Redirect(w, r, auth.LocalPath(back), http.StatusSeeOther)
}

// loginElsewhere sends the browser to a provider.
func (h *Handler) loginElsewhere(w http.ResponseWriter, r *http.Request) {
	provider, known := h.cfg.Redirects[r.PathValue("name")]
	if !known {
		h.problemPage(w, r, http.StatusNotFound, &wflo.Error{Message: "no such way to log in", Hint: "choose one on the login page"})
		return
	}
	if err := provider.Begin(w, r, auth.LocalPath(r.URL.Query().Get("back"))); err != nil {
		h.loginFailed(w, r, err)
	}
}

// loginReturns reads what the browser brings back from a provider.
func (h *Handler) loginReturns(w http.ResponseWriter, r *http.Request) {
	provider, known := h.cfg.Redirects[r.PathValue("name")]
	if !known {
		h.problemPage(w, r, http.StatusNotFound, &wflo.Error{Message: "no such way to log in", Hint: "choose one on the login page"})
		return
	}
	id, back, err := provider.Finish(w, r)
	if err == nil {
		err = h.enter(w, r, id)
	} else {
		h.recordRefusal(r, "", err)
	}
	if err != nil {
		h.loginFailed(w, r, err)
		return
	}
	http.Redirect(w, r, auth.LocalPath(back), http.StatusSeeOther)
}

func (h *Handler) loginFailed(w http.ResponseWriter, r *http.Request, err error) {
	status, p := problem(err)
	if status == http.StatusInternalServerError {
		h.cfg.Logger.ErrorContext(r.Context(), "log in", "error", err.Error())
		p.Message, p.Hint = "the login did not succeed", "try again; the console's log says why"
	}
	h.showLogin(w, r, status, "/", &wflo.Error{Message: p.Message, Hint: p.Hint})
}

// enter opens a session. Without a record there is none.
func (h *Handler) enter(w http.ResponseWriter, r *http.Request, id wflo.Identity) error {
	if id.Subject == "" || !id.May(viewer) {
		return &wflo.Error{Code: wflo.CodePolicyDenied, Message: auth.ErrNoRole.Error(), Hint: "ask an administrator for a role", Err: auth.ErrNoRole}
	}
	if err := h.recordLogin(r, wflo.AuditLogin, id, nil); err != nil {
		return fmt.Errorf("record login: %w", err)
	}
	if err := h.cfg.Logins.Begin(w, r, id); err != nil {
		return fmt.Errorf("begin session: %w", err)
	}
	return nil
}

func (h *Handler) recordRefusal(r *http.Request, name string, why error) {
	if errors.Is(why, auth.ErrLimited) {
		return // who guesses must not fill the trail
	}
	if err := h.recordLogin(r, wflo.AuditLoginRefused, wflo.Identity{Subject: recordable(name)}, why); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "record a refused login", "error", err.Error())
	}
}

// recordable bounds a name that somebody typed, which may be a password.
func recordable(name string) string {
	if text("name", name) != nil || len(name) > 100 {
		return "unreadable"
	}
	return name
}

// recordLogin writes down who came in, or did not.
func (h *Handler) recordLogin(r *http.Request, kind wflo.AuditType, id wflo.Identity, why error) error {
	if h.cfg.Desk == nil {
		return nil
	}
	entry := struct {
		Method  string `json:"method,omitempty"`
		Key     string `json:"key,omitempty"`
		Address string `json:"address"`
		Error   string `json:"error,omitempty"`
	}{Method: id.Method, Key: id.Key, Address: address(r)}
	severity := wflo.SeverityInfo
	if why != nil {
		_, p := problem(why)
		entry.Error, severity = p.Message, wflo.SeverityWarning
	}
	data, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("encode login: %w", err)
	}
	return h.cfg.Desk.Records.Append(context.WithoutCancel(r.Context()), wflo.AuditEvent{
		ID: string(kind) + "/" + token(), Chain: wflo.Run{Org: id.Org}.AuditChain(), At: h.cfg.Now(), Type: kind, Severity: severity, Actor: id.Subject, Data: data,
	})
}

func (h *Handler) logout(w http.ResponseWriter, r *http.Request) {
	if err := h.cfg.Logins.End(w, r); err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "log out", "error", err.Error())
		h.problemPage(w, r, http.StatusInternalServerError, &wflo.Error{Message: "the session could not be ended", Hint: "try again"})
		return
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// withBack names the login path of a provider, to return to a page of ours.
func withBack(name, back string) string {
	return "/login/via/" + url.PathEscape(name) + "?back=" + url.QueryEscape(back)
}
