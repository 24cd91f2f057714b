package workflows

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go"
)

// A step that failed and was tried again is done again once.
func TestPlansListEachStepOnce(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	item := func(kind, key string, minutes int) wflo.PlanItem {
		return wflo.PlanItem{Kind: kind, Key: key, Effect: wflo.EffectIrreversible, At: at.Add(time.Duration(minutes) * time.Minute)}
	}
	st, p := &state{}, &wflo.RestorePlan{}
	for _, i := range []wflo.PlanItem{item("step", "transform", 1), item("step", "load", 2), item("step", "transform", 3), item("activity", "load", 4)} {
		st.addAgain(p, i)
	}
	want := []wflo.PlanItem{item("step", "transform", 3), item("step", "load", 2), item("activity", "load", 4)}
	if diff := cmp.Diff(want, p.Again); diff != "" {
		t.Error(diff)
	}
	if len(p.Irreversible) != 3 {
		t.Errorf("what cannot be undone is %+v", p.Irreversible)
	}
}
