//go:build integration

package survive

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wflo-ai/wflo-go/cmd/wflo/internal/survive/invariant"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
)

// Variables of the driver.
const (
	// faultsAll breaks every point in every way, each in a world of its own, and then
	// points that a seed chooses.
	faultsAll = "WFLO_FAULTS_ALL"
	// faultsSeed is the seed of what is chosen; it is printed.
	faultsSeed = "WFLO_FAULTS_SEED"
	// faultsRuns is how many worlds of chosen faults come after those of every point.
	faultsRuns = "WFLO_FAULTS_RUNS"
)

// batch is how many faults meet one scenario where not each has one of its own, and
// together how many worlds are played at a time.
const (
	batch    = 10
	together = 5
)

// seed is the one that was given, or any.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(faultsSeed)
	if text == "" {
		return rand.Uint64() //nolint:gosec // no secret
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", faultsSeed, err)
	}
	return n
}

// source is what a seed makes be chosen.
func source(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it must be repeatable, not secret
}

// known says that a point that was hit is on the list: its name may have a star.
func known(hit string) (faultpoint.Point, bool) {
	name := strings.TrimSuffix(strings.TrimSuffix(hit, ":before"), ":after")
	for _, p := range faultpoint.Points() {
		before, after, star := strings.Cut(p.Name, "*")
		if p.Name == name || star && strings.HasPrefix(name, before) && strings.HasSuffix(name, after) && len(name) > len(before)+len(after) {
			return p, true
		}
	}
	return faultpoint.Point{}, false
}

// reached compares what a scenario came by with the list.
func reached(t *testing.T, hits []string) {
	t.Helper()
	by := map[string]bool{}
	for _, hit := range hits {
		p, ok := known(hit)
		if !ok {
			t.Errorf("the scenario came by %s, which is not on the list", hit)
		}
		by[p.Name] = true
	}
	for _, p := range faultpoint.Points() {
		if p.Apart == "" && !by[p.Name] {
			t.Errorf("the scenario does not come by %s", p.Name)
		}
	}
}

// ways are the faults that one point can have. Every other choice: who dies before a call
// dies after the one before it.
func ways(hit string, all bool) []string {
	switch {
	case all:
		return []string{"fail", "exit", "delay"}
	case strings.HasSuffix(hit, ":after"): // it was done, and its caller hears an error, or is dead
		return []string{"fail", "exit"}
	case strings.HasPrefix(hit, "engine.ContainerAttach"), strings.HasPrefix(hit, "postgres.Commit"): // these have no other
		return []string{"fail", "exit"}
	}
	return nil
}

// every makes the faults of all points that were hit, in an order of the seed's: failing
// at the first time, so that each point breaks once whatever the order of things, and all
// else also at the second where there was one.
func every(hits, again []string, all bool, from *rand.Rand) []breaking {
	var faults []breaking
	for _, hit := range hits {
		for _, action := range ways(hit, all) {
			n := 1
			if action != "fail" && slices.Contains(again, hit) {
				n += from.IntN(2)
			}
			faults = append(faults, breaking{hit, n, action})
		}
	}
	from.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	return faults
}

// batches puts faults together, no two of one point.
func batches(faults []breaking, size int) [][]breaking {
	var all [][]breaking
	for _, f := range faults {
		i := slices.IndexFunc(all, func(b []breaking) bool {
			return len(b) < size && !slices.ContainsFunc(b, func(o breaking) bool { return o.Point == f.Point })
		})
		if i < 0 {
			all, i = append(all, nil), len(all)
		}
		all[i] = append(all[i], f)
	}
	return all
}

// Every point breaks, after its call in any case: the call was made and its caller hears
// an error, or is dead. Then the auditor looks.
func TestEveryPoint(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	chosen := seed(t)
	from := source(chosen)
	t.Logf("seed %d: repeat it with %s=%d", chosen, faultsSeed, chosen)
	first := newWorld(t, s)
	report := first.play(nil)
	hits := first.noted("hit ")
	reached(t, hits)
	t.Logf("without a fault:\n%s", report)
	for name := range invariant.Names {
		if report.Seen[name] == 0 && name != "I11" { // which the soak is for
			t.Errorf("%s has seen nothing", name)
		}
	}
	all, size := os.Getenv(faultsAll) != "", batch
	if all {
		size = 1
	}
	slices.Sort(hits)
	plans := batches(every(hits, first.noted("again "), all, from), size)
	if n, _ := strconv.Atoi(os.Getenv(faultsRuns)); n > 0 { // no number is none
		plans = append(plans, random(hits, n, from)...)
	}
	broken := playAll(t, s, plans)
	for _, plan := range plans {
		for _, f := range plan {
			if !broken[f.Point+" "+f.Action] {
				t.Logf("never broken, because nobody came by often enough: %s", f)
			}
		}
	}
	for _, hit := range hits {
		if len(ways(hit, all)) > 0 && !broken[hit+" fail"] && !broken[hit+" exit"] {
			t.Errorf("the point %s was never broken", hit)
		}
	}
	t.Logf("%d points, %d worlds, %d ways of breaking that happened", len(hits), len(plans), len(broken))
}

// random are worlds of faults that the seed chooses.
func random(hits []string, worlds int, from *rand.Rand) [][]breaking {
	all := make([][]breaking, worlds)
	for i := range all {
		var faults []breaking
		for range 2 + from.IntN(10) {
			action := []string{"fail", "exit", "delay"}[from.IntN(3)]
			faults = append(faults, breaking{hits[from.IntN(len(hits))], 1 + from.IntN(5), action})
		}
		all[i] = slices.CompactFunc(faults, func(a, b breaking) bool { return a.Point == b.Point })
	}
	return all
}

// playAll plays each plan in a world of its own, and gives what broke.
func playAll(t *testing.T, s *servers, plans [][]breaking) map[string]bool {
	t.Helper()
	broken := make(chan []string, len(plans))
	places := make(chan struct{}, together)
	t.Run("worlds", func(t *testing.T) {
		for i, plan := range plans {
			t.Run(fmt.Sprint(i+1), func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				w := newWorld(t, s)
				w.play(plan)
				now := w.noted("broken ")
				if t.Failed() {
					t.Logf("planned %v\nbroken %v", plan, now)
				}
				broken <- now
			})
		}
	})
	close(broken)
	all := map[string]bool{}
	for list := range broken {
		for _, b := range list {
			fields := strings.Fields(b) // action, point, n
			all[fields[1]+" "+fields[0]] = true
		}
	}
	return all
}
