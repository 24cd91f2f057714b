package activities

import (
	"context"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Records is what governance writes down, besides money. Every method is one
// transaction, safe to call from any number of workers and consoles at the same
// time, and safe to repeat. The suite in activities/storetest holds every
// implementation to this.
type Records interface {
	Gates
	Audit
	Outbox
	Bundles
	Keys
	Sessions
}

// Gates is the index of the gates of all runs, and the one place that decides
// whether an approval is used or taken back.
type Gates interface {
	// SaveGate keeps the state of a gate. One with fewer Changes than the state that
	// is kept changes nothing.
	SaveGate(ctx context.Context, g wflo.Gate) error
	// Gate reads one by its nonce. One that is not there is an error that matches
	// fs.ErrNotExist.
	Gate(ctx context.Context, nonce string) (wflo.Gate, error)
	// ListGates reads gates, those that time out first first.
	ListGates(ctx context.Context, q GateQuery) ([]wflo.Gate, error)
	// UseGrant says that an effect acts on a gate's approval. The first effect may,
	// again and again, because its activity may be retried; every other one, and any
	// after RevokeGrant, is an *wflo.Error with CodeApprovalExpired. An empty nonce or
	// effect is CodeInvalid.
	UseGrant(ctx context.Context, nonce string, effect wflo.EffectKey) error
	// RevokeGrant takes an approval back; again is ok too. ok is false when an effect
	// has used it.
	RevokeGrant(ctx context.Context, nonce, by string) (ok bool, err error)
}

// GateQuery selects gates. The zero value means the first 100 that are open.
type GateQuery struct {
	// Org, WorkflowID and Approvers are filters; empty means all. Approvers are users
	// and "group:NAME", of whom [wflo.Gate.MayDecide] names one: a person with their
	// groups, say. Gates that name nobody fit every approver.
	Org, WorkflowID string
	Approvers       []string
	// Closed gives gates that are not open, the latest closed first.
	Closed bool
	// Expired gives open gates whose time was up before this moment: their run is
	// gone, or its worker is.
	Expired time.Time
	// After is the nonce of the last gate that was seen, for reading on; one that is
	// not there is CodeInvalid.
	After string
	Limit int // zero means 100
}

// Audit is the trail: records in chains that nobody can change without it showing.
type Audit interface {
	// Append adds events to their chains, in this order, all or none. Events whose ID
	// the chain has already are left out; what cannot be recorded is CodeInvalid.
	Append(ctx context.Context, events ...wflo.AuditEvent) error
	// ReadAudit reads records: of one chain by Seq, else by At.
	ReadAudit(ctx context.Context, q wflo.AuditQuery) ([]wflo.AuditRecord, error)
	// AuditHeads gives the last record of every chain, by name, without its data.
	AuditHeads(ctx context.Context) ([]wflo.AuditRecord, error)
}

// Outbox keeps notices until they are delivered.
type Outbox interface {
	// Enqueue adds notices, due at once; one whose ID is there already is left out.
	Enqueue(ctx context.Context, notices ...wflo.Notice) error
	// ClaimNotices takes up to n notices that are due, the oldest first, for the
	// time of the lease. Of one thread and channel only the first by Seq that is not
	// delivered is given out, so that they arrive in their order; a dead one does
	// not hold up those behind it. Attempts counts this attempt too.
	ClaimNotices(ctx context.Context, n int, lease time.Duration) ([]wflo.NoticeRecord, error)
	// NoticeDelivered ends a notice. receipt, if not empty, is kept for the thread
	// and channel: later notices of both have it in their Receipt.
	NoticeDelivered(ctx context.Context, id, receipt string) error
	// NoticeFailed says that an attempt failed: it is due again then, or, where due
	// is zero, it is a dead letter. Due is a time of the caller's clock; a store with
	// another one lets as much time pass. It changes nothing once it was delivered.
	NoticeFailed(ctx context.Context, id, reason string, due time.Time) error
	// RetryNotice makes a dead letter due now. One that is not there or not dead is
	// an *wflo.Error with CodeInvalid.
	RetryNotice(ctx context.Context, id string) error
	// ListNotices reads notices in a state, or all when it is empty, latest first.
	ListNotices(ctx context.Context, state wflo.NoticeState, n int) ([]wflo.NoticeRecord, error)
}

// Bundles keeps the policies that runs are governed by, by their hash.
type Bundles interface {
	// PutBundle keeps the source of a bundle.
	PutBundle(ctx context.Context, hash string, source []byte) error
	// Bundle reads one. One that is not there is an error that matches
	// fs.ErrNotExist.
	Bundle(ctx context.Context, hash string) ([]byte, error)
}

// Keys keeps API keys, without what opens them.
type Keys interface {
	// PutKey adds a key. One whose ID is there is CodeConflict.
	PutKey(ctx context.Context, k APIKey) error
	// Key reads one by ID; fs.ErrNotExist without one.
	Key(ctx context.Context, id string) (APIKey, error)
	ListKeys(ctx context.Context) ([]APIKey, error)
	// RevokeKey ends a key from now on. One that is revoked already stays as it is;
	// fs.ErrNotExist without one.
	RevokeKey(ctx context.Context, id, by string) error
	// KeyUsed notes when a key was used last, cut to the minute.
	KeyUsed(ctx context.Context, id string) error
}

// APIKey is a key of the API as it is kept.
type APIKey struct {
	ID string `json:"id"`
	// Name says what it is for.
	Name string `json:"name"`
	// Hash is the SHA-256, in hex, of the whole key, which is random and long
	// enough that nothing slower is needed.
	Hash    string            `json:"-"`
	Subject string            `json:"subject"`
	Groups  []string          `json:"groups,omitempty"`
	Roles   []wflo.AccessRole `json:"roles"`
	Org     string            `json:"org,omitempty"`
	// MadeBy and the times say where it comes from. Expires is zero for never.
	MadeBy  string    `json:"made_by"`
	MadeAt  time.Time `json:"made_at"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
	UsedAt  time.Time `json:"used_at,omitzero"`
}

// Sessions keeps who is logged in to the console.
type Sessions interface {
	// PutSession keeps a session until it expires, in place of one with its ID. The
	// ID is a hash: whoever reads the store cannot log in with it.
	PutSession(ctx context.Context, s Session) error
	// Session reads one that has not expired; fs.ErrNotExist without one.
	Session(ctx context.Context, id string) (Session, error)
	DropSession(ctx context.Context, id string) error
	// DropSessions ends all sessions of a subject, and those that have expired.
	DropSessions(ctx context.Context, subject string) error
}

// Session is a login.
type Session struct {
	// ID is the SHA-256, in hex, of what the browser holds.
	ID       string        `json:"id"`
	Identity wflo.Identity `json:"identity"`
	// CSRF is what forms of the session must repeat.
	CSRF    string    `json:"csrf"`
	Expires time.Time `json:"expires"`
}
