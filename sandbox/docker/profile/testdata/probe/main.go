// Command probe makes system calls and prints what came of each. It reads lines
// of a kind, a number and six arguments, and writes a line for each: "ok",
// "errno N" or "signal N". Kind 0 is the machine's own way to call; kind 1 is
// that in a process of its own, because the filter may end it, and kind 2 is 1
// through the 32-bit entry.
package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var kind int
		var nr uintptr
		var a [6]uintptr
		if _, err := fmt.Sscan(lines.Text(), &kind, &nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]); err != nil {
			fmt.Println(err)
			continue
		}
		errno := syscall.Errno(0)
		if kind == 0 {
			errno = call(nr, a)
		} else {
			status, err := forked(kind, nr, a)
			if err != nil {
				fmt.Println(err)
				continue
			}
			if status.Signaled() {
				fmt.Println("signal", int(status.Signal()))
				continue
			}
			errno = syscall.Errno(status.ExitStatus())
		}
		if errno != 0 {
			fmt.Println("errno", int(errno))
			continue
		}
		fmt.Println("ok")
	}
}

func call(nr uintptr, a [6]uintptr) syscall.Errno {
	r, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if r == 0 && errno == 0 && nr == syscall.SYS_CLONE {
		syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0) // the child
	}
	return errno
}

// forked calls in a process of one thread: the filter ends the thread that
// calls, and a process of more would go on without it. The process tells the
// error by its exit status.
func forked(kind int, nr uintptr, a [6]uintptr) (syscall.WaitStatus, error) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid == 0 {
		if kind == 2 {
			if r := int32(call32(uint32(nr))); r < 0 { // an error number, negated
				errno = syscall.Errno(-r)
			}
		} else {
			_, _, errno = syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		}
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
	var status syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(int(pid), &status, 0, nil); err != syscall.EINTR {
			return status, err
		}
	}
}
