package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// Setup is how an installation is set up, as far as a page shows it: names and facts, no
// secrets. Zero values are not shown.
type Setup struct {
	// Version is that of the program.
	Version string
	// Channels are where notices go.
	Channels []Channel
	// Policies is the hash of those that new runs are pinned to, and Rules are what they
	// say, in their order.
	Policies string
	Rules    []Rule
	// Limits are bounds by name, in words.
	Limits map[string]string
}

// Channel is a way to tell people.
type Channel struct {
	Name string // as gates and policies name it
	Kind string // slack, email, and so on
}

// Rule is one policy.
type Rule struct{ Name, When, Then string }

type settingsView struct {
	page
	Setup Setup
	// Version and Limits are not for callers who are bound to an org.
	Version Version
	Limits  map[string]string
	// Keys are for administrators, who see their org's; MayKeys says so.
	Keys    []keyRow
	MayKeys bool
	Ways    []string // to log in
	You     wflo.Identity
	Bound   bool // to an org: then nothing is shown of the installation
}

// keyRow is an API key with what it is good for now.
type keyRow struct {
	activities.APIKey
	State string
	Soon  bool // it ends within a fortnight
}

// lastDays is how long before its end a key is marked.
const lastDays = 14 * 24 * time.Hour

// settingsPage shows how things are set up. Nothing is changed here: files and commands do.
func (h *Handler) settingsPage(w http.ResponseWriter, r *http.Request) {
	if _, err := queryOf(r); err != nil {
		h.pageError(w, r, err)
		return
	}
	id := callerOf(r.Context()).id
	v := settingsView{page: h.page(r, "Settings"), You: id, Bound: id.Org != "", MayKeys: id.May(admin), Ways: h.ways()}
	v.Wide = true
	if !v.Bound {
		v.Setup, v.Version, v.Limits = h.cfg.Setup, h.versions(r.Context()), h.limits()
	}
	if v.MayKeys {
		all, err := h.cfg.Desk.Records.ListKeys(r.Context())
		if err != nil {
			h.pageError(w, r, fmt.Errorf("list keys: %w", err))
			return
		}
		for _, k := range all {
			if id.Org == "" || k.Org == id.Org {
				v.Keys = append(v.Keys, keyRowOf(k, h.cfg.Now()))
			}
		}
	}
	h.show(w, r, http.StatusOK, "settings", v)
}

func keyRowOf(k activities.APIKey, now time.Time) keyRow {
	row := keyRow{APIKey: k, State: "good"}
	switch {
	case !k.Revoked.IsZero():
		row.State = "revoked"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		row.State = "expired"
	default:
		row.Soon = !k.Expires.IsZero() && k.Expires.Sub(now) < lastDays
	}
	return row
}

// ways names how people and programs prove who they are.
func (h *Handler) ways() (all []string) {
	if h.cfg.Keys != nil {
		all = append(all, "API keys")
	}
	if h.cfg.Passwords != nil {
		all = append(all, "name and password")
	}
	for name := range h.cfg.Redirects {
		all = append(all, name)
	}
	if h.cfg.Ambient != nil {
		all = append(all, "what a proxy or a certificate says")
	}
	if h.cfg.Slack != nil {
		all = append(all, "Slack's buttons")
	}
	if h.cfg.Auth == nil {
		all = append(all, "nothing: everybody on this machine is who they say")
	}
	slices.SortFunc(all, strings.Compare)
	return all
}
