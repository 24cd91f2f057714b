package payments

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
)

// book is the provider's state and its rules, without HTTP.
type book struct {
	mu      sync.Mutex
	cfg     Config
	refunds []*Refund          // oldest first
	byKey   map[string]*Refund // by idempotency key
	log     []Entry
}

// refused is a refusal with its HTTP status.
type refused struct {
	status int
	Refusal
}

func refuse(status int, code, format string, args ...any) *refused {
	return &refused{status: status, Refusal: Refusal{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// refund makes a refund or finds the one that the key made before.
func (b *book) refund(key string, q Request) (r Refund, repeated bool, bad *refused) {
	b.mu.Lock()
	defer b.mu.Unlock()
	entry := Entry{Op: "refund", Outcome: "done", ChargeID: q.ChargeID, Key: key}
	defer func() {
		if bad != nil {
			entry.Outcome = bad.Code
		}
		b.log = append(b.log, entry)
	}()
	if b.cfg.Outages > 0 {
		b.cfg.Outages--
		return Refund{}, false, refuse(http.StatusServiceUnavailable, CodeUnavailable, "the provider is down for the moment")
	}
	if made, ok := b.byKey[key]; ok {
		if made.Request != q {
			return Refund{}, false, refuse(http.StatusUnprocessableEntity, CodeKeyReused, "the idempotency key was used for another refund")
		}
		entry.Outcome, entry.RefundID = "repeated", made.ID
		return *made, true, nil
	}
	if bad := b.forbidden(q); bad != nil {
		return Refund{}, false, bad
	}
	made := &Refund{ID: fmt.Sprintf("re_%06d", len(b.refunds)+1), Request: q, Status: Succeeded}
	b.refunds = append(b.refunds, made)
	b.byKey[key] = made
	entry.RefundID = made.ID
	if b.cfg.LostReplies > 0 {
		b.cfg.LostReplies--
		return Refund{}, false, refuse(http.StatusBadGateway, CodeUnavailable, "the answer was lost on its way")
	}
	return *made, false, nil
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// forbidden says why the refund cannot be made, or nil.
func (b *book) forbidden(q Request) *refused {
	switch {
	case q.ChargeID == "":
		return refuse(http.StatusBadRequest, CodeInvalid, "charge_id is empty")
	case q.Amount < 1:
		return refuse(http.StatusBadRequest, CodeInvalid, "amount is %d, want cents of at least 1", q.Amount)
	case !currencyCode.MatchString(q.Currency):
		return refuse(http.StatusBadRequest, CodeInvalid, "currency is %q, want a code such as EUR", q.Currency)
	case slices.Contains(b.cfg.Disputed, q.ChargeID):
		return refuse(http.StatusConflict, CodeDisputed, "charge %s is disputed; the bank decides", q.ChargeID)
	}
	for _, r := range b.refunds {
		if r.ChargeID == q.ChargeID && r.Status == Succeeded {
			return refuse(http.StatusConflict, CodeAlreadyRefunded, "charge %s has refund %s", q.ChargeID, r.ID)
		}
	}
	return nil
}

// cancel takes a refund back.
func (b *book) cancel(id string) (Refund, *refused) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.refunds, func(r *Refund) bool { return r.ID == id })
	if i < 0 {
		b.log = append(b.log, Entry{Op: "cancel", Outcome: CodeNotFound, RefundID: id})
		return Refund{}, refuse(http.StatusNotFound, CodeNotFound, "there is no refund %q", id)
	}
	r := b.refunds[i]
	entry := Entry{Op: "cancel", Outcome: "done", ChargeID: r.ChargeID, RefundID: id}
	if r.Status == Cancelled {
		entry.Outcome = "repeated"
	}
	r.Status = Cancelled
	b.log = append(b.log, entry)
	return *r, nil
}

// list copies the refunds of a charge, or of all when charge is empty.
func (b *book) list(charge string) []Refund {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := []Refund{}
	for _, r := range b.refunds {
		if charge == "" || r.ChargeID == charge {
			found = append(found, *r)
		}
	}
	return found
}

func (b *book) entries() []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.log)
}
