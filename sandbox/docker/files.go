package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// maxRead is the largest limit of ReadFile: the content is held in memory.
const maxRead = 256 * sandbox.MiB

// ReadFile reads a file of the box's workspace; see sandbox.Runner. limit is at
// most 256 MiB. Links are refused. The box's PID 1 reads it, with no more rights
// than the program has, so whatever a hostile program does to the path meanwhile
// leads to files of the sandbox at worst.
func (r *Runner) ReadFile(ctx context.Context, box, name string, limit int64) ([]byte, error) {
	if err := sandbox.ValidateBox(box); err != nil {
		return nil, err
	}
	if err := sandbox.ValidateName(name); err != nil {
		return nil, err
	}
	if limit < 0 || limit > maxRead {
		return nil, wflo.Invalid("limit", fmt.Sprintf("is %d", limit), "use 0 to "+sandbox.FormatSize(maxRead))
	}
	missing := wflo.Invalid("file", fmt.Sprintf("%q is not in the workspace of %q", name, box), "list the workspace first")
	if _, ok, err := r.workspaceOf(ctx, box); err != nil {
		return nil, err
	} else if !ok {
		return nil, missing
	}
	q := newRequest(limit)
	err := r.request(ctx, box, q, func(s *session) error {
		return s.w.Send(frame.Get, frame.GetMsg{Name: name, Limit: limit})
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case q.refused == nil:
		return q.data, nil
	}
	switch q.refused.Code {
	case "missing":
		return nil, missing
	case "irregular":
		return nil, wflo.Invalid("file", fmt.Sprintf("%q is not a regular file", name), "name a file; links and directories are not followed")
	case "large":
		return nil, wflo.Invalid("file", fmt.Sprintf("%q has more than %d bytes", name, limit), "read a part of it with a program in the sandbox")
	}
	return nil, wflo.Invalid("file", fmt.Sprintf("%q cannot be read: %s", name, q.refused.Message), "see its mode and that of its directories")
}

// WriteFiles puts files into the box's workspace, with mode 0644; see
// sandbox.Runner. A link in the way is replaced.
func (r *Runner) WriteFiles(ctx context.Context, box string, files []wflo.File) error {
	if err := sandbox.ValidateBox(box); err != nil {
		return err
	}
	if err := sandbox.ValidateFiles(files); err != nil {
		return err
	}
	q := newRequest(0)
	err := r.request(ctx, box, q, func(s *session) error {
		err := s.w.Write(frame.Put, 0, nil)
		if err == nil {
			err = sendFiles(s.w, frame.Workspace, files, q.done)
		}
		if err == nil {
			err = s.w.Write(frame.PutEnd, 0, nil)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("write files: %w", err)
	case q.refused != nil:
		return wflo.Invalid("files", "cannot be written: "+q.refused.Message, "see whether a directory is in the way, or the disk is full")
	}
	return nil
}

// request asks a sandbox of the box: the one that waits, or one of the default
// kind, which then waits for the first execution.
func (r *Runner) request(ctx context.Context, box string, q *request, ask func(s *session) error) error {
	about, err := r.Check(ctx)
	if err != nil {
		return err
	}
	spec, err := r.config.admit(defaultBox)
	if err != nil {
		return err
	}
	spec.Box = box
	x := &execution{r: r, spec: spec, stop: make(chan struct{}), ended: make(chan struct{})}
	b, err := r.enterBox(ctx, x)
	if err != nil {
		return err
	}
	defer b.leave(x)
	defer close(x.ended)
	s := b.takeKept()
	if s == nil || !s.alive() {
		if s != nil {
			s.discard()
		}
		if s, _, err = r.acquire(ctx, box, templateOf(spec, about.image), about.facts); err != nil {
			return err
		}
	}
	if err := s.begin(q); err != nil {
		return err
	}
	err = ask(s)
	if err == nil {
		err = q.wait(ctx, s, x.stop)
	}
	s.end()
	r.release(s, box, err != nil)
	return err
}

// request is a Get or a Put on its way.
type request struct {
	limit   int64
	data    []byte
	refused *frame.RefusedMsg
	err     error
	heard   chan struct{} // has room for one: something came
	done    chan struct{}
	over    bool
}

func newRequest(limit int64) *request {
	return &request{limit: limit, data: []byte{}, heard: make(chan struct{}, 1), done: make(chan struct{})}
}

func (q *request) take(f frame.Frame) {
	if q.over {
		return
	}
	select {
	case q.heard <- struct{}{}:
	default:
	}
	switch f.Type {
	case frame.FileData:
		if int64(len(q.data)+len(f.Data)) > q.limit {
			q.finish(errors.New("more than was asked for"))
			return
		}
		q.data = append(q.data, f.Data...)
	case frame.FileEnd, frame.Done:
		q.finish(nil)
	case frame.Refused:
		q.refused = &frame.RefusedMsg{}
		q.finish(f.Decode(q.refused))
	}
}

func (q *request) finish(err error) {
	q.over, q.err = true, err
	close(q.done)
}

// wait waits for the answer. An engine that hangs ends no connection, so silence for as
// long as a request may take is the end too.
func (q *request) wait(ctx context.Context, s *session, stop <-chan struct{}) error {
	silence := time.NewTimer(s.r.config.EngineTimeout)
	defer silence.Stop()
	for {
		select {
		case <-q.done:
			return q.err
		case <-q.heard:
			silence.Reset(s.r.config.EngineTimeout)
		case <-silence.C:
			return wflo.Errorf(wflo.CodeSandboxLost, "see whether the engine answers (docker ps), and try again",
				"sandbox %.12s has said nothing for %s", s.id, s.r.config.EngineTimeout)
		case <-s.over:
			return wflo.Errorf(wflo.CodeSandboxLost, "try again", "sandbox %.12s ended: %w", s.id, s.fault())
		case <-stop:
			return errors.New("the box was closed")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
