package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
)

// Bounds of lists.
const (
	someNotices = 100
	mostNotices = 1000
	someRecords = 200
	mostRecords = 5000
)

// Whoami is what the console knows of a caller.
type Whoami struct {
	wflo.Identity
	// CSRF is what requests of a session repeat in HeaderCSRF to change something.
	CSRF string `json:"csrf,omitempty"`
}

func (h *Handler) whoami(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	out := Whoami{Identity: c.id}
	out.CSRF = c.csrf
	return out, nil
}

// KeyRequest is the body that makes an API key.
type KeyRequest struct {
	// Name says what the key is for, Subject whom it stands for. Required, with at
	// least one role.
	Name    string            `json:"name"`
	Subject string            `json:"subject"`
	Groups  []string          `json:"groups,omitempty"`
	Roles   []wflo.AccessRole `json:"roles"`
	Org     string            `json:"org,omitempty"`
	// Expires is when the key ends; without it, never.
	Expires time.Time `json:"expires,omitzero"`
}

// NewKey is a key that was made. Key is shown this once.
type NewKey struct {
	activities.APIKey
	Key string `json:"key"`
}

func (h *Handler) keys(ctx context.Context, r *http.Request) (any, error) {
	if _, err := queryOf(r); err != nil {
		return nil, err
	}
	all, err := h.cfg.Desk.Records.ListKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	out := []activities.APIKey{}
	for _, k := range all {
		if org := callerOf(ctx).id.Org; org == "" || k.Org == org {
			out = append(out, k)
		}
	}
	return out, nil
}

func (h *Handler) makeKey(ctx context.Context, r *http.Request) (any, error) {
	by, err := user(r)
	if err != nil {
		return nil, err
	}
	if h.cfg.Keys == nil {
		return nil, denied("keys are not made here", "make them with `wflo console key` where the records are")
	}
	var given KeyRequest
	if err := body(r, "key", "send JSON with name, subject and roles", &given); err != nil {
		return nil, err
	}
	for _, t := range append([]string{given.Name, given.Subject, given.Org}, given.Groups...) {
		if err := text("key", t); err != nil {
			return nil, err
		}
	}
	if own := callerOf(ctx).id.Org; own != "" {
		if given.Org != "" && given.Org != own {
			return nil, denied(by+" cannot make keys for another org", "leave org out")
		}
		given.Org = own
	}
	plain, kept, err := h.cfg.Keys.Make(ctx, apikey.Spec{
		Name: given.Name, Subject: given.Subject, Groups: given.Groups, Roles: given.Roles, Org: given.Org, MadeBy: by, Expires: given.Expires,
	})
	if err != nil {
		return nil, err
	}
	if err := h.recordKey(ctx, wflo.AuditKeyMade, kept, by); err != nil {
		// A key that nobody can account for must not open anything.
		if gone := h.cfg.Desk.Records.RevokeKey(context.WithoutCancel(ctx), kept.ID, by); gone != nil {
			h.cfg.Logger.ErrorContext(ctx, "revoke a key that is not on record", "key", kept.ID, "error", gone.Error())
		}
		return nil, fmt.Errorf("record key: %w", err)
	}
	return NewKey{APIKey: kept, Key: plain}, nil
}

