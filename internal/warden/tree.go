//go:build linux

package warden

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// How much of a tree is looked at. A program can make more at will.
const (
	maxEntries = 200_000
	maxDepth   = 128
	maxNames   = 16 << 20 // bytes of the names that are remembered at a time
)

// openFile opens a file that is no link, and waits for nobody.
func openFile(dir int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	return retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
}

// openDir opens a folder that is no link. gVisor follows links when it is asked
// for a folder, whatever else it is told, so what the name stands for is held
// first and opened once it is known.
func openDir(dir int, name string) (int, error) {
	at, err := retry(func() (int, error) { return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(at) }()
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return -1, unix.ENOTDIR
	}
	return retry(func() (int, error) { return unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
}

// openBeneath opens a file or folder without following a link anywhere. The name
// is clean and relative; "." is root itself.
func openBeneath(root int, name string, last func(dir int, name string) (int, error)) (int, error) {
	dir := root
	for {
		part, rest, more := strings.Cut(name, "/")
		open := last
		if more {
			open = openDir
		}
		fd, err := open(dir, part)
		if dir != root {
			_ = unix.Close(dir)
		}
		if err != nil || !more {
			return fd, err
		}
		dir, name = fd, rest
	}
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// walk calls visit for everything below a folder, in no order, and says whether
// that was all. What vanishes meanwhile is left out. It holds few descriptors,
// however deep the tree is. Folders that their owner may not read, which is also
// PID 1, are made readable for a moment: what cannot be seen cannot be measured.
// visit returns false to stop.
func walk(root string, visit func(name string, st *unix.Stat_t) bool) (all bool) {
	t, err := openTrail(root)
	if err != nil {
		return false
	}
	defer t.close()
	all = true
	left, names := maxEntries, 0
	for dirs := []string{"."}; len(dirs) > 0; {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		names -= len(dir)
		fd, err := t.openAgain(dir)
		if err != nil {
			all = all && vanished(err)
			continue
		}
		more := list(fd, func(name string, st *unix.Stat_t) bool {
			if dir != "." {
				name = dir + "/" + name
			}
			if left--; left < 0 {
				return false
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				if strings.Count(name, "/") < maxDepth && names+len(name) < maxNames {
					dirs, names = append(dirs, name), names+len(name)
				} else {
					all = false
				}
			}
			return visit(name, st)
		})
		if !more {
			return false
		}
	}
	return all
}

// list calls visit for the entries of a folder, and closes it. It returns false
// if visit did or the folder could not be read.
func list(fd int, visit func(name string, st *unix.Stat_t) bool) bool {
	const batch = 512
	d := os.NewFile(uintptr(fd), "")
	defer d.Close()
	for {
		names, err := d.Readdirnames(batch)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			if !visit(name, &st) {
				return false
			}
		}
		if err != nil || len(names) == 0 {
			return true
		}
	}
}
