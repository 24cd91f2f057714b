package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

// TestRecords runs the suite of what governance writes down. open gives empty
// records that are closed when the test they were opened for ends; it is called
// once for each subtest. The records' clock is the real one.
func TestRecords(t *testing.T, open func(t *testing.T) activities.Records) {
	for _, c := range []struct {
		name string
		test func(*files)
	}{
		{"GatesComeBackAsTheyWere", gatesComeBackAsTheyWere},
		{"GatesNeverGoBack", gatesNeverGoBack},
		{"GatesByDeadline", gatesByDeadline},
		{"GatesFilter", gatesFilter},
		{"GatesByApprover", gatesByApprover},
		{"GatesThatChangeTheirApprovers", gatesThatChangeTheirApprovers},
		{"GatesExpired", gatesExpired},
		{"GatesClosed", gatesClosed},
		{"GatesPaging", gatesPaging},
		{"GatesInCrowds", gatesInCrowds},
		{"GatesSavedInAnyOrder", gatesSavedInAnyOrder},
		{"GatesModel", gatesModel},
		{"GrantIsUsedOnce", grantIsUsedOnce},
		{"GrantRevoked", grantRevoked},
		{"GrantRefusesNonsense", grantRefusesNonsense},
		{"RaceOfUses", raceOfUses},
		{"RaceOfUseAndRevocation", raceOfUseAndRevocation},
		{"AuditChain", auditChain},
		{"AuditChainsAreIndependent", auditChainsAreIndependent},
		{"AuditOnce", auditOnce},
		{"AuditAllOrNone", auditAllOrNone},
		{"AuditOddValues", auditOddValues},
		{"AuditQueries", auditQueries},
		{"AuditReadsOn", auditReadsOn},
		{"AuditDefaultLimit", auditDefaultLimit},
		{"AuditHeads", auditHeads},
		{"RaceOfAppends", raceOfAppends},
		{"OutboxOnce", outboxOnce},
		{"OutboxOldestFirst", outboxOldestFirst},
		{"OutboxThreadsKeepTheirOrder", outboxThreadsKeepTheirOrder},
		{"OutboxLease", outboxLease},
		{"OutboxFailed", outboxFailed},
		{"OutboxDeadLetters", outboxDeadLetters},
		{"OutboxReceipts", outboxReceipts},
		{"OutboxDeliveredIsFinal", outboxDeliveredIsFinal},
		{"OutboxLists", outboxLists},
		{"RaceOfClaims", raceOfClaims},
		{"OutboxModel", outboxModel},
		{"Bundles", bundles},
		{"KeysComeBackAsTheyWere", keysComeBackAsTheyWere},
		{"KeysRevoked", keysRevoked},
		{"KeysUsed", keysUsed},
		{"Sessions", sessions},
		{"SessionsExpire", sessionsExpire},
		{"SessionsOfASubject", sessionsOfASubject},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&files{T: t, Records: open(t)}) })
	}
}

// files are records with a test's complaints.
type files struct {
	*testing.T
	activities.Records
}

func (f *files) ok(what string, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
}

func (f *files) code(what string, err error, want wflo.Code) {
	f.Helper()
	if wflo.CodeOf(err) != want {
		f.Errorf("%s gave %v, want %s", what, err, want)
	}
}

func (f *files) missing(what string, err error) {
	f.Helper()
	if !errors.Is(err, fs.ErrNotExist) {
		f.Errorf("%s gave %v, want fs.ErrNotExist", what, err)
	}
}

// race runs fn so many times at once.
func (f *files) race(n int, fn func(ctx context.Context, racer int) error) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if err := fn(ctx, i); err != nil {
				f.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
}

// until repeats fn until it says that it is done.
func (f *files) until(what string, fn func(ctx context.Context) (done bool, err error)) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	for {
		done, err := fn(ctx)
		switch {
		case err != nil:
			f.Fatalf("%s: %v", what, err)
		case done:
			return
		}
	}
}

// written compares what was given to a store with what it gave back, as JSON.
func (f *files) written(what string, got, want any) {
	f.Helper()
	if diff := cmp.Diff(asJSON(want), asJSON(got)); diff != "" {
		f.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// noon is a moment that every database keeps exactly.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 123_456_000, time.UTC)

// gate is an open gate that times out so many minutes after noon.
func gate(nonce string, minutes int) wflo.Gate {
	g := run.Ask("refunds", wflo.Approval{
		Gate: "refunds", Action: "refund <b>&\u2028 " + nonce, Payload: json.RawMessage(`{"amount":12345678901234567890,"to":"Zoë"}`),
		Timeout: time.Duration(minutes) * time.Minute,
	}, noon)
	return g.Seal(nonce)
}

func closed(g wflo.Gate, minutes int) wflo.Gate {
	g.Status, g.ClosedAt = wflo.GateRejected, noon.Add(time.Duration(minutes)*time.Minute)
	g.Changes++
	return g
}

func (f *files) save(gates ...wflo.Gate) {
	f.Helper()
	for _, g := range gates {
		f.ok("save gate "+g.Nonce, f.SaveGate(f.Context(), g))
	}
}

func (f *files) list(q activities.GateQuery) []string {
	f.Helper()
	gates, err := f.ListGates(f.Context(), q)
	f.ok("list gates", err)
	nonces := []string{}
	for _, g := range gates {
		nonces = append(nonces, g.Nonce)
	}
	return nonces
}

func (f *files) listed(q activities.GateQuery, want ...string) {
	f.Helper()
	if diff := cmp.Diff(append([]string{}, want...), f.list(q)); diff != "" {
		f.Errorf("gates of %+v (-want +got):\n%s", q, diff)
	}
}

// numbered is a name whose order as text is that of the numbers.
func numbered(prefix string, n int) string { return fmt.Sprintf("%s%06d", prefix, n) }
