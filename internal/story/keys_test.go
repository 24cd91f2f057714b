package story

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	historypb "go.temporal.io/api/history/v1"
)

// The keys of calls say which step they are within.
func TestScopeOfCalls(t *testing.T) {
	for _, tt := range []struct{ key, activity, scope string }{
		{"g0/pay#1", "pay", ""}, {"g12/my/pay#3", "my/pay", ""}, {"g0/book#1/pay#1", "pay", "g0/book#1"}, {"look/pay#2", "pay", "look"},
		{"order/17/my/pay#2", "my/pay", "order/17"}, {"g0/book#1~2/pay#1", "pay", "g0/book#1~2"}, {"g0/book#1/undo:refund/of 7#1", "refund", "g0/book#1"},
		{"g0/book#1/wflo.snapshot#1", "wflo.snapshot.Take", "g0/book#1"}, {"g0/wflo.snapshot/update#1", "wflo.snapshot.Take", ""},
		{"g0/sum#0a1b2c3d.2/wflo.llm.Chat#1", "wflo.llm.Chat", "g0/sum#0a1b2c3d.2"}, {"", "pay", ""}, {"pay", "pay", ""},
	} {
		if got := scopeOf(tt.key, tt.activity); got != tt.scope {
			t.Errorf("%s of %s is within %q, want %q", tt.key, tt.activity, got, tt.scope)
		}
	}
}

// Steps are called what their author called them, and stand in the steps around them.
func TestStepsWithinSteps(t *testing.T) {
	a := newAccount("w", "r", newReader(Config{}))
	a.add(a.row(&historypb.HistoryEvent{EventId: 1}, KindRun, "w"), -1)
	sum := sha256.Sum256([]byte("g0/outer/one#1~1"))
	outer := a.step(&historypb.HistoryEvent{EventId: 5}, "g0/outer/one#1~1")
	inner := a.step(&historypb.HistoryEvent{EventId: 6}, "g0/inner#"+hex.EncodeToString(sum[:4])+".1")
	chosen := a.step(&historypb.HistoryEvent{EventId: 7}, "order/17")
	if a.rows[inner].parent != outer || a.rows[outer].parent != 0 || a.rows[chosen].parent != 0 {
		t.Errorf("parents %d, %d, %d", a.rows[outer].parent, a.rows[inner].parent, a.rows[chosen].parent)
	}
	for i, want := range map[int]string{outer: "outer/one", inner: "inner", chosen: "order/17"} {
		if a.rows[i].Name != want {
			t.Errorf("step %q, want %q", a.rows[i].Name, want)
		}
	}
	if a.rows[outer].Attempts != 2 || a.step(&historypb.HistoryEvent{EventId: 9}, "g0/outer/one#1") != outer {
		t.Errorf("the step that was tried twice is %+v", a.rows[outer].Row)
	}
}

// A cache forgets what was not asked for longest, and what it keeps is bounded.
func TestCacheIsBounded(t *testing.T) {
	c := newCache(100)
	made := 0
	get := func(id string) *account {
		return c.get(accountKey("w", id), func() *account {
			made++
			return newAccount("w", id, reader{})
		})
	}
	for _, id := range []string{"a", "b"} {
		get(id)
		c.grown(accountKey("w", id), 40)
	}
	get("a")
	get("c")
	c.grown(accountKey("w", "c"), 40)
	if c.held > 100 || len(c.at) != 2 || c.order.Len() != 2 {
		t.Errorf("%d bytes in %d accounts", c.held, len(c.at))
	}
	if get("a"); made != 3 {
		t.Errorf("the account that was asked for last was forgotten")
	}
	if get("b"); made != 4 {
		t.Errorf("the other one was kept")
	}
	// One that is larger than all stays until there is another.
	c.grown(accountKey("w", "b"), 1000)
	if _, ok := c.at[accountKey("w", "b")]; !ok || len(c.at) != 1 || c.held != 1000 {
		t.Errorf("%d bytes in %d accounts", c.held, len(c.at))
	}
	c.forget(accountKey("w", "b"))
	c.forget(accountKey("w", "b"))
	if c.held != 0 || len(c.at) != 0 {
		t.Errorf("%d bytes are held in %d accounts", c.held, len(c.at))
	}
}
