package docker

import (
	"testing"

	"github.com/wflo-ai/wflo-go"
)

// TestSameKeyTwice holds that of two callers with one key the later gets the
// execution, whole, and the earlier is told so; the program runs once.
func TestSameKeyTwice(t *testing.T) {
	t.Parallel()
	r := open(t, nil)
	box := closing(t, r, "twice")
	watch, begun := listen("begun")
	first := start(t.Context(), r, patient(box, "k"), watch)
	<-begun
	watch, begun = listen("begun")
	second := start(t.Context(), r, patient(box, "k"), watch)
	lost := <-first
	coded(t, lost.err, wflo.CodeConflict)
	<-begun
	goOn(t, r, box)
	won := <-second
	if won.err != nil || !won.res.OK() || !won.res.Adopted || won.res.Stdout != "begun\nover\n" {
		t.Errorf("the later caller got %+v, %v, want the whole output, adopted", won.res, won.err)
	}
	ranOnce(t, r, box)
}
