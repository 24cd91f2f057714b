package cli

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/auth/apikey"
	"github.com/wflo-ai/wflo-go/internal/console"
	"github.com/wflo-ai/wflo-go/internal/console/recoverytest"
	"github.com/wflo-ai/wflo-go/internal/desk"
	"github.com/wflo-ai/wflo-go/internal/desk/desktest"
	"github.com/wflo-ai/wflo-go/internal/sqlite"
)

// backOffice is a real console over runs that can go back, with an administrator, an
// operator and somebody who only looks.
type backOffice struct {
	*office
	back            *recoverytest.Runs
	root, op, looks string
}

func newBackOffice(t *testing.T, change func(*recoverytest.Runs)) *backOffice {
	t.Helper()
	ledger, err := sqlite.Open(t.Context(), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	b := &backOffice{office: &office{t: t, records: ledger.Records(), home: t.TempDir()}}
	logger := slog.New(slog.DiscardHandler)
	if b.runs, err = desktest.New(b.records, time.Now); err != nil {
		t.Fatal(err)
	}
	if b.keys, err = apikey.New(apikey.Config{Store: b.records, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	b.back = recoverytest.New(b.runs, ledger.Recovery())
	b.back.Plan = recoverytest.SomePlan()
	if change != nil {
		change(b.back)
	}
	s := httptest.NewServer(console.NewHandler(console.Config{
		Client: b.back, Ledger: ledger, Logger: logger, Auth: b.keys, Metrics: http.NotFoundHandler(),
		Desk: &desk.Desk{Client: b.back, Records: b.records, Sign: b.runs.Sign, Logger: logger},
	}))
	t.Cleanup(s.Close)
	b.url = s.URL
	if err := b.back.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.root, b.op, b.looks = b.key("root", nil, wflo.RoleAdmin), b.key("olga", nil, wflo.RoleOperator), b.key("vic", nil, wflo.RoleViewer)
	return b
}

const (
	snapA = "snap-00000000000000000001"
	snapB = "snap-00000000000000000002"
	snapC = "snap-00000000000000000003" // of another run
)

func TestSnapshots(t *testing.T) {
	b := newBackOffice(t, nil)
	b.does(b.looks, "snapshot", "list", "--run", "refund-17").want(t, 0, []string{"ID ", "PIN", snapA + "  before-charge  manual  refund-17  2026-11-22T10:00:00Z  $0.01  state,workspace  -"}, nil)
	b.does(b.looks, "snapshot", "list", "--run", "none").want(t, 0, nil, []string{"no snapshots"})
	b.does(b.looks, "snapshot", "ls", "--kind", "auto", "-o", "json").want(t, 0, []string{"[]"}, nil)
	b.does(b.looks, "snapshot", "show", snapA).want(t, 0, []string{
		"snapshot      " + snapA, "run           refund-17/first-17", "state         900 B, 1 entries", "workspace     4 MiB, 17 entries; programs may have been at work", "spent         $0.01 in 1 model call",
	}, nil)
	b.does(b.looks, "snapshot", "show", "snap-x").want(t, ExitError, nil, []string{"no such snapshot", "hint: "})
	b.does(b.looks, "snapshot", "diff", snapA, snapB).want(t, 0, []string{"from " + snapA + " to " + snapB, "    ~ state, 900 B to 1 KiB (1 entries before, 2 after)", "  workspace: nothing"}, nil)
	b.does(b.looks, "snapshot", "diff", snapA, snapC).want(t, ExitError, nil, []string{"another run"})
	b.does(b.looks, "snapshot", "diff", snapA).want(t, ExitDenied, nil, []string{"the role operator is missing"})
	b.does(b.op, "snapshot", "diff", snapA).want(t, 0, []string{"from " + snapA + " to now", "+ out/report", `\u202egnp\x1b[2J.md, 2 KiB`, "- in.csv, 17 B", "~ run.sh, 10 B to 12 B (mode 0644 to 0755)", "and 3 more", "tables:orders: the schema changed", "done since", "step charge#1 (reversible)"}, nil)
	if o := b.back.Orders()[0]; !o.DryRun || o.Mode != wflo.RestoreFork || o.Parts == nil || !o.Parts.Workspace {
		t.Errorf("asked for %+v", o)
	}

	b.does(b.op, "snapshot", "pin", snapA).want(t, 0, []string{"pinned " + snapA}, nil)
	b.does(b.root, "snapshot", "rm", snapA, "--yes").want(t, ExitRefused, nil, []string{"is pinned", "hint: unpin it first"})
	b.does(b.op, "snapshot", "unpin", snapA).want(t, 0, []string{"unpinned " + snapA}, nil)
	b.does(b.op, "snapshot", "rm", snapA, "--yes").want(t, ExitDenied, nil, []string{"the role admin is missing"})
	b.does(b.root, "snapshot", "rm", snapA, "--yes", "-o", "json").want(t, 0, []string{`"id": "` + snapA}, nil)
	b.does(b.root, "snapshot", "rm", snapA, "--yes").want(t, ExitError, nil, []string{"no such snapshot"})
}

func TestSnapshotCreate(t *testing.T) {
	b := newBackOffice(t, nil)
	r := b.does(b.op, "snapshot", "create", "refund-17", "--name", "by hand", "--parts", "state,workspace,tables:orders")
	r.want(t, 0, []string{"snap-"}, []string{"wflo restore refund-17 --to snap-"})
	if id := strings.TrimSpace(r.out); strings.Contains(id, "\n") {
		t.Errorf("standard output is %q, want the ID alone", r.out)
	}
	b.does(b.op, "snapshot", "create", "none").want(t, ExitError, nil, []string{"no such run"})
	b.back.Add(wflo.Run{WorkflowID: "over", FirstRunID: "f"}, false)
	b.does(b.op, "snapshot", "create", "over").want(t, ExitRefused, nil, []string{"run over has ended", "hint: "})
	slow := newBackOffice(t, func(r *recoverytest.Runs) { r.Hold = make(chan struct{}) })
	slow.does(slow.op, "snapshot", "create", "refund-17", "--timeout", "50ms").want(t, ExitTimeout, nil, []string{"does not answer in time"})
}

// The plan tells everything that somebody must know, at 80 columns, and hides nothing.
func TestDryRun(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs) { r.Plan = recoverytest.Irreversible(r.Plan) })
	r := b.does(b.op, "restore", "refund-17", "--to", "before-charge", "--dry-run")
	golden(t, "restore-plan.txt", result{code: r.code - ExitRefused, out: r.out, errOut: r.errOut})
	for line := range strings.Lines(r.out) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.ContainsAny(r.out, "\x1b\u202e") {
		t.Errorf("the plan hides something: %q", r.out)
	}
	r = b.does(b.op, "restore", "refund-17", "--to", "before-charge", "--dry-run", "-o", "json")
	var plan wflo.RestorePlan
	if err := json.Unmarshal([]byte(r.out), &plan); err != nil || r.code != ExitRefused || plan.Spent != 37*wflo.Cent || plan.Mode != wflo.RestoreInPlace {
		t.Errorf("exit %d, %v: %s", r.code, err, r.out)
	}
	b = newBackOffice(t, nil)
	b.does(b.op, "restore", "refund-17", "--to", "2026-11-22T12:00:00+02:00", "--dry-run", "--mode", "fork", "--new-id", "twin", "--parts", "state").want(t, 0,
		[]string{"restore of refund-17, as a fork", "to       2026-11-22T10:00:00Z", "new id   twin", "cannot be undone: nothing"}, nil)
	if o := b.back.Orders()[0]; o.To.Snapshot != "" || o.Parts == nil || o.Parts.Workspace || o.NewID != "twin" || o.By != "olga" {
		t.Errorf("asked for %+v", o)
	}
}

func TestRestore(t *testing.T) {
	b := newBackOffice(t, nil)
	b.does(b.op, "restore", "refund-17", "--to", snapA, "--reason", "wrong account", "--yes").want(t, 0, []string{"run refund-17 went back, and is in epoch 1", "  1 effect undone, 0 could not be"}, []string{"see: wflo status refund-17"})
	b.does(b.op, "restore", "refund-17", "--to", "after-charge", "--mode", "fork", "--new-id", "a/twin", "--reason", "try", "--yes").want(t, 0, []string{"run refund-17 goes on from there as a/twin/forked"}, []string{"wflo status a/twin"})
	b.does(b.op, "restore", "refund-17", "--to", snapA, "--reason", "x", "--yes", "-o", "json").want(t, 0, []string{`"state": "done"`}, nil)
	if o := b.back.Orders()[0]; o.Reason != "wrong account" || o.By != "olga" || o.DryRun {
		t.Errorf("ordered %+v", o)
	}
	tree := b.does(b.looks, "lineage", "refund-17")
	tree.want(t, 0, []string{"refund-17/first-17 *\n├─ in-place, to 2026-11-22T10:00:00Z (before-charge)\n│    by olga, ", ": wrong account\n├─ fork into a/twin/forked, to 2026-11-22T10:01:00Z (after-charge)\n", "└─ in-place"}, nil)
	b.does(b.looks, "lineage", "deal-9").want(t, 0, []string{"deal-9/first-9 *\n"}, []string{"began by itself"})
	b.does(b.looks, "lineage", "deal-9", "-o", "json").want(t, 0, []string{`"steps": []`}, nil)
	b.does(b.looks, "lineage", "none").want(t, ExitError, nil, []string{"no such run"})

	b.does(b.op, "restore", "refund-17", "--reason", "x", "--yes", "--to", "none").want(t, ExitError, nil, []string{"has no snapshot", "hint: list those of the run"})
	b.does(b.op, "restore", "refund-17", "--reason", "x", "--yes", "--to", snapA, "--accept-irreversible").want(t, ExitDenied, nil, []string{"the role admin is missing"})
	b.does(b.looks, "restore", "refund-17", "--to", snapA, "--dry-run").want(t, ExitDenied, nil, []string{"the role operator is missing"})
	b.does(b.op, "restore", "none", "--to", snapA, "--dry-run").want(t, ExitError, nil, []string{"no such run"})
}

func TestRestoreRefused(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs) { r.Plan = recoverytest.Irreversible(r.Plan) })
	line := []string{"restore", "refund-17", "--to", "before-charge", "--reason", "x", "--yes"}
	b.does(b.op, line...).want(t, ExitRefused, nil, []string{"cannot be undone: mail#1", "hint: look at the plan"})
	b.does(b.root, append(line, "--accept-irreversible")...).want(t, 0, []string{"went back"}, []string{"see: "})
	busy := newBackOffice(t, func(r *recoverytest.Runs) {
		r.Refuse = recoverytest.Refusal(wflo.Errorf(wflo.CodeConflict, "wait until it has ended", "run refund-17 is being restored by another request"))
	})
	busy.does(busy.op, line...).want(t, ExitRefused, nil, []string{"is being restored by another request", "hint: wait until it has ended"})
	busy.does(busy.op, "restore", "refund-17", "--to", "before-charge", "--dry-run").want(t, ExitRefused, nil, []string{"is being restored by another request"})
	down := newBackOffice(t, func(r *recoverytest.Runs) { r.Refuse = errors.New("the database fell over: password=hunter2") })
	got := down.does(down.op, line...)
	got.want(t, ExitError, nil, []string{"the worker's log says why"})
	if strings.Contains(got.errOut, "hunter2") {
		t.Error("what only the log should have is told")
	}
}

