// Package audit keeps the rules of the audit trail: how an event becomes a record
// of its chain ([Seal]), how far a chain has come ([Checkpointer]), and what must
// hold of records that were read back ([Verify]). The stores, the command line and
// whoever verifies an export share them.
//
// It refuses to trust what it verifies: keys and checkpoints come from whoever
// asks, and what cannot be checked is a finding, never a pass.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
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
	ready, err := Prepare(e)
	if err != nil {
		return wflo.AuditRecord{}, err
	}
	return ready.After(prev), nil
}

// Ready is an event with which nothing can be wrong any more.
type Ready struct{ wflo.AuditEvent }

// Prepare does of [Seal] what needs no chain: a store does it before it holds one.
func Prepare(e wflo.AuditEvent) (Ready, error) {
	if e.ID == "" || e.Chain == "" || e.Type == "" {
		return Ready{}, wflo.Invalid("audit event", "lacks id, chain or type", "set all of them")
	}
	if len(e.Data) > 0 {
		data, err := wflo.Canonical(e.Data)
		if err != nil {
			return Ready{}, wflo.Invalid("audit event "+e.ID, "has data that "+err.Error(), "give a JSON object")
		}
		e.Data = data
	}
	e.At = e.At.UTC().Truncate(time.Microsecond)
	if _, err := form(wflo.AuditRecord{AuditEvent: e}); err != nil {
		return Ready{}, wflo.Invalid("audit event "+e.ID, "cannot be recorded: it "+err.Error(), "use text that is UTF-8")
	}
	return Ready{e}, nil
}

// After makes the record of the event that follows prev; see [Seal].
func (e Ready) After(prev wflo.AuditRecord) wflo.AuditRecord {
	r := wflo.AuditRecord{AuditEvent: e.AuditEvent, Seq: prev.Seq + 1, Prev: prev.Hash}
	if prev.Seq == 0 {
		r.Prev = Genesis
	}
	canonical, _ := form(r) // its number is all that is new since Prepare
	r.Hash = hashOf(r.Prev, canonical)
	return r
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
	return hashOf(prev, canonical), nil
}

func hashOf(prev string, canonical []byte) string {
	h := sha256.New()
	h.Write([]byte(prev))
	h.Write([]byte{'\n'})
	h.Write(canonical)
	return hex.EncodeToString(h.Sum(nil))
}

// intact says whether the record's hash is right. Data is in canonical form nearly
// always, so it is tried as it is: where it is one JSON value and the hash fits, no
// other record has that hash.
func intact(r wflo.AuditRecord) bool {
	if len(r.Data) == 0 || json.Valid(r.Data) {
		if canonical, err := form(r); err == nil && hashOf(r.Prev, canonical) == r.Hash {
			return true
		}
	}
	hash, err := Hash(r)
	return err == nil && hash == r.Hash
}

// form writes the canonical form of a record whose data is in that form. It saves
// what wflo.Canonical spends on reading the record first.
func form(r wflo.AuditRecord) (out []byte, err error) {
	if year := r.At.Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("has the year %d", year) // which JSON has no time for
	}
	out = make([]byte, 0, 512+len(r.Data))
	add := func(name, value string, always bool) {
		if value == "" && !always || err != nil {
			return
		}
		out = append(append(append(out, ',', '"'), name...), '"', ':')
		out, err = appendText(out, value)
	}
	// The members are in the order of their names.
	add("actor", r.Actor, false)
	add("at", r.At.Format(time.RFC3339Nano), true)
	add("chain", r.Chain, true)
	if len(r.Data) > 0 {
		out = append(append(out, `,"data":`...), r.Data...)
	}
	add("first_run_id", r.FirstRunID, false)
	add("gate", r.Gate, false)
	add("id", r.ID, true)
	add("namespace", r.Namespace, false)
	out = strconv.AppendInt(append(out, `,"seq":`...), r.Seq, 10)
	add("severity", string(r.Severity), false)
	add("step", r.Step, false)
	add("type", string(r.Type), true)
	add("workflow_id", r.WorkflowID, false)
	if err != nil {
		return nil, err
	}
	out[0] = '{'
	return append(out, '}'), nil
}

func appendText(out []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			data, err := json.Marshal(s)
			if err != nil {
				return nil, fmt.Errorf("holds text that cannot be encoded: %w", err)
			}
			text, err := wflo.Canonical(data)
			return append(out, text...), err
		}
	}
	return append(append(append(out, '"'), s...), '"'), nil
}
