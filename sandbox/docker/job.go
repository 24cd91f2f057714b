package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

const (
	// grace is how long PID 1 may take to end a program, or to report its end,
	// before the engine ends the container.
	grace = 2 * time.Second
	// dying is how long the engine may take for that.
	dying = 30 * time.Second
)

// task is a job with what goes along.
type task struct {
	msg     frame.JobMsg
	stdin   []byte
	files   []wflo.File // of the workspace
	scratch []wflo.File // of frame.ScratchDir
	serve   func(net.Conn)
}

// ending is how a job ended.
type ending struct {
	frame.ExitMsg
	out       *capture
	artifacts []wflo.File
}

// job is a task on a session.
type job struct {
	s       *session
	task    task
	out     *capture
	stdin   *window
	tunnels *tunnels // nil without a network

	began time.Time
	done  chan struct{} // closed by the last frame
	once  sync.Once
	exit  frame.ExitMsg
	err   error // why the frames make no sense

	files    []wflo.File
	incoming *incoming
	total    int64
	usage    frame.UsageMsg // the last one
	used     time.Time
}

// incoming is a file on its way.
type incoming struct {
	file wflo.File
	size int64
}

func newJob(s *session, t task, out *capture) *job {
	j := &job{s: s, task: t, out: out, stdin: newWindow(), began: time.Now(), done: make(chan struct{})}
	if t.serve != nil {
		j.tunnels = newTunnels(s.w, t.serve)
	}
	return j
}

// take handles one frame.
func (j *job) take(f frame.Frame) {
	var err error
	switch f.Type {
	case frame.Stdout:
		j.out.write(&j.out.stdout, f.Data)
	case frame.Stderr:
		j.out.write(&j.out.stderr, f.Data)
	case frame.Usage:
		err = j.observe(f)
	case frame.FileBegin, frame.FileData, frame.FileEnd:
		err = j.receive(f)
	case frame.Exit:
		err = f.Decode(&j.exit)
		j.finish(err)
	case frame.Refused:
		var m frame.RefusedMsg
		if err = f.Decode(&m); err == nil {
			err = fmt.Errorf("PID 1 refused the job: %s: %s", m.Code, m.Message)
		}
	case frame.Taken:
		err = errStolen
	case frame.Window:
		var m frame.WindowMsg
		if err = f.Decode(&m); f.Stream == 0 && err == nil {
			j.stdin.grant(m.Bytes)
			break
		}
		fallthrough
	case frame.NetOpen, frame.NetData, frame.NetEnd, frame.NetReset:
		if j.tunnels != nil {
			j.tunnels.take(f)
		}
	}
	if err != nil {
		j.finish(err)
	}
}

// errStolen ends a job that another worker has taken over.
var errStolen = errors.New("another worker has adopted the execution")

func (j *job) finish(err error) {
	j.once.Do(func() {
		j.err = err
		close(j.done)
	})
}

func (j *job) observe(f frame.Frame) error {
	var m frame.UsageMsg
	if err := f.Decode(&m); err != nil {
		return err
	}
	now, percent := time.Now(), 0.0
	if passed := now.Sub(j.used); !j.used.IsZero() && passed > 0 {
		percent = 100 * float64(m.CPUTime-j.usage.CPUTime) / float64(passed)
	}
	j.usage, j.used = m, now
	j.s.r.config.Observer.Usage(j.s.id, max(0, percent), m.Memory)
	return nil
}

// receive collects an artifact. PID 1 holds itself to the limits; this is for
// one that was taken over.
func (j *job) receive(f frame.Frame) error {
	in := j.incoming
	switch {
	case f.Type == frame.FileBegin && in == nil:
		var m frame.FileMsg
		if err := f.Decode(&m); err != nil {
			return err
		}
		if err := sandbox.ValidateName(m.Name); err != nil {
			return fmt.Errorf("artifact: %w", err)
		}
		if len(j.files) >= sandbox.MaxArtifacts || m.Size < 0 || m.Size > j.task.msg.ArtifactBytes {
			return errors.New("artifact beyond the limits")
		}
		j.incoming = &incoming{file: wflo.File{Name: m.Name, Data: []byte{}}, size: m.Size}
	case f.Type == frame.FileData && in != nil:
		j.total += int64(len(f.Data))
		if j.total > j.task.msg.ArtifactBytes || int64(len(in.file.Data)+len(f.Data)) > in.size {
			return errors.New("artifact beyond the limits")
		}
		in.file.Data = append(in.file.Data, f.Data...)
	case f.Type == frame.FileEnd && in != nil:
		j.files, j.incoming = append(j.files, in.file), nil
	default:
		return errors.New("artifact out of order")
	}
	return nil
}

