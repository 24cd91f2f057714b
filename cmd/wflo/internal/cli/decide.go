package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
	"github.com/wflo-ai/wflo-go/internal/desk"
)

// decideTimeout is how long the run may take to take in a decision.
const decideTimeout = 15 * time.Second

type decideFlags struct {
	run, reason, text, as, key string
	edit, form                 string
	yes, all                   bool
	filter                     gateFilter
}

func (f *decideFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.run, "run", "", "the run, when the gate's name is not enough")
	flags.StringVar(&f.as, "as", "", "who decides, when you sign it yourself (also WFLO_USER; default: the login name)")
	flags.StringVar(&f.key, "key", "", "file with your approver key (also WFLO_APPROVER_KEY; default: the one that wflo dev made)")
}

// by is in whose name a decision is signed here.
func (f decideFlags) by() string {
	if f.as != "" {
		return f.as
	}
	return userName()
}

// over says which gates that are closed a verdict is still for: a rejection takes an
// approval back as long as the action has not begun.
func over(v wflo.Verdict) func(wflo.Gate) bool {
	return func(g wflo.Gate) bool {
		return v == wflo.VerdictReject && g.Granted() && !g.Used && g.Version > 0
	}
}

func (a *app) decide(ctx context.Context, name string, verdict wflo.Verdict, f decideFlags) error {
	// Whoever gives a reason or an answer has said yes with it.
	yes := f.yes || verdict == wflo.VerdictReject || verdict == wflo.VerdictRespond || verdict == wflo.VerdictAck
	if err := a.canAsk(yes, "look at it with `wflo approvals show "+shellWord(name)+"`"); err != nil {
		return err
	}
	d, err := a.decision(verdict, f)
	if err != nil {
		return err
	}
	src, err := a.gateSource(ctx, f, false)
	if err != nil {
		return err
	}
	defer src.close()
	v, err := src.find(ctx, name, f.run, over(d.Verdict))
	if err != nil {
		return err
	}
	after, err := a.decideOne(ctx, src, v, d, yes)
	if err != nil {
		return err
	}
	return a.printDecided(after, d)
}

// decision is what the flags say, before it is about a gate.
func (a *app) decision(verdict wflo.Verdict, f decideFlags) (wflo.Decision, error) {
	d := wflo.Decision{ID: rand.Text(), Verdict: verdict, Reason: f.reason, Text: f.text}
	var err error
	switch {
	case f.edit != "" && (f.form != "" || f.text != ""):
		return d, Usage("use one of them", "--edit and answers (--text, --form) exclude each other")
	case f.edit == "-" || f.form == "-":
		if !f.yes && verdict == wflo.VerdictApprove {
			return d, Usage("add --yes", "standard input cannot hold the JSON and the answer")
		}
	}
	if f.edit != "" {
		d.Verdict = wflo.VerdictEdit
		d.Edit, err = a.readJSON("--edit", f.edit)
	} else if f.form != "" || f.text != "" {
		d.Verdict = wflo.VerdictRespond
		if f.form != "" {
			d.Form, err = a.readJSON("--form", f.form)
		}
	}
	return d, err
}

// maxJSON bounds what a file of a decision may hold: more than a gate takes, so that
// the gate says what is too much.
const maxJSON = 1 << 20

// readJSON reads one JSON value from a file, or from standard input for "-".
func (a *app) readJSON(flag, path string) (json.RawMessage, error) {
	in := a.deps.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, Usage("name a file, or - for standard input", "%s: %w", flag, err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxJSON+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", flag, err)
	case len(data) > maxJSON:
		return nil, Usage("nobody can judge so much", "%s has more than %d bytes", flag, maxJSON)
	}
	if _, err := wflo.Canonical(data); err != nil {
		return nil, Usage("give one JSON value", "%s is not JSON: %w", flag, err)
	}
	return bytes.TrimSpace(data), nil
}

// decideOne shows a gate, asks, and delivers the decision.
func (a *app) decideOne(ctx context.Context, src gateSource, v desk.View, d wflo.Decision, yes bool) (desk.View, error) {
	// What is shown must be what the digest covers, or the signature would
	// stand for something that nobody saw.
	if v.ComputeDigest() != v.Digest {
		return v, wflo.Errorf(wflo.CodeConflict, "do not decide; look at the run's history",
			"the digest of gate %s does not fit what it shows", v.ID)
	}
	a.note("%s", gateText(v.Gate))
	if v.Note != "" {
		a.note("        note: %s", escapeLine(v.Note))
	}
	if v.You.Why != "" {
		a.note("        you: %s", escapeLine(v.You.Why))
	}
	if len(d.Edit) > 0 {
		a.note("  edit\n%s", diffText(v.Approval.Payload, d.Edit, strings.Repeat(" ", 8)))
	}
	if err := a.confirmAs(yes, question(d.Verdict, v.Gate), src.who(), "nothing was decided"); err != nil {
		return v, err
	}
	return src.decide(ctx, v.Gate, d)
}

