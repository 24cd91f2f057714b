package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

const day = 24 * time.Hour

func mustRun(t testing.TB, w *world, p Policy) Report {
	t.Helper()
	c, err := New(w.config(p))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRetention has one snapshot for each reason, and one that goes.
func TestRetention(t *testing.T) {
	w := newWorld()
	w.open["open/1"], w.open["fork/1"] = true, true
	old := func(run, name string) wflo.Snapshot {
		return w.save(run, name, wflo.SnapshotAuto, []string{w.put(fmt.Sprint("state ", w.n))})
	}
	goes, pinned, forked := old("closed/1", "named"), old("closed/1", ""), old("closed/1", "")
	pinned.Pinned = true
	w.snapshots[pinned.ID] = pinned
	w.restores = append(w.restores, wflo.Restored{State: wflo.RestoreDone, From: "closed/1", Into: "fork/1", Plan: wflo.RestorePlan{Snapshot: &forked}})
	pre := w.save("busy/1", "", wflo.SnapshotPreRestore, []string{w.put("pre")})
	w.restores = append(w.restores, wflo.Restored{State: wflo.RestoreRestoring, From: "busy/1", PreRestore: pre.ID})
	alsoGoes, named, latest, unsure := old("open/1", ""), old("open/1", "before"), old("open/1", ""), old("unsure/1", "")
	w.now = w.now.Add(40 * day)
	young := old("young/1", "")
	config := w.config(Policy{MaxAge: 30 * day})
	config.Open = func(_ context.Context, r wflo.Run) (bool, error) {
		if r.WorkflowID == "unsure" {
			return false, errors.New("no answer")
		}
		return w.open[r.ID()], nil
	}
	config.DryRun = true
	for range 2 { // the first only says so
		c, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[Reason]int{KeptPinned: 1, KeptRestored: 1, KeptRestore: 1, KeptNamed: 1, KeptLatest: 1, KeptUnsure: 1, KeptYoung: 1}, r.Kept); diff != "" {
			t.Errorf("dry %t: kept (-want +got):\n%s", config.DryRun, diff)
		}
		if diff := cmp.Diff([]string{goes.ID, alsoGoes.ID}, slices.Sorted(slices.Values(r.Dropped))); diff != "" || r.Snapshots != 9 || len(r.Unsure) != 1 {
			t.Errorf("dry %t: %d snapshots, unsure %v, dropped (-want +got):\n%s", config.DryRun, r.Snapshots, r.Unsure, diff)
		}
		if config.DryRun && len(w.snapshots) != 9 {
			t.Errorf("a dry run left %d snapshots", len(w.snapshots))
		}
		config.DryRun = false
	}
	want := []string{pinned.ID, forked.ID, pre.ID, named.ID, latest.ID, unsure.ID, young.ID}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(w.snapshots))); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if r := mustRun(t, w, Policy{}); r.Deleted != 2 || r.Freed == 0 || len(w.blobs) != len(want) {
		t.Errorf("the next pass: %+v, %d blobs left", r, len(w.blobs))
	}
}

