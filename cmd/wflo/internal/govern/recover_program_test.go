package govern

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/wflo-ai/wflo-go"
)

// op is one thing that a drawn agent does.
type op struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Of effects.
	Class wflo.EffectClass `json:"class,omitempty"`
	Fault string           `json:"fault,omitempty"`
	Probe bool             `json:"probe,omitempty"` // a compensation with a probe
	Stuck bool             `json:"stuck,omitempty"` // it cannot be undone, although it says so
	Gated bool             `json:"gated,omitempty"` // it needs an approval
	Group bool             `json:"group,omitempty"` // it may be undone along with its neighbours
	Catch bool             `json:"catch,omitempty"` // the agent goes on when it fails
	Roll  bool             `json:"roll,omitempty"`  // of steps: what it did is undone when it fails
	Body  []op             `json:"body,omitempty"`  // of steps
	Lanes [][]op           `json:"lanes,omitempty"` // of forks of the code
}

// The kinds.
const (
	opEffect   = "effect"
	opStep     = "step"
	opLanes    = "lanes"
	opSnapshot = "snapshot"
	opPause    = "pause"
)

// The faults of an effect.
const (
	faultBefore = "before" // the first attempt fails before anything happens
	faultAfter  = "after"  // the first attempt does it, and says that it failed
	faultLost   = "lost"   // it happens, and says that it failed, for good
	faultNever  = "never"  // it never happens
)

// disturbance is what befalls the run at a pause.
type disturbance struct {
	Kind string
	// Mode, and Back of restores: how many snapshots ago; At means to the time of that
	// snapshot instead.
	Mode wflo.RestoreMode
	Back int
	At   bool
}

const (
	nothingBefalls = ""
	befallSnapshot = "snapshot"
	befallRestore  = "restore"
	befallCancel   = "cancel"
	befallKill     = "terminate"
	befallReset    = "reset"
	befallWorker   = "worker"
	befallTimeout  = "timeout"
)

// story is an agent and what befalls it.
type story struct {
	Ops []op
	// Pauses says what happens when the agent gets there for the first time.
	Pauses map[string]disturbance
	// After is what happens to a run that has ended: nothing, or a restore.
	After disturbance
}

// drawing names what it draws.
type drawing struct {
	t *rapid.T
	n int
	s story
}

func stories() *rapid.Generator[story] {
	return rapid.Custom(func(t *rapid.T) story {
		d := &drawing{t: t, s: story{Pauses: map[string]disturbance{}}}
		d.s.Ops = d.ops(2, 6)
		// A last pause, so that there is a moment at which all has been done.
		d.s.Ops = append(d.s.Ops, d.pause())
		if rapid.IntRange(0, 3).Draw(t, "after") == 0 {
			d.s.After = disturbance{Kind: befallRestore, Mode: wflo.RestoreReopen, Back: rapid.IntRange(0, 2).Draw(t, "back")}
		}
		return d.s
	})
}

func (d *drawing) name(kind string) string {
	d.n++
	return fmt.Sprintf("%s-%d", kind, d.n)
}

func (d *drawing) one(of ...string) string { return rapid.SampledFrom(of).Draw(d.t, "what") }

func (d *drawing) rarely(n int) bool { return rapid.IntRange(1, n).Draw(d.t, "rarely") == n }

func (d *drawing) ops(depth, most int) []op {
	var all []op
	for range rapid.IntRange(1, most).Draw(d.t, "length") {
		kinds := []string{opEffect, opEffect, opEffect, opPause, opSnapshot}
		if depth > 0 {
			kinds = append(kinds, opStep, opStep, opLanes)
		}
		switch kind := d.one(kinds...); kind {
		case opEffect:
			all = append(all, d.effect())
		case opPause:
			all = append(all, d.pause())
		case opSnapshot:
			all = append(all, op{Kind: opSnapshot, Name: d.name(opSnapshot)})
		case opStep:
			all = append(all, op{Kind: opStep, Name: d.name(opStep), Roll: d.rarely(2), Catch: d.rarely(2), Body: d.ops(depth-1, 3)})
		case opLanes:
			o := op{Kind: opLanes, Name: d.name(opLanes)}
			for range 2 {
				o.Lanes = append(o.Lanes, d.ops(depth-1, 2))
			}
			all = append(all, o)
		}
	}
	return all
}

func (d *drawing) effect() op {
	o := op{Kind: opEffect, Name: d.name(opEffect), Class: wflo.EffectClass(d.one("reversible", "reversible", "reversible", "verifiable", "irreversible", "pure"))}
	if d.rarely(3) {
		o.Fault = d.one(faultBefore, faultAfter, faultAfter, faultLost, faultNever)
	}
	if o.Class == wflo.EffectReversible {
		o.Probe, o.Stuck, o.Group = d.rarely(3), d.rarely(8), d.rarely(4)
	}
	o.Gated = d.rarely(6)
	o.Catch = (o.Fault == faultLost || o.Fault == faultNever) && d.rarely(2)
	return o
}