// A restore that takes longer than somebody waits goes on.
func TestRestoreTakesLong(t *testing.T) {
	b := newBackOffice(t, func(r *recoverytest.Runs) { r.Hold = make(chan struct{}) })
	b.does(b.op, "restore", "refund-17", "--to", snapA, "--reason", "x", "--yes", "--timeout", "400ms").want(t, ExitTimeout, nil, []string{"has not ended in time, and goes on", "hint: see: wflo lineage refund-17"})
	b.does(b.looks, "lineage", "refund-17").want(t, 0, []string{"in-place, to 2026-11-22T10:00:00Z (before-charge): planned"}, nil)
}

func TestRestoreLeavesDeadLetters(t *testing.T) {
	r := wflo.Restored{Restore: wflo.Restore{WorkflowID: "r1"}, State: wflo.RestoreDone, From: "r1/f", Into: "r1/f", Epoch: 2, PreRestore: snapB,
		Plan: recoverytest.SomePlan(), Dead: []wflo.CompensationRecord{{ID: "undo-1"}}}
	want := "run r1 went back, and is in epoch 2\n  0 effects undone, 1 could not be\n  what it gave up is in snapshot " + snapB + "\n"
	if diff := cmp.Diff(want, restoredText(r)); diff != "" {
		t.Error(diff)
	}
	var out, errs strings.Builder
	a := &app{deps: Deps{Stdout: &out, Stderr: &errs}, format: formatText}
	err := a.printRestored(console.RestoreStatus{Restored: r})
	if exitCode(err) != ExitError || !errors.Is(err, errLeft) || !strings.Contains(err.Error(), "1 effect could not be undone") {
		t.Errorf("%v", err)
	}
}