func TestKeepLast(t *testing.T) {
	w := newWorld()
	for i := range 7 {
		w.save("a/1", "", wflo.SnapshotAuto, []string{w.put(fmt.Sprint(i))})
		w.save("a/2", "", wflo.SnapshotAuto, []string{w.put(fmt.Sprint("other ", i))})
	}
	latest := w.sorted()[:4]
	if r := mustRun(t, w, Policy{KeepLast: 2}); len(r.Dropped) != 10 || r.Deleted != 0 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(latest, w.sorted()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	w.now = w.now.Add(2 * day)
	if r := mustRun(t, w, Policy{KeepLast: 2}); r.Deleted != 10 || len(w.blobs) != 4 {
		t.Errorf("%+v, %d blobs are left", r, len(w.blobs))
	}
}

// TestMoreIsKept: what boxes need to move is nobody's snapshot, and stays.
func TestMoreIsKept(t *testing.T) {
	w := newWorld()
	file := w.put("file")
	part := wflo.SnapshotPart{Kind: wflo.PartWorkspace, Blobs: []string{w.put(file)}}
	w.put("waste")
	w.now = w.now.Add(100 * day)
	config := w.config(Policy{MaxAge: day})
	config.More = func(context.Context) ([]wflo.SnapshotPart, error) { return []wflo.SnapshotPart{part}, nil }
	for range 2 {
		c, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := c.Run(t.Context()); err != nil || r.Referenced != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if _, ok := w.blobs[file]; !ok || len(w.blobs) != 2 {
		t.Errorf("%d blobs are left, want the two that a box needs", len(w.blobs))
	}
}

// TestNothingGoesWithoutAllReferences fails each way in which references are read.
func TestNothingGoesWithoutAllReferences(t *testing.T) {
	failure := errors.New("no answer")
	for name, spoil := range map[string]func(*world, *Config){
		"references": func(w *world, _ *Config) { w.before = failing("Refs", failure) },
		"snapshots":  func(w *world, _ *Config) { w.before = failing("ListSnapshots", failure) },
		"more": func(_ *world, c *Config) {
			c.More = func(context.Context) ([]wflo.SnapshotPart, error) { return nil, failure }
		},
		"undo": func(w *world, _ *Config) { w.before = failing("ListCompensations", failure) },
		"kind": func(_ *world, c *Config) { c.Parts = nil },
		"key":  func(w *world, _ *Config) { w.save("x/1", "", wflo.SnapshotAuto, []string{"no key"}) },
		"tree": func(w *world, _ *Config) {
			for _, s := range w.snapshots {
				delete(w.blobs, s.Part(wflo.PartWorkspace, "").Blobs[0])
			}
		},
	} {
		w := newWorld()
		w.save("a/1", "", wflo.SnapshotAuto, []string{w.put("state")}, w.put("file"))
		w.put("waste")
		w.now = w.now.Add(100 * day)
		config := w.config(Policy{MaxAge: day})
		spoil(w, &config)
		snapshots, blobs := len(w.snapshots), len(w.blobs)
		c, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing was removed") || len(r.Dropped)+r.Deleted > 0 {
			t.Errorf("%s gave %+v, %v", name, r, err)
		}
		if len(w.snapshots) != snapshots || len(w.blobs) != blobs {
			t.Errorf("%s: %d snapshots and %d blobs are left, want all", name, len(w.snapshots), len(w.blobs))
		}
	}
}

func failing(method string, err error) func(string) error {
	return func(m string) error {
		if m == method {
			return err
		}
		return nil
	}
}

// TestRestoreThatBeginsMeanwhile finds its snapshot, although it was being dropped.
func TestRestoreThatBeginsMeanwhile(t *testing.T) {
	w := newWorld()
	s := w.save("a/1", "", wflo.SnapshotAuto, []string{w.put("state")})
	w.now = w.now.Add(100 * day)
	w.before = func(m string) error {
		if m == "DropSnapshots" {
			w.restores = append(w.restores, wflo.Restored{State: wflo.RestorePlanned, From: "a/1"})
		}
		return nil
	}
	if r := mustRun(t, w, Policy{MaxAge: day}); len(r.Dropped) != 0 || r.Kept[KeptRestore] != 1 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff([]wflo.Snapshot{s}, w.sorted()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld()
	for name, spoil := range map[string]func(*Config){
		"recovery": func(c *Config) { c.Recovery = nil }, "blobs": func(c *Config) { c.Blobs = nil }, "open": func(c *Config) { c.Open = nil },
		"last": func(c *Config) { c.Policy.KeepLast = -1 }, "age": func(c *Config) { c.Policy.MaxAge = -1 }, "grace": func(c *Config) { c.Policy.Grace = -1 },
	} {
		c := w.config(Policy{})
		spoil(&c)
		if _, err := New(c); wflo.CodeOf(err) != wflo.CodeInvalid || wflo.HintOf(err) == "" {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

// TestModel collects while runs take snapshots, open, close and are restored, and dies
// anywhere. Whatever a manifest or a compensation needs is always there, and the rest is
// gone in the end.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		m := &model{T: t, world: w, policy: Policy{KeepLast: rapid.IntRange(0, 3).Draw(t, "last"), MaxAge: time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * day}}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(0, 8).Draw(t, "acts") {
				m.act()
			}
			m.settle()
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "hours")) * time.Hour)
			m.collect()
		}
		m.settle()
		w.before = func(string) error { return nil }
		w.now = w.now.Add(5 * day) // older than every age
		var last Report
		for range 3 {
			last = m.pass()
		}
		m.end(last)
	})
}

