//go:build linux

package warden

import (
	"bytes"
	"fmt"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// handle does what a frame says. It never waits for a program or for the worker.
func (w *warden) handle(f frame.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f.Type {
	case frame.Ping:
		w.note(note{t: frame.Pong, stream: f.Stream})
	case frame.Quit:
		w.end(0, nil)
	case frame.Job:
		w.newJob(f)
	case frame.Start:
		w.startJob(f)
	case frame.Kill:
		w.killJob(f)
	case frame.Adopt:
		w.adopt(f)
	case frame.Put, frame.PutEnd, frame.Get, frame.FileBegin, frame.FileData, frame.FileEnd:
		w.handleFile(f)
	case frame.Scan, frame.Want, frame.Fill, frame.Tree, frame.TreeEnd:
		w.handleTree(f)
	case frame.Stdin, frame.StdinEnd, frame.Window, frame.NetData, frame.NetEnd, frame.NetReset:
		w.handleFlow(f)
	default:
		w.refuse(f.Stream, "protocol", fmt.Sprintf("frame of type %d is not for PID 1", f.Type))
	}
}

func (w *warden) newJob(f frame.Frame) {
	var m frame.JobMsg
	if err := f.Decode(&m); err != nil {
		w.refuse(f.Stream, "protocol", err.Error())
		return
	}
	if w.job.in(running) {
		w.refuse(f.Stream, "protocol", "another job is running")
		return
	}
	if w.job.in(receiving) {
		w.job.files.abort()
	}
	w.job = newJob(w, m)
}

func (w *warden) startJob(f frame.Frame) {
	switch {
	case w.job.in(receiving):
		w.job.phase = running
		go w.job.run()
	case w.job.in(void):
		w.job = nil
	default:
		w.refuse(f.Stream, "protocol", "there is no job to start")
	}
}

func (w *warden) killJob(f frame.Frame) {
	var m frame.KillMsg
	if f.Decode(&m) != nil || m.Reason == "" {
		m.Reason = sandbox.Cancelled
	}
	switch {
	case w.job.in(running):
		w.job.stop(m.Reason, "", "")
	case w.job.in(receiving):
		// Start may be on its way, and must not start it.
		w.job.files.abort()
		w.job.phase = void
		w.send(frame.Exit, 0, frame.ExitMsg{Outcome: m.Reason})
	}
}

// damaged makes sure that nothing begins with a part missing.
func (w *warden) damaged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.put != nil {
		w.put.fail(frame.ErrDamaged)
	}
	w.trees.fail(frame.ErrDamaged)
	switch {
	case w.job.in(receiving):
		w.job.files.fail(frame.ErrDamaged)
	case w.job.in(running) && w.job.stdin != nil && !w.job.stdin.whole():
		w.job.torn = true
	}
}

// receiver is where files go: to a request, or else to the job that is coming.
func (w *warden) receiver() *receiver {
	switch {
	case w.put != nil:
		return w.put
	case w.job.in(receiving):
		return w.job.files
	}
	return nil
}

func (w *warden) handleFile(f frame.Frame) {
	r := w.receiver()
	switch f.Type {
	case frame.Put:
		if r != nil {
			r.fail(errProtocol)
		}
		w.put = w.newReceiver()
	case frame.PutEnd:
		w.endPut(f.Stream)
	case frame.Get:
		var m frame.GetMsg
		if err := f.Decode(&m); err != nil {
			w.refuse(f.Stream, "protocol", err.Error())
			return
		}
		w.request(func() { w.get(f.Stream, m) })
	case frame.FileBegin:
		var m frame.FileMsg
		err := f.Decode(&m)
		switch {
		case r == nil:
			return // of a job that was killed, or torn by a damaged frame
		case err != nil:
			r.fail(err)
		default:
			r.begin(m)
		}
	case frame.FileData:
		if r != nil {
			r.data(f.Data)
		}
	case frame.FileEnd:
		if r != nil {
			r.end()
		}
	}
}

func (w *warden) newReceiver() *receiver {
	return &receiver{places: map[string]string{frame.Workspace: w.o.Workspace, frame.Scratch: w.o.Scratch}}
}

func (w *warden) endPut(stream uint32) {
	if w.put == nil {
		w.refuse(stream, "protocol", "there is no Put to end")
		return
	}
	err := w.put.finish()
	w.put = nil
	w.request(func() {
		if err != nil {
			w.send(frame.Refused, stream, refusal(err))
			return
		}
		w.note(note{t: frame.Done, stream: stream})
	})
}

func (w *warden) request(answer func()) {
	select {
	case w.requests <- answer:
	default:
		w.end(1, fmt.Errorf("more than %d requests wait", backlog))
	}
}

// handleFlow passes on what belongs to a program's streams. What comes too late
// for them is of no use to anybody.
func (w *warden) handleFlow(f frame.Frame) {
	if f.Stream == frame.TreeStream {
		w.trees.grant(f)
		return
	}
	j := w.job
	if j == nil || j.phase != receiving && j.phase != running {
		return
	}
	switch {
	case f.Type == frame.Stdin:
		if j.stdin != nil && !j.stdin.put(f.Data) {
			j.torn = true
			j.stop(sandbox.Cancelled, "", "the worker sent more standard input than its window")
		}
	case f.Type == frame.StdinEnd:
		if j.stdin != nil && !j.torn {
			j.stdin.end()
		}
	case j.proxy != nil:
		j.proxy.handle(f)
	}
}

// adopt answers a new owner. What the old one left unfinished is over.
func (w *warden) adopt(f frame.Frame) {
	var m frame.AdoptMsg
	if err := f.Decode(&m); err != nil || len(m.Nonce) == 0 {
		w.refuse(f.Stream, "protocol", "Adopt needs a key and a nonce")
		return
	}
	if w.put != nil {
		w.put.abort()
		w.put = nil
	}
	w.trees.fail(errProtocol)
	j, why := w.job, ""
	switch {
	case j.in(receiving):
		j.files.abort()
		w.job, why = nil, "the job never arrived as a whole"
	case j == nil || m.Key == "" || j.msg.Key != m.Key || j.phase == void:
		why = "there is no such job"
	case j.phase == running && j.stdin != nil && !j.stdin.whole():
		why = "its standard input never arrived as a whole"
		j.stop(sandbox.Cancelled, "", why)
	}
	if why == "" {
		if j.proxy != nil {
			j.proxy.resetAll()
		}
		go j.replay(m.Nonce)
		return
	}
	w.note(note{raw: true, data: adopted(m.Nonce, frame.AdoptedMsg{Reason: why})})
}

// adopted is Taken and the answer as one piece, so that no other frame comes
// between them.
func adopted(nonce []byte, m frame.AdoptedMsg) []byte {
	var b bytes.Buffer // takes everything
	w := frame.NewWriter(&b)
	_ = w.Write(frame.Taken, 0, nonce)
	_ = w.Send(frame.Adopted, m)
	return b.Bytes()
}
