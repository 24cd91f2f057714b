package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/sandbox"
)

// TestPlaces runs the suite of where the places of boxes are kept. open gives an empty
// store that is closed when the test it was opened for ends; it is called once for each
// subtest.
func TestPlaces(t *testing.T, open func(t *testing.T) sandbox.Places) {
	t.Run("ComeBackAsTheyWere", func(t *testing.T) { placesComeBack(t, open(t)) })
	t.Run("OnlyTheFirstCounts", func(t *testing.T) { placesOnlyTheFirst(t, open(t)) })
	t.Run("Listed", func(t *testing.T) { placesListed(t, open(t)) })
	t.Run("Race", func(t *testing.T) { raceOfPlaces(t, open(t)) })
}

func fullPlace(box string) sandbox.Place {
	part := wflo.SnapshotPart{Kind: wflo.PartWorkspace, Blobs: []string{"a", "b"}, Bytes: 7, Count: 2, SHA256: "c"}
	return sandbox.Place{Box: box, Owner: "us", Host: "two", Moves: 3, From: "one", Moved: noon, Bring: true, Done: 9, Saved: 8, Part: &part, SavedAt: noon}
}

// putPlace keeps a place, which must be possible.
func putPlace(t *testing.T, s sandbox.Places, p sandbox.Place) {
	t.Helper()
	if ok, err := s.PutPlace(t.Context(), p); err != nil || !ok {
		t.Fatalf("put %s: %v, %v", p.Box, ok, err)
	}
}

func placesComeBack(t *testing.T, s sandbox.Places) {
	ctx := t.Context()
	for _, box := range []string{"w/f", "a ' \\ %/" + "ü"} {
		if _, ok, err := s.Place(ctx, box); err != nil || ok {
			t.Fatalf("an empty store has %q: %v", box, err)
		}
		want := fullPlace(box)
		putPlace(t, s, want)
		want.Version = 1
		got, ok, err := s.Place(ctx, box)
		if diff := cmp.Diff(want, got); err != nil || !ok || diff != "" {
			t.Errorf("%v, %v (-want +got):\n%s", ok, err, diff)
		}
		for range 2 {
			if err := s.DropPlace(ctx, box); err != nil {
				t.Error(err)
			}
		}
		if _, ok, err := s.Place(ctx, box); err != nil || ok {
			t.Errorf("a dropped place is there: %v", err)
		}
	}
}

func placesOnlyTheFirst(t *testing.T, s sandbox.Places) {
	p := fullPlace("w/f")
	for i := range int64(3) {
		p.Version, p.Done = i, 10+i
		putPlace(t, s, p)
		p.Done = 99
		if ok, err := s.PutPlace(t.Context(), p); err != nil || ok {
			t.Fatalf("version %d was put twice: %v", i, err)
		}
		got, _, err := s.Place(t.Context(), "w/f")
		if err != nil || got.Done != 10+i || got.Version != i+1 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if err := s.DropPlace(t.Context(), "w/f"); err != nil {
		t.Fatal(err)
	}
	p.Version = 3
	if ok, err := s.PutPlace(t.Context(), p); err != nil || ok {
		t.Errorf("a place that was dropped was put: %v", err)
	}
}

func placesListed(t *testing.T, s sandbox.Places) {
	for _, i := range []int{3, 1, 4, 2, 0} {
		putPlace(t, s, sandbox.Place{Box: fmt.Sprint("w", i, "/f"), Host: fmt.Sprint(i)})
	}
	after, seen := "", 0
	for {
		page, err := s.ListPlaces(t.Context(), after, 2)
		if err != nil || len(page) > 2 {
			t.Fatalf("%d places, %v", len(page), err)
		}
		if len(page) == 0 {
			break
		}
		for _, p := range page {
			if p.Box != fmt.Sprint("w", seen, "/f") || p.Host != fmt.Sprint(seen) || p.Version != 1 {
				t.Errorf("place %d is %+v", seen, p)
			}
			seen++
		}
		after = page[len(page)-1].Box
	}
	if seen != 5 {
		t.Errorf("%d places, want 5", seen)
	}
}

// raceOfPlaces: of many who count at the same time, nobody's count is lost.
func raceOfPlaces(t *testing.T, s sandbox.Places) {
	const workers, each = 4, 5
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				p, _, err := s.Place(t.Context(), "w/f")
				if err != nil {
					t.Error(err)
					return
				}
				p.Box = "w/f"
				p.Done++
				ok, err := s.PutPlace(t.Context(), p)
				if err != nil {
					t.Error(err)
					return
				}
				if ok {
					done++
				}
			}
		})
	}
	wg.Wait()
	if p, _, err := s.Place(t.Context(), "w/f"); err != nil || p.Done != workers*each || p.Version != workers*each {
		t.Errorf("%+v, %v", p, err)
	}
}