func (d *drawing) pause() op {
	p := op{Kind: opPause, Name: d.name(opPause)}
	b := disturbance{Kind: d.one(nothingBefalls, nothingBefalls, befallSnapshot, befallRestore, befallRestore, befallRestore, befallCancel, befallKill, befallReset, befallWorker, befallTimeout)}
	if b.Kind == befallTimeout && !d.rarely(4) { // it takes its time
		b.Kind = nothingBefalls
	}
	if b.Kind == befallRestore {
		b.Mode = wflo.RestoreMode(d.one(string(wflo.RestoreInPlace), string(wflo.RestoreInPlace), string(wflo.RestoreFork)))
		b.Back, b.At = rapid.IntRange(0, 2).Draw(d.t, "back"), d.rarely(3)
	}
	d.s.Pauses[p.Name] = b
	return p
}

// words tells the story.
func (s *story) words() string {
	var b strings.Builder
	s.tell(&b, s.Ops, "  ")
	if s.After.Kind != "" {
		fmt.Fprintf(&b, "  when it has ended: %s\n", s.After.words())
	}
	return b.String()
}

func (s *story) tell(b *strings.Builder, all []op, in string) {
	for _, o := range all {
		switch o.Kind {
		case opPause:
			fmt.Fprintf(b, "%s%s: %s\n", in, o.Name, s.Pauses[o.Name].words())
			continue
		case opLanes:
			fmt.Fprintf(b, "%s%s: at the same time\n", in, o.Name)
			for i, lane := range o.Lanes {
				fmt.Fprintf(b, "%s  lane %d\n", in, i)
				s.tell(b, lane, in+"    ")
			}
			continue
		}
		fmt.Fprintf(b, "%s%s%s\n", in, o.Name, o.words())
		s.tell(b, o.Body, in+"  ")
	}
}

func (o *op) words() string {
	var w []string
	say := func(is bool, text string) {
		if is {
			w = append(w, text)
		}
	}
	say(o.Class != "", string(o.Class))
	say(o.Gated, "approved by a person")
	say(o.Fault == faultBefore, "whose first attempt fails before it happens")
	say(o.Fault == faultAfter, "whose first attempt happens and says that it failed")
	say(o.Fault == faultLost, "which happens and says for good that it failed")
	say(o.Fault == faultNever, "which never happens")
	say(o.Probe, "with a probe")
	say(o.Stuck, "whose undoing fails for good")
	say(o.Group, "undone in a group")
	say(o.Roll, "rolled back when it fails")
	say(o.Catch, "whose failure the agent ignores")
	if len(w) == 0 {
		return ""
	}
	return ": " + strings.Join(w, ", ")
}

func (d disturbance) words() string {
	switch d.Kind {
	case nothingBefalls:
		return "nothing happens"
	case befallRestore:
		to := fmt.Sprintf("snapshot %d before the last", d.Back)
		if d.At {
			to = "the time of " + to
		}
		return fmt.Sprintf("it is restored (%s) to %s", d.Mode, to)
	}
	return "somebody says " + d.Kind
}

// forecast is what the agent's code comes to when nobody interferes: the names of the
// effects that it knows to have happened, and whether it ends well.
func forecast(all []op) (names []string, well bool) {
	for _, o := range all {
		got, ok := o.forecast()
		if ok {
			names = append(names, got...)
		} else if !o.Catch {
			return names, false
		}
	}
	return names, true
}

func (o *op) forecast() (names []string, well bool) {
	switch o.Kind {
	case opEffect:
		well = o.Fault != faultNever && (o.Fault != faultLost || o.Class == wflo.EffectVerifiable)
		return []string{o.Name}, well
	case opStep:
		return forecast(o.Body)
	case opLanes:
		well = true
		for _, lane := range o.Lanes {
			got, ok := forecast(lane)
			names, well = append(names, got...), well && ok
		}
		return names, well
	}
	return nil, true
}

// apart says that two operations are in different lanes, so that neither is before the
// other.
func apart(all []op, a, b string) bool {
	for _, o := range all {
		if apart(o.Body, a, b) {
			return true
		}
		in := func(name string) int {
			return slices.IndexFunc(o.Lanes, func(lane []op) bool { return holds(lane, name) })
		}
		if x, y := in(a), in(b); x >= 0 && y >= 0 && x != y {
			return true
		}
		for _, lane := range o.Lanes {
			if apart(lane, a, b) {
				return true
			}
		}
	}
	return false
}

func holds(all []op, name string) bool {
	return slices.ContainsFunc(all, func(o op) bool {
		return o.Name == name || holds(o.Body, name) || slices.ContainsFunc(o.Lanes, func(lane []op) bool { return holds(lane, name) })
	})
}
