// Package file keeps blobs as files of one directory, for one machine. [Open]
// gives a [Store], which implements activities.BlobStore.
//
// A blob's name is the SHA-256 of its content, and the file is in a folder of
// the first two digits. A blob appears all at once: it is written to a temporary
// file, flushed, and renamed. What is read is hashed again, so a file that the
// disk or somebody else has changed is an error and never returned.
//
// The time of a file is when its blob was stored last. Delete goes by it, under a
// lock that Put shares, so that a blob of which Put said that it is stored cannot go
// because it was old a moment before.
//
// The package refuses keys that are not 64 hex digits before it touches the file
// system, and it cannot leave its directory, not even through a symbolic link.
package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.BlobStore = (*Store)(nil)

// DefaultMaxBytes is the largest blob when Config.MaxBytes is zero: 64 MiB.
const DefaultMaxBytes = 64 << 20

const (
	// temporary holds files that are being written.
	temporary = "tmp"
	// abandoned is the age at which a temporary file has no writer any more.
	abandoned = 24 * time.Hour
	// lockFile is locked by whoever stores a blob or deletes one.
	lockFile = "lock"
)

// Config says where the blobs are.
type Config struct {
	// Dir is the directory. It is made, open to its owner only, when it does
	// not exist. Required.
	Dir string
	// MaxBytes is the largest blob; zero means DefaultMaxBytes.
	MaxBytes int64
}

// Store is an activities.BlobStore in a directory. Its methods may be called at the
// same time, from any number of processes.
type Store struct {
	root *os.Root
	max  int64
}

// Open makes the directory if need be and removes temporary files that a crash
// left behind. A directory that cannot be used gives an *wflo.Error with
// wflo.CodeInvalid. The caller closes the store.
func Open(c Config) (*Store, error) {
	if c.Dir == "" {
		return nil, wflo.Invalid("blobs.dir", "is empty", "name a directory for large values")
	}
	if c.MaxBytes < 0 {
		return nil, wflo.Invalid("blobs.max_bytes", fmt.Sprintf("is %d", c.MaxBytes), "use 0 for the default, or a positive number")
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, unusable(c.Dir, err)
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, unusable(c.Dir, err)
	}
	s := &Store{root: root, max: c.MaxBytes}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(unusable(c.Dir, err), root.Close())
	}
	return s, nil
}

func unusable(dir string, err error) error {
	return wflo.Errorf(wflo.CodeInvalid, "choose a directory that this user may write to", "blob directory %s cannot be used: %w", dir, err)
}

// sweep makes the temporary folder, or clears it.
func (s *Store) sweep() error {
	if err := s.root.MkdirAll(temporary, 0o700); err != nil {
		return err
	}
	left, err := fs.ReadDir(s.root.FS(), temporary)
	if err != nil {
		return err
	}
	for _, f := range left {
		info, err := f.Info()
		if err != nil || time.Since(info.ModTime()) < abandoned {
			continue // another process renamed it, or still writes it
		}
		if err := s.root.Remove(temporary + "/" + f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close lets go of the directory.
func (s *Store) Close() error { return s.root.Close() }

// Put implements activities.Blobs. More than Config.MaxBytes is an *wflo.Error
// with wflo.CodePayloadTooLarge. A stored blob that was damaged is replaced.
func (s *Store) Put(ctx context.Context, data []byte) (string, error) {
	if int64(len(data)) > s.max {
		return "", s.tooLarge("the value", int64(len(data)))
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	key := Key(data)
	same, err := s.has(key, data)
	if err != nil {
		return "", fmt.Errorf("look for blob %s: %w", key, err)
	}
	if same {
		same, err = s.touch(key)
	}
	if err == nil && !same {
		err = s.write(key, data)
	}
	if err == nil {
		// Also for a blob that was there: its writer may have been cut off between
		// renaming it and this.
		err = s.flush(folder(key))
	}
	if err != nil {
		return "", fmt.Errorf("write blob %s: %w", key, err)
	}
	return key, nil
}

// Get implements activities.Blobs.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if !validKey(key) {
		return nil, badKey()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := s.read(key)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", key, err)
	}
	if got := Key(data); got != key {
		return nil, fmt.Errorf("blob %s is damaged: its content has the hash %s", key, got)
	}
	return data, nil
}

// Key is the name of a blob: the SHA-256 of its content in hex.
func Key(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func badKey() error {
	return wflo.Invalid("blob key", "is not 64 lower-case hex digits", "use the key that Put returned")
}

func validKey(key string) bool {
	if len(key) != hex.EncodedLen(sha256.Size) {
		return false
	}
	for _, c := range []byte(key) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func folder(key string) string { return key[:2] }

func path(key string) string { return folder(key) + "/" + key }

func (s *Store) tooLarge(what string, size int64) error {
	return wflo.Errorf(wflo.CodePayloadTooLarge, "store less, or raise the blob store's limit", "%s has %d bytes, the limit is %d", what, size, s.max)
}

// has says whether the blob is stored unharmed.
func (s *Store) has(key string, data []byte) (bool, error) {
	info, err := s.root.Stat(path(key))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() != int64(len(data)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	stored, err := s.read(key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it was deleted just now
	}
	return bytes.Equal(stored, data), err
}

func (s *Store) read(key string) ([]byte, error) {
	f, err := s.root.Open(path(key))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, s.max+1))
	if err == nil && int64(len(data)) > s.max {
		err = s.tooLarge("the file", int64(len(data)))
	}
	return data, err
}

func (s *Store) write(key string, data []byte) (err error) {
	if err := s.root.Mkdir(folder(key), 0o700); err == nil {
		err = s.flush(".")
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	name := temporary + "/" + rand.Text()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.rename(name, key)
	}
	if err != nil {
		return errors.Join(err, s.root.Remove(name))
	}
	return nil
}

// rename gives a blob its name, and the time of now: whoever looked at the clock
// before must not delete it.
func (s *Store) rename(name, key string) (err error) {
	unlock, err := s.lock(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	now := time.Now()
	if err := s.root.Chtimes(name, now, now); err != nil {
		return err
	}
	return s.root.Rename(name, path(key))
}

// flush makes the content and the time of a file durable, or the names of a folder.
func (s *Store) flush(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
