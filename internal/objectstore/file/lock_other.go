//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package file

import "github.com/wflo-ai/wflo-go"

// lock refuses to delete: without a lock between processes a blob could go that
// another one was told is stored.
func (s *Store) lock(alone bool) (unlock func() error, err error) {
	if alone {
		return nil, wflo.Errorf(wflo.CodeInvalid, "collect on Linux, or keep blobs in S3", "files are not deleted on this operating system")
	}
	return func() error { return nil }, nil
}
