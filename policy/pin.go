package policy

import (
	"math"
	"slices"
	"time"

	"github.com/wflo-ai/wflo-go"
)

// timerStep is how long after a moment "just after" is: the resolution of durable
// timers.
const timerStep = time.Millisecond

// Pin says how the set governs a run that begins with it.
func (s *Set) Pin() wflo.Pin {
	return wflo.Pin{Bundle: s.hash, Quiet: s.quiet(), Timers: s.timers()}
}

// quiet says that nothing but time can match, so that steps need not be judged.
func (s *Set) quiet() bool {
	return s.rules.Default == wflo.EffectAllow && len(s.risk) == 0 && !slices.ContainsFunc(s.policies, func(p compiled) bool {
		return slices.ContainsFunc(p.on, func(k wflo.FactsKind) bool { return k != wflo.FactsTime })
	})
}

// timers are the moments at which conditions on execution_time change. A moment
// that passed before the run began, and one beyond what a duration holds, are none.
func (s *Set) timers() []time.Duration {
	var out []time.Duration
	for _, p := range s.policies {
		if !slices.Contains(p.on, wflo.FactsTime) {
			continue
		}
		for _, m := range p.condition.moments {
			if d, ok := m.duration(); ok {
				out = append(out, d)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// duration is when the moment has come, in whole steps, never too early.
func (m moment) duration() (time.Duration, bool) {
	steps := m.seconds * float64(time.Second/timerStep)
	if !(steps >= 0) || steps > float64(math.MaxInt64/timerStep-1) {
		return 0, false
	}
	whole := math.Ceil(steps)
	if m.after && whole == steps {
		whole++
	}
	d := time.Duration(whole) * timerStep
	return d, d > 0
}
