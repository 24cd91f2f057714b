package audit_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
	"pgregory.net/rapid"
)

func numbered(n int) string { return fmt.Sprintf("%06d", n) }

// openRaw changes a database behind wflo's back.
func openRaw(t *testing.T, path string) func(statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
}

func exported(t testing.TB, h audit.Header, records iter.Seq2[wflo.AuditRecord, error]) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := audit.Export(&out, h, records); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func verifyExport(t testing.TB, data []byte) *audit.Report {
	t.Helper()
	h, records, err := audit.ReadExport(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(t.Context(), records, h.Options())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func storyExport(t testing.TB) []byte {
	records := seal(t, newStory(t).events(t)...)
	return exported(t, audit.Header{Terms: auditor, CheckpointKeys: markKeys, Checkpoints: []wflo.Checkpoint{mark(records[len(records)-1])}}, each(records))
}

func TestExport(t *testing.T) {
	data := storyExport(t)
	wantKinds(t, verifyExport(t, data), audit.OK)
	// A program of the auditor's may have written it anew, with spaces and escapes.
	var other bytes.Buffer
	for line := range bytes.Lines(data) {
		var v map[string]json.RawMessage
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		other.Write(text)
		other.WriteString("\n\n")
	}
	if bytes.Equal(other.Bytes(), data) {
		t.Fatal("nothing was written anew")
	}
	wantKinds(t, verifyExport(t, other.Bytes()), audit.OK)
	wantKinds(t, verifyExport(t, bytes.Replace(data, []byte("comes late"), []byte("comes soon"), 1)), audit.Altered, audit.Tampered)
	lines := bytes.SplitAfter(data, []byte("\n"))
	wantKinds(t, verifyExport(t, bytes.Join(lines[:len(lines)-2], nil)), audit.Altered, audit.Truncated, audit.Unanchored, audit.Unapproved)
}

func TestReadExportRefuses(t *testing.T) {
	header := string(bytes.SplitAfter(storyExport(t), []byte("\n"))[0])
	for name, c := range map[string]struct{ text, line string }{
		"nothing":        {"", "line 1 "},
		"no header":      {"{}\n", "line 1 "},
		"a later one":    {`{"wflo_audit":2}` + "\n", "line 1 "},
		"no JSON":        {header + "{\n", "line 2 "},
		"another type":   {header + "\n\n[]\n", "line 4 "},
		"a long line":    {header + strings.Repeat("x", 9<<20), "line 2 "},
		"no JSON at all": {"PK\x03\x04", "line 1 "},
	} {
		t.Run(name, func(t *testing.T) {
			_, records, err := audit.ReadExport(strings.NewReader(c.text))
			if err == nil {
				_, err = audit.Verify(t.Context(), records, audit.Options{})
			}
			if wflo.CodeOf(err) != wflo.CodeInvalid || !strings.Contains(err.Error(), c.line) {
				t.Errorf("reading gave %v, want an error of %s", err, c.line)
			}
		})
	}
}

// TestHashIsTheCanonicalForm compares the two ways to a hash over events of all kinds.
func TestHashIsTheCanonicalForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,20}`), rapid.SampledFrom([]string{"", "<&>\u2028", "\"\\\x00\x7f", "\xff", "\ufffd"}))
		e := wflo.AuditEvent{ID: text.Draw(t, "id"), Chain: text.Draw(t, "chain"), Type: wflo.AuditType(text.Draw(t, "type")),
			Severity: wflo.Severity(text.Draw(t, "severity")), Actor: text.Draw(t, "actor"), Namespace: text.Draw(t, "namespace"),
			WorkflowID: text.Draw(t, "workflow"), FirstRunID: text.Draw(t, "run"), Step: text.Draw(t, "step"), Gate: text.Draw(t, "gate"),
			At: time.Unix(rapid.Int64Range(-1<<36, 1<<38).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))}
		if rapid.Bool().Draw(t, "data") {
			data, err := json.Marshal(map[string]any{text.Draw(t, "name"): text.Draw(t, "value"), "n": rapid.Int64().Draw(t, "n")})
			if err != nil {
				t.Fatal(err)
			}
			e.Data = data
		}
		sealed, err := audit.Seal(wflo.AuditRecord{Seq: rapid.Int64Range(0, 1<<60).Draw(t, "seq"), Hash: audit.Genesis}, e)
		if err != nil {
			if wflo.CodeOf(err) != wflo.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		hash, err := audit.Hash(sealed)
		if err != nil || hash != sealed.Hash {
			t.Fatalf("sealed with %s, its canonical form has %s, %v", sealed.Hash, hash, err)
		}
	})
}

func TestSealRefuses(t *testing.T) {
	good := wflo.AuditEvent{ID: "i", Chain: "c", Type: "t"}
	for name, spoil := range map[string]func(*wflo.AuditEvent){
		"no id":            func(e *wflo.AuditEvent) { e.ID = "" },
		"no chain":         func(e *wflo.AuditEvent) { e.Chain = "" },
		"no type":          func(e *wflo.AuditEvent) { e.Type = "" },
		"no JSON":          func(e *wflo.AuditEvent) { e.Data = []byte("{") },
		"the year 10000":   func(e *wflo.AuditEvent) { e.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"text not Unicode": func(e *wflo.AuditEvent) { e.Step = "\xff" },
	} {
		e := good
		spoil(&e)
		if r, err := audit.Seal(wflo.AuditRecord{}, e); wflo.CodeOf(err) != wflo.CodeInvalid || !cmp.Equal(r, wflo.AuditRecord{}) {
			t.Errorf("%s gave %+v, %v", name, r, err)
		}
	}
}

// FuzzVerify gives files that somebody made up: nothing panics, and nothing but the
// true file's content is right.
func FuzzVerify(f *testing.F) {
	data := storyExport(f)
	f.Add(data)
	f.Add(bytes.Replace(data, []byte("bob"), []byte("eve"), 1))
	f.Add([]byte("{\"wflo_audit\":1}\n{}\n{\"seq\":-1,\"type\":\"approval.used\",\"data\":{}}\n"))
	f.Add([]byte("{\"wflo_audit\":1,\"part\":true}\n{\"seq\":9,\"type\":\"approval.closed\",\"data\":{\"gate\":{\"status\":\"approved\",\"votes\":[{}]}}}\n"))
	truth := seal(f, newStory(f).events(f)...)
	o := options(truth) // the auditor's own keys and checkpoints, not those of the file
	f.Fuzz(func(t *testing.T, data []byte) {
		_, records, err := audit.ReadExport(bytes.NewReader(data))
		if err != nil {
			return
		}
		report, err := audit.Verify(t.Context(), records, o)
		if err == nil && report.Class() == audit.OK && report.Chains[0].Hash != truth[len(truth)-1].Hash {
			t.Errorf("a file that nobody wrote passes: %+v", report)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	var events []wflo.AuditEvent
	for i := range 500 { // each with two votes, whose signatures are verified
		s := newStory(b)
		s.tell(b, fmt.Sprint("nonce", i))
		for _, e := range s.events(b) {
			e.ID = fmt.Sprint(i, e.ID)
			events = append(events, e)
		}
	}
	plain := make([]wflo.AuditEvent, 10_000)
	for i := range plain {
		plain[i] = wflo.AuditEvent{ID: numbered(i), Chain: "main", At: noon, Type: wflo.AuditPolicyRuled, Actor: "worker", WorkflowID: "wf",
			Data: json.RawMessage(`{"bundle":"` + audit.Genesis + `","effect":"allow","facts":"` + audit.Genesis + `"}`)}
	}
	for name, all := range map[string][]wflo.AuditEvent{"gates": events, "rulings": plain} {
		b.Run(name, func(b *testing.B) {
			records := seal(b, all...)
			o := options(records)
			n := 0
			for b.Loop() {
				report, err := audit.Verify(b.Context(), each(records), o)
				if err != nil {
					b.Fatal(err)
				}
				n += int(report.Records)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
