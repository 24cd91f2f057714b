package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/audit"
)

func wantKinds(t *testing.T, report *audit.Report, class audit.Class, want ...audit.Kind) {
	t.Helper()
	all := map[audit.Kind]bool{}
	for _, k := range want {
		all[k] = true
	}
	if diff := cmp.Diff(all, kinds(report)); diff != "" || report.Class() != class {
		t.Errorf("class %s, want %s; kinds (-want +got):\n%s%+v", report.Class(), class, diff, report.Findings)
	}
}

func TestVerifyTrueStory(t *testing.T) {
	records := seal(t, newStory(t).events(t)...)
	report := verify(t, records, options(records))
	wantKinds(t, report, audit.OK)
	want := audit.Report{Records: 6, Checkpoints: 1, Uses: 1,
		Chains: []audit.ChainHead{{Chain: "main", First: 1, Seq: 6, Hash: records[5].Hash, Anchored: 6}}}
	got := *report
	if got.Records != want.Records || got.Uses != 1 || got.Checkpoints != 1 || !cmp.Equal(got.Chains, want.Chains) {
		t.Errorf("report is %+v", got)
	}
}

// TestVerifyFindsChanges plants what somebody with the database can do.
func TestVerifyFindsChanges(t *testing.T) {
	resealed := func(t *testing.T, records []wflo.AuditRecord, from int) {
		for i := from; i < len(records); i++ {
			prev := wflo.AuditRecord{}
			if i > 0 {
				prev = records[i-1]
			}
			r, err := audit.Seal(prev, records[i].AuditEvent)
			if err != nil {
				t.Fatal(err)
			}
			records[i] = r
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord
		want  []audit.Kind
	}{
		"edited": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all[3].Actor = "mallory"
			return all
		}, []audit.Kind{audit.Tampered}},
		"edited data": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all[3].Data = json.RawMessage(strings.Replace(string(all[3].Data), "late", "soon", 1))
			return all
		}, []audit.Kind{audit.Tampered}},
		"edited time": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all[3].At = all[3].At.Add(time.Microsecond)
			return all
		}, []audit.Kind{audit.Tampered}},
		"edited, with its own hash made right": {func(t *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all[3].Actor = "mallory"
			resealed(t, all[:4], 3)
			return all
		}, []audit.Kind{audit.Tampered}},
		"edited, with all hashes made right": {func(t *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all[3].Actor = "mallory"
			resealed(t, all, 3)
			return all
		}, []audit.Kind{audit.Rewritten, audit.Unanchored}},
		"deleted": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			return slices.Delete(all, 3, 4)
		}, []audit.Kind{audit.Gap}},
		"deleted, and numbered again": {func(t *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all = slices.Delete(all, 3, 4)
			resealed(t, all, 3)
			return all
		}, []audit.Kind{audit.Truncated, audit.Unanchored}},
		"deleted at the start": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			return all[1:]
		}, []audit.Kind{audit.Gap, audit.Unrecorded}},
		"reordered": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			all[3], all[4] = all[4], all[3]
			return all
		}, []audit.Kind{audit.Gap, audit.Order}},
		"twice": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			return slices.Insert(all, 3, all[3])
		}, []audit.Kind{audit.Order}},
		"cut off": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			return all[:5]
		}, []audit.Kind{audit.Truncated, audit.Unanchored, audit.Unapproved}},
		"all gone": {func(_ *testing.T, _ []wflo.AuditRecord) []wflo.AuditRecord {
			return nil
		}, []audit.Kind{audit.Truncated}},
		"moved to another chain": {func(_ *testing.T, all []wflo.AuditRecord) []wflo.AuditRecord {
			for i := range all {
				all[i].Chain = "other"
			}
			return all
		}, []audit.Kind{audit.Tampered, audit.Truncated, audit.Unanchored, audit.Digest}},
	} {
		t.Run(name, func(t *testing.T) {
			records := seal(t, newStory(t).events(t)...)
			o := options(records)
			wantKinds(t, verify(t, c.spoil(t, slices.Clone(records)), o), audit.Altered, c.want...)
		})
	}
}

// TestVerifyEveryByte changes each field of each record, and each byte of its data.
func TestVerifyEveryByte(t *testing.T) {
	records := seal(t, newStory(t).events(t)...)
	o := options(records)
	for i, r := range records {
		for at := range r.Data {
			spoiled := slices.Clone(records)
			spoiled[i].Data = slices.Clone(r.Data)
			spoiled[i].Data[at] ^= 1
			if report := verify(t, spoiled, o); report.Class() != audit.Altered {
				t.Fatalf("byte %d of record %d can be changed", at, i+1)
			}
		}
	}
}