// feed sends the job and everything that belongs to it. What cannot be sent
// shows up as the end of the session.
func (j *job) feed() {
	defer j.stdin.close()
	if j.send() != nil {
		return
	}
	for p := j.task.stdin; len(p) > 0; {
		n := j.stdin.take(min(len(p), frame.MaxData))
		if n == 0 || j.s.w.Write(frame.Stdin, 0, p[:n]) != nil {
			return
		}
		p = p[n:]
	}
	if j.task.msg.Stdin {
		_ = j.s.w.Write(frame.StdinEnd, 0, nil)
	}
}

// small is how much may be put together to be sent at once.
const small = 64 << 10

// send sends the job with its files, at once where that is little: every write
// is handed on by the engine and wakes PID 1.
func (j *job) send() error {
	size := 0
	for _, f := range slices.Concat(j.task.files, j.task.scratch) {
		size += len(f.Data)
	}
	if size > small {
		return j.sendTo(j.s.w)
	}
	var b bytes.Buffer
	if err := j.sendTo(frame.NewWriter(&b)); err != nil {
		return err
	}
	return j.s.w.Raw(b.Bytes())
}

func (j *job) sendTo(w *frame.Writer) error {
	if err := w.Send(frame.Job, j.task.msg); err != nil {
		return err
	}
	for where, files := range map[string][]wflo.File{frame.Scratch: j.task.scratch, frame.Workspace: j.task.files} {
		if err := sendFiles(w, where, files, j.done); err != nil {
			return err
		}
	}
	return w.Write(frame.Start, 0, nil)
}

// sendFiles sends files until stop is closed.
func sendFiles(w *frame.Writer, where string, files []wflo.File, stop <-chan struct{}) error {
	for _, f := range files {
		if err := w.Send(frame.FileBegin, frame.FileMsg{Name: f.Name, Where: where, Size: int64(len(f.Data))}); err != nil {
			return err
		}
		for p := f.Data; len(p) > 0; {
			select {
			case <-stop:
				return errStopped
			default:
			}
			n := min(len(p), frame.MaxData)
			if err := w.Write(frame.FileData, 0, p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
		if err := w.Write(frame.FileEnd, 0, nil); err != nil {
			return err
		}
	}
	return nil
}

var errStopped = errors.New("stopped")

// run carries out a task. Cancelling ctx, or closing stop, ends the program.
// spent says that the session can take no other.
func (s *session) run(ctx context.Context, t task, out *capture, stop <-chan struct{}) (end ending, spent bool, err error) {
	j := newJob(s, t, out)
	if err := s.begin(j); err != nil {
		return ending{}, false, err
	}
	defer s.end()
	var wg sync.WaitGroup
	wg.Go(j.feed)
	end, spent, err = j.await(ctx, stop)
	j.stdin.close()
	if spent {
		// Its writers may wait for a sandbox that is gone.
		s.conn.Close()
	}
	wg.Wait()
	if j.tunnels != nil {
		j.tunnels.close()
	}
	return end, spent, err
}

// await waits for the end of a job and brings it about when it is time.
func (j *job) await(ctx context.Context, stop <-chan struct{}) (ending, bool, error) {
	// PID 1 ends the program at its timeout; this is for one that does not.
	late := time.NewTimer(j.task.msg.Timeout + grace)
	defer late.Stop()
	var force <-chan time.Time
	var why sandbox.Outcome
	kill := func(reason sandbox.Outcome) {
		if why != "" {
			return
		}
		why, force = reason, time.After(grace)
		_ = j.s.w.Send(frame.Kill, frame.KillMsg{Reason: reason}) // force follows
	}
	cancelled := ctx.Done()
	for {
		select {
		case <-j.done:
			return j.result(ctx)
		case <-j.s.over:
			select {
			case <-j.done: // the last frame and the end came together
				return j.result(ctx)
			default:
			}
			end, err := j.post(ctx, why)
			return end, true, err
		case <-cancelled:
			cancelled = nil
			kill(sandbox.Cancelled)
		case <-stop:
			stop = nil
			kill(sandbox.Cancelled)
		case <-late.C:
			kill(sandbox.Timeout)
		case <-force:
			force = nil
			if err := j.s.slay(context.WithoutCancel(ctx)); err != nil {
				return ending{}, true, err
			}
		}
	}
}

// slay has the engine end the container, and waits until it has.
func (s *session) slay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dying)
	defer cancel()
	if err := s.r.kill(ctx, s.id); err != nil {
		return err
	}
	select {
	case <-s.over:
		return nil
	case <-ctx.Done():
		return errors.New("container does not die")
	}
}

