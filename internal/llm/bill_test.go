package llm

import (
	"testing"

	"github.com/wflo-ai/wflo-go"
)

func TestTier(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{nil, ""},
		{[]string{"default", "standard", "", "GLOBAL", "on_demand", "not_available", " Standard "}, ""},
		{[]string{"priority", "PRIORITY"}, "priority"},
		{[]string{"standard", "fast", Region("us")}, "fast+geo:us"},
		{[]string{Region("us"), "fast"}, "fast+geo:us"},
		{[]string{"priority", Region("global"), Region("")}, "priority"},
		// What nobody knows is not the standard service.
		{[]string{"auto"}, "auto"},
		{[]string{"ultrafast"}, "ultrafast"},
	} {
		if got := Tier(tt.words...); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.words, got, tt.want)
		}
	}
}

func TestBillOK(t *testing.T) {
	good := wflo.Usage{Input: 1, Output: 1}
	for _, tt := range []struct {
		bill Bill
		want bool
	}{
		{Bill{}, false},
		{Bill{Usage: good}, false},
		{Bill{Usage: good, Counted: true}, true},
		{Bill{Usage: wflo.Usage{Output: 5}, Counted: true}, false},
		{Bill{Usage: wflo.Usage{Input: 5, Output: -1}, Counted: true}, false},
		{Bill{Usage: wflo.Usage{Input: maxTokens + 1}, Counted: true}, false},
		{Bill{Usage: wflo.Usage{Input: maxTokens}, Counted: true}, true},
	} {
		if got := tt.bill.OK(); got != tt.want {
			t.Errorf("%+v: %v", tt.bill, got)
		}
	}
}
