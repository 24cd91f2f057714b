//go:build linux

package warden

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deleted counts the blocks of files on a device that have no name any more but
// are open in a program. Those of programs that hide their descriptors from
// PID 1 are not seen.
func deleted(dev uint64) (blocks int64) {
	seen := map[uint64]bool{}
	for _, p := range processes() {
		for _, dir := range p.threads() {
			d, err := os.Open(dir + "/fd")
			if err != nil {
				continue
			}
			fd := int(d.Fd())
			names, _ := d.Readdirnames(-1)
			for _, name := range names {
				var st unix.Stat_t
				if unix.Fstatat(fd, name, &st, 0) == nil && st.Dev == dev && !seen[st.Ino] && nameless(fd, name, &st) {
					seen[st.Ino] = true
					blocks += st.Blocks
				}
			}
			_ = d.Close()
		}
	}
	return blocks
}

// nameless says that an open file has no name any more. gVisor counts the last
// name of a deleted file on, and tells by the end of the path. Who calls a file
// like that is charged for it twice.
func nameless(dir int, name string, st *unix.Stat_t) bool {
	if st.Nlink != 1 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return st.Nlink == 0
	}
	path := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, path)
	return err == nil && strings.HasSuffix(string(path[:n]), " (deleted)")
}

// threads gives the folders of a process's threads in /proc. Each may have open
// files of its own, and those of the first one cannot be seen after its end, while
// the others go on.
func (p process) threads() []string {
	dir := "/proc/" + strconv.Itoa(p.pid) + "/task"
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for i, name := range names {
		names[i] = dir + "/" + name
	}
	return names
}

// veil says how programs keep open files from being seen, if they do: files that
// are deleted and held in such a way would take room that nobody can measure.
func veil() string {
	for _, p := range processes() {
		for _, dir := range p.threads() {
			if reason := p.veil(dir); reason != "" {
				return reason
			}
		}
	}
	return ""
}

func (p process) veil(thread string) string {
	d, err := os.Open(thread + "/fd")
	if errors.Is(err, unix.EACCES) && !p.foreign() && !exiting(thread) {
		return fmt.Sprintf("process %d hides its open files", p.pid)
	}
	if err != nil {
		return ""
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(int(d.Fd()), name, &st, 0) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK && carries(thread+"/fdinfo/"+name) {
			return fmt.Sprintf("a socket of process %d holds open files", p.pid)
		}
	}
	return ""
}

// foreign says that a process came from outside of the sandbox, as what "docker
// exec" begins does: its parent is nobody that can be seen here. Until it becomes
// the program that was asked for it is the engine's, and hides everything. No
// program can make such a process, nor look into one or change it: the profile
// refuses ptrace and its like.
func (p process) foreign() bool { return p.parent == 0 }

// exiting says that a thread runs none of its program any more: the kernel hides
// what it has open, and closes that.
func exiting(thread string) bool {
	const flag = 4 // PF_EXITING of Linux
	fields := statOf(thread)
	if len(fields) < statFlags+1 {
		return true
	}
	flags, err := strconv.ParseUint(fields[statFlags], 10, 32)
	return isZombie(fields) || err == nil && flags&flag != 0
}

// carries says whether descriptors are on their way in a socket.
func carries(info string) bool {
	b, err := os.ReadFile(info)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "scm_fds:"); ok {
			return strings.TrimSpace(n) != "0"
		}
	}
	return false
}