func TestCompensations(t *testing.T) {
	b := newBackOffice(t, nil)
	b.does(b.looks, "compensations", "list").want(t, 0, []string{"ID ", "undo-acme   dead_letter  refund of order 17  refund-17", "the provider is down"}, nil)
	b.does(b.looks, "compensations", "list", "--state", "kept,skipped").want(t, 0, nil, []string{"no compensations"})
	b.does(b.looks, "compensations", "list", "--run", "refund-17", "-o", "jsonl").want(t, 0, []string{`"id":"undo-acme"`}, nil)
	shown := b.does(b.looks, "compensations", "show", "undo-acme")
	shown.want(t, 0, []string{"compensation  undo-acme", "state         dead_letter", "begun         yes", "cause         the run was terminated", "decide with   wflo compensations retry undo-acme"}, nil)
	if strings.Contains(shown.out, "secret") {
		t.Error("what the activity is told is shown")
	}
	b.does(b.looks, "compensations", "show", "none").want(t, ExitError, nil, []string{"no such compensation"})

	b.does(b.op, "compensations", "skip", "undo-acme", "--reason", "stays", "--yes").want(t, ExitDenied, nil, []string{"the role admin is missing"})
	b.does(b.root, "compensations", "skip", "undo-acme", "--reason", "the customer keeps it", "--yes").want(t, 0, []string{"undo-acme is skipped\n"}, nil)
	b.does(b.looks, "compensations", "show", "undo-acme").want(t, 0, []string{"ended by      root", "reason        the customer keeps it"}, nil)
	b.does(b.root, "compensations", "resolve", "undo-acme", "--reason", "x", "--yes").want(t, ExitRefused, nil, []string{"is skipped, and only dead letters wait", "hint: nothing was changed"})
	b.does(b.op, "compensations", "retry", "undo-rival", "--yes").want(t, 0, []string{"undo-rival is compensated\n"}, nil)
	b.does(b.op, "compensations", "retry", "undo-rival", "--yes").want(t, ExitRefused, nil, []string{"is compensated"})
	b.does(b.looks, "compensations", "list").want(t, 0, []string{"compensated", "skipped"}, nil)

	again := newBackOffice(t, func(r *recoverytest.Runs) { r.Fails = true })
	again.does(again.op, "compensations", "retry", "undo-acme", "--yes").want(t, ExitError, []string{"undo-acme is a dead letter"}, []string{"could not be undone again: the provider is still down", "hint: "})
	again.does(again.root, "compensations", "resolve", "undo-acme", "--reason", "paid back", "--yes", "-o", "json").want(t, 0, []string{`"state": "compensated"`}, nil)
}

