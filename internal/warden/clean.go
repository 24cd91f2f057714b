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

// empty removes everything in a folder, of which no program uses anything any
// more. Folders are moved up before they are emptied, so that neither a deep
// tree nor a long name is too much.
func empty(folder string) error {
	top, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", folder, err)
	}
	defer func() { _ = unix.Close(top) }()
	c := cleaner{top: top}
	// What is moved up may be missed by a listing under way; another round sees it.
	for {
		before := c.removed
		again, err := openBeneath(top, ".", openDir)
		if err != nil {
			return fmt.Errorf("open %s: %w", folder, err)
		}
		left := 0
		list(again, func(name string, st *unix.Stat_t) bool {
			left++
			c.remove(top, name, st)
			return true
		})
		switch {
		case left == 0:
			return nil
		case c.removed == before:
			return fmt.Errorf("empty %s: %w", folder, c.err)
		}
	}
}

// emptyIPC removes what System V calls of programs left in the sandbox: shared
// memory, semaphores and message queues, which live until somebody removes them.
func emptyIPC() error {
	var failed error
	for kind, remove := range map[string]func(id uintptr) unix.Errno{
		"shm": func(id uintptr) unix.Errno {
			_, _, e := unix.Syscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0)
			return e
		},
		"sem": func(id uintptr) unix.Errno {
			_, _, e := unix.Syscall6(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID, 0, 0, 0)
			return e
		},
		"msg": func(id uintptr) unix.Errno {
			_, _, e := unix.Syscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0)
			return e
		},
	} {
		table, err := os.ReadFile("/proc/sysvipc/" + kind)
		if err != nil {
			continue // a kernel without
		}
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			id, err := strconv.ParseUint(fields[1], 10, 31)
			if err != nil {
				continue // the heading
			}
			if e := remove(uintptr(id)); e != 0 && e != unix.EINVAL && e != unix.EIDRM {
				failed = fmt.Errorf("remove System V %s %d: %w", kind, id, e)
			}
		}
	}
	return failed
}

type cleaner struct {
	top, moved, removed int
	err                 error // the last
}

func (c *cleaner) remove(dir int, name string, st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		c.done(unix.Unlinkat(dir, name, 0))
		return
	}
	if unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) == nil {
		c.removed++
		return
	}
	// It must be readable to be listed, and writable to be moved.
	_ = unix.Fchmodat(dir, name, 0o700, 0)
	if dir != c.top {
		c.moved++
		c.done(unix.Renameat(dir, name, c.top, ".wflo-"+strconv.Itoa(c.moved)))
		return
	}
	fd, err := openBeneath(dir, name, openDir)
	if err != nil {
		c.err = err
		return
	}
	list(fd, func(inner string, st *unix.Stat_t) bool {
		c.remove(fd, inner, st)
		return true
	})
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err == nil {
		c.removed++
	}
}

func (c *cleaner) done(err error) {
	if err != nil {
		c.err = err
		return
	}
	c.removed++
}