func TestVerifyCheckpoints(t *testing.T) {
	records := seal(t, newStory(t).events(t)...)
	last := records[len(records)-1]
	changed := mark(last)
	changed.Seq++
	foreign := wflo.Checkpoint{Chain: last.Chain, Seq: last.Seq, Hash: last.Hash, At: noon}.Sign("marks", otherKey)
	unknown := wflo.Checkpoint{Chain: last.Chain, Seq: last.Seq, Hash: last.Hash, At: noon}.Sign("else", markKey)
	fork := last
	fork.Hash = records[0].Hash
	for name, c := range map[string]struct {
		marks []wflo.Checkpoint
		keys  map[string]string
		class audit.Class
		want  []audit.Kind
	}{
		"none":              {nil, markKeys, audit.Incomplete, []audit.Kind{audit.Unanchored}},
		"no keys":           {[]wflo.Checkpoint{mark(last)}, nil, audit.Incomplete, []audit.Kind{audit.Unanchored, audit.NoKeys}},
		"an earlier one":    {[]wflo.Checkpoint{mark(records[1])}, markKeys, audit.OK, nil},
		"both":              {[]wflo.Checkpoint{mark(records[1]), mark(last), mark(last)}, markKeys, audit.OK, nil},
		"changed":           {[]wflo.Checkpoint{mark(records[1]), changed}, markKeys, audit.Altered, []audit.Kind{audit.ForgedCheckpoint}},
		"another's key":     {[]wflo.Checkpoint{mark(records[1]), foreign}, markKeys, audit.Altered, []audit.Kind{audit.ForgedCheckpoint}},
		"an unknown key":    {[]wflo.Checkpoint{mark(records[1]), unknown}, markKeys, audit.Altered, []audit.Kind{audit.ForgedCheckpoint}},
		"two for a record":  {[]wflo.Checkpoint{mark(last), mark(fork)}, markKeys, audit.Altered, []audit.Kind{audit.Rewritten}},
		"another's records": {[]wflo.Checkpoint{mark(fork)}, markKeys, audit.Altered, []audit.Kind{audit.Rewritten, audit.Unanchored}},
	} {
		t.Run(name, func(t *testing.T) {
			wantKinds(t, verify(t, records, audit.Options{Terms: auditor, Checkpoints: c.marks, CheckpointKeys: c.keys}), c.class, c.want...)
		})
	}
}

