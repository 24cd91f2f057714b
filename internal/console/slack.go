package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// Slack takes clicks on the buttons of messages in Slack. Package
// internal/notify/slack has the functions.
type Slack struct {
	// Verify says whether a request is Slack's and fresh. Required.
	Verify func(header http.Header, body []byte, now time.Time) error
	// Parse reads a request that Verify passed. Required.
	Parse func(body []byte) (Click, error)
	// Reply answers a click, visible to who clicked only. Required. The message itself
	// changes when the gate has closed, and not before.
	Reply func(ctx context.Context, responseURL, text string) error
	// People says who somebody in Slack is here, by "TEAM/USER". Nobody else decides.
	People map[string]wflo.Identity
}

// Click is a click on a button.
type Click struct {
	// Team and User are Slack's IDs of who clicked, and where.
	Team, User string
	// Nonce and Digest say what was shown.
	Nonce, Digest string
	// Verdict is empty for a button that only opens a page.
	Verdict     wflo.Verdict
	ResponseURL string
}

const (
	mostClicks = 32               // under way at the same time
	clickTime  = 25 * time.Second // for a decision and its answer
)

// clicks counts what goes on after Slack has its answer.
type clicks struct {
	room chan struct{}
	all  *sync.WaitGroup
}

func newClicks() clicks { return clicks{room: make(chan struct{}, mostClicks), all: &sync.WaitGroup{}} }

func (c clicks) wait() { c.all.Wait() }

// slack acknowledges a click at once, because Slack waits three seconds and then
// asks people to click again, and answers through its response URL when the run has
// said what became of the decision.
func (h *Handler) slack(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "cannot be read", http.StatusBadRequest)
		return
	}
	if err := h.cfg.Slack.Verify(r.Header, body, h.cfg.Now()); err != nil {
		h.cfg.Logger.WarnContext(r.Context(), "a click that is not from Slack", "address", address(r))
		http.Error(w, "the signature does not verify", http.StatusUnauthorized)
		return
	}
	click, err := h.cfg.Slack.Parse(body)
	if err != nil {
		h.cfg.Logger.WarnContext(r.Context(), "a click that cannot be read", "error", err.Error())
		http.Error(w, "not a click on a button of ours", http.StatusBadRequest)
		return
	}
	if click.Verdict == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	select {
	case h.clicks.room <- struct{}{}:
	default:
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	ctx, from := context.WithoutCancel(r.Context()), desk.Origin{Channel: channelSlack, Address: address(r)}
	h.clicks.all.Go(func() {
		defer func() { <-h.clicks.room }()
		ctx, cancel := context.WithTimeout(ctx, clickTime)
		defer cancel()
		answer := h.clicked(ctx, click, from)
		if err := h.cfg.Slack.Reply(ctx, click.ResponseURL, answer); err != nil {
			h.cfg.Logger.WarnContext(ctx, "answer a click", "error", err.Error())
		}
	})
	w.WriteHeader(http.StatusOK)
}

// clicked decides, and says in words what became of it.
func (h *Handler) clicked(ctx context.Context, c Click, from desk.Origin) string {
	id, known := h.cfg.Slack.People[c.Team+"/"+c.User]
	if !known || id.Subject == "" {
		h.cfg.Logger.WarnContext(ctx, "a click of somebody unknown", "team", c.Team, "user", c.User)
		return "Nothing was decided: this Slack account is not known to wflo. Ask an administrator to map " + c.Team + "/" + c.User + "."
	}
	if h.cfg.Desk == nil {
		return "Nothing was decided: this console takes no decisions. Decide in the console of the approvers."
	}
	id.Method = channelSlack
	g, err := h.cfg.Desk.Decide(ctx, id, desk.Request{Nonce: c.Nonce, Digest: c.Digest, Verdict: c.Verdict, Origin: from})
	if err != nil {
		message, hint := "the request failed", "decide in the console"
		var own *wflo.Error
		if errors.As(err, &own) {
			message, hint = own.Message, own.Hint
		} else {
			h.cfg.Logger.ErrorContext(ctx, "decide by Slack", "error", err.Error())
		}
		if errors.Is(err, desk.ErrUnconfirmed) {
			return "Not confirmed yet: " + message + ". " + hint + "."
		}
		return "This does not count: " + message + ". " + hint + "."
	}
	return outcome(g, c.Verdict)
}

// outcome says what a decision did.
func outcome(g wflo.Gate, v wflo.Verdict) string {
	switch {
	case g.Status == wflo.GateOpen && v == wflo.VerdictEscalate:
		return "The next level is asked now."
	case g.Status == wflo.GateOpen && v == wflo.VerdictAck:
		return "It is known that you look at it. There are no more reminders."
	case g.Status == wflo.GateOpen && v == wflo.VerdictEdit:
		return "The action is changed. It is asked anew."
	case g.Status == wflo.GateOpen:
		return "Your decision counts. Others must decide too."
	}
	return "Your decision counts. The gate is " + string(g.Status) + "."
}
