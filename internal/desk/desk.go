// Package desk is the approval gateway: it shows people the gates that wait for
// them, and turns what an authenticated person decides into a signed decision that
// the gate's run judges. The console's pages, its API and Slack's buttons all end at
// [Desk.Decide]; [Desk.Inbox] and [Desk.Gate] are what they show.
//
// Who decides is the identity that the caller has proved, never what a request
// says. The desk asks the gate itself whether the decision would count before it
// signs, and writes down what it signs before it sends it: without a record there is
// no decision. Only the run's answer makes a decision final; until then the desk
// says that it was sent and not confirmed. It never decides by itself.
package desk

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// How long the desk waits for a run.
const (
	queryTime  = 3 * time.Second
	decideTime = 10 * time.Second
	// openingTime is how long after a gate was opened its run may not know of it yet.
	openingTime = 30 * time.Second
)

// Client is what the desk needs of Temporal's client.
type Client interface {
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
	UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
}

// Desk shows gates and takes decisions. Set its fields before the first use; its
// methods may be called at the same time.
type Desk struct {
	// Client reaches the runs. Required.
	Client Client
	// Namespace is the client's. Gates of other namespaces, whose runs the client does
	// not see, are then not taken for those of dead runs. Empty means that there is one.
	Namespace string
	// Records holds the index of gates and the audit trail. Required.
	Records activities.Records
	// Sign signs a decision with a key that workers trust and do not hold. Nil means
	// that decisions must come signed, through Forward.
	Sign func(wflo.Decision) wflo.Decision
	// Terms are those of the workers, as far as they are known here: the members of
	// configured groups, and the keys of persons. Zero means that groups are what
	// people's identities say.
	Terms wflo.Terms
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets what could not be written down; nil means slog.Default.
	Logger *slog.Logger
}

// What callers tell apart besides wflo's codes.
var (
	// ErrNotFound is a gate that is not there, or not for whoever asks.
	ErrNotFound = fs.ErrNotExist
	// ErrForbidden is a decision by somebody who may not make any.
	ErrForbidden = fs.ErrPermission
	// ErrUnavailable says that nobody answers, and that nothing was decided.
	ErrUnavailable = errors.New("not available")
	// ErrUnconfirmed says that a signed decision was sent and that the run has not
	// answered: it may count or not. Sending the same request again is harmless and
	// tells.
	ErrUnconfirmed = errors.New("not confirmed")
)

func refused(kind error, message, hint string) *wflo.Error {
	return &wflo.Error{Message: message, Hint: hint, Err: kind}
}

func (d *Desk) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

func (d *Desk) log() *slog.Logger {
	if d.Logger != nil {
		return d.Logger
	}
	return slog.Default()
}

// visible refuses those who may not see a gate as if it did not exist.
func visible(id wflo.Identity, g wflo.Gate) error {
	if id.Org != "" && g.Org != id.Org {
		return noGate(g.Nonce)
	}
	return nil
}

func noGate(nonce string) error {
	return refused(ErrNotFound, "no gate "+short(nonce), "open gates are in the inbox")
}

// short bounds what is repeated of a name that somebody sent.
func short(name string) string {
	const most = 80
	if len(name) > most {
		return name[:most] + "..."
	}
	return name
}

func mayView(id wflo.Identity) error {
	if id.Subject == "" || !id.May(wflo.RoleViewer) {
		return refused(ErrForbidden, "approvals are not for "+named(id), "ask an administrator for the role viewer")
	}
	return nil
}

func named(id wflo.Identity) string {
	if id.Subject == "" {
		return "nobody"
	}
	return id.Subject
}