// TestVerifyFindsBreaches has a worker record, in a chain that is right, what must
// not have happened.
func TestVerifyFindsBreaches(t *testing.T) {
	sign := func(d wflo.Decision, by string) wflo.Decision {
		d.By, d.ID = by, by
		return d.Sign("console", voteKey)
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *story)
		class audit.Class
		want  []audit.Kind
	}{
		"no approval on record": {func(_ *testing.T, s *story) { s.leaveOut[wflo.AuditGateClosed] = true }, audit.Breach, []audit.Kind{audit.Unapproved}},
		"rejected":              {func(_ *testing.T, s *story) { s.closed.Status = wflo.GateRejected }, audit.Breach, []audit.Kind{audit.Unapproved}},
		"for another digest":    {func(_ *testing.T, s *story) { s.uses[0].Digest = "else" }, audit.Breach, []audit.Kind{audit.Unapproved}},
		"for another gate":      {func(_ *testing.T, s *story) { s.uses[0].Gate = "else" }, audit.Breach, []audit.Kind{audit.Unapproved}},
		"something else ran":    {func(_ *testing.T, s *story) { s.uses[0].RanSHA256 = strings.Repeat("0", 64) }, audit.Breach, []audit.Kind{audit.Payload}},
		"nobody says what ran":  {func(_ *testing.T, s *story) { s.uses[0].RanSHA256 = "" }, audit.Breach, []audit.Kind{audit.Payload}},
		"another activity ran":  {func(_ *testing.T, s *story) { s.uses[0].Activity = "Wire" }, audit.Breach, []audit.Kind{audit.Payload}},
		"used twice":            {func(t *testing.T, s *story) { s.uses = append(s.uses, s.use(t, "second")) }, audit.Breach, []audit.Kind{audit.UsedTwice}},
		"used again by a retry": {func(t *testing.T, s *story) { s.uses = append(s.uses, s.use(t, "effect")) }, audit.OK, nil},
		"too late":              {func(_ *testing.T, s *story) { s.usedAt = noon.Add(3 * time.Hour) }, audit.Breach, []audit.Kind{audit.Late}},
		"taken back":            {func(_ *testing.T, s *story) { s.revoked = true }, audit.Breach, []audit.Kind{audit.Revoked}},
		"one vote": {func(_ *testing.T, s *story) { s.closed.Votes = s.closed.Votes[:1] }, audit.Breach,
			[]audit.Kind{audit.Quorum, audit.Unapproved}},
		"one person twice": {func(_ *testing.T, s *story) {
			again := s.votes[0]
			again.ID = "again"
			again = again.Sign("console", voteKey)
			s.closed.Votes, s.votes = []wflo.Decision{s.votes[0], again}, []wflo.Decision{s.votes[0], again}
		}, audit.Breach, []audit.Kind{audit.Quorum, audit.Unapproved}},
		"a vote by a worker": {func(_ *testing.T, s *story) {
			s.closed.Votes = slices.Clone(s.closed.Votes)
			s.closed.Votes[1] = s.closed.Votes[1].Sign("console", otherKey)
			s.votes[1] = s.closed.Votes[1]
		}, audit.Breach, []audit.Kind{audit.ForgedVote, audit.Quorum, audit.Unapproved}},
		"a vote by nobody": {func(_ *testing.T, s *story) {
			s.closed.Votes = slices.Clone(s.closed.Votes)
			s.closed.Votes[1].Signature = ""
			s.votes[1] = s.closed.Votes[1]
		}, audit.Breach, []audit.Kind{audit.ForgedVote, audit.Quorum, audit.Unapproved}},
		"a vote of a stranger": {func(_ *testing.T, s *story) {
			s.closed.Votes = []wflo.Decision{s.votes[0], sign(s.votes[1], "eve")}
			s.votes = s.closed.Votes
		}, audit.Breach, []audit.Kind{audit.Quorum, audit.Unapproved}},
		"a vote of who asked": {func(_ *testing.T, s *story) {
			s.closed.Votes = []wflo.Decision{s.votes[0], sign(s.votes[1], "ann")}
			s.votes = s.closed.Votes
		}, audit.Breach, []audit.Kind{audit.FourEyes, audit.Quorum, audit.Unapproved}},
		"a vote that is not on record": {func(_ *testing.T, s *story) { s.votes = s.votes[:1] }, audit.Incomplete, []audit.Kind{audit.Unrecorded}},
		"a vote on something else": {func(_ *testing.T, s *story) {
			d := s.votes[1]
			d.Digest = "else"
			s.closed.Votes = []wflo.Decision{s.votes[0], d.Sign("console", voteKey)}
			s.votes = s.closed.Votes
		}, audit.Breach, []audit.Kind{audit.Unapproved}},
		"another payload on record": {func(_ *testing.T, s *story) { s.closed.Approval.Payload = json.RawMessage(`{"amount":1}`) }, audit.Breach,
			[]audit.Kind{audit.Digest, audit.Payload, audit.Unapproved}},
		"another question at the end": {func(_ *testing.T, s *story) {
			s.opened.Approval.Action = "something harmless"
			s.opened = s.opened.Seal("nonce")
		}, audit.Breach, []audit.Kind{audit.Digest}},
		"never asked": {func(_ *testing.T, s *story) { s.leaveOut[wflo.AuditGateOpened] = true }, audit.Incomplete, []audit.Kind{audit.Unrecorded}},
		"approvers that grew": {func(_ *testing.T, s *story) {
			s.closed.Approval.Approvers = append(slices.Clone(s.closed.Approval.Approvers), "eve")
		}, audit.Breach, []audit.Kind{audit.Digest, audit.Unapproved}},
		"a refusal without a reason": {func(_ *testing.T, s *story) {
			s.more = []wflo.AuditEvent{{ID: "r", Chain: "main", At: noon, Type: wflo.AuditGateRefused, Data: json.RawMessage(`{"gate":"n","decision":{}}`)},
				{ID: "u", Chain: "main", At: noon, Type: wflo.AuditGrantRefused, Data: json.RawMessage(`{"gate":"n"}`)}}
		}, audit.Incomplete, []audit.Kind{audit.Unrecorded}},
		"data of another kind": {func(_ *testing.T, s *story) {
			s.more = []wflo.AuditEvent{{ID: "r", Chain: "main", At: noon, Type: wflo.AuditGateClosed, Data: json.RawMessage(`{"gate":7}`)}}
		}, audit.Incomplete, []audit.Kind{audit.Malformed}},
		"unused": {func(_ *testing.T, s *story) { s.uses = nil }, audit.OK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			c.spoil(t, s)
			records := seal(t, s.events(t)...)
			report := verify(t, records, options(records))
			wantKinds(t, report, c.class, c.want...)
			if name == "unused" && report.Unused != 1 {
				t.Errorf("%d approvals are unused, want 1", report.Unused)
			}
		})
	}
}

