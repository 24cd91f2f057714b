package cli

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// A halt and a cancellation are on record with who wanted them and why, and are for
// operators. What goes past the API says so.
func TestStopsAreOnRecord(t *testing.T) {
	o := newOffice(t)
	o.gate("refund-1", nil)
	o.gate("refund-2", nil)
	olga, vic := o.key("olga", nil, wflo.RoleOperator), o.key("vic", nil, wflo.RoleViewer)

	o.does("", "halt", "refund-1", "--reason", "x").want(t, ExitAuth, nil, []string{"wants to know who you are", "wflo login"})
	o.does(vic, "halt", "refund-1", "--reason", "x").want(t, ExitDenied, nil, []string{"operator"})
	o.does(olga, "halt", "refund-1", "--reason", "x", "--as", "ann").want(t, ExitUsage, nil, []string{"the API knows who you are"})
	if told := o.runs.Stops(); len(told) != 0 {
		t.Fatalf("told %+v", told)
	}
	r := o.does(olga, "halt", "refund-1", "--reason", "wrong customer")
	r.want(t, 0, []string{"halting refund-1\n"}, []string{"wflo status refund-1"})
	if strings.Contains(r.errOut, "not in the audit trail") {
		t.Errorf("says %s", r.errOut)
	}
	o.does(olga, "cancel", "refund-2", "--reason", "twice", "-o", "json").want(t, 0, []string{`"by": "olga"`, `"recorded": true`, `"state": "cancelling"`}, nil)
	told := o.runs.Stops()
	if len(told) != 2 || told[0].Halt == nil || told[0].Halt.By != "olga" || told[1].Halt != nil {
		t.Errorf("told %+v", told)
	}
	for kind, reason := range map[wflo.AuditType]string{wflo.AuditRunHalted: "wrong customer", wflo.AuditRunCancelAsked: "twice"} {
		records, err := o.records.ReadAudit(t.Context(), wflo.AuditQuery{Type: kind})
		if err != nil || len(records) != 1 {
			t.Fatalf("%s: %d records, %v", kind, len(records), err)
		}
		var about wflo.AuditControl
		if err := json.Unmarshal(records[0].Data, &about); err != nil || records[0].Actor != "olga" || about.Reason != reason {
			t.Errorf("%s: by %s, %+v, %v", kind, records[0].Actor, about, err)
		}
	}
	o.does("", "halt", "refund-2", "--reason", "now", "--direct", "--as", "ann").want(t, 0, []string{"halting refund-2"}, []string{"not in the audit trail: --direct"})
	if told := o.runs.Stops(); len(told) != 3 || told[2].Halt == nil || told[2].Halt.By != "ann" {
		t.Errorf("told %+v", told)
	}
}

// Where no API answers, an emergency stop reaches the run all the same, and a
// cancellation only where nobody said that there is an API. It is never silent.
func TestStopsWithoutAnAPI(t *testing.T) {
	f := &fakeTemporal{} // its API answers nobody
	invoke(t, f, "halt", "r1", "--reason", "wrong customer").want(t, 0, []string{"halting r1\n"}, []string{"not in the audit trail: no API at http://127.0.0.1:1", "wflo status r1"})
	if diff := cmp.Diff([]any{"r1", wflo.SignalHalt, wflo.Halt{By: "bob", Reason: "wrong customer"}}, f.signals); diff != "" {
		t.Errorf("signal (-want +got):\n%s", diff)
	}
	invoke(t, f, "cancel", "r1").want(t, ExitError, nil, []string{"could not be recorded", "--direct"})
	if len(f.cancelled) != 0 {
		t.Errorf("cancelled %v", f.cancelled)
	}
	invoke(t, f, "cancel", "r1", "--direct", "-o", "json").want(t, 0, []string{`"state": "cancelling"`, `"recorded": false`}, []string{"not in the audit trail"})
	if diff := cmp.Diff([]string{"r1"}, f.cancelled); diff != "" {
		t.Errorf("cancelled (-want +got):\n%s", diff)
	}
}

// What an API answers that was not named is not asked about runs of another Temporal: it
// may have one of the same name.
func TestStopsAskTheRightAPI(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.NotFound(w, r) // as a program without the path does
	}))
	t.Cleanup(s.Close)
	for line, want := range map[string]bool{
		"": true, "--address 127.0.0.1:7233": true, "--address temporal.example:7233": false, "--namespace other": false,
	} {
		a := &app{}
		cmd := NewRoot(Deps{})
		a.conn.add(cmd.Flags())
		t.Setenv("TEMPORAL_CONFIG_FILE", "")
		if err := cmd.Flags().Parse(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		if got := a.onDefaults(); got != want {
			t.Errorf("%q is the Temporal of this machine: %v", line, got)
		}
	}
	f := &fakeTemporal{api: s.URL}
	invoke(t, f, "halt", "r1", "--reason", "x").want(t, 0, []string{"halting r1"}, []string{"not in the audit trail: no API at " + s.URL})
	if asked != 1 || len(f.signals) != 3 {
		t.Errorf("asked %d times, signalled %v", asked, f.signals)
	}
	if err := (&app{conn: connFlags{api: "nonsense"}}).stop(t.Context(), stop{what: "halt", id: "r1"}); exitCode(err) != ExitUsage || errors.Is(err, errNoAPI) {
		t.Errorf("an address that is none: %v", err)
	}
}