func (h *Handler) revokeKey(ctx context.Context, r *http.Request) (any, error) {
	by, err := user(r)
	if err != nil {
		return nil, err
	}
	nobody := &absent{"no such key", "list them at /api/v1/keys"}
	k, err := h.cfg.Desk.Records.Key(ctx, r.PathValue("id"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nobody
	case err != nil:
		return nil, fmt.Errorf("read key: %w", err)
	case callerOf(ctx).id.Org != "" && callerOf(ctx).id.Org != k.Org:
		return nil, nobody
	}
	if err := h.cfg.Desk.Records.RevokeKey(ctx, k.ID, by); err != nil {
		return nil, fmt.Errorf("revoke key: %w", err)
	}
	if err := h.recordKey(ctx, wflo.AuditKeyRevoked, k, by); err != nil {
		return nil, fmt.Errorf("record that a key is revoked: %w", err)
	}
	if k, err = h.cfg.Desk.Records.Key(ctx, k.ID); err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return k, nil
}

func (h *Handler) recordKey(ctx context.Context, kind wflo.AuditType, k activities.APIKey, by string) error {
	data, err := json.Marshal(k) // the hash is left out
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	return h.cfg.Desk.Records.Append(ctx, wflo.AuditEvent{
		ID: string(kind) + "/" + k.ID, Chain: wflo.Run{Org: k.Org}.AuditChain(), At: h.cfg.Now(), Type: kind, Actor: by, Data: data,
	})
}

func (h *Handler) notices(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "state", "n")
	if err != nil {
		return nil, err
	}
	n, err := count(q, "n", someNotices, mostNotices)
	if err != nil {
		return nil, err
	}
	state := wflo.NoticeState(q.Get("state"))
	if !slices.Contains([]wflo.NoticeState{"", wflo.NoticePending, wflo.NoticeDelivered, wflo.NoticeDead}, state) {
		return nil, wflo.Invalid("state", fmt.Sprintf("is %q", string(state)), "use pending, delivered or dead_letter, or leave it out for all")
	}
	all, err := h.cfg.Desk.Records.ListNotices(ctx, state, n)
	if err != nil {
		return nil, fmt.Errorf("list notices: %w", err)
	}
	return append([]wflo.NoticeRecord{}, all...), nil
}

// Retried says which notice is due again.
type Retried struct {
	Notice string `json:"notice"`
}

func (h *Handler) retryNotice(ctx context.Context, r *http.Request) (any, error) {
	by, err := user(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if err := h.cfg.Desk.Records.RetryNotice(ctx, id); err != nil {
		return nil, fmt.Errorf("retry notice: %w", err)
	}
	h.cfg.Logger.InfoContext(ctx, "dead notice tried again", "notice", id, "by", by)
	return Retried{Notice: id}, nil
}

// audit reads the trail. A caller of one org reads that org's.
func (h *Handler) audit(ctx context.Context, r *http.Request) (any, error) {
	q, err := queryOf(r, "chain", "workflow", "type", "from", "to", "after", "limit", "latest")
	if err != nil {
		return nil, err
	}
	query := wflo.AuditQuery{Chain: q.Get("chain"), WorkflowID: q.Get("workflow"), Type: wflo.AuditType(q.Get("type"))}
	if own := callerOf(ctx).id.Org; own != "" {
		if query.Chain != "" && query.Chain != own {
			return nil, denied("the trail of another org is not for "+callerOf(ctx).id.Subject, "leave chain out")
		}
		query.Chain = own
	}
	if query.Limit, err = count(q, "limit", someRecords, mostRecords); err != nil {
		return nil, err
	}
	for name, into := range map[string]*time.Time{"from": &query.From, "to": &query.To} {
		if given := q.Get(name); given != "" {
			if *into, err = time.Parse(time.RFC3339, given); err != nil {
				return nil, wflo.Invalid(name, fmt.Sprintf("is %q", given), "write a time as in 2026-12-01T13:00:00Z")
			}
		}
	}
	if given := q.Get("after"); given != "" {
		if query.After, err = strconv.ParseInt(given, 10, 64); err != nil || query.After < 0 || query.Chain == "" {
			return nil, wflo.Invalid("after", fmt.Sprintf("is %q", given), "give the last seq that was seen, and its chain")
		}
	}
	if query.Latest, err = yes(q.Get("latest")); err != nil {
		return nil, wflo.Invalid("latest", fmt.Sprintf("is %q", q.Get("latest")), "use true or false")
	}
	all, err := h.cfg.Desk.Records.ReadAudit(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read the trail: %w", err)
	}
	return append([]wflo.AuditRecord{}, all...), nil
}
