package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/wflo-ai/wflo-go"
)

const (
	exportVersion = 1
	// maxLine bounds a line of an export in bytes: a gate has its payload twice.
	maxLine = 8 << 20
)

// Header is the first line of an export: what it takes to verify the rest. Whoever
// verifies compares the keys with those that they know from elsewhere.
type Header struct {
	Version int `json:"wflo_audit"`
	// Terms and CheckpointKeys are public keys, Checkpoints all that there are.
	Terms          wflo.Terms        `json:"terms"`
	CheckpointKeys map[string]string `json:"checkpoint_keys,omitempty"`
	Checkpoints    []wflo.Checkpoint `json:"checkpoints,omitempty"`
	// Part says that records were left out on purpose.
	Part bool `json:"part,omitempty"`
}

// Options are those of a verification that trusts the header's own keys. It shows
// damage, and forgery only by those who could not write the header.
func (h Header) Options() Options {
	return Options{Checkpoints: h.Checkpoints, CheckpointKeys: h.CheckpointKeys, Terms: h.Terms, Part: h.Part}
}

// Export writes the header and the records as lines of JSON, so that an auditor
// needs no database.
func Export(w io.Writer, h Header, records iter.Seq2[wflo.AuditRecord, error]) error {
	h.Version = exportVersion
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false) // or the data would not be in canonical form any more
	if err := enc.Encode(h); err != nil {
		return fmt.Errorf("export the audit trail: %w", err)
	}
	for r, err := range records {
		if err == nil {
			err = enc.Encode(r)
		}
		if err != nil {
			return fmt.Errorf("export the audit trail: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export the audit trail: %w", err)
	}
	return nil
}

// ReadExport reads what Export wrote: the header at once, and each record when it is
// asked for. A line that is none of ours is an error with CodeInvalid that names it.
func ReadExport(r io.Reader) (Header, iter.Seq2[wflo.AuditRecord, error], error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var h Header
	if !lines.Scan() {
		return h, nil, unreadable(1, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
		return h, nil, unreadable(1, err)
	}
	if h.Version != exportVersion {
		return h, nil, unreadable(1, fmt.Errorf("version is %d, this wflo reads %d", h.Version, exportVersion))
	}
	return h, func(yield func(wflo.AuditRecord, error) bool) {
		n := 1
		for n++; lines.Scan(); n++ {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			var r wflo.AuditRecord
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				yield(r, unreadable(n, err))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(wflo.AuditRecord{}, unreadable(n, err))
		}
	}, nil
}

func unreadable(line int, err error) error {
	return wflo.Errorf(wflo.CodeInvalid, "give a file that wflo audit export wrote", "line %d of the export: %w", line, err)
}