// What went wrong before an effect was undone after all is no problem any more.
func TestErrorsOfWhatWasUndone(t *testing.T) {
	for state, want := range map[wflo.CompensationState]string{wflo.CompensationDead: "the provider is down", wflo.CompensationDone: ""} {
		r := wflo.CompensationRecord{ID: "undo-1", State: state, Error: "the provider is down"}
		if row := compensationRow(r); row[len(row)-1] != want {
			t.Errorf("%s: the list has %q, want %q", state, row[len(row)-1], want)
		}
		if text := compensationText(r); strings.Contains(text, "last error") != (want == "") || !strings.Contains(text, r.Error) {
			t.Errorf("%s: shown as\n%s", state, text)
		}
	}
}

func TestErrorsOfSeveralLines(t *testing.T) {
	trace := "Traceback:\n\tline 1\x1b[2J\nFileNotFoundError: orders.csv"
	got := detailText(wflo.Status{
		Steps: []wflo.StepRecord{{Key: "load", Error: trace}, {Key: "one", Error: "no"}, {Key: "two", Effect: wflo.EffectPure}},
		Compensations: []wflo.CompensationRecord{
			{Name: "a", Activity: "x", State: wflo.CompensationDead, Error: "b\nc"}, {Name: "d", Activity: "x", State: wflo.CompensationDone, Error: "old"},
		},
	})
	want := "  step  load failed:\n        | Traceback:\n        | \tline 1\\x1b[2J\n        | FileNotFoundError: orders.csv\n" +
		"  step  one failed: no\n  step  two (pure)\n  undo  a (x) dead_letter:\n        | b\n        | c\n  undo  d (x) compensated\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var b strings.Builder
	fields(&b, "error", trace)
	if diff := cmp.Diff("error\tTraceback:\n\t    line 1\\x1b[2J\n\tFileNotFoundError: orders.csv\n", b.String()); diff != "" {
		t.Error(diff)
	}
}