// TestVerifyEdited has somebody change the payload, and two others approve that.
func TestVerifyEdited(t *testing.T) {
	s := newStory(t)
	s.opened.Approval.Answers = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictEdit}
	s.opened = s.opened.Seal("nonce")
	s.closed, s.votes = s.opened, nil
	edit := s.closed.Decide(wflo.VerdictEdit, "bob")
	edit.ID, edit.At, edit.Edit = "edit", noon, json.RawMessage(`{"to":"Zoë","amount":7}`)
	edit = edit.Sign("console", voteKey)
	next, err := s.closed.Apply(edit, auditor, noon)
	if err != nil {
		t.Fatal(err)
	}
	s.closed, s.votes = next, []wflo.Decision{edit}
	s.vote(t, wflo.VerdictApprove, "cat", time.Minute)
	s.vote(t, wflo.VerdictApprove, "dan", 2*time.Minute)
	s.uses = []wflo.AuditUse{s.use(t, "effect")}
	records := seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.OK)

	kept := s.closed
	s.closed.Original = json.RawMessage(`{"amount":7}`)
	records = seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.Breach, audit.Digest)

	// A worker that uses an edit for another question, and makes the digest right.
	s.closed = kept
	s.closed.Requesters = nil
	s.closed = s.closed.Seal("nonce")
	s.uses[0].Digest = s.closed.Digest
	records = seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.Breach, audit.Digest, audit.Unapproved)
}

// TestVerifyEditThatApproves has one editor's edit count as a vote, where four eyes are
// not asked for, and a worker that uses it for what nobody was asked.
func TestVerifyEditThatApproves(t *testing.T) {
	s := newStory(t)
	s.opened.Approval.Answers, s.opened.Approval.FourEyes = []wflo.Verdict{wflo.VerdictApprove, wflo.VerdictEdit}, false
	s.opened = s.opened.Seal("nonce")
	s.closed, s.votes = s.opened, nil
	edit := s.closed.Decide(wflo.VerdictEdit, "bob")
	edit.ID, edit.At, edit.Edit = "edit", noon, json.RawMessage(`{"to":"Zoë","amount":7}`)
	edit = edit.Sign("console", voteKey)
	next, err := s.closed.Apply(edit, auditor, noon)
	if err != nil {
		t.Fatal(err)
	}
	edited := next
	s.closed, s.votes = next, []wflo.Decision{edit}
	s.vote(t, wflo.VerdictApprove, "cat", time.Minute)
	s.uses = []wflo.AuditUse{s.use(t, "effect")}
	records := seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.OK)

	s.closed, s.votes = edited, []wflo.Decision{edit}
	s.closed.Approval.Quorum = 1
	s.closed.Status, s.closed.ClosedAt, s.closed.UseBy = wflo.GateApproved, noon, noon.Add(time.Hour)
	s.closed = s.closed.Seal("nonce")
	s.uses = []wflo.AuditUse{s.use(t, "effect")}
	records = seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.Breach, audit.Digest, audit.Unapproved)
}

// TestVerifyWhatTypesRead: what ran may be what the activity's types make of what was
// approved, and nothing else.
func TestVerifyWhatTypesRead(t *testing.T) {
	s := newStory(t)
	s.uses[0].RanSHA256, s.uses[0].ReadSHA256 = strings.Repeat("1", 64), strings.Repeat("1", 64)
	records := seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.OK)
	s.uses[0].ReadSHA256 = strings.Repeat("2", 64)
	records = seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.Breach, audit.Payload)
}

