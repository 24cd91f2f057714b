package cli

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// A decision whose answer gets lost may count or not, and the command says so.
func TestUnconfirmed(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", twoOf)
	ann := o.approver("ann")
	o.runs.StayAway(true)
	o.does(ann, "approve", "refunds", "--yes").want(t, ExitTimeout, nil, []string{"the run has not confirmed it", "hint: look at the gate again"})
	o.runs.StayAway(false)
	o.does(ann, "approvals", "show", "refunds").want(t, 0, []string{"1 of 2", "approve by ann"}, nil)
}

// Where no worker answers, gates are shown as they were known last, and nobody is told
// that anything was decided: the decision counts if a worker comes back in time.
func TestWorkersAreDown(t *testing.T) {
	o := newOffice(t)
	o.gate("r1", nil)
	ann := o.approver("ann")
	o.runs.StopWorkers()
	o.does(ann, "approvals").want(t, 0, []string{"refunds  r1"}, []string{"decide with"})
	o.does(ann, "approvals", "show", "r1").want(t, 0, []string{"note          no worker answers for its run"}, nil)
	o.does(ann, "approve", "r1", "--yes").want(t, ExitTimeout, nil, []string{"note: no worker answers", "the run has not confirmed it"})
}

// Whoever stands between may show another payload. Its digest is not the gate's, and
// nothing is decided.
func TestWhatIsShownIsWhatIsSigned(t *testing.T) {
	o := newOffice(t)
	g := o.gate("r1", nil)
	ann := o.approver("ann")
	g.Approval.Payload = json.RawMessage(`{"order":17,"amount":"1.00"}`)
	var posts atomic.Int64
	liar, _ := stranger(t, func(w http.ResponseWriter, r *http.Request) {
		var answer any = desk.View{Item: desk.Item{Gate: g}}
		switch {
		case r.Method == http.MethodPost:
			posts.Add(1)
		case strings.HasSuffix(r.URL.Path, "/whoami"):
			answer = wflo.Identity{Subject: "ann", Method: "apikey"}
		case strings.HasSuffix(r.URL.Path, "/approvals/-"):
			w.WriteHeader(http.StatusNotFound)
			answer = console.Problem{Code: "not_found", Message: "no gate -"}
		case strings.HasSuffix(r.URL.Path, "/approvals"):
			answer = []desk.Item{{Gate: g}}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	o.does(ann, "approve", "refunds", "--yes", "--api", liar).want(t, ExitError, nil, []string{"the digest of gate refunds does not fit what it shows", "hint: do not decide"})
	o.does(ann, "approve", "--all", "--yes", "--api", liar).want(t, ExitError, nil, []string{"does not fit what it shows", "0 gates approved, 1 refused"})
	if posts.Load() != 0 {
		t.Error("a decision was sent")
	}
}

// A worker without records knows no gates, and people who are logged in are told.
func TestNoIndex(t *testing.T) {
	o := newOffice(t)
	ann := o.approver("ann")
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	s := httptest.NewServer(console.NewHandler(console.Config{
		Client: o.runs, Ledger: ledger, Logger: slog.New(slog.DiscardHandler), Auth: o.keys, Metrics: http.NotFoundHandler(),
	}))
	t.Cleanup(s.Close)
	o.does(ann, "approvals", "--api", s.URL).want(t, ExitError, nil, []string{"has no index of gates", "hint: name the console with --api"})
	// Who is not logged in asks the runs.
	o.does("", "approvals", "--api", s.URL).want(t, 0, nil, []string{"nothing waits"})
}
