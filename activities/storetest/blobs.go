package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/wflo-ai/wflo-go/activities"
)

// TestBlobs runs the suite for blob stores. open gives an empty store that is
// closed when the test it was opened for ends; it is called once for each
// subtest. What a store does with a damaged blob is left to the driver's own
// test, which can damage one: it must be an error that names the key.
func TestBlobs(t *testing.T, open func(t *testing.T) activities.Blobs) { testBlobs(t, false, open) }

func testBlobs(t *testing.T, sealed bool, open func(t *testing.T) activities.Blobs) {
	for _, c := range []struct {
		name string
		test func(*testing.T, activities.Blobs)
	}{
		{"RoundTrip", blobRoundTrip},
		{"KeyIsTheHash", blobKey},
		{"Again", blobAgain},
		{"NotThere", blobNotThere},
		{"BadKey", blobBadKey},
		{"OwnCopies", blobOwnCopies},
		{"AtTheSameTime", blobsAtTheSameTime},
		{"Cancelled", blobCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			if b := open(t); c.name != "KeyIsTheHash" || !sealed {
				c.test(t, b)
			} else {
				blobKeyOfSealed(t, b)
			}
		})
	}
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func put(t *testing.T, b activities.Blobs, data []byte) string {
	t.Helper()
	key, err := b.Put(t.Context(), data)
	if err != nil {
		t.Fatalf("put %d bytes: %v", len(data), err)
	}
	return key
}

func wantBlob(t *testing.T, b activities.Blobs, key string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), key)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("blob %s has %d bytes, %v; want %d", key, len(got), err, len(want))
	}
}

func blobRoundTrip(t *testing.T, b activities.Blobs) {
	keys := map[string][]byte{}
	for _, data := range [][]byte{nil, {0}, []byte("hello"), []byte("\xff\x00\n\r\n"), bytes.Repeat([]byte("large "), 1<<19)} {
		keys[put(t, b, data)] = data
	}
	for key, data := range keys {
		wantBlob(t, b, key, data)
	}
}

func blobKey(t *testing.T, b activities.Blobs) {
	data := []byte("hello")
	if got, want := put(t, b, data), hash(data); got != want {
		t.Errorf("key is %s, want %s", got, want)
	}
}

// blobKeyOfSealed: a key that is the hash of what was put tells what it is.
func blobKeyOfSealed(t *testing.T, b activities.Blobs) {
	data := []byte("hello")
	if got := put(t, b, data); got == hash(data) {
		t.Errorf("key is the hash of what was sealed")
	}
}

func blobAgain(t *testing.T, b activities.Blobs) {
	data := []byte("hello")
	one, two := put(t, b, data), put(t, b, data)
	if one != two {
		t.Errorf("keys are %s and %s", one, two)
	}
	wantBlob(t, b, one, data)
}

func blobNotThere(t *testing.T, b activities.Blobs) {
	put(t, b, []byte("another"))
	got, err := b.Get(t.Context(), hash([]byte("never stored")))
	if !errors.Is(err, fs.ErrNotExist) || got != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func blobBadKey(t *testing.T, b activities.Blobs) {
	good := put(t, b, []byte("hello"))
	for _, key := range []string{"", "x", "../" + good, good + "/", good[:63], good + "0", strings.ToUpper(good),
		good[:2] + "/" + good, "..", ".", "/etc/passwd", strings.Repeat("z", 64), strings.Repeat("../", 21) + "x", good[:63] + "\x00"} {
		if got, err := b.Get(t.Context(), key); err == nil {
			t.Errorf("key %q gave %q", key, got)
		}
	}
}

func blobOwnCopies(t *testing.T, b activities.Blobs) {
	data := []byte("hello")
	key := put(t, b, data)
	data[0] = 'j'
	got, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "hello" {
		t.Errorf("the caller's change reached the store: %q", got)
	}
	got[0] = 'c'
	wantBlob(t, b, key, []byte("hello"))
}

func blobsAtTheSameTime(t *testing.T, b activities.Blobs) {
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for n := range 8 {
				// Half of the blobs are everybody's, half are this caller's.
				data := bytes.Repeat([]byte(fmt.Sprint("blob ", n, n%2*i)), 1000)
				key, err := b.Put(t.Context(), data)
				if err != nil {
					t.Error(err)
					return
				}
				wantBlob(t, b, key, data)
			}
		})
	}
	wg.Wait()
}

func blobCancelled(t *testing.T, b activities.Blobs) {
	key := put(t, b, []byte("hello"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Put(ctx, []byte("other")); !errors.Is(err, context.Canceled) {
		t.Errorf("put gave %v", err)
	}
	if _, err := b.Get(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("get gave %v", err)
	}
	wantBlob(t, b, key, []byte("hello"))
}