// TestVerifyActivityWithoutInput: nothing to be done with is null to who approves it,
// and an empty list of arguments to what runs.
func TestVerifyActivityWithoutInput(t *testing.T) {
	s := newStory(t)
	s.opened.Approval.Payload = nil
	s.tell(t, "nonce")
	sum, err := wflo.CanonicalSHA256([]byte("[]"))
	if err != nil {
		t.Fatal(err)
	}
	s.uses[0].RanSHA256 = sum
	records := seal(t, s.events(t)...)
	wantKinds(t, verify(t, records, options(records)), audit.OK)
}

// TestVerifyWithoutKeys: what cannot be checked is no pass.
func TestVerifyWithoutKeys(t *testing.T) {
	records := seal(t, newStory(t).events(t)...)
	o := options(records)
	o.Terms = wflo.Terms{}
	report := verify(t, records, o)
	wantKinds(t, report, audit.Incomplete, audit.NoKeys)
	if len(report.Findings) != 1 {
		t.Errorf("it is said %d times", len(report.Findings))
	}
}

func TestVerifyPart(t *testing.T) {
	records := seal(t, newStory(t).events(t)...)
	o := options(records)
	o.Part = true
	wantKinds(t, verify(t, records[2:], o), audit.Incomplete, audit.Partial)
	o.Checkpoints = append(o.Checkpoints, mark(records[1]))
	wantKinds(t, verify(t, records[2:], o), audit.OK)
	spoiled := slices.Clone(records)
	spoiled[2].Prev = records[0].Hash
	wantKinds(t, verify(t, spoiled[2:], o), audit.Altered, audit.Rewritten, audit.Tampered)
	o.Checkpoints = []wflo.Checkpoint{mark(records[1]), mark(records[5])}
	wantKinds(t, verify(t, records[:4], o), audit.OK)
}

// history is a Temporal that accepted these decisions.
type history map[string][]wflo.Decision

func (h history) Decisions(_ context.Context, workflowID, firstRunID string) ([]wflo.Decision, error) {
	if all, ok := h[workflowID+"/"+firstRunID]; ok {
		return all, nil
	}
	return nil, fs.ErrNotExist
}

func TestVerifyAgainstHistory(t *testing.T) {
	s := newStory(t)
	records := seal(t, s.events(t)...)
	o := options(records)
	for name, c := range map[string]struct {
		history   history
		class     audit.Class
		unchecked int
		want      []audit.Kind
	}{
		"the same":     {history{"wf/first": s.votes}, audit.OK, 0, nil},
		"gone":         {history{}, audit.OK, 1, nil},
		"fewer":        {history{"wf/first": s.votes[:1]}, audit.Altered, 0, []audit.Kind{audit.NotInHistory}},
		"more":         {history{"wf/first": append(slices.Clone(s.votes), s.closed.Decide(wflo.VerdictReject, "dan"))}, audit.Incomplete, 0, []audit.Kind{audit.Unrecorded}},
		"another's":    {history{"wf/first": {s.votes[0], s.votes[1].Sign("console", otherKey)}}, audit.Altered, 0, []audit.Kind{audit.NotInHistory, audit.Unrecorded}},
		"with reasons": {history{"wf/first": {s.votes[0], func() wflo.Decision { d := s.votes[1]; d.Reason = "else"; return d }()}}, audit.Altered, 0, []audit.Kind{audit.NotInHistory, audit.Unrecorded}},
	} {
		t.Run(name, func(t *testing.T) {
			o := o
			o.History = c.history
			report := verify(t, records, o)
			wantKinds(t, report, c.class, c.want...)
			if report.Unchecked != c.unchecked {
				t.Errorf("%d runs were not checked, want %d", report.Unchecked, c.unchecked)
			}
		})
	}
}

func TestVerifyFailsWhereItCannotRead(t *testing.T) {
	broken := errors.New("no database")
	_, err := audit.Verify(t.Context(), func(yield func(wflo.AuditRecord, error) bool) { yield(wflo.AuditRecord{}, broken) }, audit.Options{})
	if !errors.Is(err, broken) {
		t.Errorf("verify gave %v", err)
	}
}

func TestExitCodes(t *testing.T) {
	got := map[audit.Class]int{}
	for _, c := range []audit.Class{audit.OK, audit.Altered, audit.Incomplete, audit.Breach} {
		got[c] = c.ExitCode()
	}
	if diff := cmp.Diff(map[audit.Class]int{audit.OK: 0, audit.Altered: 20, audit.Incomplete: 21, audit.Breach: 22}, got); diff != "" {
		t.Error(diff)
	}
	if audit.Kind("of a later version").Class() != audit.Altered {
		t.Error("a kind that nobody knows passes")
	}
}
