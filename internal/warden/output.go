//go:build linux

package warden

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wflo-ai/wflo-go/internal/frame"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// drainPatience is how long output may take to end when every process that could
// write it is gone. Only a pipe that something else holds open takes any time.
const drainPatience = 5 * time.Second

// pump sends what a program writes on a stream until its end. The time that the
// worker takes does not count as waiting for the program. It says whether the
// stream had no end.
func (j *job) pump(stream int, r *os.File, drained <-chan struct{}) (stuck bool) {
	buf := make([]byte, 32<<10)
	for {
		last := false
		select {
		case <-drained:
			last = true
			_ = r.SetReadDeadline(time.Now().Add(drainPatience))
		default:
		}
		n, err := r.Read(buf)
		if n > 0 {
			j.emit(stream, buf[:n])
		}
		late := errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && (!late || last) {
			return late
		}
	}
}

// emit sends output, within what the job may write.
func (j *job) emit(stream int, p []byte) {
	j.out.Lock()
	defer j.out.Unlock()
	if most := j.msg.OutputTotal; most > 0 {
		if left := most - j.total[0] - j.total[1]; int64(len(p)) > left {
			p = p[:max(left, 0)]
			j.stop(sandbox.OutputLimit, "output", fmt.Sprintf("wrote more than %d bytes", most))
		}
	}
	if len(p) == 0 {
		return
	}
	j.total[stream] += int64(len(p))
	if j.msg.Key != "" {
		room := min(j.msg.Output, maxKept) - int64(len(j.kept[stream]))
		j.kept[stream] = append(j.kept[stream], p[:max(0, min(room, int64(len(p))))]...)
	}
	_ = j.w.out.Write(outputs[stream], 0, p)
}

var outputs = [2]frame.Type{frame.Stdout, frame.Stderr}

// replay tells a new owner everything again.
func (j *job) replay(nonce []byte) {
	j.out.Lock()
	defer j.out.Unlock()
	m := frame.AdoptedMsg{
		OK:           true,
		StdoutMissed: j.total[0] - int64(len(j.kept[0])),
		StderrMissed: j.total[1] - int64(len(j.kept[1])),
	}
	_ = j.w.out.Raw(adopted(nonce, m))
	for i, kept := range j.kept {
		for len(kept) > 0 {
			n := min(len(kept), frame.MaxData)
			_ = j.w.out.Write(outputs[i], 0, kept[:n])
			kept = kept[n:]
		}
	}
	if j.exit != nil {
		j.sendExit()
	}
}
