package demo

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

// notary is the name of the key that signs checkpoints.
const notary = "notary"

// trail is what verification said of the audit trail and of two copies of it that
// somebody changed.
type trail struct{ whole, changed, cut *audit.Report }

// verify signs how far the trail has come, exports it, and verifies the export as an
// auditor would. A copy with the name of another approver and one without its end must not pass.
func (o *office) verify(ctx context.Context) (trail, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return trail{}, fmt.Errorf("make the notary's key: %w", err)
	}
	records := o.guard.Records()
	place := &audit.Directory{Path: filepath.Join(o.dir, "checkpoints")}
	c := audit.Checkpointer{Audit: records, Store: place, Records: 1, Sign: func(c wflo.Checkpoint) wflo.Checkpoint { return c.Sign(notary, private) }}
	if _, err := c.Round(ctx); err != nil {
		return trail{}, err
	}
	marks, err := place.List(ctx)
	if err != nil {
		return trail{}, err
	}
	// The keys do not come with the export: a forger would bring their own.
	known := audit.Options{
		Checkpoints: marks, CheckpointKeys: map[string]string{notary: base64.StdEncoding.EncodeToString(public)}, Terms: o.terms(),
	}
	var out bytes.Buffer
	if err := audit.Export(&out, audit.Header{}, audit.Records(ctx, records, "")); err != nil {
		return trail{}, err
	}
	var t trail
	if t.whole, err = o.auditor(ctx, "wflo audit verify", out.Bytes(), known); err != nil {
		return t, err
	}
	changed := bytes.Replace(out.Bytes(), []byte(`"by":"dan"`), []byte(`"by":"gil"`), 1)
	if t.changed, err = o.auditor(ctx, "... of a copy with a forged vote", changed, known); err != nil {
		return t, err
	}
	lines := bytes.SplitAfter(out.Bytes(), []byte("\n"))
	cut := bytes.Join(lines[:max(len(lines)-4, 1)], nil) // the last of lines is empty
	t.cut, err = o.auditor(ctx, "... of a copy without the end", cut, known)
	return t, err
}

// auditor verifies an export and shows the result, with the first of the worst findings.
func (o *office) auditor(ctx context.Context, what string, export []byte, known audit.Options) (*audit.Report, error) {
	_, records, err := audit.ReadExport(bytes.NewReader(export))
	if err != nil {
		return nil, err
	}
	report, err := audit.Verify(ctx, records, known)
	if err != nil {
		return nil, err
	}
	o.at("%-33s %s: %d records, %d actions", what, report.Class(), report.Records, report.Uses)
	for _, f := range report.Findings {
		if f.Kind.Class() == report.Class() { // there are milder ones, which follow from it
			o.block(fmt.Sprintf("record %d: %s", f.Seq, f.What), 1)
			break
		}
	}
	return report, nil
}
