// Package audit keeps the rules of the audit trail: how an event becomes a record
// of its chain ([Seal]), and what must hold of records that were read back. The
// stores, the command line and whoever verifies an export share them.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// Genesis is what the first record of a chain has as Prev.
var Genesis = strings.Repeat("0", 64)

// Seal makes the record of an event that follows prev, or begins a chain where prev
// is the zero value. The event's data is put into canonical form, and its time is
// cut to microseconds, which is what databases keep.
func Seal(prev wflo.AuditRecord, e wflo.AuditEvent) (wflo.AuditRecord, error) {
	if e.ID == "" || e.Chain == "" || e.Type == "" {
		return wflo.AuditRecord{}, wflo.Invalid("audit event", "lacks id, chain or type", "set all of them")
	}
	if len(e.Data) > 0 {
		data, err := wflo.Canonical(e.Data)
		if err != nil {
			return wflo.AuditRecord{}, wflo.Invalid("audit event "+e.ID, "has data that "+err.Error(), "give a JSON object")
		}
		e.Data = data
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	r := wflo.AuditRecord{AuditEvent: e, Seq: prev.Seq + 1, Prev: prev.Hash}
	if prev.Seq == 0 {
		r.Prev = Genesis
	}
	var err error
	if r.Hash, err = Hash(r); err != nil {
		return wflo.AuditRecord{}, wflo.Invalid("audit event "+e.ID, "cannot be recorded: "+err.Error(), "use text that is UTF-8")
	}
	return r, nil
}

// Hash is what the record's Hash must be.
func Hash(r wflo.AuditRecord) (string, error) {
	prev := r.Prev
	r.Prev, r.Hash = "", ""
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode audit record %s: %w", r.ID, err)
	}
	canonical, err := wflo.Canonical(data)
	if err != nil {
		return "", fmt.Errorf("audit record %s %w", r.ID, err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s", prev, canonical)
	return hex.EncodeToString(sum.Sum(nil)), nil
}
