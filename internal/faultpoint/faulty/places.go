package faulty

import (
	"context"

	"github.com/wflo-ai/wflo-go/activities"
	"github.com/wflo-ai/wflo-go/internal/faultpoint"
	"github.com/wflo-ai/wflo-go/sandbox"
)

type places struct{ sandbox.Places }

type found struct {
	place sandbox.Place
	ok    bool
}

func (s *places) Place(ctx context.Context, box string) (sandbox.Place, bool, error) {
	f, err := around("places.Get", func() (f found, err error) {
		f.place, f.ok, err = s.Places.Place(ctx, box)
		return f, err
	})
	return f.place, f.ok, err
}

func (s *places) PutPlace(ctx context.Context, p sandbox.Place) (bool, error) {
	return around("places.Put."+becomes(p), func() (bool, error) { return s.Places.PutPlace(ctx, p) })
}

func (s *places) DropPlace(ctx context.Context, box string) error {
	return alone("places.Drop", func() error { return s.Places.DropPlace(ctx, box) })
}

func (s *places) ListPlaces(ctx context.Context, after string, limit int) ([]sandbox.Place, error) {
	return around("places.List", func() ([]sandbox.Place, error) { return s.Places.ListPlaces(ctx, after, limit) })
}

// becomes names what a place is put for: a box gets a host, moves to another one which
// has yet to be given its files, has changed, or has been kept as it is.
func becomes(p sandbox.Place) string {
	switch {
	case p.Version == 0:
		return "chosen"
	case p.Bring:
		return "moved"
	case p.Done > p.Saved:
		return "changed"
	}
	return "kept"
}

// Payloads puts points around the store of large payloads and of what agents said.
func Payloads(b activities.BlobStore) activities.BlobStore {
	if !faultpoint.Armed() {
		return b
	}
	return &payloads{b}
}

type payloads struct{ activities.BlobStore }

func (b *payloads) Put(ctx context.Context, data []byte) (string, error) {
	return around("payload.Put", func() (string, error) { return b.BlobStore.Put(ctx, data) })
}

func (b *payloads) Get(ctx context.Context, key string) ([]byte, error) {
	return around("payload.Get", func() ([]byte, error) { return b.BlobStore.Get(ctx, key) })
}
