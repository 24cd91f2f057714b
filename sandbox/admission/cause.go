package admission

import (
	"fmt"
	"time"
)

// cause is why a request waits, in numbers: it is compared often and put into
// words seldom.
type cause struct {
	kind  kind
	n, of int
	until time.Duration
}

type kind int

const (
	nothing kind = iota
	quotaConcurrent
	quotaCPU
	hostSandboxes
	hostMemory
	hostCPUs
	hostOwed
)

// place is a State in numbers.
type place struct {
	position int
	why      cause
}

// state puts a place into words, at the clock's time and the same time since
// the start.
func (p place) state(tenant string, clock time.Time, now time.Duration) State {
	whose := fmt.Sprintf("tenant %.80s", tenant)
	if tenant == "" {
		whose = "without a tenant"
	}
	reason := ""
	switch p.why.kind {
	case nothing:
	case quotaConcurrent:
		reason = fmt.Sprintf("%s: %d of %d running", whose, p.why.n, p.why.of)
	case quotaCPU:
		reason = fmt.Sprintf("%s: CPU quota used up until %s", whose, moment(clock, p.why.until-now))
	case hostSandboxes:
		reason = fmt.Sprintf("sandboxes of the host: %d of %d running", p.why.n, p.why.of)
	case hostMemory:
		reason = "memory of the host"
	case hostCPUs:
		reason = "CPUs of the host"
	case hostOwed:
		reason = "room of the host: a larger request has waited too long and goes first"
	}
	return State{Position: p.position, Reason: reason}
}

// moment writes the time that is in a while as short as it is clear, rounded up
// to the second.
func moment(clock time.Time, in time.Duration) string {
	clock = clock.UTC()
	at := clock.Add(in + time.Second - 1).Truncate(time.Second)
	layout := "15:04"
	if at.Second() != 0 {
		layout += ":05"
	}
	if at.YearDay() != clock.YearDay() || at.Year() != clock.Year() {
		layout = "2006-01-02T" + layout
	}
	return at.Format(layout + "Z")
}
