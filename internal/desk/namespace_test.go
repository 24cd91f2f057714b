package desk_test

import (
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// A database may hold the gates of several namespaces, and a client sees one: a run
// that it does not find in its own is not over in another.
func TestReconcileLeavesOtherNamespacesAlone(t *testing.T) {
	o := newOffice(t)
	g := o.ask(nil)
	o.runs.End("r1")
	o.pass(2 * time.Hour)
	o.desk.Namespace = g.Namespace + "-of-others"
	if n, err := o.desk.Reconcile(t.Context()); n != 0 || err != nil {
		t.Errorf("closed %d gates of another namespace, %v", n, err)
	}
	if kept, err := o.records.Gate(t.Context(), g.Nonce); err != nil || kept.Status != wflo.GateOpen {
		t.Errorf("the gate is %s, %v", kept.Status, err)
	}
	o.desk.Namespace = g.Namespace
	if n, err := o.desk.Reconcile(t.Context()); n != 1 || err != nil {
		t.Errorf("closed %d gates of its own, %v", n, err)
	}
}