// Every error of the command line is exit code 2, a message and a hint.
func TestRecoveryUsage(t *testing.T) {
	for line, want := range map[string]string{
		"snapshot take":                         "unknown command",
		"snapshot create":                       "RUN is missing",
		"snapshot create r --parts files":       `--parts has "files"`,
		"snapshot create r --parts tables:":     `--parts has "tables:"`,
		"snapshot list --kind odd":              `--kind is "odd"`,
		"snapshot list --limit 0":               "--limit is 0",
		"snapshot list r":                       "too many arguments",
		"snapshot show":                         "ID is missing",
		"snapshot diff":                         "ID is missing",
		"snapshot diff a b c":                   "too many arguments",
		"snapshot pin":                          "ID is missing",
		"snapshot rm x":                         "no terminal to ask on",
		"restore":                               "RUN is missing",
		"restore r":                             "--to is missing",
		"restore r --to x":                      "--reason is missing",
		"restore r --to x --reason y":           "no terminal to ask on",
		"restore r --to x --reason y -o json":   "no terminal to ask on",
		"restore r --to x --dry-run --mode odd": `--mode is "odd"`,
		"restore r --to x --dry-run --new-id y": "--new-id is for forks",
		"restore r --to x --dry-run --parts y":  `--parts has "y"`,
		"lineage":                               "RUN is missing",
		"compensations undo":                    "unknown command",
		"compensations list --state odd":        `--state is "odd"`,
		"compensations list --limit x":          "invalid argument",
		"compensations show":                    "ID is missing",
		"compensations retry":                   "ID is missing",
		"compensations retry x":                 "no terminal to ask on",
		"compensations resolve x":               "--reason is missing",
		"compensations skip x --reason y":       "no terminal to ask on",
	} {
		t.Run(line, func(t *testing.T) {
			invoke(t, &fakeTemporal{}, strings.Fields(line)...).want(t, ExitUsage, nil, []string{want, "hint: "})
		})
	}
	invoke(t, &fakeTemporal{}, "restore", "r", "--to", "x", "--dry-run").want(t, ExitError, nil, []string{"no worker's API answers"})
}

// A lineage is a tree whatever leads where.
func TestLineageText(t *testing.T) {
	step := func(id, from, into string) console.LineageStep {
		return console.LineageStep{ID: id, State: wflo.RestoreDone, Mode: wflo.RestoreFork, From: from, Into: into, By: "ann", Reason: id}
	}
	l := console.Lineage{Run: "b/1", Steps: []console.LineageStep{step("one", "a/1", "b/1"), step("two", "b/1", "c/1"), step("three", "a/1", "a/1"), step("four", "c/1", "")}}
	l.Steps[2].Mode, l.Steps[3].State, l.Steps[3].Error = wflo.RestoreInPlace, wflo.RestoreFailed, "no worker\x1b"
	want := `a/1
├─ fork into b/1 *
│    by ann: one
│  └─ fork into c/1
│       by ann: two
│     └─ fork: failed
│          by ann: four; it failed: no worker\x1b
└─ in-place
     by ann: three
`
	if diff := cmp.Diff(want, lineageText(l)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	circle := console.Lineage{Run: "a/1", Steps: []console.LineageStep{step("one", "a/1", "b/1"), step("two", "b/1", "a/1")}}
	if got := lineageText(circle); strings.Count(got, "by ann") != 2 {
		t.Errorf("a circle:\n%s", got)
	}
}

func TestWrapped(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, text := range []string{"", "a", strings.Repeat("word ", 40), long, "a " + long + " b", "a\nb\x1b[2J"} {
		got := wrapped(text, "  - ", "    ")
		plain := strings.NewReplacer("\n", "", " ", "").Replace(got)
		if want := "-" + strings.ReplaceAll(escapeLine(text), " ", ""); plain != want {
			t.Errorf("%.20q lost something: %q", text, got)
		}
		for line := range strings.Lines(got) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > planWidth {
				t.Errorf("%.20q is too wide: %q", text, line)
			}
		}
	}
}
