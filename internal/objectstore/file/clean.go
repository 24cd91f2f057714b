package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// page is how many names of a folder are read at once.
const page = 1000

// List implements activities.BlobStore.
func (s *Store) List(ctx context.Context, before time.Time, each func(key string, size int64) error) error {
	for i := range 256 {
		if err := s.listFolder(ctx, fmt.Sprintf("%02x", i), before, each); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) listFolder(ctx context.Context, dir string, before time.Time, each func(key string, size int64) error) error {
	f, err := s.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	defer f.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		files, err := f.ReadDir(page)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, entry := range files {
			if err := listFile(dir, entry, before, each); err != nil {
				return err
			}
		}
	}
}

// listFile leaves out what is not ours.
func listFile(dir string, entry os.DirEntry, before time.Time, each func(key string, size int64) error) error {
	key := entry.Name()
	if !validKey(key) || folder(key) != dir || !entry.Type().IsRegular() {
		return nil
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else deletes, too
	}
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	if !info.ModTime().Before(before) {
		return nil
	}
	return each(key, info.Size())
}

// Delete implements activities.BlobStore.
func (s *Store) Delete(ctx context.Context, key string, before time.Time) (err error) {
	if !validKey(key) {
		return badKey()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("delete blob %s: %w", key, err)
		}
	}()
	unlock, err := s.lock(true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	info, err := s.root.Lstat(path(key))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(before) {
		return nil
	}
	if err == nil {
		err = s.root.Remove(path(key))
	}
	return err
}

// touch says that a blob is stored again. It gives false where the blob was deleted
// meanwhile.
func (s *Store) touch(key string) (bool, error) {
	unlock, err := s.lock(false)
	if err != nil {
		return false, err
	}
	now := time.Now()
	err = errors.Join(s.root.Chtimes(path(key), now, now), unlock())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// A time that a crash takes back would make the blob old again.
	err = s.flush(path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