var errDied = errors.New("the collector died")

type model struct {
	*rapid.T
	*world
	policy Policy
	// building are manifests whose blobs are stored, and which are not saved yet: for
	// less than the grace period, in which there is one pass at most.
	building []wflo.Snapshot
}

func (m *model) run() string {
	return fmt.Sprintf("run%d/1", rapid.IntRange(0, 3).Draw(m.T, "run"))
}

// act is one thing that others do.
func (m *model) act() {
	run := m.run()
	switch rapid.IntRange(0, 7).Draw(m.T, "act") {
	case 0, 1: // a snapshot begins, on what the latest one of the run has
		m.open[run] = true
		var state []string
		for _, s := range m.sorted() {
			if s.Run.ID() == run {
				state = slices.Clone(s.Parts[0].Blobs)
				break
			}
		}
		state = append(state, m.put(fmt.Sprint("blob ", rapid.IntRange(0, 20).Draw(m.T, "content"))))
		var files []string
		for range rapid.IntRange(0, 2).Draw(m.T, "files") {
			files = append(files, m.put(fmt.Sprint("blob ", rapid.IntRange(0, 20).Draw(m.T, "file"))))
		}
		name := rapid.SampledFrom([]string{"", "", "named"}).Draw(m.T, "name")
		m.building = append(m.building, m.manifest(run, name, wflo.SnapshotAuto, state, files...))
	case 2:
		m.settle()
	case 3:
		if !slices.ContainsFunc(m.building, func(s wflo.Snapshot) bool { return s.Run.ID() == run }) {
			m.open[run] = false
		}
	case 4:
		for _, s := range m.sorted() {
			if s.Run.ID() == run {
				s.Pinned = !s.Pinned
				m.snapshots[s.ID] = s
				break
			}
		}
	case 5:
		m.put(fmt.Sprint("waste ", m.n))
	case 6:
		key := m.put(fmt.Sprint("argument ", len(m.compensations)))
		m.compensations = append(m.compensations, wflo.CompensationRecord{ID: fmt.Sprint("undo-", len(m.compensations)), Input: []byte(key),
			State: rapid.SampledFrom([]wflo.CompensationState{wflo.CompensationDead, wflo.CompensationKept, wflo.CompensationDone}).Draw(m.T, "state")})
	case 7:
		m.restore(run)
	}
}

// restore begins one, or ends the one that is under way.
func (m *model) restore(run string) {
	for i, r := range m.restores {
		if r.From == run && r.State == wflo.RestoreRestoring {
			m.restores[i].State = wflo.RestoreDone
			return
		}
	}
	for _, s := range m.sorted() {
		if s.Run.ID() == run {
			m.restores = append(m.restores, wflo.Restored{State: wflo.RestoreRestoring, From: run, Into: m.run(), Plan: wflo.RestorePlan{Snapshot: &s}})
			return
		}
	}
}

// settle saves what is being built.
func (m *model) settle() {
	for _, s := range m.building {
		m.snapshots[s.ID] = s
	}
	m.building = nil
}

