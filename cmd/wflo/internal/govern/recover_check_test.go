package govern

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/wflo-ai/wflo-go"
)

// check compares the world outside with what the story comes to.
func (g *telling) check() {
	g.t.Helper()
	standing, all, faults := g.out.standing()
	for _, f := range faults {
		g.t.Errorf("the provider says: %s", f)
	}
	rows := g.rowsByLabel()
	well := map[string]bool{}
	for _, id := range g.runs {
		well[id] = g.checkEnding(id, standing)
	}
	for _, c := range standing {
		g.checkStanding(c, rows[c.Label], well[runOfLabel(c.Label)])
	}
	for label, of := range rows {
		for _, r := range of {
			g.checkRow(label, r, standing, well[runOfLabel(label)])
		}
	}
	g.checkOrder(all)
	g.checkCounts(all)
}

// rowsByLabel are the compensations by what they undo.
func (g *telling) rowsByLabel() map[string][]wflo.CompensationRecord {
	g.t.Helper()
	out := map[string][]wflo.CompensationRecord{}
	for _, r := range g.rows() {
		var p commonpb.Payload
		var what op
		if err := p.Unmarshal(r.Input); err != nil {
			g.t.Fatal(err)
		}
		if err := json.Unmarshal(p.GetData(), &what); err != nil {
			g.t.Fatal(err)
		}
		label := labelOf(r.Run.WorkflowID, what.Name)
		out[label] = append(out[label], r)
	}
	return out
}

// checkEnding says whether the run ended well, and that it did exactly where it has to.
func (g *telling) checkEnding(id string, standing []charge) bool {
	g.t.Helper()
	names, well := forecast(g.story.Ops)
	got, status, err := g.ending(id)
	if g.ended[id] != "" {
		if status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
			g.t.Errorf("%s completed although somebody said %s", id, g.ended[id])
		}
		return false
	}
	if g.resets[id] > 0 && status == enumspb.WORKFLOW_EXECUTION_STATUS_FAILED && strings.Contains(err.Error(), "undone before it began") {
		return false // the branch before the reset has undone what this one needs
	}
	if well != (status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED) {
		g.t.Errorf("%s ended as %s (%v); its code on its own ends well: %v", id, status, err, well)
		return false
	}
	if !well {
		return false
	}
	var did []string
	for _, c := range got {
		label, _, _ := strings.Cut(c, "!")
		did = append(did, label[strings.LastIndexByte(label, '/')+1:])
		if runOfLabel(label) != id {
			continue // a fork knows what its origin did, which the origin may undo
		}
		if !slices.ContainsFunc(standing, func(s charge) bool { return s.ID == c }) {
			g.t.Errorf("%s believes that %s stands, and it does not", id, c)
		}
	}
	slices.Sort(did)
	slices.Sort(names)
	if !slices.Equal(did, names) {
		g.t.Errorf("%s did %v; it has to do %v", id, did, names)
	}
	return true
}

// checkStanding says why an effect stays: the run ended well and keeps it, a person has
// to decide, or nothing undoes it.
func (g *telling) checkStanding(c charge, rows []wflo.CompensationRecord, well bool) {
	g.t.Helper()
	if c.Op.Class != wflo.EffectReversible {
		return
	}
	for _, r := range rows {
		if r.State == wflo.CompensationDead || r.State == wflo.CompensationKept && well {
			return
		}
	}
	g.t.Errorf("%s stands, its run ended well: %v, and its compensations are %s", c.ID, well, statesOf(rows))
}

func statesOf(rows []wflo.CompensationRecord) []string {
	var all []string
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%s (height %d, epoch %d, %s)", r.State, r.Height, r.Run.Epoch, firstOf(r.Error, r.Cause)))
	}
	return all
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return "no word"
}

// checkRow says that a compensation ended as it had to.
func (g *telling) checkRow(label string, r wflo.CompensationRecord, standing []charge, well bool) {
	g.t.Helper()
	id := runOfLabel(label)
	i := slices.IndexFunc(standing, func(c charge) bool { return c.Label == label })
	switch r.State {
	case wflo.CompensationKept:
		if !well {
			g.t.Errorf("%s is kept, and its run did not end well", label)
		}
	case wflo.CompensationDone:
		g.sum.undone.Add(1)
		if i >= 0 && "undo-"+string(standing[i].Key)[:20] == r.ID {
			g.t.Errorf("%s counts as compensated, and %s stands", label, standing[i].ID)
		}
	case wflo.CompensationSkipped:
	case wflo.CompensationDead:
		g.sum.dead.Add(1)
		stuck := strings.Contains(string(r.Input), `"stuck":true`)
		if !stuck && g.resets[id] == 0 {
			g.t.Errorf("%s is a dead letter: %s", label, r.Error)
		}
	default:
		g.t.Errorf("%s is %s in the end", label, r.State)
	}
}

// checkOrder says that of two effects of a run the later one was undone first, unless
// they were done in different lanes or are one group.
func (g *telling) checkOrder(all []charge) {
	g.t.Helper()
	for _, a := range all {
		for _, b := range all {
			if runOfLabel(a.Label) != runOfLabel(b.Label) || a.Label == b.Label || a.Undone == 0 || b.Undone == 0 {
				continue
			}
			if a.Do < b.Do && b.Do < a.Undone && a.Undone < b.Undone && (!a.Op.Group || !b.Op.Group) && !apart(g.story.Ops, a.Op.Name, b.Op.Name) {
				g.t.Errorf("%s was done before %s, and undone before it", a.ID, b.ID)
			}
		}
	}
}

// checkCounts says that nothing was charged more often than somebody took the run back,
// and that whatever needs an approval has one of its own.
func (g *telling) checkCounts(all []charge) {
	g.t.Helper()
	charged := map[string]int{}
	for _, c := range all {
		charged[c.Label]++
		if most := 1 + g.restores[runOfLabel(c.Label)]; charged[c.Label] > most {
			g.t.Errorf("%s was charged %d times, and its run was taken back %d times", c.Label, charged[c.Label], most-1)
		}
	}
	for label, n := range charged {
		op := g.opOf(label)
		if op.Gated && len(g.approved[label]) < n {
			g.t.Errorf("%s was charged %d times under %d approvals", label, n, len(g.approved[label]))
		}
	}
}

func (g *telling) opOf(label string) op {
	return named(g.story.Ops, label[strings.LastIndexByte(label, '/')+1:])
}

func named(all []op, name string) op {
	for _, o := range all {
		if o.Name == name {
			return o
		}
		for _, body := range append([][]op{o.Body}, o.Lanes...) {
			if f := named(body, name); f.Name != "" {
				return f
			}
		}
	}
	return op{}
}
