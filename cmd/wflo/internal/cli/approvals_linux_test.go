package cli

import (
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// A batch asks at each gate, and a no passes over it.
func TestApproveAllAsks(t *testing.T) {
	for answer, status := range map[string]wflo.GateStatus{"y\n": wflo.GateApproved, "n\n": wflo.GateOpen, "\n": wflo.GateOpen} {
		o := newOffice(t)
		o.gate("r1", nil)
		ann := o.approver("ann")
		o.environment(ann)
		said, code := typed(t, &fakeTemporal{}, "Approve this as ann? [y/N] ", answer, "approve", "--all", "--mine")
		o.said.WriteString(said)
		if got := o.runs.Gate("nonce-r1").Status; got != status || code != 0 {
			t.Errorf("%q: %s, exit code %d:\n%s", answer, got, code, said)
		}
		if passed := strings.Contains(said, "0 gates approved, 0 refused, 1 passed over"); passed == (status == wflo.GateApproved) {
			t.Errorf("%q says:\n%s", answer, said)
		}
	}
}

// What is typed at the question for a key is not on the screen.
func TestLoginAsksHidden(t *testing.T) {
	o := newOffice(t)
	ann := o.approver("ann")
	o.environment("")
	said, code := typed(t, &fakeTemporal{}, "(it is not shown): ", ann+"\n", "login")
	o.said.WriteString(said)
	if code != 0 || !strings.Contains(said, "logged in to "+o.url+" as ann") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// Keys are made and revoked after a yes only.
func TestKeysAsk(t *testing.T) {
	for answer, code := range map[string]int{"y\n": ExitOK, "n\n": ExitDenied} {
		o := newOffice(t)
		o.environment(o.key("root", nil, wflo.RoleAdmin))
		_, got := typed(t, &fakeTemporal{}, "Make the key ci as root? [y/N] ", answer, "keys", "create", "--name", "ci", "--subject", "ci", "--role", "viewer")
		all, err := o.records.ListKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if made := len(all) == 2; got != code || made != (code == ExitOK) {
			t.Errorf("%q: exit code %d, %d keys", answer, got, len(all))
		}
	}
}