// result is that of a job whose last frame has come.
func (j *job) result(ctx context.Context) (ending, bool, error) {
	if errors.Is(j.err, errStolen) {
		return ending{}, true, wflo.Errorf(wflo.CodeConflict, "none needed: the other worker reports its result", "sandbox %.12s: %w", j.s.id, j.err)
	}
	if j.err != nil {
		_ = j.s.slay(context.WithoutCancel(ctx)) // it is removed in any case
		return ending{}, true, fmt.Errorf("sandbox %.12s: %w", j.s.id, j.err)
	}
	j.out.end()
	return ending{ExitMsg: j.exit, out: j.out, artifacts: j.files}, j.exit.Spent || j.s.virtual(), nil
}

// felled are the exit codes, and reasons, of a sandbox that ends without a word
// of its PID 1 where programs can bring that about, under gVisor. Somebody on the
// host may have done it too, but a program whose end looked like a fault of the
// machinery would be run again, as often as it likes.
var felled = map[int]string{
	2:   "gVisor's kernel could not go on, as for a program that has more processes than its limit",
	137: "the whole sandbox was killed: by the program, which can reach PID 1 under gVisor, for memory, or from outside",
}

// virtual says that PID 1 runs in gVisor, which does not keep programs from the
// PID 1 of their user: after the first of them nothing in the sandbox is to be
// trusted with a second.
func (s *session) virtual() bool {
	e := s.r.known()
	return e != nil && s.t.virtual(e.facts) || virtual(s.t.runtime)
}

// post finds out how a sandbox ended that did not report it: by the kernel for
// memory, by this worker, or by something from outside.
func (j *job) post(ctx context.Context, why sandbox.Outcome) (ending, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.s.r.config.EngineTimeout)
	defer cancel()
	end := ending{out: j.out, ExitMsg: frame.ExitMsg{Outcome: why, Code: 128 + 9, Signal: 9, Spent: true}}
	end.Duration = time.Since(j.began)
	end.CPUTime, end.PeakMemory = j.usage.CPUTime, j.usage.Memory
	j.out.end()
	if why != "" {
		return end, nil
	}
	c, err := j.s.r.engine.ContainerInspect(ctx, j.s.id)
	if err == nil && c.State != nil && c.State.OOMKilled {
		end.Outcome, end.OOM, end.Hit = sandbox.OutOfMemory, true, []string{"memory"}
		end.Reason = "the kernel ended the whole sandbox for memory"
		return end, nil
	}
	if err == nil && c.State != nil && !c.State.Running && j.s.virtual() && j.s.said() == "" {
		if end.Reason = felled[c.State.ExitCode]; end.Reason != "" {
			end.Outcome = sandbox.Signalled
			return end, nil
		}
	}
	state := "its container is gone"
	switch {
	case err != nil || c.State == nil:
	case c.State.Running:
		state = "its stream is broken"
		if fault := j.s.fault(); !errors.Is(fault, io.EOF) {
			state += ": " + fault.Error()
		}
	default:
		state = fmt.Sprintf("it exited with %d", c.State.ExitCode)
		if c.State.Error != "" {
			state += ": " + c.State.Error
		}
	}
	if said := strings.TrimSpace(j.s.said()); said != "" {
		state += fmt.Sprintf(" (%.300s)", said)
	}
	return ending{}, wflo.Errorf(wflo.CodeSandboxLost, "it is run again; see the engine's log if this repeats",
		"sandbox %.12s ended under its program: %s", j.s.id, state)
}