// question is what somebody is asked to say yes to.
func question(verdict wflo.Verdict, g wflo.Gate) string {
	switch {
	case verdict == wflo.VerdictEdit && g.Approval.FourEyes:
		return "put this payload in place, which others must approve,"
	case verdict == wflo.VerdictEdit:
		return "put this payload in place and approve it"
	case verdict == wflo.VerdictEscalate:
		return "ask the next level"
	}
	return string(verdict) + " this"
}

// printDecided says what became of the gate.
func (a *app) printDecided(v desk.View, d wflo.Decision) error {
	if a.format != formatText {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintln(a.deps.Stdout, afterText(v, d))
	return err
}

// sign makes a signed decision on a gate and delivers it to its run.
func (a *app) sign(ctx context.Context, c *connection, g wflo.Gate, what wflo.Decision, by string, key *localKey) (wflo.Gate, error) {
	d := g.Decide(what.Verdict, by)
	d.ID, d.Reason, d.Text, d.Form, d.Edit = what.ID, what.Reason, what.Text, what.Form, what.Edit
	d.At = time.Now().UTC()
	if key == nil {
		return c.send(ctx, g, d)
	}
	after, err := c.send(ctx, g, d.Sign(key.Name, key.Private))
	if key.named || !isStranger(err) {
		return after, err
	}
	// Nobody asked for this key: a wflo dev left it here, and the worker is
	// another one, which may take decisions without a signature.
	if after, unsigned := c.send(ctx, g, d); unsigned == nil {
		a.note("decided without a signature, because the worker does not know key %s", escapeLine(key.Name))
		return after, nil
	}
	return after, err
}

// isStranger says that the gate does not know the key that signed.
func isStranger(err error) bool { return err != nil && strings.Contains(err.Error(), "decision.key ") }

// localKey is a key on this machine. named says that somebody chose it.
type localKey struct {
	approver.Key
	named bool
}

// signer loads the key: the flag's, the environment's, or that of wflo dev when
// it is there. No key at all is no error here: the worker says whether it
// takes unsigned decisions.
func signer(path string) (*localKey, error) {
	named := path != ""
	if !named {
		path = os.Getenv("WFLO_APPROVER_KEY")
		named = path != ""
	}
	if !named {
		path = filepath.Join(DefaultDataDir(), approver.FileName)
	}
	loaded, err := approver.Load(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil // no key is a good answer
	}
	if err != nil {
		return nil, err
	}
	return &localKey{loaded, named}, nil
}

// send delivers a decision and gives the gate as it is after it.
func (c *connection) send(ctx context.Context, gate wflo.Gate, d wflo.Decision) (wflo.Gate, error) {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: updateID(d), WorkflowID: gate.WorkflowID, FirstExecutionRunID: gate.FirstRunID,
		UpdateName: wflo.UpdateDecide, Args: []any{d}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, &gate)
	}
	if err != nil {
		return wflo.Gate{}, refusal(c.explain(err, gate.WorkflowID))
	}
	return gate, nil
}

// updateID makes the same decision, sent twice, one update.
func updateID(d wflo.Decision) string {
	sum := sha256.Sum256(d.SignedBytes())
	return "wflo-decide-" + hex.EncodeToString(sum[:16])
}

// refusal gives its exit code to a decision that does not count: because of who sent
// it, because it comes late, or because of what it says. The gate names the field
// that it objects to.
func refusal(err error) error {
	for _, field := range []string{"decision.by ", "decision.key ", "decision.signature "} {
		if strings.Contains(err.Error(), field) {
			return &exitError{ExitAuth, err}
		}
	}
	code := wflo.CodeOf(err)
	switch {
	case code != wflo.CodeInvalid && code != wflo.CodeConflict:
		return err
	case strings.Contains(err.Error(), "comes late"), strings.Contains(err.Error(), "the run is over"):
		return &exitError{ExitLate, err}
	}
	return &exitError{ExitRefused, err}
}
