//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package cli

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// tryLock takes the lock file, or gives errLocked.
func tryLock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		err = errLocked
	}
	if err == nil {
		var same bool
		if same, err = sameFile(f, path); err == nil && !same {
			err = errLocked
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Removed first: whoever opened it before finds that it is gone.
	return func() error { return errors.Join(os.Remove(path), f.Close()) }, nil
}

// sameFile says whether an open file is still the one at a path: whoever unlocks
// removes it, and a lock on a file that is gone keeps nobody out.
func sameFile(f *os.File, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, there), err
}
