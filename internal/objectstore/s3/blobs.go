package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/minio/minio-go/v7"

	"github.com/wflo-ai/wflo-go"
)

// reads is how often a blob is read whose bytes were cut off or wrong.
const reads = 3

func (p place) blob(key string) string { return p.prefix + "blobs/" + key }

// Put implements activities.Blobs. More than Config.MaxBytes is an *wflo.Error with
// wflo.CodePayloadTooLarge. While the same blob is being deleted, Put waits.
func (s *Store) Put(ctx context.Context, data []byte) (string, error) {
	if int64(len(data)) > s.max {
		return "", s.tooLarge("the value", int64(len(data)))
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	sum := sha256.Sum256(data)
	key := hex.EncodeToString(sum[:])
	var watch watched
	for {
		err := s.store(ctx, key, data, sum)
		if err != nil {
			return "", s.explain("store blob "+key, err)
		}
		deleting, err := s.deleting(ctx, key, &watch)
		if err != nil {
			return "", s.explain("store blob "+key, err)
		}
		if !deleting {
			return key, nil
		}
	}
}

// store sends a blob, or has the server copy the one that it has onto itself.
func (s *Store) store(ctx context.Context, key string, data []byte, sum [sha256.Size]byte) error {
	checksum := base64.StdEncoding.EncodeToString(sum[:])
	name := s.place.blob(key)
	info, err := s.client.StatObject(ctx, s.place.bucket, name, minio.StatObjectOptions{Checksum: true})
	if err != nil && !isMissing(err) {
		return err
	}
	// The server checked the sum when the object came. One without a sum, or of another
	// size, is sent again.
	if err == nil && info.Size == int64(len(data)) && info.ChecksumSHA256 == checksum {
		_, err = s.client.CopyObject(ctx,
			minio.CopyDestOptions{Bucket: s.place.bucket, Object: name, ReplaceMetadata: true},
			minio.CopySrcOptions{Bucket: s.place.bucket, Object: name})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
	}
	_, err = s.client.PutObject(ctx, s.place.bucket, name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true,
		UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": checksum},
	})
	return err
}

// Get implements activities.Blobs.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if !validKey(key) {
		return nil, badKey()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var last error
	for range reads {
		data, err := s.read(ctx, key)
		if err == nil {
			return data, nil
		}
		if last = err; isMissing(err) || ctx.Err() != nil || wflo.CodeOf(err) != "" {
			break
		}
	}
	if isMissing(last) {
		return nil, fmt.Errorf("read blob %s: %w", key, fs.ErrNotExist)
	}
	return nil, s.explain("read blob "+key, last)
}

func (s *Store) read(ctx context.Context, key string) ([]byte, error) {
	body, _, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.place.bucket, s.place.blob(key), minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(body, s.max+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > s.max {
		return nil, s.tooLarge("the object", int64(len(data)))
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != key {
		return nil, fmt.Errorf("it is damaged: its content has the hash %x", sum)
	}
	return data, nil
}

func (s *Store) tooLarge(what string, size int64) error {
	return wflo.Errorf(wflo.CodePayloadTooLarge, "store less, or raise the blob store's limit", "%s has at least %d bytes, the limit is %d", what, size, s.max)
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
