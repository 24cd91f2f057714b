package s3

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	// deleteTime bounds a deletion: a marker that is older has no owner.
	deleteTime = 30 * time.Second
	// tick is how exactly servers say when an object was modified.
	tick = time.Second
	// pause is between two looks at a marker.
	pause = 200 * time.Millisecond
)

// markers is where the markers of a blob's deletions are, each with a name of its own:
// one that is taken away must not be another's.
func (p place) markers(key string) string { return p.prefix + "deleting/" + key + "/" }

// List implements activities.BlobStore. Times are those of the server.
func (s *Store) List(ctx context.Context, before time.Time, each func(key string, size int64) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := s.place.blob("")
	for o := range s.client.ListObjectsIter(ctx, s.place.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s.explain("list blobs", o.Err)
		}
		key := strings.TrimPrefix(o.Key, prefix)
		if !validKey(key) || !isOld(o, before) {
			continue
		}
		if err := each(key, o.Size); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// isOld is in doubt no.
func isOld(o minio.ObjectInfo, before time.Time) bool { return !o.LastModified.Add(tick).After(before) }

// Delete implements activities.BlobStore. In a bucket with versions the object's older
// versions stay, and under an object lock all of them.
func (s *Store) Delete(ctx context.Context, key string, before time.Time) error {
	if !validKey(key) {
		return badKey()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTime)
	defer cancel()
	// Most blobs that stay are found here, without a marker.
	if old, err := s.old(ctx, key, before); err != nil || !old {
		return s.explain("delete blob "+key, err)
	}
	marker := s.place.markers(key) + rand.Text()
	_, err := s.client.PutObject(ctx, s.place.bucket, marker, strings.NewReader(""), 0, minio.PutObjectOptions{DisableMultipart: true})
	if err != nil {
		return s.explain("mark blob "+key, err)
	}
	old, err := s.old(ctx, key, before)
	if err == nil && old {
		err = s.client.RemoveObject(ctx, s.place.bucket, s.place.blob(key), minio.RemoveObjectOptions{})
	}
	if err != nil {
		// The request may be under way still, so the marker stays: whoever stores the
		// blob waits until it is out of date.
		return s.explain("delete blob "+key, err)
	}
	// Also for a caller that has gone: the marker would hold others up.
	after, stop := context.WithTimeout(context.WithoutCancel(ctx), deleteTime)
	defer stop()
	if err := s.client.RemoveObject(after, s.place.bucket, marker, minio.RemoveObjectOptions{}); err != nil {
		return s.explain("unmark blob "+key, err)
	}
	return nil
}

// old says whether a blob is there, and was stored before a moment.
func (s *Store) old(ctx context.Context, key string, before time.Time) (bool, error) {
	info, err := s.client.StatObject(ctx, s.place.bucket, s.place.blob(key), minio.StatObjectOptions{})
	if isMissing(err) {
		return false, nil
	}
	return err == nil && isOld(info, before), err
}

// watched is the marker that a Put looks at, and since when.
type watched struct {
	name  string
	since time.Time
}

// deleting says, after a pause, that somebody may be about to delete a blob; then it is
// to be stored again. A marker that was looked at for longer than a deletion may take
// is removed: its owner died. That is measured here, because clocks differ.
func (s *Store) deleting(ctx context.Context, key string, w *watched) (bool, error) {
	marker := ""
	list, cancel := context.WithCancel(ctx)
	for o := range s.client.ListObjectsIter(list, s.place.bucket, minio.ListObjectsOptions{Prefix: s.place.markers(key), Recursive: true, MaxKeys: 1}) {
		if o.Err != nil {
			cancel()
			return false, o.Err
		}
		marker = o.Key
		break
	}
	cancel()
	if marker == "" {
		return false, ctx.Err()
	}
	if marker != w.name {
		w.name, w.since = marker, time.Now()
	}
	if time.Since(w.since) > s.abandoned {
		return true, s.client.RemoveObject(ctx, s.place.bucket, marker, minio.RemoveObjectOptions{})
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return true, fmt.Errorf("it is being deleted: %w", ctx.Err())
	}
}
