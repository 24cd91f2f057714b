//go:build linux

package warden

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

type phase int

const (
	receiving phase = iota // until Start
	running                // until Exit is about to be sent
	ended                  // kept for Adopt
	void                   // killed before Start, which is still to come
)

// maxKept is how much of a stream is kept for a worker that adopts.
const maxKept = 1 << 20

// job is a program with everything around it. phase, torn and proxy are under
// warden.mu; files is the frame loop's until Start.
type job struct {
	w       *warden
	msg     frame.JobMsg
	phase   phase
	torn    bool // a part of its input is lost
	endedAt time.Time
	files   *receiver
	stdin   *inflow // nil without one
	proxy   *proxy  // nil without a network
	meter   *meter

	// out is held while output is sent, and by whoever must not be interrupted by it.
	out   sync.Mutex
	kept  [2][]byte
	total [2]int64
	exit  *frame.ExitMsg

	end     sync.Mutex
	stopped chan struct{} // closed by the first stop
	outcome sandbox.Outcome
	reason  string
	hit     map[string]bool
}

func newJob(w *warden, m frame.JobMsg) *job {
	j := &job{w: w, msg: m, files: w.newReceiver(), stopped: make(chan struct{}), hit: map[string]bool{}}
	if m.Stdin {
		j.stdin = newInflow(frame.InitialWindow)
	}
	return j
}

// in says whether there is a job in this phase.
func (j *job) in(p phase) bool { return j != nil && j.phase == p }

// stop ends the program for a reason; the first one counts. hit names the limit,
// if it was one.
func (j *job) stop(o sandbox.Outcome, hit, reason string) {
	j.end.Lock()
	defer j.end.Unlock()
	if hit != "" {
		j.hit[hit] = true
	}
	if j.outcome == "" {
		j.outcome, j.reason = o, reason
		close(j.stopped)
	}
}

func (j *job) note(hit string) {
	j.end.Lock()
	j.hit[hit] = true
	j.end.Unlock()
}

func (j *job) isStopped() bool {
	select {
	case <-j.stopped:
		return true
	default:
		return false
	}
}

// run is the life of a job from Start to Exit.
func (j *job) run() {
	w := j.w
	j.meter = newMeter(w.cgroup, w.family)
	if err := j.files.finish(); err != nil {
		j.exitWithout(err, 0)
		return
	}
	if err := j.checkQuota(); err != nil {
		j.exitWithout(err, 0)
		return
	}
	before := snapshot(w.o.Workspace)
	if err := j.listen(); err != nil {
		j.exitWithout(err, 0)
		return
	}
	if j.isStopped() {
		j.exitWithout(nil, 0)
		return
	}
	j.meter.begin()
	pipes, died, err := spawn(j.msg, w.o.Workspace, w.family)
	if err != nil {
		code := codeRefused
		if e := (*startError)(nil); errors.As(err, &e) {
			code = e.code
		}
		j.exitWithout(err, code)
		return
	}
	status, facts := j.attend(pipes, died)
	after := snapshot(w.o.Workspace)
	j.finish(status, facts, before, after)
}

// facts are what is known when the program has ended.
type facts struct {
	duration time.Duration
	usage    usage
	full     []string
	survived bool // something could not be killed, or its output never ended
}

// attend sees the program through to its end, and everything that it started.
func (j *job) attend(p *pipes, died <-chan unix.WaitStatus) (unix.WaitStatus, facts) {
	began := time.Now()
	var pumps sync.WaitGroup
	drained := make(chan struct{})
	var stuck [2]bool
	pumps.Go(func() {
		// Nothing of the program's comes before this, and its time runs meanwhile.
		_ = j.w.out.Write(frame.Started, 0, nil)
		for i, f := range []*os.File{p.stdout, p.stderr} {
			pumps.Go(func() { stuck[i] = j.pump(i, f, drained) })
		}
	})
	if p.stdin != nil {
		pumps.Go(func() {
			_ = j.stdin.run(p.stdin, func(n int) { j.w.send(frame.Window, 0, frame.WindowMsg{Bytes: n}) })
			_ = p.stdin.Close()
		})
	}
	done := make(chan struct{})
	var guards sync.WaitGroup
	guards.Go(func() { j.guardQuota(done) })
	status := j.wait(died)
	f := facts{duration: time.Since(began), full: j.fullFolders()}
	f.survived = !j.w.family.kill()
	f.usage = j.meter.end()
	close(done)
	_ = p.stdout.SetReadDeadline(time.Now().Add(drainPatience))
	_ = p.stderr.SetReadDeadline(time.Now().Add(drainPatience))
	close(drained)
	if p.stdin != nil {
		j.stdin.close()
		_ = p.stdin.Close()
	}
	pumps.Wait()
	guards.Wait()
	p.close()
	j.hangUp()
	f.survived = f.survived || stuck[0] || stuck[1]
	return status, f
}

// How often limits are looked at: more often when one is near.
const (
	lazy = 50 * time.Millisecond
	keen = 25 * time.Millisecond
	tell = time.Second // between two Usage frames
)

// wait returns when the main program is gone, by itself or by force.
func (j *job) wait(died <-chan unix.WaitStatus) unix.WaitStatus {
	wall := time.NewTimer(j.msg.Timeout)
	defer wall.Stop()
	if j.msg.Timeout <= 0 {
		wall.Stop()
	}
	look := time.NewTimer(keen)
	defer look.Stop()
	told := time.Now()
	for {
		select {
		case status := <-died:
			return status
		case <-j.stopped:
			j.w.family.kill()
			select {
			case status := <-died:
				return status
			case <-time.After(killPatience):
				return unix.WaitStatus(unix.SIGKILL) // it hangs in the kernel
			}
		case <-wall.C:
			j.stop(sandbox.Timeout, "timeout", fmt.Sprintf("ran for longer than %v", j.msg.Timeout))
		case now := <-look.C:
			look.Reset(j.look())
			j.w.family.reap()
			if now.Sub(told) >= tell && len(j.w.notes) == 0 {
				told = now
				j.w.send(frame.Usage, 0, j.meter.now())
			}
		}
	}
}

// look compares the program with its limits, and says when to look again.
func (j *job) look() time.Duration {
	cpu := j.meter.sample()
	for _, name := range j.fullFolders() {
		j.note(name)
	}
	if j.msg.CPUTime <= 0 {
		return lazy
	}
	if cpu > j.msg.CPUTime {
		j.stop(sandbox.CPUTimeout, "cpu_time", fmt.Sprintf("used more than %v of CPU time", j.msg.CPUTime))
	}
	if j.msg.CPUTime-cpu < 4*lazy {
		return keen
	}
	return lazy
}

func (j *job) fullFolders() []string {
	var names []string
	for _, folder := range j.w.o.Temp {
		if full(folder) {
			names = append(names, "tmp")
			break
		}
	}
	if full(j.w.o.Workspace) {
		names = append(names, "workspace")
	}
	return names
}
