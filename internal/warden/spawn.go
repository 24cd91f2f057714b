//go:build linux

package warden

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wflo-ai/wflo-go/internal/frame"
)

// defaultPath is where programs are searched that get no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// What a shell returns for a program that is not there, and for one that it
// cannot execute.
const (
	codeMissing = 127
	codeRefused = 126
)

// startError says why a program could not be started.
type startError struct {
	code   int
	reason string
}

func (e *startError) Error() string { return e.reason }

// pipes are PID 1's ends of a program's standard streams.
type pipes struct {
	stdin          *os.File // nil without one
	stdout, stderr *os.File
}

func (p *pipes) close() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// spawn starts a job's program.
func spawn(m frame.JobMsg, workspace string, f *family) (*pipes, <-chan unix.WaitStatus, error) {
	if len(m.Argv) == 0 || len(m.Argv[0]) == 0 {
		return nil, nil, &startError{codeMissing, "no program is named"}
	}
	path, err := lookPath(string(m.Argv[0]), variable(m.Env, "PATH"), workspace)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := openPipes(m.Stdin)
	if err != nil {
		return nil, nil, &startError{codeRefused, err.Error()}
	}
	defer func() {
		for _, fd := range theirs {
			_ = unix.Close(int(fd))
		}
	}()
	attr := &syscall.ProcAttr{Dir: workspace, Env: stringsOf(m.Env), Files: theirs, Sys: &syscall.SysProcAttr{Setsid: true}}
	ended, err := f.start(func() (int, error) {
		return preferred(f.host, func() (int, error) { return syscall.ForkExec(path, stringsOf(m.Argv), attr) })
	})
	if err != nil {
		ours.close()
		return nil, nil, explain(string(m.Argv[0]), err)
	}
	return ours, ended, nil
}

func explain(program string, err error) *startError {
	e := &startError{codeRefused, fmt.Sprintf("%.200q: %v", program, err)}
	switch {
	case errors.Is(err, unix.ENOENT):
		e.code, e.reason = codeMissing, fmt.Sprintf("%.200q or its interpreter is not there", program)
	case errors.Is(err, unix.ENOEXEC):
		e.reason = fmt.Sprintf("%.200q is no program of this machine's kind, nor a script with #! in its first line", program)
	case errors.Is(err, unix.EINVAL):
		e.reason = fmt.Sprintf("%.200q: the program, an argument or a variable is not valid", program)
	}
	return e
}

// preferred calls fork so that the kernel ends the program before PID 1 when
// memory runs out.
func preferred(h *host, fork func() (int, error)) (int, error) {
	undo := h.volunteer()
	defer undo()
	return fork()
}

// openPipes gives PID 1's ends, which never block, and the program's.
func openPipes(stdin bool) (ours *pipes, theirs []uintptr, err error) {
	ours = &pipes{}
	defer func() {
		if err != nil {
			ours.close()
			for _, fd := range theirs {
				_ = unix.Close(int(fd))
			}
		}
	}()
	if !stdin {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return ours, theirs, fmt.Errorf("open /dev/null: %w", err)
		}
		theirs = append(theirs, uintptr(fd))
	}
	for i, end := range []**os.File{&ours.stdin, &ours.stdout, &ours.stderr} {
		if i == 0 && !stdin {
			continue
		}
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return ours, theirs, fmt.Errorf("pipe: %w", err)
		}
		mine, its := fds[0], fds[1]
		if i == 0 {
			mine, its = its, mine
		}
		theirs = append(theirs, uintptr(its))
		if err := unix.SetNonblock(mine, true); err != nil {
			_ = unix.Close(mine)
			return ours, theirs, fmt.Errorf("pipe: %w", err)
		}
		widen(mine)
		*end = os.NewFile(uintptr(mine), "pipe")
	}
	return ours, theirs, nil
}

// lookPath finds a program as a shell does, in the PATH that it would get itself.
func lookPath(name, search, workspace string) (string, error) {
	if strings.Contains(name, "/") {
		at := name
		if !strings.HasPrefix(name, "/") {
			at = workspace + "/" + name
		}
		return name, executable(name, at)
	}
	if search == "" {
		search = defaultPath
	}
	var found error = &startError{codeMissing, fmt.Sprintf("%.200q is not there", name)}
	for dir := range strings.SplitSeq(search, ":") {
		if !strings.HasPrefix(dir, "/") {
			continue // the current folder is the program's own, and no place to search
		}
		var e *startError
		err := executable(name, dir+"/"+name)
		if err == nil {
			return dir + "/" + name, nil
		}
		if errors.As(err, &e) && e.code == codeRefused {
			found = e
		}
	}
	return "", found
}

// executable says what is wrong with a program before a fork is spent on it.
func executable(name, at string) error {
	var st unix.Stat_t
	err := unix.Stat(at, &st)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return &startError{codeMissing, fmt.Sprintf("%.200q is not there", name)}
	case err != nil:
		return &startError{codeRefused, fmt.Sprintf("%.200q: %v", name, err)}
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return &startError{codeRefused, fmt.Sprintf("%.200q is no file", name)}
	case unix.Access(at, unix.X_OK) != nil:
		return &startError{codeRefused, fmt.Sprintf("%.200q is not executable", name)}
	}
	return nil
}

// variable gives the value of a variable, the last one as in a shell.
func variable(env [][]byte, name string) string {
	value := ""
	for _, v := range env {
		if rest, ok := bytes.CutPrefix(v, []byte(name+"=")); ok {
			value = string(rest)
		}
	}
	return value
}

func stringsOf(all [][]byte) []string {
	out := make([]string, len(all))
	for i, b := range all {
		out[i] = string(b)
	}
	return out
}
