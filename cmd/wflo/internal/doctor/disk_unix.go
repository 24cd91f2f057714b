//go:build linux || darwin || freebsd

package doctor

import (
	"os"
	"syscall"
)

// freeSpace is how many bytes users may still write to the disk of a directory.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(max(s.Bavail, 0)) * uint64(s.Bsize), nil //nolint:gosec,unconvert // the types differ between systems
}
