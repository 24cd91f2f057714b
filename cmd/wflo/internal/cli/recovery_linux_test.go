package cli

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
)

// A restore shows its plan and asks; only a yes takes the run back.
func TestRestoreAsks(t *testing.T) {
	for answer, code := range map[string]int{"y\n": ExitOK, "n\n": ExitDenied, "\n": ExitDenied, "\x04": ExitDenied} {
		b := newBackOffice(t, nil)
		b.environment(b.op)
		said, got := typed(t, &fakeTemporal{}, "Take run refund-17 back as olga? [y/N] ", answer, "restore", "refund-17", "--to", "before-charge", "--reason", "wrong account")
		b.said.WriteString(said)
		orders := b.back.Orders()
		if real := len(orders) == 2 && !orders[1].DryRun && orders[1].Mode == wflo.RestoreInPlace && orders[1].Plan == "d1f5"; got != code || real != (code == ExitOK) || len(orders) == 0 || !orders[0].DryRun {
			t.Errorf("%q: exit code %d, ordered %+v:\n%s", answer, got, orders, said)
		}
		if !strings.Contains(said, "will be undone, in this order") || !strings.Contains(said, "and 7 more") || strings.Contains(said, "wflo: nothing was changed") != (code != ExitOK) {
			t.Errorf("%q says:\n%s", answer, said)
		}
	}
}

// What would be refused is not asked about, unless an administrator accepts it.
func TestRefusedRestoreDoesNotAsk(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs) { r.Plan = recoverytest.Irreversible(r.Plan) })
	b.environment(b.root)
	said, code := typed(t, &fakeTemporal{}, "Take run refund-17 back as root? [y/N] ", "y\n", "restore", "refund-17", "--to", "before-charge", "--reason", "x", "--accept-irreversible")
	if orders := b.back.Orders(); code != ExitOK || len(orders) != 2 || !orders[1].AcceptIrreversible || !strings.Contains(said, "cannot be undone\r\n  - step mail#1") {
		t.Errorf("exit code %d, ordered %+v:\n%s", code, orders, said)
	}
	_, terminal := openTerminal(t) // which holds what is said
	code = Main(t.Context(), Deps{Stdin: terminal, Stdout: terminal, Stderr: terminal}, []string{"restore", "refund-17", "--to", "before-charge", "--reason", "x"})
	if orders := b.back.Orders(); code != ExitRefused || len(orders) != 3 || !orders[2].DryRun {
		t.Errorf("exit code %d, ordered %+v", code, orders)
	}
}

// What people decide about dead letters and snapshots is asked first.
func TestRecoveryAsks(t *testing.T) {
	for line, question := range map[string]string{
		"compensations retry undo-acme":                    "Try to undo undo-acme again as root? [y/N] ",
		"compensations resolve undo-acme --reason by-hand": "Say that undo-acme was undone by hand as root? [y/N] ",
		"compensations skip undo-acme --reason stays":      "Leave the effect of undo-acme as it is as root? [y/N] ",
		"snapshot rm snap-00000000000000000001":            "Remove snapshot snap-00000000000000000001 as root? [y/N] ",
	} {
		for answer, code := range map[string]int{"y\n": ExitOK, "n\n": ExitDenied} {
			b := newBackOffice(t, nil)
			b.environment(b.root)
			said, got := typed(t, &fakeTemporal{}, question, answer, strings.Fields(line)...)
			b.said.WriteString(said)
			c, err := b.back.Store.Compensation(t.Context(), "undo-acme")
			if err != nil {
				t.Fatal(err)
			}
			_, gone := b.back.Store.Snapshot(t.Context(), snapA)
			if changed := c.State != wflo.CompensationDead || gone != nil; got != code || changed != (code == ExitOK) {
				t.Errorf("%s %q: exit code %d, %s, %v:\n%s", line, answer, got, c.State, gone, said)
			}
		}
	}
}
