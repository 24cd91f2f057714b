package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/approver"
)

// decideTimeout is how long the run may take to take in a decision.
const decideTimeout = 15 * time.Second

type decideFlags struct {
	run, reason, text, as, key string
	yes                        bool
}

func (f *decideFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.run, "run", "", "the run, when the gate's name is not enough")
	flags.StringVar(&f.as, "as", "", "who decides (also WFLO_USER; default: the login name)")
	flags.StringVar(&f.key, "key", "", "file with your approver key (also WFLO_APPROVER_KEY; default: the one that wflo dev made)")
}

func (a *app) approveCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:   "approve GATE",
		Short: "Let the action at a gate happen",
		Long: `Show what waits at a gate and let it happen. GATE is the gate's name, or the
id of a run that has one open gate. The decision is bound to what was shown: if
the action changes in between, it does not count.`,
		Example: "  wflo approve refunds\n  wflo approve refunds --run refund-k3f9 --reason \"checked the invoice\" --yes",
		Args:    args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.decide(cmd.Context(), names[0], wflo.VerdictApprove, f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) rejectCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:     "reject GATE",
		Short:   "Forbid the action at a gate",
		Example: "  wflo reject refunds --reason \"not our customer\"",
		Args:    args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(f.reason) == "" {
				return Usage("such as: --reason \"not our customer\"", "--reason is missing")
			}
			return a.decide(cmd.Context(), names[0], wflo.VerdictReject, f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; required")
	return cmd
}

func (a *app) respondCmd() *cobra.Command {
	var f decideFlags
	cmd := &cobra.Command{
		Use:     "respond GATE",
		Short:   "Answer the question at a gate with text",
		Example: "  wflo respond ask_human-1 --text \"Use the invoice of May\"",
		Args:    args("GATE"),
		RunE: func(cmd *cobra.Command, names []string) error {
			if strings.TrimSpace(f.text) == "" {
				return Usage("such as: --text \"Use the invoice of May\"", "--text is missing")
			}
			return a.decide(cmd.Context(), names[0], wflo.VerdictRespond, f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.text, "text", "", "the answer; required")
	return cmd
}

func (a *app) decide(ctx context.Context, name string, verdict wflo.Verdict, f decideFlags) error {
	// Whoever gives a reason or an answer has said yes with it.
	yes := f.yes || verdict != wflo.VerdictApprove
	if err := a.canAsk(yes, "look at it with `wflo approvals -o json`"); err != nil {
		return err
	}
	key, named, err := signer(f.key)
	if err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	gate, err := c.findGate(ctx, name, f.run)
	if err != nil {
		return err
	}
	// What is shown must be what the digest covers, or the signature would
	// stand for something that nobody saw.
	if gate.ComputeDigest() != gate.Digest {
		return wflo.Errorf(wflo.CodeConflict, "do not decide; look at the run's history",
			"the digest of gate %s does not fit what it shows", gate.ID)
	}
	d := wflo.Decision{
		Gate: gate.ID, Epoch: gate.Epoch, Digest: gate.Digest, Verdict: verdict,
		By: f.as, Reason: f.reason, Text: f.text,
	}
	if d.By == "" {
		d.By = userName()
	}
	a.note("%s", gateText(gate))
	if err := a.confirmAs(yes, "approve this", d.By, "nothing was decided"); err != nil {
		return err
	}
	if key == nil {
		return a.send(ctx, c, gate, d)
	}
	err = a.send(ctx, c, gate, d.Sign(key.Name, key.Private))
	if named || !isStranger(err) {
		return err
	}
	// Nobody asked for this key: a wflo dev left it here, and the worker is
	// another one, which may take decisions without a signature.
	if a.send(ctx, c, gate, d) == nil {
		a.note("decided without a signature, because the worker does not know key %s", escapeLine(key.Name))
		return nil
	}
	return err
}

// isStranger says that the gate does not know the key that signed.
func isStranger(err error) bool { return err != nil && strings.Contains(err.Error(), "decision.key ") }

// signer loads the key: the flag's, the environment's, or that of wflo dev when
// it is there. No key at all is no error here: the worker says whether it
// takes unsigned decisions. named says that somebody chose the key.
func signer(path string) (key *approver.Key, named bool, err error) {
	named = path != ""
	if !named {
		path = os.Getenv("WFLO_APPROVER_KEY")
		named = path != ""
	}
	if !named {
		path = filepath.Join(DefaultDataDir(), approver.FileName)
	}
	loaded, err := approver.Load(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, false, nil
	}
	if err != nil {
		return nil, named, err
	}
	return &loaded, named, nil
}

// send delivers the decision and prints what the gate made of it.
func (a *app) send(ctx context.Context, c *connection, gate wflo.Gate, d wflo.Decision) error {
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
		return refusal(c.explain(err, gate.WorkflowID))
	}
	if a.format != formatText {
		return a.printJSON(gate)
	}
	_, err = fmt.Fprintln(a.deps.Stdout, gateOutcome(gate))
	return err
}

// updateID makes the same decision, sent twice, one update.
func updateID(d wflo.Decision) string {
	sum := sha256.Sum256(d.SignedBytes())
	return "wflo-decide-" + hex.EncodeToString(sum[:16])
}

// refusal gives the exit code for authentication to a decision that does not
// count because of who sent it. The gate names the field that it objects to.
func refusal(err error) error {
	for _, field := range []string{"decision.by ", "decision.key ", "decision.signature "} {
		if strings.Contains(err.Error(), field) {
			return &exitError{ExitAuth, err}
		}
	}
	return err
}
