//go:build linux

package warden

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// exitWithout ends a job whose program never ran.
func (j *job) exitWithout(err error, code int) {
	m := &frame.ExitMsg{Outcome: sandbox.StartFailed, Code: code}
	if err != nil {
		m.Reason = err.Error()
		if isFull(err) {
			m.Outcome = sandbox.DiskFull
		}
	}
	j.end.Lock()
	if j.outcome != "" {
		m.Outcome, m.Reason = j.outcome, j.reason
	}
	m.Hit = slices.Sorted(maps.Keys(j.hit))
	j.end.Unlock()
	if j.stdin != nil {
		j.stdin.close()
	}
	j.hangUp()
	j.tidy(m)
	j.deliver(m)
}

// finish ends a job whose program ran.
func (j *job) finish(status unix.WaitStatus, f facts, before, after tree) {
	if err := j.checkQuota(); err != nil {
		j.note("workspace") // and checkQuota has stopped it
	}
	j.end.Lock()
	outcome, reason := j.outcome, j.reason
	if f.usage.oomKills > 0 {
		j.hit["memory"] = true
	}
	if f.usage.forksRefused > 0 {
		j.hit["pids"] = true
	}
	for _, name := range f.full {
		j.hit[name] = true
	}
	hit := slices.Sorted(maps.Keys(j.hit))
	j.end.Unlock()
	m := &frame.ExitMsg{
		OOM: f.usage.oomKills > 0, Hit: hit, Duration: f.duration, CPUTime: f.usage.cpu, PeakMemory: f.usage.peak, Spent: f.survived,
	}
	m.Outcome, m.Reason = decide(status, outcome, reason, m.OOM, f.full)
	m.Code, m.Signal = codeOf(status)
	m.Changed, m.ChangedMore = changes(before, after)
	j.tidy(m)
	j.deliver(m)
}

// decide gives the one word for an end: why PID 1 ended it, if it did, or else
// what the program did.
func decide(status unix.WaitStatus, stopped sandbox.Outcome, reason string, oom bool, full []string) (sandbox.Outcome, string) {
	switch {
	case stopped != "":
		return stopped, reason
	case status.Signaled() && status.Signal() == unix.SIGKILL && oom:
		return sandbox.OutOfMemory, "the kernel ended it for memory"
	case status.Exited() && status.ExitStatus() == 0:
		return sandbox.Succeeded, ""
	case len(full) > 0:
		return sandbox.DiskFull, fmt.Sprintf("failed with no room left in %s", full[0])
	case status.Signaled():
		return sandbox.Signalled, ""
	}
	return sandbox.Nonzero, ""
}

func codeOf(status unix.WaitStatus) (code, signal int) {
	if status.Signaled() {
		return 128 + int(status.Signal()), int(status.Signal())
	}
	return status.ExitStatus(), 0
}

// tidy makes the sandbox as it was for the next job.
func (j *job) tidy(m *frame.ExitMsg) {
	for _, folder := range append([]string{j.w.o.Scratch}, j.w.o.Temp...) {
		if err := empty(folder); err != nil {
			m.Spent = true
			if m.Reason == "" {
				m.Reason = err.Error()
			}
		}
	}
	if os.Getpid() != 1 {
		return // what is there is the machine's
	}
	if err := emptyIPC(); err != nil {
		m.Spent = true
	}
}

// deliver ends the job for good and tells the worker. From here on another may
// come.
func (j *job) deliver(m *frame.ExitMsg) {
	j.out.Lock()
	defer j.out.Unlock()
	j.exit = m
	m.ArtifactsMissed = j.sendArtifacts()
	j.w.flush() // a Window of this job must not count for the next
	j.w.mu.Lock()
	j.phase, j.endedAt = ended, time.Now()
	j.w.mu.Unlock()
	_ = j.w.out.Send(frame.Exit, m)
}

// sendExit sends artifacts and Exit once more.
func (j *job) sendExit() {
	j.exit.ArtifactsMissed = j.sendArtifacts()
	_ = j.w.out.Send(frame.Exit, j.exit)
}
