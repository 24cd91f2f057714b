package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go/activities"
)

// TestBlobStore runs the suite for blob stores that can be cleaned, and that for blobs.
// open gives an empty store, and is called once for each subtest. sealed says that keys
// are those of what is stored, which is not what was put. The suite looks at times that
// are an hour away only, because stores have clocks of their own; what happens to an old
// blob that is stored again while it is deleted is for the driver's own test, which can
// make one old.
func TestBlobStore(t *testing.T, sealed bool, open func(t *testing.T) activities.BlobStore) {
	testBlobs(t, sealed, func(t *testing.T) activities.Blobs { return open(t) })
	for _, c := range []struct {
		name string
		test func(*testing.T, activities.BlobStore)
	}{
		{"Lists", blobsListed},
		{"ListsByTime", blobsListedByTime},
		{"ListStops", blobListStops},
		{"ListAndDelete", blobsListedAndDeleted},
		{"Deletes", blobDeleted},
		{"DeletesOldOnly", blobDeletedOldOnly},
		{"DeleteBadKey", blobDeleteBadKey},
		{"CleaningCancelled", blobCleaningCancelled},
		{"RaceOfPutAndDelete", blobRace},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// later is after all that a test stores, by any store's clock, and earlier before it.
func later() time.Time   { return time.Now().Add(time.Hour) }
func earlier() time.Time { return time.Now().Add(-time.Hour) }

func listed(t *testing.T, b activities.BlobStore, before time.Time) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	err := b.List(t.Context(), before, func(key string, size int64) error {
		if _, ok := all[key]; ok {
			t.Errorf("blob %s is listed twice", key)
		}
		all[key] = size
		return nil
	})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return all
}

func blobsListed(t *testing.T, b activities.BlobStore) {
	if got := listed(t, b, later()); len(got) != 0 {
		t.Errorf("an empty store lists %v", got)
	}
	keys := map[string]int{}
	for i := range 40 {
		data := bytes.Repeat([]byte{byte(i)}, 100*i)
		keys[put(t, b, data)] = len(data)
		keys[put(t, b, data)] = len(data)
	}
	got := listed(t, b, later())
	if len(got) != len(keys) {
		t.Errorf("%d blobs are listed, want %d", len(got), len(keys))
	}
	var over int64 = -1
	for key, size := range keys {
		stored, ok := got[key]
		if !ok {
			t.Errorf("blob %s is not listed", key)
			continue
		}
		if over < 0 {
			over = stored - int64(size) // what a sealed store adds, the same for all
		}
		if stored-int64(size) != over {
			t.Errorf("blob %s of %d bytes is listed with %d, others have %d more than was put", key, size, stored, over)
		}
	}
}

func blobsListedByTime(t *testing.T, b activities.BlobStore) {
	put(t, b, []byte("hello"))
	for name, before := range map[string]time.Time{"an hour ago": earlier(), "the year 1": {}, "1970": time.Unix(0, 0)} {
		if got := listed(t, b, before); len(got) != 0 {
			t.Errorf("before %s %v were stored", name, got)
		}
	}
}

func blobListStops(t *testing.T, b activities.BlobStore) {
	for i := range 5 {
		put(t, b, fmt.Append(nil, "blob ", i))
	}
	stop, n := errors.New("stop here"), 0
	err := b.List(t.Context(), later(), func(string, int64) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 2 {
		t.Errorf("%d blobs, %v; want 2 and the error of the second", n, err)
	}
}

// blobsListedAndDeleted deletes from within the list, as a collector may.
func blobsListedAndDeleted(t *testing.T, b activities.BlobStore) {
	for i := range 30 {
		put(t, b, fmt.Append(nil, "blob ", i))
	}
	n := 0
	err := b.List(t.Context(), later(), func(key string, _ int64) error {
		n++
		return b.Delete(t.Context(), key, later())
	})
	if err != nil || n != 30 {
		t.Errorf("deleted %d, %v", n, err)
	}
	if got := listed(t, b, later()); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func blobDeleted(t *testing.T, b activities.BlobStore) {
	gone, stays := put(t, b, []byte("goes")), put(t, b, []byte("stays"))
	for range 2 { // again is fine
		if err := b.Delete(t.Context(), gone, later()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(t.Context(), hash([]byte("never stored")), later()); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if got, err := b.Get(t.Context(), gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the deleted blob gave %q, %v", got, err)
	}
	wantBlob(t, b, stays, []byte("stays"))
	if key := put(t, b, []byte("goes")); key != gone {
		t.Errorf("stored again it has the key %s, want %s", key, gone)
	}
	wantBlob(t, b, gone, []byte("goes"))
}

func blobDeletedOldOnly(t *testing.T, b activities.BlobStore) {
	key := put(t, b, []byte("young"))
	for _, before := range []time.Time{earlier(), {}} {
		if err := b.Delete(t.Context(), key, before); err != nil {
			t.Error(err)
		}
	}
	wantBlob(t, b, key, []byte("young"))
}

func blobDeleteBadKey(t *testing.T, b activities.BlobStore) {
	good := put(t, b, []byte("hello"))
	for _, key := range []string{"", "..", ".", "../" + good, good[:63], good + "0", strings.ToUpper(good), good[:2] + "/" + good, "lock", "tmp", strings.Repeat("z", 64)} {
		if err := b.Delete(t.Context(), key, later()); err == nil {
			t.Errorf("deleted %q", key)
		}
	}
	wantBlob(t, b, good, []byte("hello"))
}

func blobCleaningCancelled(t *testing.T, b activities.BlobStore) {
	key := put(t, b, []byte("hello"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.List(ctx, later(), func(string, int64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("list gave %v", err)
	}
	if err := b.Delete(ctx, key, later()); !errors.Is(err, context.Canceled) {
		t.Errorf("delete gave %v", err)
	}
	wantBlob(t, b, key, []byte("hello"))
}

// blobRace stores and deletes the same blobs at the same time: each is there and whole,
// or not there, and nothing but that.
func blobRace(t *testing.T, b activities.BlobStore) {
	var wg sync.WaitGroup
	blobs := make([][]byte, 4)
	keys := make([]string, len(blobs))
	for i := range blobs {
		blobs[i] = bytes.Repeat([]byte{byte(i)}, 10_000)
		keys[i] = put(t, b, blobs[i])
	}
	for range 3 {
		wg.Go(func() {
			for i := range 12 {
				if err := b.Delete(t.Context(), keys[i%len(keys)], later()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range 12 {
				n := i % len(blobs)
				if key, err := b.Put(t.Context(), blobs[n]); err != nil || key != keys[n] {
					t.Errorf("stored as %s, %v", key, err)
				}
				if got, err := b.Get(t.Context(), keys[n]); !errors.Is(err, fs.ErrNotExist) && !bytes.Equal(got, blobs[n]) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	for i, data := range blobs {
		put(t, b, data)
		wantBlob(t, b, keys[i], data)
	}
	want := slices.Sorted(slices.Values(keys))
	var got []string
	for key := range listed(t, b, later()) {
		got = append(got, key)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("listed in the end: %v, want %v", got, want)
	}
}
