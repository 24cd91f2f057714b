package activities

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wflo-ai/wflo-go"
)

type named string

func (n named) Name() string { return string(n) }
func (named) Chat(context.Context, wflo.Prompt, func(string)) (wflo.Reply, error) {
	return wflo.Reply{}, nil
}

// order is that of models a, b and c of one provider, as the circuit puts it.
func order(c *circuit, at time.Time) string {
	var calls []*call
	for _, model := range []string{"a", "b", "c"} {
		calls = append(calls, &call{provider: named("p"), prompt: wflo.Prompt{Model: model}})
	}
	var names []string
	for _, each := range c.order(calls, at) {
		names = append(names, each.prompt.Model)
	}
	return strings.Join(names, "")
}

func TestCircuitOpensAndCloses(t *testing.T) {
	var c circuit
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	want := func(after time.Duration, models string) {
		t.Helper()
		if got := order(&c, start.Add(after)); got != models {
			t.Errorf("after %s: %s, want %s", after, got, models)
		}
	}
	for range tripAfter - 1 {
		c.failed("p/a", start)
	}
	want(0, "abc")
	c.answered("p/a")
	for range tripAfter - 1 {
		c.failed("p/a", start)
	}
	want(0, "abc") // an answer ends the row
	c.failed("p/a", start)
	want(0, "bca")
	want(restFor-1, "bca")
	want(restFor, "abc") // one call tries it
	want(restFor, "bca") // and only one
	c.failed("p/a", start.Add(restFor))
	want(2*restFor-1, "bca") // it still fails
	want(2*restFor, "abc")
	c.answered("p/a")
	want(2*restFor, "abc")
	for _, model := range []string{"p/a", "p/b", "p/c"} {
		for range tripAfter {
			c.failed(model, start)
		}
	}
	want(1, "abc") // with all of them down, the first is as good as any
}

func TestCircuitIsBounded(t *testing.T) {
	var c circuit
	for i := range 3 * maxTripped {
		c.failed(fmt.Sprint(i), time.Time{})
	}
	if len(c.trips) > maxTripped {
		t.Errorf("%d models are remembered", len(c.trips))
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "any", true}, {"a*", "abc", true}, {"a*", "ba", false},
		{"*c", "abc", true}, {"*c", "abcd", false}, {"a*c", "ac", true}, {"a*c", "a", false}, {"ab*b", "ab", false}, {"ab*b", "abb", true},
		{"a*b*c", "axbxc", true}, {"a*b*c", "axc", false}, {"*b*", "abc", true}, {"a**c", "abc", true}, {"gpt-*-mini", "gpt-5.4-mini", true},
		{"a*bc*c", "abc", false}, {"", "", true}, {"", "a", false},
	} {
		if got := matches(tt.pattern, tt.text); got != tt.want {
			t.Errorf("%q fits %q: %v", tt.text, tt.pattern, got)
		}
	}
}
