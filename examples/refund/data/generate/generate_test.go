package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wflo-ai/wflo-go/examples/refund/data"
)

func TestReproducesTheFiles(t *testing.T) {
	charges := generate(seed)
	for name, rows := range map[string][][]string{"orders.csv": ordersTable(charges), "key.csv": keyTable(charges)} {
		want, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := encode(rows)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator makes; run go generate ./examples/refund/data", name)
		}
		if len(got) > 400<<10 {
			t.Errorf("%s has %d bytes, 400 KiB is the most", name, len(got))
		}
	}
}

// TestKeyIsRight compares the key with every pair of charges: what is planted as
// a duplicate is one by the rule, and nothing else is.
func TestKeyIsRight(t *testing.T) {
	charges := generate(seed)
	want, got := map[string]bool{}, map[string]bool{}
	ids := map[string]bool{}
	for i, later := range charges {
		if ids[later.id] {
			t.Errorf("charge %s is there twice", later.id)
		}
		ids[later.id] = true
		if later.refund {
			want[later.id] = true
		}
		for _, earlier := range charges[:i] {
			if repeats(earlier, later) {
				got[later.id] = true
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("duplicates (-key +rule):\n%s", diff)
	}
	if len(want) != 13 {
		t.Errorf("got %d duplicates, want 13", len(want))
	}
}

func repeats(earlier, later *charge) bool {
	return earlier.status == captured && later.status == captured && earlier.customer == later.customer && earlier.card == later.card &&
		earlier.cents == later.cents && earlier.currency == later.currency && later.at.Sub(earlier.at) <= 10*time.Minute
}

func TestDisputedIsInTheMiddle(t *testing.T) {
	var duplicates []string
	for _, c := range generate(seed) {
		if c.refund {
			duplicates = append(duplicates, c.id)
		}
	}
	for i, id := range duplicates {
		if id == data.Disputed {
			if i == 0 || i == len(duplicates)-1 {
				t.Errorf("%s is number %d of %d", id, i+1, len(duplicates))
			}
			return
		}
	}
	t.Errorf("%s is no duplicate", data.Disputed)
}

func TestEveryKindIsPlanted(t *testing.T) {
	planted := map[string]int{}
	for _, c := range generate(seed) {
		if c.kind != "" {
			planted[c.kind]++
		}
	}
	for _, p := range plans {
		if planted[p.kind] != p.times {
			t.Errorf("%s: got %d, want %d", p.kind, planted[p.kind], p.times)
		}
	}
}