// collect makes a pass, with others at work between its steps, that may die at one.
func (m *model) collect() {
	steps, dies := 0, rapid.IntRange(0, 60).Draw(m.T, "dies")
	m.before = func(string) error {
		steps++
		if steps == dies {
			return errDied
		}
		if rapid.IntRange(0, 3).Draw(m.T, "meanwhile") == 0 {
			m.act()
		}
		return nil
	}
	m.pass()
	m.before = func(string) error { return nil }
	m.settle()
	if err := m.whole(); err != nil {
		m.Fatal(err)
	}
}

func (m *model) pass() Report {
	c, err := New(m.config(m.policy))
	if err != nil {
		m.Fatal(err)
	}
	r, err := c.Run(context.Background())
	if err != nil && !errors.Is(err, errDied) {
		m.Fatal(err)
	}
	if err := m.whole(); err != nil {
		m.Fatal(err)
	}
	return r
}

// end wants what is referred to, and nothing else.
func (m *model) end(last Report) {
	want := map[string]bool{}
	for _, s := range m.snapshots {
		for _, key := range m.needs(s) {
			want[key] = true
		}
	}
	for _, c := range m.compensations {
		if c.State != wflo.CompensationDone {
			want[string(c.Input)] = true
		}
	}
	for key := range m.blobs {
		if !want[key] {
			m.Errorf("blob %q is left, and nobody needs it", m.blobs[key].data)
		}
	}
	if last.Referenced != len(want) || len(last.Dropped) > 0 || last.Deleted > 0 {
		m.Errorf("%d blobs are needed, the last pass says %+v", len(want), last)
	}
	m.kept()
}

// kept says of each snapshot that is left why the policy lets it be.
func (m *model) kept() {
	n := map[string]int{}
	for _, s := range m.sorted() {
		run := s.Run.ID()
		n[run]++
		over := m.policy.KeepLast > 0 && n[run] > m.policy.KeepLast || m.policy.MaxAge > 0 && m.now.Sub(s.At) > m.policy.MaxAge
		held := s.Pinned || m.open[run] && (n[run] == 1 || s.Name != "") || slices.ContainsFunc(m.restores, func(r wflo.Restored) bool {
			return (r.From == run || r.Into == run) && (r.State == wflo.RestoreRestoring || r.Plan.Snapshot.ID == s.ID && m.open[r.Into])
		})
		if over && !held {
			m.Errorf("snapshot %s of run %s is left, number %d, of %s", s.ID, run, n[run], s.At)
		}
	}
}

// TestKeys compares the set with a map.
func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k keys
		want := map[[32]byte]struct{}{}
		spread := rapid.IntRange(1, 4000).Draw(t, "spread")
		for range rapid.IntRange(0, 5000).Draw(t, "n") {
			n := rapid.IntRange(0, spread).Draw(t, "key")
			b := [32]byte{0: byte(n), 1: byte(n >> 8)}
			want[b] = struct{}{}
			k.insert(b)
		}
		k.settle()
		if len(k.sorted) != len(want) || !slices.IsSortedFunc(k.sorted, compareKeys) {
			t.Errorf("%d keys, want %d in order", len(k.sorted), len(want))
		}
		for b := range want {
			if !k.has(fmt.Sprintf("%x", b)) {
				t.Errorf("key %x is missing", b)
			}
		}
		if k.has(strings.Repeat("f", 64)) || k.has("") || k.has(strings.Repeat("z", 64)) {
			t.Error("it has what was never added")
		}
	})
}

// BenchmarkKeys is the memory and the time of a million different keys, each marked
// three times.
func BenchmarkKeys(b *testing.B) {
	for b.Loop() {
		var k keys
		for range 3 {
			for i := range 1_000_000 {
				var key [32]byte
				for j := range 8 { // spread like hashes
					key[j] = byte(uint64(i) * 0x9E3779B97F4A7C15 >> (8 * j))
				}
				k.insert(key)
			}
		}
		if k.settle(); len(k.sorted) != 1_000_000 {
			b.Fatal(len(k.sorted))
		}
		b.ReportMetric(float64(cap(k.sorted)+cap(k.added))*32/1e6, "MB")
	}
}
